"""Files that name images: lists, CSV files, JSON of images and annotations."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from fgds_core.data.config import CelebaData, CocoData, CsvData, ListData
from fgds_core.data.recognise.found import (
    DRAWN,
    Found,
    family,
    is_picture_name,
    one_family,
    placed,
    shared_out,
    split_of,
)
from fgds_core.data.sources.celeba import attributes_file
from fgds_core.data.sources.csv import CODES, records
from fgds_core.data.sources.json_entries import json_entries
from fgds_core.data.sources.name_files import read_names
from fgds_core.errors import InputError
from fgds_core.files import brief, entries, listed, relative_to, shown

_TRIED = 20
"""Lines of a file whose images are looked for."""

_ENDS = 2**16
"""Bytes at the beginning and the end of a JSON file that are looked at."""


def find_lists(root: Path, chosen: Path | None) -> Found | None:
    """Lists of paths and labels.

    Args:
        root: The folder that holds them, or a folder that does.
        chosen: One that was named, or None.
    """
    texts = _named_so(root, ".txt")
    lists = {path: lines for path in texts if (lines := _list_lines(path))}
    if chosen is not None and chosen not in lists:
        return None
    files = _of_one_set(lists, "lists", root, chosen)
    if not files:
        return None
    splits = {split: path for path in files if (split := split_of(path.name))}
    unread = _like_lists(texts, files)
    if "train" not in splits or len(splits) < 2:
        _refuse_like_lists(unread)
    shared = shared_out(splits, shown(root), "lists")
    lines = files[shared.train]
    names_there = [path for path, _, _ in lines]
    root, images = placed(root, names_there)
    has_groups = all(group is not None for _, _, group in lines)
    rewrite = _places_rewrite(root, lines[0][0])
    known = _names_files((shared.train.parent, root))
    number = max(map(_most_label, files)) + 1 if known else 0
    names = next((relative_to(path, root) for path, of in known.items() if of == number), None)
    data = {
        "kind": "list",
        "root": str(root),
        "images": None if rewrite else images,
        "train": relative_to(shared.train, root),
        "validation": _relative(shared.validation, root),
        "test": relative_to(shared.test, root),
        "groups": has_groups,
        "class_names": names,
        "path_rewrite": rewrite,
    }
    parts = "path, label and group" if has_groups else "path and label"
    choices = list(shared.choices)
    if rewrite:
        choices.append(f"The images lie as in the other archive of Places: {rewrite}.")
    if unread:
        names = listed([path.name for path in unread])
        choices.append(f"Not read, since their lines are no path and label: {names}.")
    return Found(
        ListData.model_validate(data),
        f"lists of {parts}, by the lines of {shown(shared.train)}",
        tuple(choices),
    )


def _like_lists(texts: Sequence[Path], lists: Mapping[Path, Any]) -> list[Path]:
    """Files that are named as the lists of a set are, and are none."""
    names, splits = {family(path.name) for path in lists}, {split_of(p.name) for p in lists}
    return [
        path
        for path in texts
        if path not in lists and family(path.name) in names and split_of(path.name) not in splits
    ]


def _refuse_like_lists(paths: Sequence[Path]) -> None:
    if paths:
        with paths[0].open(encoding="utf-8", errors="replace") as file:
            first = next((line for line in map(str.strip, islice(file, _TRIED)) if line), "")
        raise InputError(
            f"{shown(paths[0])} is no list: each line must be the path of an image, a space and a "
            f"whole number, in UTF-8 and without a header, and it begins with {brief(repr(first))}"
        )


def _named_so(root: Path, suffix: str) -> list[Path]:
    """Files of that suffix, and named as a split, in the folder and in the folders within."""
    folders, files = entries(root, [])
    found = [path for path in files if path.suffix.lower() == suffix]
    for folder in folders:
        found += sorted(folder.glob(f"*{suffix}"))
    return [path for path in found if split_of(path.name) and path.is_file()]


def _of_one_set(
    files: Mapping[Path, Any], what: str, root: Path, chosen: Path | None
) -> dict[Path, Any]:
    if chosen is not None:
        name = family(chosen.name)
        return {path: value for path, value in files.items() if family(path.name) == name}
    return one_family(files, what, root)


def _list_lines(path: Path) -> list[tuple[str, int, str | None]] | None:
    """Path, label and perhaps group of the first lines; None for what is no list."""
    lines: list[tuple[str, int, str | None]] = []
    try:
        with path.open(encoding="utf-8-sig") as file:
            for text in islice((line.strip() for line in file), _TRIED):
                words = text.rsplit(maxsplit=2)
                if len(words) == 3 and is_picture_name(words[0]) and words[1].isdecimal():
                    lines.append((words[0], int(words[1]), words[2]))
                elif text:
                    name, label = [*text.rsplit(maxsplit=1), ""][:2]
                    if not is_picture_name(name) or not label.isdecimal():
                        return None
                    lines.append((name, int(label), None))
    except (OSError, UnicodeDecodeError):
        return None
    return lines or None


def _places_rewrite(root: Path, first: str) -> str | None:
    """Between the two archives of Places, where lists are of the other one."""
    style = first.partition("/")[0]
    if style == "train" and (root / "data_256").is_dir() and not (root / "train").is_dir():
        return "places_easyformat_to_256"
    if style == "data_256" and (root / "train").is_dir() and not (root / "data_256").is_dir():
        return "places_256_to_easyformat"
    return None


def _names_files(folders: Sequence[Path]) -> dict[Path, int]:
    """The files of class names in some folders, and how many each has."""
    found: dict[Path, int] = {}
    for folder in dict.fromkeys(folders):
        for path in entries(folder, [])[1]:
            if path.suffix in (".txt", ".json") and re.search(
                r"class|categor|names|label", path.name.casefold()
            ):
                with suppress(InputError):
                    found[path] = len(read_names(path).names)
    return found


def _most_label(path: Path) -> int:
    """The largest label of a list; -1 where there is none."""
    most = -1
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for line in file:
            *names, last = line.rsplit(maxsplit=2) or [""]
            with_group = len(names) == 2 and is_picture_name(names[0])
            label = names[1] if with_group else last
            if label.isdecimal() and len(label) < 8:
                most = max(most, int(label))
    return most


def _relative(value: Path | dict[str, Any], root: Path) -> str | dict[str, Any]:
    return relative_to(value, root) if isinstance(value, Path) else value


def find_celeba(root: Path) -> Found | None:
    """CelebA as its authors or Kaggle pack it."""
    path = attributes_file(root)
    if path is None:
        return None
    class_names, group_names = _FACES
    return Found(
        CelebaData(
            kind="celeba", root=str(root), class_names=class_names, group_names=group_names
        ),
        f"CelebA, by its file of attributes {shown(path)}",
        ("Classes are made by Blond_Hair, groups by Male (data.label, data.group).",),
    )


# CSV

_FILE_COLUMNS = [
    "filename",
    "img_filename",
    "image_id",
    "file_name",
    "filepath",
    "image_path",
    "path",
    "file",
    "image",
    "img",
]
_LABEL_COLUMNS = ["y", "label", "class", "class_id", "target", "category", "blond_hair"]
_GROUP_COLUMNS = ["a", "place", "group", "attribute", "context", "environment", "domain", "male"]
_SPLIT_COLUMNS = ["split", "partition", "set", "subset"]

_NICO_CONTEXTS = ["autumn", "dim", "grass", "outdoor", "rock", "water"]
"""NICO++'s contexts as SubpopBench numbers them."""

