"""A CSV file with a row for each image, as group benchmarks are published."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from fgds_core.data.config import CsvData
from fgds_core.data.sources import Source
from fgds_core.data.sources.left_out import LeftOut
from fgds_core.data.sources.name_files import stated_names
from fgds_core.data.sources.named import (
    Named,
    Start,
    check_labels,
    draw_validation,
    empty_cells_note,
    files_of,
    label_of,
    rows_of,
    survey,
)
from fgds_core.data.sources.names import checked_names, class_name, composed
from fgds_core.data.sources.places import file_below
from fgds_core.data.sources.published import cells_note
from fgds_core.errors import InputError
from fgds_core.files import PATH_MOST, brief, listed, shown, unguarded

CODES = {
    **dict.fromkeys(("0", "train", "training"), "train"),
    **dict.fromkeys(("1", "val", "valid", "validation"), "val"),
    **dict.fromkeys(("2", "test"), "test"),
}
"""What is known to mean a split."""

_KNOWN_HEADERS = {
    ("img_filename", "place"): "of Waterbirds: set data.filename_column to img_filename and "
    "data.group_column to place",
    ("image_id", "Blond_Hair"): "of CelebA: set data.filename_column to image_id, "
    "data.label_column to Blond_Hair, data.group_column to Male, data.split_column to partition "
    "and data.split_file to list_eval_partition.csv",
}
"""How published files are read whose columns have other names."""

_TRIED_NAMES = 20
"""Absolute paths that are looked for below the root under their last parts."""


@dataclass(frozen=True, slots=True)
class _Row:
    where: str
    path: str
    label: str
    group: str | None
    split: str
    label_name: str | None
    group_name: str | None


@dataclass
class _Values:
    """Distinct values of a column, in rows that are read, and what they mean.

    Whole numbers count from 0, of -1 and 1 the second is what the column is called for, and
    names are counted in their order.
    """

    column: str
    parameter: str
    stated: tuple[str, ...] | None
    found: set[str] = field(default_factory=set)
    called: dict[str, str] = field(default_factory=dict)

    def note(self, value: str, name: str | None, where: str) -> None:
        """Notes a value, and what another column calls it.

        Raises:
            InputError: It is called otherwise elsewhere.
        """
        self.found.add(value)
        if name is not None and self.called.setdefault(value, name) != name:
            raise InputError(
                f"{where}: {self.column} {brief(value)} is called {brief(name)}, before it was "
                f"{brief(self.called[value])}; correct it, or give names in {self.parameter}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The names in the order of their numbers."""
        if self.stated is not None:
            return self.stated
        if self._is_signed:
            name = self.column.replace("_", " ")
            return f"not {name}", name
        if self._is_numbered:
            numbers = {int(value): value for value in self.found}
            if self.called:
                called = [self.called[numbers[number]] for number in sorted(numbers)]
                return checked_names(called, self.column)
            return tuple(map(str, sorted(numbers)))
        return checked_names(sorted({composed(value) for value in self.found}), self.column)

    def numbers(self) -> dict[str, int]:
        """The number of each value.

        Raises:
            InputError: One is none of the stated names.
        """
        if self._is_signed and self.stated is not None and len(self.stated) != 2:
            raise InputError(
                f"{self.parameter}: the column {self.column} holds -1 and 1, so give two names, "
                f"not {len(self.stated)}"
            )
        if self._is_signed:
            return {"-1": 0, "1": 1}
        if self._is_numbered:
            most = None if self.stated is None else len(self.stated)
            where = f"the column {self.column}"
            return {value: label_of(value, where, most, self.parameter) for value in self.found}
        places = {name: number for number, name in enumerate(self.names)}
        unknown = sorted(value for value in self.found if composed(value) not in places)
        if unknown:
            raise InputError(
                f"{self.parameter}: the column {self.column} holds {listed(unknown)}, which "
                "are none of the names; correct the file or the names"
            )
        return {value: places[composed(value)] for value in self.found}

    @property
    def _is_signed(self) -> bool:
        return self.found == {"-1", "1"}

    @property
    def _is_numbered(self) -> bool:
        return all(value.isascii() and value.isdecimal() for value in self.found)


