"""Folders of images: class folders, splits of them, contexts."""

import os
from collections import Counter
from pathlib import Path
from typing import Any, Literal, NamedTuple

from fgds_core.data.config import CifarData, ContextsData, FolderData
from fgds_core.data.recognise.found import Found, is_picture_name, is_split, shared_out
from fgds_core.data.sources.cifar import found_pickles
from fgds_core.errors import InputError
from fgds_core.files import entries, is_system, listed, read_json, relative_to, shown

Which = Literal["outer", "inner"]

_CONTEXTS = frozenset(
    [
        "autumn",
        "dim",
        "grass",
        "outdoor",
        "rock",
        "water",
        "indoor",
        "snow",
        "sand",
        "land",
        "forest",
        "beach",
        "city",
        "street",
        "day",
        "night",
        "sunny",
        "cloudy",
        "rainy",
        "foggy",
        "art",
        "cartoon",
        "clipart",
        "infograph",
        "painting",
        "photo",
        "product",
        "quickdraw",
        "real",
        "sketch",
    ]
)
"""Names of NICO++'s contexts, and others that data sets call their domains."""

_DEEPEST = 4
"""Folders below a folder in which images are looked for."""

_MOST_FOLDERS = 20_000
"""Folders without an image that are looked through before giving up."""

HELD_OUT = 75
"""Images of each class in a context that SubpopBench holds out."""


class _Folder(NamedTuple):
    path: Path
    inner: list[Path]
    has_pictures: bool


def find_pickles(root: Path) -> Found | None:
    """CIFAR's python version, which is balanced and made imbalanced as the literature does."""
    if (found := found_pickles(root)) is None:
        return None
    name, folder = found
    data = {
        "kind": "cifar",
        "root": str(root),
        "imbalance": {"type": "exp", "factor": 100, "seed": 0},
        "validation_per_class": 20,
    }
    return Found(
        CifarData.model_validate(data),
        f"the python version of {name}, by its files of names in {shown(folder)}",
        (
            "It is balanced and is made imbalanced as LDAM-DRW does: exponentially, 100 to 1 "
            "(data.imbalance); 20 other images of each class validate.",
        ),
    )


def find_folders(root: Path, classes: Which | None) -> Found:
    """Class folders in one of their layouts.

    Args:
        root: The folder.
        classes: Which folders are the classes where images lie in two levels of them.

    Raises:
        InputError: They are in none.
    """
    top = _scan(root)
    splits = {split: path for path in top.inner if (split := is_split(path.name))}
    if len(splits) > 1:
        return _split_folders(root, splits, classes)
    if splits and not top.has_pictures and len(top.inner) > len(splits):
        return find_folders(next(iter(splits.values())), classes)  # beside images without labels
    inner = [_scan(path) for path in top.inner]
    flat = [folder for folder in inner if folder.has_pictures]
    nested = [folder for folder in inner if any(_scan(each).has_pictures for each in folder.inner)]
    if flat and nested:
        raise InputError(
            f"{shown(root)} holds images at different depths: directly in "
            f"{shown(flat[0].path)}, within folders in "
            f"{shown(nested[0].path)}; all must lie in <class>/, or all in <class>/<group>/"
        )
    if flat:
        return _class_folders(root, [_num_pictures(folder.path) for folder in flat], groups=False)
    if len(nested) == 1 and len(inner) == 1:
        return find_folders(inner[0].path, classes)  # what an archive was unpacked to
    if nested:
        return _two_levels(root, nested, classes)
    if len(inner) == 1 and pictures_below(root):
        return find_folders(inner[0].path, classes)
    if top.has_pictures:
        raise InputError(
            f"{shown(root)} holds images and no folders of classes, so nothing tells what they "
            "show; put each class's images in a folder, or name a CSV file of file, class, split"
        )
    if deep := pictures_below(root):
        raise InputError(
            f"{shown(deep)} lies deeper than <split>/<class>/<group>; move the images up, or name "
            "the folder above the classes"
        )
    raise InputError(
        f"{shown(root)} holds no images, and no list, CSV, JSON or Parquet file of any; name the "
        "folder that holds the raw images"
    )