_BIRDS = (["landbird", "waterbird"], ["land", "water"])
_FACES = (["without blond hair", "with blond hair"], ["woman", "man"])
_KNOWN_NAMES = {
    "place": _BIRDS,
    "metadata_waterbirds.csv": _BIRDS,
    "metadata_celeba.csv": _FACES,
}
"""Names of classes and groups 0 and 1, by the file that SubpopBench writes or its column."""


@dataclass
class _Columns:
    """The columns of a CSV file that are read, by their names there; None where it has none."""

    file: str | None
    label: str | None
    group: str | None
    split: str | None


def find_csv(root: Path, chosen: Path | None) -> Found | None:
    """A CSV file with a row for each image.

    Args:
        root: The folder that holds it.
        chosen: The file that was named, or None.

    Raises:
        InputError: The file that was named lacks a column.
    """
    files = [chosen] if chosen is not None else entries(root, [])[1]
    files = [path for path in files if path.suffix.lower() == ".csv"]
    whole: list[tuple[Path, _Columns]] = []
    for path in files:
        columns = _columns(path)
        if columns.file and columns.label and columns.split:
            whole.append((path, columns))
        elif chosen is not None:
            raise _lacking(path, columns)
    if not whole:
        return None
    if len(whole) > 1 and chosen is None:
        names = listed([path.name for path, _ in whole])
        raise InputError(f"{shown(root)} holds several CSV files of images: {names}; name one")
    path, columns = whole[0]
    return _csv_section(root, path, columns)


