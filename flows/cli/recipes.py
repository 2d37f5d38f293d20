"""Recipes: complete parameters for published data sets and common needs, in `recipes/`.

In place of what only its user knows, a recipe has `$DATA` and `$GENERATOR`. Filled in, it becomes
params.yaml, which is what DVC and every command reads; what stood there is not lost. A recipe of
embedded data has neither, and its data's name stands for it.
"""

import json
import re
import subprocess
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from fgds_core.errors import InputError
from fgds_core.files import PATH_MOST, brief, is_remote, shown, write_text
from flows.cli.params import PARAMS, read_params
from tasks.workspace import FIRST

if TYPE_CHECKING:
    from fgds_core.data.config import DataConfig

RECIPES = Path("recipes")

OWN = Path("params.own.yaml")
"""Where the user's parameters are kept if git does not have them."""

_BLANK = re.compile(r"^( +\w+: )\$(DATA|GENERATOR)\b", re.M)
"""What is left blank in a recipe, with the key before it."""

_FILES = {
    "list": ("images", "train", "validation", "test", "class_names"),
    "csv": ("file", "split_file", "images", "class_names"),
    "coco": ("images", "train", "validation", "test", "class_names"),
    "contexts": ("folder", "class_ids"),
}
"""Keys that name files and folders below the root, by the kind of data; most telling first."""

_CELEBA = ("list_attr_celeba", "list_eval_partition")
"""Files that CelebA has, as text or CSV, in one of a few folders."""


@dataclass(frozen=True)
class Recipe:
    """A recipe.

    Attributes:
        name: Of its file.
        text: The file.
    """

    name: str
    text: str

    @property
    def title(self) -> str:
        """What it is for, in one line."""
        return self.text.splitlines()[0].removeprefix("# ")

    @cached_property
    def header(self) -> dict[str, str]:
        """What its header says, by the word before the colon: Data, Layout, Cost ..."""
        found: dict[str, str] = {}
        for line in self.text.partition("\n\n")[0].splitlines()[1:]:
            if match := re.fullmatch(r"# ([A-Z]\w+): (.*)", line):
                found[match[1]] = match[2]
            elif found and line.startswith("#   "):
                found[list(found)[-1]] += " " + line[1:].strip()
        return found

    @property
    def wants_data(self) -> bool:
        """Whether the user names the data."""
        return "DATA" in self._wanted

    @property
    def wants_generator(self) -> bool:
        """Whether the user names the generator."""
        return "GENERATOR" in self._wanted

    @property
    def _wanted(self) -> list[str]:
        return [match[2] for match in _BLANK.finditer(self.text)]

    def filled(self, data: str | None, generator: str | None) -> str:
        """Its text with the user's data and generator."""
        given = {"DATA": data, "GENERATOR": generator}
        return _BLANK.sub(
            lambda match: match[1] + json.dumps(given[match[2]], ensure_ascii=False), self.text
        )

    def is_filled(self, text: str) -> bool:
        """Whether a text is this recipe with anybody's data and generator."""
        parts = _BLANK.split(self.text)  # text, key, blank, text, key, blank, ...
        pattern = re.escape(parts[0])
        for key, rest in zip(parts[1::3], parts[3::3], strict=True):
            pattern += re.escape(key) + r'"[^\n]*"' + re.escape(rest)
        return re.fullmatch(pattern, text) is not None


def recipes() -> dict[str, Recipe]:
    """All recipes by name."""
    paths = sorted(RECIPES.glob("*.yaml"))
    return {path.stem: Recipe(path.stem, path.read_text()) for path in paths}


def use_recipe(name: str | None, data: str | None, generator: str | None) -> str:
    """Makes params.yaml what a recipe says.

    Args:
        name: Of the recipe; may be left out where the data are embedded.
        data: The folder of the raw images, here or below s3://, or the name of embedded data, such
            as fashion-contexts.
        generator: A folder, or an id on the hub.

    Returns:
        What was done, for the user.

    Raises:
        InputError: One of them is missing or wrong, a file of the data is missing, or params.yaml
            or the synthetic set hold what would be lost.
    """
    recipe = _chosen(name or _of_embedded(data))
    _refuse_unwanted(recipe, data, generator)
    if recipe.wants_data and not data:
        raise InputError(
            f"DATA is missing: {recipe.name} needs the folder of the raw images, DATA=/path;"
            f" there: {recipe.header['Layout']}"
        )
    if recipe.wants_generator and not generator:
        raise InputError(
            f"GENERATOR is missing: {recipe.name} draws with a {recipe.header['Generator']};"
            " give its folder or its id on the hub, GENERATOR=/path or GENERATOR=owner/name;"
            " docs/generators.md"
        )
    text = recipe.filled(_root(data) if data else None, generator)
    _check_files(recipe, text)
    return _write(recipe, text)


def _root(data: str) -> str:
    """DATA as `data.root` says it: the address of a bucket, or a path.

    Raises:
        InputError: It can be neither.
    """
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in data):
        raise InputError(
            f"DATA={brief(data, PATH_MOST)} has line breaks or other characters that are none of "
            "a text; rename the folder, or link to it"
        )
    if is_remote(data):
        return data
    try:
        place = Path(data).expanduser()
        place.is_dir()
    except (OSError, RuntimeError) as error:  # of a name too long, of a user who is not known
        what = error.strerror if isinstance(error, OSError) else "no such user's home"
        raise InputError(f"DATA={brief(data, PATH_MOST)}: {what}; correct the path") from error
    return str(place)


