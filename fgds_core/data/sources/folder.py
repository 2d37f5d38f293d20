"""A folder of class folders, with a folder for each split or with splits to draw."""

import random
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from fgds_core.data.config import DrawnValidation, FolderData, SplitFolders, SplitFractions
from fgds_core.data.meta import SPLITS
from fgds_core.data.sources import Source, SourceImage
from fgds_core.data.sources.left_out import LeftOut
from fgds_core.data.sources.names import class_name
from fgds_core.data.sources.places import SUFFIXES, below, check_apart, check_sizes
from fgds_core.data.sources.validation import drawn_validation
from fgds_core.errors import InputError
from fgds_core.files import entries, files_below, listed, shown
from fgds_core.images.formats import FORMATS, is_picture

_SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "dev", "test"})


def open_data(data: FolderData, max_image_bytes: int) -> Source:
    """Opens a folder of class folders."""
    left_out = LeftOut(root := Path(data.root))
    notes: tuple[str, ...] = ()
    if isinstance(data.split, SplitFractions):
        found = _class_files(root, data.groups, left_out)
        if _SPLIT_NAMES.issuperset(map(str.casefold, found)):
            raise InputError(
                f"data.split: {shown(root)} holds the folders {', '.join(sorted(found))}, which "
                "are splits rather than classes; read them with {by: folders, train: ..., "
                "validation: ..., test: ...}"
            )
        drawn = {name: _drawn(name, list(files), data.split) for name, files in found.items()}
        splits = {
            split: {name: _Files(files[split]) for name, files in drawn.items()}
            for split in SPLITS
        }
    else:
        named = {"train": data.split.train}
        if isinstance(data.split.validation, str):
            named["validation"] = data.split.validation
        named["test"] = data.split.test
        present = [split for split in SPLITS if split != "val" or "validation" in named]
        folders = [below(root, name, f"data.split.{key}") for key, name in named.items()]
        for key, folder in zip(named, folders, strict=True):
            if not folder.is_dir():
                there = [path.name for path in entries(root, [])[0]]
                raise InputError(
                    f"data.split.{key}: the folder {shown(folder)} does not exist; the folders "
                    f"below {shown(root)} are: {listed(there)}"
                )
        left_out.note_links(folders)
        if not all(folder.parent == root for folder in folders):
            beside = []
        else:
            beside = [path for kind in left_out.entries(root) for path in kind]
        left_out.other.add(path for path in beside if path not in folders)
        splits = {
            split: _class_files(folder, data.groups, left_out)
            for split, folder in zip(present, folders, strict=True)
        }
        for split, folder in zip(present, folders, strict=True):
            _compare_classes(folders[0], set(splits["train"]), folder, splits[split])
        check_apart(dict(zip(present, ([folder] for folder in folders), strict=True)))
        if isinstance(data.split.validation, DrawnValidation):
            notes = _draw_validation(splits, data.split.validation)
    every = (name for split in splits.values() for files in split.values() for name in files)
    check_sizes((f"{root}/{name}" for name in every), max_image_bytes)
    names = tuple(sorted(splits["train"]))

    def rows(split: str) -> Iterator[SourceImage]:
        for label, name in enumerate(names):
            for path in splits[split][name]:
                yield SourceImage(
                    content=f"{root}/{path}",
                    path=path,
                    label=label,
                    group=class_name(path.split("/")[-2], path) if data.groups else None,
                )

    return Source(
        class_names=names,
        has_groups=data.groups,
        num_images={split: sum(map(len, splits[split].values())) for split in SPLITS},
        rows=rows,
        left_out=str(left_out),
        notes=notes,
    )


def class_names(data: FolderData) -> tuple[str, ...]:
    """The names of the training images' folders."""
    root = Path(data.root)
    if isinstance(data.split, SplitFolders):
        root = below(root, data.split.train, "data.split.train")
    return tuple(sorted(class_name(path.name, shown(path)) for path in entries(root, [])[0]))


