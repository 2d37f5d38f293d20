"""Image files that a list or a table names, found below the root and opened split by split.

Lines are read again whenever they are needed, so that of a million of them a few bytes each are in
memory: labels, and which of them validate.
"""

import os
import stat
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fgds_core.data.config import CocoData, DrawnValidation, ListData
from fgds_core.data.meta import SPLITS
from fgds_core.data.sources import SourceImage
from fgds_core.data.sources.left_out import LeftOut
from fgds_core.data.sources.places import below, check_apart, file_below, too_many_bytes
from fgds_core.data.sources.validation import drawn_validation
from fgds_core.errors import InputError
from fgds_core.files import PATH_MOST, brief, listed, shown

SHOWN_MISSING = 5
"""Missing files that the message names."""

MAX_LABEL = 10**6
"""A label above it is a mistake: nobody has so many classes."""


@dataclass(frozen=True, slots=True)
class Named:
    """One line that names an image.

    Attributes:
        where: File and line, for messages.
        path: The image file, relative to the root.
        label: Its class, in 0..K-1.
        group: Its group, or None.
    """

    where: str
    path: str
    label: int
    group: str | None


Lines = Callable[[str], Iterator[Named]]
"""Gives the lines of a split, in an order that never changes."""


def split_files(data: ListData | CocoData) -> dict[str, Path]:
    """The file that names the images of each split, where the parameters name one.

    Raises:
        InputError: It does not exist, or is named for two splits.
    """
    files = {
        split: file_below(Path(data.root), name, f"data.{parameter}")
        for split, parameter, name in (
            ("train", "train", data.train),
            ("val", "validation", data.validation),
            ("test", "test", data.test),
        )
        if isinstance(name, str)
    }
    check_apart({split: [path] for split, path in files.items()})
    return files


class Start:
    """The folder that the paths in a file begin at."""

    def __init__(self, root: Path, images: str | None) -> None:
        folder = root if images is None else below(root, images, "data.images")
        if not folder.is_dir():
            raise InputError(
                f"data.images: the folder {shown(folder)} does not exist; name the folder below "
                "data.root that the paths begin at, or null for data.root itself"
            )
        self.root, self.folder = root, folder
        self.prefix = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"

    def path(self, name: str, where: str) -> str:
        """The path below the root of what a line names, in whichever Unicode form it lies there.

        Raises:
            InputError: It would lie outside, or is none.
        """
        name = name.removeprefix("./")
        if name.startswith("/") or ".." in name.split("/"):
            raise InputError(
                f"{where}: {brief(name, PATH_MOST)} must lie below data.root, "
                f"{shown(self.root)}; put the image there and correct the path"
            )
        if not name or not name.isprintable():
            raise InputError(
                f"{where}: {brief(repr(name), PATH_MOST)} is no path of a file; correct it"
            )
        path = self.prefix + name
        if not path.isascii() and not (self.root / path).exists():
            path = below(self.root, path, where).relative_to(self.root).as_posix()
        return path

    def hint(self, path: str, *others: Path) -> str | None:
        """What to set where a missing image lies below another folder; None if it does nowhere.

        Args:
            path: Its path below the root, as `path` gave it.
            others: Where to look besides the root and the folders in it.
        """
        name = path.removeprefix(self.prefix)
        inner = [folder for folder in self.root.iterdir() if folder.is_dir()]
        for folder in (self.root, *inner, *others):
            if folder != self.folder and (folder / name).is_file():
                below_root = folder.relative_to(self.root).as_posix()
                key = "null" if below_root == "." else below_root
                return f"paths begin at {shown(folder)}: set data.images to {key}"
        return None


def label_of(
    text: str, where: str, num_names: int | None, parameter: str = "data.class_names"
) -> int:
    """A label, or the number of a group, that stands in a file.

    Args:
        text: What stands there.
        where: For messages.
        num_names: How many names the parameter gives, or None if it gives none.
        parameter: For messages.

    Raises:
        InputError: It is no whole number from 0, or has no name.
    """
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_LABEL))
    if not is_number or int(text) > MAX_LABEL:
        raise InputError(
            f"{where}: the label must be a whole number from 0 to {MAX_LABEL:,}, got "
            f"{brief(repr(text))}; correct it"
        )
    label = int(text)
    if num_names is not None and label >= num_names:
        raise InputError(
            f"{where}: {label} is none of the {num_names} that {parameter} names, "
            f"0..{num_names - 1}"
        )
    return label


@dataclass
class Survey:
    """What one reading of all lines has shown, and which images validate.

    Attributes:
        labels: Of the lines of each split that is read, in their order.
        folders: The folders that hold the training images of each class; "" where there are
            several.
    """

    labels: dict[str, "array[int]"] = field(default_factory=dict)
    cells: dict[str, Counter[tuple[int, str | None]]] = field(default_factory=dict)
    folders: dict[int, str] = field(default_factory=dict)
    validates: bytearray | None = None

    @property
    def num_classes(self) -> int:
        """The largest label and one."""
        return max((max(labels) for labels in self.labels.values() if labels), default=-1) + 1

    def counts(self, split: str) -> list[int]:
        """Lines of each class, [K], as they are in the file."""
        found = Counter(self.labels.get(split, ()))
        return [found[label] for label in range(self.num_classes)]

    def num_images(self) -> dict[str, int]:
        """Images of each split, after some of training were drawn to validate."""
        found = {split: len(self.labels.get(split, ())) for split in SPLITS}
        drawn = sum(self.validates or b"")
        return found | {"train": found["train"] - drawn, "val": found["val"] + drawn}