def pictures_below(folder: Path, depth: int = _DEEPEST) -> Path | None:
    """An image below a folder, by its name; None if there is none.

    Raises:
        InputError: There are too many folders without any image to look through.
    """
    pending = [(folder, depth)]
    for _ in range(_MOST_FOLDERS):
        if not pending:
            return None
        here, deeper = pending.pop()
        found = _scan(here)
        if found.has_pictures:
            return next(path for path in entries(here, [])[1] if is_picture_name(path.name))
        if deeper:
            pending += [(inner, deeper - 1) for inner in reversed(found.inner)]
    raise InputError(
        f"{shown(folder)} holds no image in the first {_MOST_FOLDERS:,} folders below it; name "
        "the folder that holds the raw images"
    )


def _scan(folder: Path) -> _Folder:
    """The folders in a folder, and whether it holds images; asks the disk for no more."""
    inner, has_pictures = [], False
    try:
        with os.scandir(folder) as found:
            for entry in found:
                if entry.name.startswith(".") or is_system(entry.name):
                    continue
                if is_picture_name(entry.name):
                    has_pictures = True
                elif entry.is_dir():
                    if entry.is_symlink():
                        _refuse_circle(folder, entry.name)
                    inner.append(folder / entry.name)
    except OSError as error:
        raise InputError(
            f"{shown(folder)} cannot be read ({error.strerror}); correct its permissions"
        ) from error
    return _Folder(folder, sorted(inner), has_pictures)


def _refuse_circle(folder: Path, name: str) -> None:
    here = folder.resolve()
    if (folder / name).resolve() in (here, *here.parents):
        raise InputError(
            f"{shown(folder / name)} is a link back to a folder that it lies in; remove the link"
        )


def _num_pictures(folder: Path) -> int:
    return sum(is_picture_name(path.name) for path in entries(folder, [])[1])


def _class_folders(root: Path, counts: list[int], groups: bool) -> Found:
    held_out = {"validation": 0.1, "test": 0.2}
    if sum(counts) < 50 * len(counts):
        held_out["validation"] = 0.2  # of few images, more must tell how good a classifier is
    split = {"by": "fractions", **held_out, "seed": 0}
    data = {"kind": "folder", "root": str(root), "split": split, "groups": groups}
    layout = "<class>/<group>/*" if groups else "<class>/*"
    choice = (
        f"There are no splits: {held_out['validation']:.0%} of each class are drawn to validate "
        f"and {held_out['test']:.0%} to test (data.split)."
    )
    why = f"{len(counts)} class folders, by the images in {shown(root)}/{layout}"
    return Found(FolderData.model_validate(data), why, (choice,))


def _split_folders(root: Path, splits: dict[str, Path], classes: Which | None) -> Found:
    shared = shared_out(splits, shown(root), "folders")
    inner = [_scan(path) for path in _scan(shared.train).inner]
    nested = [each for each in inner if not each.has_pictures and each.inner]
    groups = bool(nested) and not any(each.has_pictures for each in inner)
    if groups and (classes or _outer_or_inner(nested, {})) == "inner":
        raise InputError(
            f"{shown(shared.train)} seems to hold <context>/<class>, the context first, which is "
            "read without folders of splits alone; exchange the two, write a CSV file of file, "
            "class, group and split, or say --classes outer if the outer folders are the classes"
        )
    validation = shared.validation
    named = validation.name if isinstance(validation, Path) else validation
    data: dict[str, Any] = {
        "kind": "folder",
        "root": str(root),
        "split": {
            "by": "folders",
            "train": shared.train.name,
            "validation": named,
            "test": shared.test.name,
        },
        "groups": groups,
    }
    names = ", ".join(sorted(path.name for path in splits.values()))
    layout = "<class>/<group>/*" if groups else "<class>/*"
    return Found(
        FolderData.model_validate(data),
        f"folders of splits ({names}) with {layout} in each",
        shared.choices,
    )