class _Files:
    """Paths below the root, in a tenth of the memory that they take apart."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._number, self._paths = len(paths), "\0".join(paths)

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths.split("\0") if self._number else ())


def _class_files(folder: Path, groups: bool, left_out: LeftOut) -> dict[str, _Files]:
    """Image files by class, sorted; refuses a layout that is not the stated one."""
    classes, files = left_out.entries(folder)
    left_out.other.add(files)
    left_out.note_links(classes)
    if not classes:
        raise InputError(
            f"{shown(folder)} holds no class folders; put each class's images in a folder"
        )
    found: dict[str, _Files] = {}
    spelled: dict[str, Path] = {}
    for class_folder in classes:
        name = class_name(class_folder.name, shown(class_folder))
        if name in spelled:
            raise InputError(
                f"{shown(folder)} holds the class {name} twice, its name in two Unicode forms; "
                "move the images into one folder"
            )
        spelled[name] = class_folder
        inner, files = left_out.entries(class_folder)
        if inner:
            files_below(class_folder)  # refuses links that lead in circles
        images = _pictures(files, left_out)
        if groups and images:
            raise InputError(
                f"{shown(images[0])} lies in no group folder; move it into one, or set "
                "data.groups to false if the data have no groups"
            )
        for group_folder in inner:
            images += _inner_pictures(group_folder, groups, left_out)
        if not images:
            raise InputError(
                f"class {name}: {shown(class_folder)} holds no images ({', '.join(FORMATS)}); "
                "add some or remove the folder"
            )
        found[name] = _Files([str(path).removeprefix(f"{left_out.root}/") for path in images])
    return found


def _inner_pictures(folder: Path, groups: bool, left_out: LeftOut) -> list[Path]:
    """Images of a folder within a class folder; none may lie deeper."""
    left_out.note_links([folder])
    folders, files = left_out.entries(folder)
    if not folders and not files:
        left_out.empty.add([folder])
        return []
    images = _pictures(files, left_out)
    if images and not groups:
        raise InputError(
            f"{shown(folder.parent)} holds folders of images ({shown(folder.name)} ...); set "
            "data.groups to true to read them as groups, or data.split if they are classes"
        )
    for deeper in folders:
        if _inner_pictures(deeper, True, left_out):
            raise InputError(
                f"{shown(deeper)} holds images but lies deeper than "
                f"{'<class>/<group>' if groups else '<class>'}; move them up"
            )
    return images


def _pictures(files: list[Path], left_out: LeftOut) -> list[Path]:
    """The files that are images, or by their names are meant to be."""
    images: list[Path] = []
    for path in files:
        try:
            meant = path.suffix.lower() in SUFFIXES or is_picture(path)
        except OSError as error:
            raise InputError(
                f"{shown(path)} cannot be read ({error.strerror}); correct its permissions"
            ) from error
        if meant:
            images.append(path)
        else:
            left_out.other.add([path])
    left_out.note_links(images)
    return images


def _draw_validation(
    splits: dict[str, dict[str, _Files]], drawn: DrawnValidation
) -> tuple[str, ...]:
    """Gives some training images of each class to validation; says how many."""
    names = sorted(splits["train"])
    counts = [len(splits["train"][name]) for name in names]
    labels = np.repeat(np.arange(len(names)), counts)  # [N]
    validates, said = drawn_validation(labels, names, drawn)
    splits["val"] = {}
    for name, chosen in zip(names, np.split(validates, np.cumsum(counts)[:-1]), strict=True):
        files = list(splits["train"][name])
        splits["val"][name] = _Files([f for f, v in zip(files, chosen, strict=True) if v])
        splits["train"][name] = _Files([f for f, v in zip(files, chosen, strict=True) if not v])
    return (said,)


def _compare_classes(
    train: Path, expected: set[str], folder: Path, found: Collection[str]
) -> None:
    missing, unknown = sorted(expected - set(found)), sorted(set(found) - expected)
    if missing or unknown:
        raise InputError(
            f"{shown(folder)} and {shown(train)} must hold the same classes; in "
            f"{shown(folder.name)} are missing: {_listed(missing)}, unknown: "
            f"{_listed(unknown)}"
        )


def _listed(names: list[str]) -> str:
    """Names for a message, in quotes where spaces begin or end one."""
    return ", ".join(n if n == n.strip() else repr(n) for n in names) or "none"


def _drawn(name: str, files: list[str], split: SplitFractions) -> dict[str, list[str]]:
    """Draws the splits of one class, so that another class changes nothing in this one.

    Every split gets an image of a class that has at least three; a class with fewer fills training
    first, then the test.
    """
    order = random.Random(f"{split.seed}/{name}").sample(files, len(files))
    most = len(files) - (2 if len(files) > 2 else 1)
    num_test = min(max(round(split.test * len(files)), 1), most)
    spare = len(files) - num_test - 1
    num_val = min(max(round(split.validation * len(files)), 1), spare)
    drawn = {
        "train": order[num_test + num_val :],
        "val": order[num_test : num_test + num_val],
        "test": order[:num_test],
    }
    # Folder by folder: as text, the folder snow-2 would come before the folder snow
    return {name: sorted(paths, key=lambda path: path.split("/")) for name, paths in drawn.items()}