def survey(
    lines: Lines,
    splits: Collection[str],
    root: Path,
    max_image_bytes: int,
    left_out: LeftOut,
    hint: Callable[[str], str | None],
) -> Survey:
    """Reads all lines once and looks for the files that they name.

    Args:
        lines: Gives them.
        splits: Which to read.
        root: The folder that their paths are relative to.
        max_image_bytes: Larger files are refused.
        left_out: Takes links that lead out of the root.
        hint: What to do, from the path of a missing file; None where nothing tells.

    Raises:
        InputError: Files are missing (all are counted, the first five named) or too large.
    """
    found = Survey()
    missing: list[Named] = []
    large: list[tuple[str, int]] = []
    num_missing = num_large = 0
    seen_folders: set[str] = set()
    for split in splits:
        labels, cells = array("q"), Counter[tuple[int, str | None]]()
        for line in lines(split):
            labels.append(line.label)
            cells[line.label, line.group] += 1
            folder = line.path.rpartition("/")[0]
            if split == "train" and found.folders.setdefault(line.label, folder) != folder:
                found.folders[line.label] = ""
            while folder and folder not in seen_folders:
                seen_folders.add(folder)
                left_out.note_links([root / folder])
                folder = folder.rpartition("/")[0]
            file_path = f"{root}/{line.path}"
            try:
                status = os.stat(file_path)
            except (FileNotFoundError, NotADirectoryError):
                status = None
            if status is None or not stat.S_ISREG(status.st_mode):
                num_missing += 1
                if len(missing) < SHOWN_MISSING:
                    missing.append(line)
            elif status.st_size > max_image_bytes:
                num_large += 1
                large = large or [(file_path, status.st_size)]
            elif os.path.islink(file_path):
                left_out.note_links([Path(file_path)])
        found.labels[split], found.cells[split] = labels, cells
    if missing:
        number = sum(map(len, found.labels.values()))
        named = "".join(f"\n  {line.where}: {brief(line.path, PATH_MOST)}" for line in missing)
        more = f"\n  ... and {num_missing - len(missing)} more" * (num_missing > len(missing))
        remedy = (
            "the others do: bring these too, or take out the lines that name them"
            if num_missing < number
            else "paths begin at data.images, or at data.root if that is null: correct it"
        )
        raise InputError(
            f"{num_missing:,} of the {number:,} image files that are named do not lie below "
            f"{shown(root)}; {hint(missing[0].path) or remedy}:{named}{more}"
        )
    if large:
        path, size = large[0]
        more = f"; {num_large - 1} more files are too large" if num_large > 1 else ""
        raise InputError(f"{shown(path)}: {too_many_bytes(size, max_image_bytes)}{more}")
    return found


def check_labels(found: Survey, num_classes: int | None, what: Mapping[str, str]) -> None:
    """Refuses empty splits, gaps between labels and classes without any image.

    Args:
        found: What was read.
        num_classes: Number of classes that have a name, or None if they are not named.
        what: How a message calls the lines of each split.

    Raises:
        InputError: There is one.
    """
    for split, labels in found.labels.items():
        if not labels:
            raise InputError(f"{what[split]} names no image; name some for every class")
    present = set().union(*(set(labels) for labels in found.labels.values()))
    if num_classes is None and (gaps := found.num_classes - len(present)):
        first = [str(k) for k in range(found.num_classes) if k not in present]
        begins = "; count labels from 0" if min(present) == 1 else ""
        raise InputError(
            f"{what['train']}: labels must be 0..K-1 without gaps, but of "
            f"0..{found.num_classes - 1} {gaps} have no image: {listed(first)}"
            f"{begins}, or name all classes in data.class_names"
        )
    named = range(num_classes or found.num_classes)
    if unseen := [str(label) for label in named if label not in present]:
        raise InputError(
            f"{what['train']}: {len(unseen)} classes have no image in any split, of the labels "
            f"{listed(unseen)}; add images, or leave their names out"
        )


def draw_validation(found: Survey, drawn: DrawnValidation, names: tuple[str, ...]) -> str:
    """Draws the validation images from those of training; says so in one line."""
    labels = np.frombuffer(found.labels["train"], dtype=np.int64)
    validates, said = drawn_validation(labels, names, drawn)
    found.validates = bytearray(validates.tobytes())
    return said


def empty_cells_note(found: Survey) -> list[str]:
    """Says how many classes lack a group among their training images; nothing if none does."""
    trained = {cell for cell, number in found.cells["train"].items() if number}
    every = {cell for cells in found.cells.values() for cell in cells}
    if not (empty := every - trained):
        return []
    return [
        f"{len(empty)} of {len(every)} pairs of class and group have images but none for training"
    ]


def files_of(
    lines: Lines, splits: Collection[str], root: Path, others: Collection[Path]
) -> Callable[[], Iterator[str]]:
    """The paths of all files that are read: others, then those that the lines name."""

    def files() -> Iterator[str]:
        yield from map(str, others)
        for split in splits:
            yield from (f"{root}/{line.path}" for line in lines(split))

    return files


def rows_of(lines: Lines, found: Survey, root: Path) -> Callable[[str], Iterator[SourceImage]]:
    """The images of a split, its lines read once more."""

    def rows(split: str) -> Iterator[SourceImage]:
        validates = None if split == "test" else found.validates
        for number, line in enumerate(lines(split if validates is None else "train")):
            if validates is not None and validates[number] != (split == "val"):
                continue
            yield SourceImage(
                content=f"{root}/{line.path}", path=line.path, label=line.label, group=line.group
            )

    return rows