def open_data(data: CsvData, max_image_bytes: int) -> Source:
    """Opens the images that a CSV file names."""
    left_out = LeftOut(root := Path(data.root))
    stated = stated_names(data.class_names, root)
    table = _Table(data, root)
    names = None if stated is None else stated.names
    labels = _Values(data.label_column, "data.class_names", names)
    named = data.group_names and checked_names(data.group_names, "data.group_names")
    groups = _Values(str(data.group_column), "data.group_names", named or None)
    ignored: Counter[str] = Counter()
    for row in table.rows():
        if (split := table.split(row)) is None:
            ignored[row.split] += 1
            continue
        labels.note(_checked(row.label, row, data.label_column), row.label_name, row.where)
        if row.group is not None:
            group = _checked(row.group, row, str(data.group_column))
            groups.note(group, row.group_name, row.where)
        if split == "val" and data.validation is not None:
            raise InputError(
                f"{row.where}: is for validation, and data.validation draws images for it; set "
                "data.validation to null"
            )
    number_of, group_of = labels.numbers(), _group_names(groups)

    def lines(split: str) -> Iterator[Named]:
        for row in table.rows():
            if table.split(row) == split:
                path = table.start.path(row.path.removeprefix(table.prefix), row.where)
                group = None if row.group is None else group_of[row.group]
                yield Named(row.where, path, number_of[row.label], group)

    splits = [s for s in ("train", "val", "test") if s != "val" or data.validation is None]
    found = survey(lines, splits, root, max_image_bytes, left_out, table.hint)
    where = shown(table.file)
    words = {"train": "training", "val": "validation", "test": "test"}
    what = {split: f"{where}: the {words[split]} split" for split in splits}
    if not found.labels.get("val", [0]):
        raise InputError(
            f"{where} names no validation image; draw some from the training images with "
            "data.validation, such as {fraction: 0.1, seed: 0}"
        )
    check_labels(found, None if names is None else len(names), what)
    class_names = labels.names
    notes = [stated.note] if stated and stated.note else []
    notes += table.notes
    if ignored:
        of = ", ".join(f"{number:,} of {brief(value)}" for value, number in ignored.items())
        notes.append(f"{where}: rows of other splits are left out: {of}")
    if data.validation is not None:
        notes.append(draw_validation(found, data.validation, class_names))
    elif table.has_groups:
        notes.append(f"{where}: {cells_note(_cell_counts(found.cells, class_names, groups))}")
    notes += empty_cells_note(found) if table.has_groups else []
    return Source(
        class_names=class_names,
        has_groups=table.has_groups,
        num_images=found.num_images(),
        rows=rows_of(lines, found, root),
        left_out=str(left_out),
        files=files_of(lines, splits, root, [*table.files, *(stated.files if stated else ())]),
        published=True,
        notes=tuple(notes),
    )


def class_names(data: CsvData) -> tuple[str, ...] | None:
    """The classes as far as the parameters or their file name them."""
    stated = stated_names(data.class_names, Path(data.root))
    return None if stated is None else stated.names


def _group_names(groups: _Values) -> dict[str, str]:
    names = groups.names
    if groups.stated is None and {"-1", "1"} != groups.found:
        called = {value: groups.called.get(value, value) for value in groups.found}
        where = f"the column {groups.column}"
        return {value: class_name(name, where) for value, name in called.items()}
    return {value: names[number] for value, number in groups.numbers().items()}


def _checked(value: str, row: _Row, column: str) -> str:
    if value.casefold() in ("", "nan", "none", "null"):
        raise InputError(
            f"{row.where}: has no {brief(column)} ({brief(repr(value))}); fill it or drop the row"
        )
    return value


def _cell_counts(
    cells: Mapping[str, Counter[tuple[int, str | None]]],
    class_names: Sequence[str],
    groups: _Values,
) -> dict[str, list[int]]:
    """Images of each class x group of each split, the classes one after the other."""
    return {
        split: [own[label, name] for label in range(len(class_names)) for name in groups.names]
        for split, own in cells.items()
    }