def _lacking(path: Path, columns: _Columns) -> InputError:
    wanted = {
        "file names (such as filename)": columns.file,
        "classes (such as y or label)": columns.label,
        "splits (split: 0, 1, 2 or train, val, test)": columns.split,
    }
    missing = [what for what, name in wanted.items() if name is None]
    return InputError(
        f"{shown(path)} has no column of {' nor of '.join(missing)}; add or rename it, or name "
        "its columns in the section data with kind csv"
    )


def _columns(path: Path) -> _Columns:
    """The columns of a file by their names, and its first rows."""
    try:
        header, _ = next(records(path))
    except (OSError, InputError):
        header = []
    there = {name.casefold(): name for name in reversed(header)}

    def first(names: Sequence[str]) -> str | None:
        return next((there[name] for name in names if name in there), None)

    return _Columns(
        first(_FILE_COLUMNS), first(_LABEL_COLUMNS), first(_GROUP_COLUMNS), first(_SPLIT_COLUMNS)
    )


def _csv_rows(path: Path) -> Iterator[dict[str, str]]:
    rows = records(path)
    header, _ = next(rows)
    for row, _ in rows:
        yield dict(zip(header, map(str.strip, row), strict=False))


def _csv_section(root: Path, path: Path, columns: _Columns) -> Found:
    file, label, split_column = str(columns.file), str(columns.label), str(columns.split)
    values: dict[str, None] = {}
    names = _Bijection(label, (f"{label}_name", "class_name", "label_name"))
    groups = _Bijection(columns.group or "", (f"{columns.group}_name", "group_name"))
    paths: list[str] = []
    for row in _csv_rows(path):
        values.setdefault(row.get(split_column, ""))
        names.see(row)
        groups.see(row)
        if len(paths) < _TRIED and row.get(file):
            paths.append(row[file])
    splits, validation, choices = _splits(path, list(values))
    home, images = placed(root, paths)
    class_names: list[str] | str | None = names.names()
    group_names = groups.names()
    if known := _numbered_names(home):
        class_names = class_names or known
        group_names = group_names or (_NICO_CONTEXTS if groups.are(range(6)) else None)
    if known_names := _KNOWN_NAMES.get(path.name if columns.group == "a" else str(columns.group)):
        class_names = class_names or (known_names[0] if names.are(range(2)) else None)
        group_names = group_names or (known_names[1] if groups.are(range(2)) else None)
    group = columns.group
    if group is not None and groups.is_constant():
        group = group_names = None
        choices += (f"Groups are not read: {columns.group} is the same in every row.",)
    data = {
        "kind": "csv",
        "root": str(home),
        "file": relative_to(path, home),
        "images": images,
        "filename_column": file,
        "label_column": label,
        "group_column": group,
        "split_column": split_column,
        "split_file": None,
        "splits": splits,
        "validation": validation,
        "class_names": class_names,
        "group_names": group_names,
    }
    read = ", ".join(filter(None, (file, label, group, split_column)))
    return Found(
        CsvData.model_validate(data),
        f"a CSV file with a row for each image, by the columns {read} of {shown(path)}",
        choices,
    )


def _splits(
    path: Path, values: Sequence[str]
) -> tuple[dict[str, str | None] | None, dict[str, Any] | None, tuple[str, ...]]:
    """What `splits` and `validation` have to say of the values in the column of splits."""
    wholes = [value.removesuffix(".0") for value in values]
    meant: dict[str, str] = {}
    for whole in wholes:
        if (split := CODES.get(whole.casefold())) is not None:
            meant.setdefault(split, whole)
    for whole in wholes:  # words within others, such as id_val beside val, come second
        if (split := split_of(whole)) is not None:
            meant.setdefault(split, whole)
    if "train" not in meant or len(meant) < 2:
        raise InputError(
            f"{shown(path)}: the splits are {listed(values)}, and what trains and what tests "
            "among them is not known; say it with data.splits in the section data, kind csv"
        )
    shared = shared_out(meant, shown(path), "rows")
    known = all(value.removesuffix(".0").casefold() in CODES for value in values)
    drawn = not isinstance(shared.validation, str)
    if known and not (drawn and "test" not in meant):
        return None, dict(DRAWN) if drawn else None, shared.choices
    splits = {
        "train": shared.train,
        "validation": None if drawn else str(shared.validation),
        "test": shared.test,
    }
    others = [brief(value) for value in values if value.removesuffix(".0") not in splits.values()]
    choices = shared.choices
    if others:
        choices += (f"Rows of other splits are left out: {listed(others)}.",)
    return splits, dict(DRAWN) if drawn else None, choices