def _of_embedded(data: str | None) -> str | None:
    """The recipe of embedded data of that name; None where there is none."""
    name = (data or "").replace("-", "_")
    recipe = recipes().get(name)
    return None if recipe is None or recipe.wants_data else name


def _refuse_unwanted(recipe: Recipe, data: str | None, generator: str | None) -> None:
    """Refuses data or a generator that a recipe would not use.

    Raises:
        InputError: Names it.
    """
    if data and not recipe.wants_data and _of_embedded(data) != recipe.name:
        raise InputError(
            f"DATA={shown(data)}: {recipe.name} has its own data; leave DATA out, or choose"
            " another RECIPE"
        )
    if generator and not recipe.wants_generator:
        raise InputError(
            f"GENERATOR={shown(generator)}: {recipe.name} has its own generator; leave GENERATOR"
            " out, or change `generator` in params.yaml after the first call"
        )


def _chosen(name: str | None) -> Recipe:
    """The recipe of that name.

    Raises:
        InputError: There is none; lists those that there are.
    """
    known = recipes()
    if name in known:
        return known[name]
    wrong = f"there is no recipe {brief(name)}" if name else "RECIPE is missing"
    width = max(map(len, known), default=0)
    listed = "\n".join(f"  {each.name.ljust(width)}  {each.title}" for each in known.values())
    raise InputError(f"{wrong}; choose one, make repro RECIPE=<name> DATA=/path:\n{listed}")


def _check_files(recipe: Recipe, text: str) -> None:
    """Refuses a folder that is not laid out as the recipe's data are.

    Raises:
        InputError: Names the first file or folder that is missing, and the layout.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{recipe.name}.yaml"
        path.write_text(text)
        data: DataConfig = read_params(path)["data"]
    if is_remote(data.root):
        return  # what lies there is looked at when it is listed, by the stage prepare
    layout = f"{recipe.name} wants: {recipe.header['Layout']}"
    root = Path(data.root)
    if not root.is_dir():
        raise InputError(f"DATA={shown(root)} is no folder; {layout}")
    for wanted in _missing(data, root):
        raise InputError(f"DATA={shown(root)} has no {wanted}; {layout}")
    from fgds_core.data.sources import load_source

    try:
        load_source(data.kind).class_names(data)
    except InputError as error:
        raise InputError(f"DATA={shown(root)}: {error}; {layout}") from error


def _missing(data: "DataConfig", root: Path) -> Iterator[str]:
    """Files and folders that the data need and lack."""
    for key in _FILES.get(data.kind, ()):
        if isinstance(value := getattr(data, key), str) and not (root / value).exists():
            yield value
    for name in _CELEBA if data.kind == "celeba" else ():
        if not any(any((root / folder).glob(f"{name}.*")) for folder in ("", "Anno", "Eval")):
            yield f"{name}.txt"


def _write(recipe: Recipe, text: str) -> str:
    """Writes params.yaml where nothing is lost by it; says what was done."""
    source = str(RECIPES / f"{recipe.name}.yaml")
    if recipe.wants_data:
        source += " with this DATA and GENERATOR"
    before = PARAMS.read_text() if PARAMS.is_file() else None
    if before == text:
        return f"{PARAMS} is {source}."
    said = "" if before is None else _kept(before)
    _check_synthetic()
    write_text(PARAMS, text)
    return f"{PARAMS} is now {source}{said}."


def _kept(before: str) -> str:
    """Makes sure that the parameters that were there are not lost; says where they are."""
    in_git = committed(PARAMS)
    if before == in_git:
        return f"; yours are in git (`git checkout {PARAMS}` brings them back)"
    if any(recipe.is_filled(before) for recipe in recipes().values()):
        return ", in place of another one"
    if in_git is None and (not OWN.exists() or OWN.read_text() == before):
        write_text(OWN, before)
        return f"; yours are kept in {OWN}"
    raise InputError(
        f"{PARAMS} holds changes of yours that a recipe would replace. To run it as it is, also a"
        " recipe that you have changed: `make repro` without RECIPE. To use the recipe: commit"
        f" {PARAMS}, or move it away, first"
    )


def committed(path: Path) -> str | None:
    """A file as git has it; None where there is no git, or it does not know the file."""
    try:
        done = subprocess.run(["git", "show", f"HEAD:./{path}"], capture_output=True)
    except OSError:
        return None
    return None if done.returncode else done.stdout.decode("utf-8", "replace")


def _check_synthetic() -> None:
    """Refuses other parameters while a set is half drawn: a run would remove what is there.

    Raises:
        InputError: There are parts without an index.
    """
    out = FIRST.synthetic
    if FIRST.synthetic_index.is_file() or not any(out.glob("*/part-*.parquet")):
        return
    raise InputError(
        f"{out} holds a set that other parameters have drawn in part and that is recorded nowhere;"
        f" finish it (`make repro` without RECIPE), move it away, or remove it"
    )