def _two_levels(root: Path, outer: list[_Folder], classes: Which | None) -> Found:
    """Images in <class>/<group> or in <context>/<class>."""
    mapping = _mapping(root, outer)
    which = classes or _outer_or_inner(outer, mapping[1] if mapping else {})
    if which is None:
        raise InputError(
            f"{shown(root)} holds two levels of folders, and nothing tells whether the outer ones "
            f"({listed([each.path.name for each in outer])}) are classes or contexts: say "
            "--classes outer or --classes inner"
        )
    told = "" if classes else "; if not, say --classes"
    if which == "outer":
        counts = [sum(map(_num_pictures, each.inner)) for each in outer]
        found = _class_folders(root, counts, groups=True)
        choice = f"The outer folders are taken for the classes, the inner for groups{told} inner."
        return Found(found.data, found.why, ((choice,) if told else ()) + found.choices)
    cells = [path for each in outer for path in each.inner]
    names = Counter(
        path.suffix
        for cell in cells
        for path in entries(cell, [])[1]
        if is_picture_name(path.name)
    )
    suffixes = sorted(names)
    pattern = f"*{suffixes[0]}" if len(suffixes) == 1 else "*.[jpJP][pnPN]*[gG]"
    home = mapping[0].parent if mapping else root
    counts = [_num_pictures(cell) for cell in cells]
    nico = mapping is not None and max(counts) > HELD_OUT
    held_out = HELD_OUT if nico else _held_out(counts)
    data = {
        "kind": "contexts",
        "root": str(home),
        "folder": relative_to(root, home),
        "class_ids": mapping[0].name if mapping else None,
        "pattern": pattern,
        "held_out": held_out,
        "seed": 666,
    }
    by = f", numbered by {mapping[0].name}" if mapping else ""
    choices = [
        f"There are no splits: of each class in a context at most {held_out} images are held out, "
        "a third of them to validate, the others to test (data.held_out)."
    ]
    if not classes and not mapping:
        choices.insert(
            0, f"The outer folders are taken for contexts, the inner for classes{told} outer."
        )
    return Found(
        ContextsData.model_validate(data),
        f"{len(outer)} context folders of class folders, by {shown(root)}/<context>/<class>/*{by}",
        tuple(choices),
    )


def _held_out(counts: list[int]) -> int:
    """About a third of the usual class in a context, so that most of it trains."""
    usual = sorted(counts)[len(counts) // 2]
    return max(3, min(HELD_OUT, round(0.3 * usual)))


def _mapping(root: Path, outer: list[_Folder]) -> tuple[Path, dict[str, int]] | None:
    """The file that numbers the inner folders, as NICO++ has one above its images."""
    names = {path.name for each in outer for path in each.inner}
    here = Path.cwd().resolve()
    for folder in (root, *list(root.parents)[:2]):
        if folder.resolve() in (here, *here.parents):
            break
        for path in sorted(folder.glob("*label*.json")):
            try:
                found = read_json(path, "correct it")
            except InputError:
                continue
            if names <= set(found) and all(type(value) is int for value in found.values()):
                return path, found
    return None


def _outer_or_inner(outer: list[_Folder], numbered: dict[str, int]) -> Which | None:
    """Which folders are the classes: by known names, else the more numerous ones."""
    names = {each.path.name.casefold() for each in outer}
    inner = Counter(path.name.casefold() for each in outer for path in each.inner)
    if numbered or len(names & _CONTEXTS) * 2 > len(names):
        return "inner"
    if len(inner.keys() & _CONTEXTS) * 2 > len(inner):
        return "outer"
    if max(inner.values(), default=0) < 2:
        return None  # no name occurs twice: of contexts and classes, one would
    return "inner" if len(inner) > len(names) else "outer"