class _Bijection:
    """Whether a column of numbers and one of names say the same, and the names in their order."""

    def __init__(self, column: str, candidates: Sequence[str]) -> None:
        self._column = column
        self._seen: dict[str, dict[str, set[str]]] = {name: {} for name in candidates}
        self._values: set[str] = set()

    def see(self, row: Mapping[str, str]) -> None:
        value = row.get(self._column, "").removesuffix(".0")
        self._values.add(value)
        for name, found in self._seen.items():
            if name in row:
                found.setdefault(value, set()).add(row[name])

    def are(self, numbers: range) -> bool:
        """Whether these numbers stand in the column, and no others."""
        return self._values == set(map(str, numbers))

    def is_constant(self) -> bool:
        return len(self._values) < 2

    def names(self) -> list[str] | None:
        for found in self._seen.values():
            numbers = sorted(int(value) for value in found if value.isdecimal())
            each = [found[str(number)] for number in numbers]
            names = [next(iter(values)) for values in each]
            if (
                len(numbers) == len(found) > 0
                and numbers == list(range(len(numbers)))
                and all(len(values) == 1 for values in each)
                and len(set(names)) == len(names)
                and all(names)
            ):
                return names
        return None


def _numbered_names(root: Path) -> str | None:
    """NICO++'s file of numbers, which names the classes of its CSV file."""
    known = root / "dg_label_id_mapping.json"
    return known.name if known.is_file() else None


# JSON of images and annotations


def find_coco(root: Path, chosen: Path | None) -> Found | None:
    """JSON files as COCO's and iNaturalist's.

    Args:
        root: The folder that holds them, or a folder that does.
        chosen: One that was named, or None.
    """
    files = {path: first for path in _named_so(root, ".json") if (first := _coco_images(path))}
    if chosen is not None and chosen not in files:
        return None
    files = _of_one_set(files, "JSON files", root, chosen)
    if not files:
        return None
    splits = {split: path for path in files if (split := split_of(path.name))}
    shared = shared_out(splits, shown(root), "JSON files")
    root, images = placed(root, files[shared.train])
    data = {
        "kind": "coco",
        "root": str(root),
        "images": images,
        "train": relative_to(shared.train, root),
        "validation": _relative(shared.validation, root),
        "test": relative_to(shared.test, root),
        "class_names": _names_of_numbered(shared.train, root),
    }
    return Found(
        CocoData.model_validate(data),
        f"JSON of images, annotations and categories, by the keys of {shown(shared.train)}",
        shared.choices,
    )


def _names_of_numbered(path: Path, root: Path) -> str | None:
    """A file of names beside one whose categories are called by numbers, as iNaturalist's are."""
    known = _names_files((path.parent, root))
    if not known:
        return None
    names = [
        str(entry.get("name"))
        for kind, entry in json_entries(path)
        if kind == "categories" and isinstance(entry, dict)
    ]
    if not all(name.isdecimal() for name in names):
        return None
    return next((relative_to(each, root) for each, of in known.items() if of == len(names)), None)


def _coco_images(path: Path) -> list[str] | None:
    """Some of the file names in a file of COCO's form; None for another file."""
    try:
        with path.open("rb") as file:
            text = file.read(_ENDS)
            file.seek(max(0, path.stat().st_size - _ENDS))
            text += file.read(_ENDS)
    except OSError:
        return None
    ends = text.decode("utf-8", "replace")
    if not ends.lstrip().startswith("{") or (
        '"annotations"' not in ends and '"images"' not in ends
    ):
        return None
    names = re.findall(r'"file_name"\s*:\s*"((?:[^"\\]|\\.)*)"', ends)
    return names[:_TRIED] if names else None
