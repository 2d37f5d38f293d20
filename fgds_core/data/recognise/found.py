"""What was recognised, and how splits are told by their names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from fgds_core.data.config import DataConfig
from fgds_core.data.sources.places import SUFFIXES
from fgds_core.errors import InputError
from fgds_core.files import entries, listed, relative_to, shown

Named = TypeVar("Named")

DRAWN = {"fraction": 0.1, "seed": 0}
"""How validation images are drawn from those of training where the data have none."""

_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What names of files and folders call a split."""


@dataclass(frozen=True)
class Found:
    """Raw data that were recognised.

    Attributes:
        data: The section of the parameters that reads them.
        why: What they are and what told so, one sentence without its end.
        choices: What was decided although it could be meant otherwise, a sentence each.
    """

    data: DataConfig
    why: str
    choices: tuple[str, ...] = ()


def split_of(name: str) -> str | None:
    """The split ("train", "val" or "test") that a name speaks of, such as `train2018.json`."""
    words = re.findall(r"[a-z]+", name.casefold())
    found = {_WORDS[word] for word in words if word in _WORDS}
    return found.pop() if len(found) == 1 else None


def is_split(name: str) -> str | None:
    """The split that a name stands for as a whole, or None."""
    return _WORDS.get(name.casefold())


def family(name: str) -> str:
    """A name without its split, which files of one set share."""
    return re.sub(rf"(?<![a-z])({'|'.join(_WORDS)})(?![a-z])", "*", name.casefold())


@dataclass(frozen=True)
class Splits(Generic[Named]):
    """Which of what was found trains, validates and tests.

    Attributes:
        train: What trains.
        validation: What validates, or how it is drawn from what trains.
        test: What tests.
        choices: What was decided for want of a split.
    """

    train: Named
    validation: Named | dict[str, Any]
    test: Named
    choices: tuple[str, ...] = ()


def shared_out(found: Mapping[str, Named], where: str, what: str) -> Splits[Named]:
    """Gives every split something, where two of the three are there at least.

    Args:
        found: By the name of the split.
        where: Where they lie, for messages.
        what: What they are, such as "lists".

    Raises:
        InputError: Nothing trains, or nothing is held out.
    """
    if "train" not in found or len(found) < 2:
        there = ", ".join(found) or "none"
        raise InputError(
            f"{where}: of {what} for train, validation and test there is only: {there}; add one "
            "for training and one for the test, named with these words"
        )
    if "test" not in found:
        choice = "There is no test split: the validation images test, and others validate."
        return Splits(found["train"], dict(DRAWN), found["val"], (choice,))
    if "val" not in found:
        return Splits(found["train"], dict(DRAWN), found["test"])
    return Splits(found["train"], found["val"], found["test"])


def is_picture_name(name: str) -> bool:
    """Whether a file of this name is meant as an image."""
    return Path(name).suffix.lower() in SUFFIXES


def placed(root: Path, names: list[str]) -> tuple[Path, str | None]:
    """The root of images that a file names, and the folder below it that their paths begin at.

    Args:
        root: The folder that holds the file; where no image lies below it, the folder above may.
        names: Some of the paths; absolute ones may be those of another machine.

    Returns:
        The root, and None for the folder where it is the root itself or where no image is found,
        which the source then says.
    """
    here = Path.cwd().resolve()
    above = root.absolute().parent if root.name in ("", "..") else root.parent
    may_climb = above.resolve() not in (here, *here.parents)
    for folder in (root, above) if may_climb else (root,):
        inner = entries(folder, [])[0]
        twice = [each / each.name for each in inner]
        for images in (folder, *inner, *(each for each in twice if each.is_dir())):
            if any(_lies_below(images, name) for name in names):
                return folder, None if images == folder else relative_to(images, folder)
    return root, None


def _lies_below(folder: Path, name: str) -> bool:
    if not name.startswith("/"):
        return (folder / name).is_file()
    parts = name.split("/")
    return any((folder / "/".join(parts[start:])).is_file() for start in range(1, len(parts)))


def one_family(files: Mapping[Path, Named], what: str, root: Path) -> dict[Path, Named]:
    """The files whose names differ in their splits alone.

    Raises:
        InputError: There are several such families.
    """
    families: dict[str, dict[Path, Named]] = {}
    for path, value in files.items():
        families.setdefault(family(path.name), {})[path] = value
    whole = {
        name: members
        for name, members in families.items()
        if "train" in {split_of(path.name) for path in members} and len(members) > 1
    }
    if len(whole) > 1:
        first = [shown(next(iter(members))) for members in whole.values()]
        raise InputError(
            f"{shown(root)} holds {len(whole)} sets of {what}, begun by {listed(first)}; name one "
            "of their files"
        )
    return next(iter((whole or families).values()), {})