class _Table:
    """The rows of the CSV file, with the split of each."""

    def __init__(self, data: CsvData, root: Path) -> None:
        self.file = file_below(root, data.file, "data.file")
        self.files = [self.file]
        self.start = Start(root, data.images)
        self.notes: list[str] = []
        self._meant: dict[str, str] | None = None
        if (given := data.splits) is not None:
            self._meant = {str(given.train): "train", str(given.test): "test"}
            self._meant |= {} if given.validation is None else {str(given.validation): "val"}
        header, _ = next(records(self.file))
        wanted = [data.filename_column, data.label_column]
        wanted += [data.split_column] if data.split_file is None else []
        wanted += [str(data.group_column)] if "group_column" in data.model_fields_set else []
        _check_header(self.file, header, [name for name in wanted if name != "None"])
        self.has_groups = data.group_column is not None and data.group_column in header
        if data.group_column is not None and not self.has_groups:
            self.notes.append(
                f"{shown(self.file)} has no column {data.group_column} of groups, and none are "
                "read; data.group_column names another"
            )
        columns = [data.filename_column, data.label_column]
        columns += [str(data.group_column)] if self.has_groups else []
        self._columns = [header.index(name) for name in columns]
        named = [f"{name}_name" for name in columns[1:]]
        self._names = [header.index(name) if name in header else None for name in named]
        self._splits: dict[str, str] | None = None
        if data.split_file is not None:
            self.files.append(file_below(root, data.split_file, "data.split_file"))
            self._splits = _split_file(data, self.files[1])
        self._split_column = header.index(data.split_column) if self._splits is None else 0
        self.prefix = self._prefix()

    def rows(self) -> Iterator[_Row]:
        """All rows, whatever their split."""
        lines, name = records(self.file), shown(self.file)
        header, _ = next(lines)
        names = [*self._names, None][:2]
        for record, number in lines:
            where = f"{name}, line {number}"
            if len(record) != len(header):
                raise InputError(
                    f"{where}: has {len(record)} columns, the first line {len(header)}; correct "
                    "it, with quotes around what holds commas"
                )
            path, label, *group = (record[column].strip() for column in self._columns)
            if path.startswith("'") and not (self.start.folder / path).exists():
                path = unguarded(path)
            if self._splits is None:
                split = record[self._split_column]
            elif (known := self._splits.get(path)) is None:
                raise InputError(
                    f"{where}: {brief(path, PATH_MOST)} is not in data.split_file; add it"
                )
            else:
                split = known
            yield _Row(
                where,
                path,
                _whole(unguarded(label)),
                _whole(unguarded(group[0])) if group else None,
                _whole(split.strip()),
                *(None if at is None else unguarded(record[at].strip()) for at in names),
            )

    def split(self, row: _Row) -> str | None:
        """The split of a row, or None for one that is not read.

        Raises:
            InputError: It is not known, and the parameters do not say what is read.
        """
        if self._meant is not None:
            return self._meant.get(row.split)
        if (known := CODES.get(row.split.casefold())) is None:
            raise InputError(
                f"{row.where}: the split {brief(repr(row.split))} is not known; say which are "
                "read with data.splits, such as {train: train, validation: val, test: test}; "
                "the others are then left out"
            )
        return known

    def hint(self, path: str) -> str | None:
        """What to do about an image that is not where its row says; None if nothing tells."""
        zipped_twice = (folder / folder.name for folder in self.start.root.iterdir())
        return self.start.hint(path, *zipped_twice, self.file.parent)

    def _prefix(self) -> str:
        """What absolute paths, often those of another machine, have before our root."""
        tried = list(islice(self.rows(), _TRIED_NAMES))
        for row in tried:
            if not row.path.startswith("/"):
                return ""
            parts = row.path.split("/")
            for number in range(1, len(parts)):
                rest = "/".join(parts[number:])
                if (self.start.folder / rest).is_file():
                    prefix = row.path.removesuffix(rest)
                    self.notes.append(
                        f"{shown(self.file)}: paths are absolute; {brief(prefix, PATH_MOST)} is "
                        f"read as {shown(self.start.folder)}"
                    )
                    return prefix
        if tried:
            raise InputError(
                f"{tried[0].where}: {brief(tried[0].path, PATH_MOST)} is an absolute path, and "
                f"no last part of it or of the next ones lies below {shown(self.start.folder)}; "
                "put the images there, or set data.images to the folder that holds them"
            )
        return ""


def _whole(value: str) -> str:
    """A whole number as one: with a missing value beside it, pandas writes 1.0."""
    return value[:-2] if re.fullmatch(r"-?[0-9]+\.0", value) else value


def records(path: Path) -> Iterator[tuple[list[str], int]]:
    """The fields of the header and of every row, each with the number of its line.

    Raises:
        InputError: It is no UTF-8 or no CSV.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            yield header, 1
            for record in reader:
                if record:
                    yield record, reader.line_num
    except UnicodeDecodeError as error:
        raise InputError(f"{shown(path)} is no UTF-8 text ({error.reason}); convert it") from error
    except csv.Error as error:
        raise InputError(
            f"{shown(path)}, line {reader.line_num}: is no CSV ({error}); correct it"
        ) from error


def _check_header(path: Path, header: list[str], wanted: list[str]) -> None:
    missing = [name for name in wanted if name not in header]
    twice = [name for name in wanted if header.count(name) > 1]
    if twice:
        raise InputError(f"{shown(path)} has two columns {twice[0]}; rename or drop one")
    if not missing:
        return
    known = [how for names, how in _KNOWN_HEADERS.items() if set(names) <= set(header)]
    remedy = (
        f"it seems to be the file {known[0]}"
        if known
        else "name its columns in data.filename_column, label_column, group_column and "
        "split_column"
    )
    raise InputError(
        f"{shown(path)} has no column {', '.join(missing)}; it has "
        f"{listed([name for name in header if name])}: {remedy}"
    )


def _split_file(data: CsvData, path: Path) -> dict[str, str]:
    """The split of each path, from the file that holds them."""
    lines = records(path)
    header, _ = next(lines)
    _check_header(path, header, [data.filename_column, data.split_column])
    name, split = header.index(data.filename_column), header.index(data.split_column)
    found: dict[str, str] = {}
    for record, number in lines:
        if len(record) != len(header):
            raise InputError(
                f"{shown(path)}, line {number}: has {len(record)} columns, the first line "
                f"{len(header)}; correct it"
            )
        path_in, value = record[name].strip(), record[split]
        if found.setdefault(path_in, value) != value:
            raise InputError(
                f"{shown(path)}, line {number}: {brief(path_in, PATH_MOST)} is in two splits, "
                f"{brief(found[path_in])} and {brief(value)}; correct it"
            )
    return found
