"""Adapters to raw data: each names the classes and gives the images of a split one by one.

An adapter reads names and layout at once and stops on what cannot be right; the images themselves
are read lazily and undecoded.
"""

import errno
import math
import random
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fgds_core.data.config import DataConfig, FolderData, ParquetData, SplitFractions
from fgds_core.data.splits import SPLITS
from fgds_core.errors import InputError
from fgds_core.files import (
    PATH_MOST,
    brief,
    check_name,
    check_root,
    entries,
    files_below,
    listed,
    shown,
)
from fgds_core.images.formats import FORMATS, is_picture
from fgds_core.images.table import class_names_of

_SUFFIXES = (
    "png apng jpg jpeg jpe jfif mpo webp avif bmp dib tif tiff gif ppm pgm pbm pnm "
    "heic heif jp2 jxl"
)
SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())
"""A file of such a name is meant as an image: that it is none is a mistake to tell. Of any other
name, its content decides."""

MAX_IMAGE_BYTES = 2**31 - 1

MAX_NAME = 255
"""Characters of a class's or group's name, as of a folder's."""

_SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "dev", "test"})

_BATCH_ROWS = 256
_BATCH_BYTES = 2**28


@dataclass(frozen=True)
class SourceImage:
    """One raw image.

    Attributes:
        data: The bytes of the image file.
        path: Where it comes from, for messages and for tracing it back.
        label: Its class, in 0..K-1.
        group: Its group (context), or None for data without groups.
        problem: Why there are no bytes, or None.
    """

    data: bytes
    path: str
    label: int
    group: str | None
    problem: str | None = None


@dataclass(frozen=True)
class Source:
    """Raw data, seen through an adapter.

    Attributes:
        class_names: Name of each of the K classes.
        has_groups: Whether every image has a group.
        num_images: Number of images of each split ("train", "val", "test").
        rows: Gives the images of a split, in an order that never changes.
        left_out: One line about the files that are not read, empty if there are none.
    """

    class_names: tuple[str, ...]
    has_groups: bool
    num_images: dict[str, int]
    rows: Callable[[str], Iterator[SourceImage]]
    left_out: str = ""


def open_source(data: DataConfig, max_image_bytes: int = MAX_IMAGE_BYTES) -> Source:
    """Opens raw data with the adapter for its kind.

    Args:
        data: Where they are.
        max_image_bytes: Larger image files are refused unread; of larger ones in Parquet files,
            the rows say so.

    Raises:
        InputError: A path, column, class or image file is missing or too large, splits do not fit
            together, or there is only one class.
    """
    try:
        check_root(data.root)
        source = SOURCES[data.kind](data, max_image_bytes)
    except OSError as error:
        remedy = {
            errno.EACCES: "correct its permissions",
            errno.EPERM: "correct its permissions",
            errno.ENAMETOOLONG: "correct the path in the section data",
        }.get(error.errno or 0)
        if remedy is None:
            raise
        raise InputError(
            f"{brief(error.filename or data.root, PATH_MOST)} cannot be read ({error.strerror}); "
            f"{remedy}"
        ) from error
    if len(source.class_names) < 2:
        raise InputError(
            f"data: there is only one class, {brief(source.class_names[0])}, and nothing to tell "
            f"apart; name and add images of another class below {shown(data.root)}"
        )
    return source


def _below(root: Path, name: str, parameter: str) -> Path:
    """The path of a name below the root, in whichever Unicode form it is written there.

    Raises:
        InputError: It would lie outside.
    """
    relative = Path(name)
    if relative.is_absolute():
        if not relative.is_relative_to(root.absolute()):
            raise InputError(f"{parameter}: {name} must lie below data.root, {root}")
        relative = relative.relative_to(root.absolute())
    if ".." in relative.parts:
        raise InputError(f"{parameter}: {name} must lie below data.root, {root}")
    path = root
    for part in relative.parts:
        known = path / part
        if not known.exists() and path.is_dir():
            same = [p for p in path.iterdir() if _nfc(p.name) == _nfc(part)]
            known = same[0] if same else known
        path = known
    return path


def _nfc(name: str) -> str:
    """A name in the one Unicode form we compare in; a Mac writes another."""
    return unicodedata.normalize("NFC", name)


def _class_name(name: str, where: str) -> str:
    """A class or group name, normalised.

    Raises:
        InputError: It is empty or holds control characters such as line breaks.
    """
    if not name.strip() or any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in name):
        raise InputError(f"{where}: {brief(repr(name))} is no name; use visible characters")
    if len(name) > MAX_NAME:
        raise InputError(
            f"{where}: {brief(name)} is no name, it has {len(name):,} characters; use at most "
            f"{MAX_NAME}"
        )
    return _nfc(name)


_SHARD = re.compile(r"(?P<name>.+)-(?P<number>\d+)-of-(?P<total>\d+)\.parquet")
"""A file of a set that is stored in several, as the hub names them."""


@dataclass
class _LeftOut:
    """What lies among the raw data and is not read, and links that lead out of the root."""

    root: Path
    hidden: list[Path] = field(default_factory=list)
    other: list[Path] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)
    outside: list[Path] = field(default_factory=list)
    shards: list[str] = field(default_factory=list)

    def note_links(self, paths: Iterable[Path]) -> None:
        """Notes the links that lead out of the root: they are read and watched."""
        for path in paths:
            if path.is_symlink() and not path.resolve().is_relative_to(self.root.resolve()):
                self.outside.append(path)

    def note_shards(self, files: Iterable[Path]) -> None:
        """Notes parts of a set of files, named as on the hub, that no split has."""
        numbers: dict[tuple[Path, str, str], set[int]] = {}
        for path in files:
            if found := _SHARD.fullmatch(path.name):
                place = (path.parent, found["name"], found["total"])
                numbers.setdefault(place, set()).add(int(found["number"]))
        for (folder, name, total), present in numbers.items():
            if (missing := int(total) - len(present)) > 0:
                first = next(number for number in count() if number not in present)
                lacking = folder / f"{name}-{first:0{len(total)}d}-of-{total}.parquet"
                self.shards.append(
                    f"not read: {missing:,} of the {int(total):,} files {shown(name)}-*-of-{total}"
                    f".parquet ({self._first([lacking])}{', ...' * (missing > 1)})"
                )

    def __str__(self) -> str:
        said = [
            f"{len(paths)} {kind} ({self._first(paths)})"
            for kind, paths in (
                ("hidden or system files and folders", self.hidden),
                ("files and folders that are no images in their place", self.other),
                ("empty folders", self.empty),
            )
            if paths
        ]
        left = f"left out below {shown(self.root)}: {', '.join(said)}" if said else ""
        followed = (
            f"{len(self.outside)} links lead out of {shown(self.root)} and are read "
            f"({self._first(self.outside)})"
            if self.outside
            else ""
        )
        return "; ".join(text for text in (left, *self.shards, followed) if text)

    def _first(self, paths: list[Path]) -> str:
        names = [shown(path.relative_to(self.root)) for path in paths[:3]]
        return ", ".join(names + ["..."] * (len(paths) > 3))


# Parquet -----------------------------------------------------------------------------------------


def open_parquet(data: ParquetData, max_image_bytes: int = MAX_IMAGE_BYTES) -> Source:
    """Opens Parquet files with one image in each row.

    Labels are whole numbers, named by the files' metadata or by `class_names`, or class names.
    """
    root = Path(data.root)
    left_out = _LeftOut(root)
    files = {
        split: _parquet_files(root, path, f"data.{name}", left_out)
        for split, name, path in (
            ("train", "train", data.train),
            ("val", "validation", data.validation),
            ("test", "test", data.test),
        )
    }
    _check_apart(files)
    left_out.note_links(path for paths in files.values() for path in paths)
    left_out.note_shards(path for paths in files.values() for path in paths)
    schemas = {path: _parquet_schema(path) for paths in files.values() for path in paths}
    for path, schema in schemas.items():
        _check_columns(data, path, schema)
    has_groups = _has_groups(data, schemas)
    class_names = _parquet_class_names(data, files, schemas)
    numbers = {name: label for label, name in enumerate(class_names)}

    def rows(split: str) -> Iterator[SourceImage]:
        columns = [data.image_column, data.label_column]
        if has_groups:
            columns.append(str(data.group_column))
        for path in files[split]:
            row = 0
            for values in _batches(path, columns):
                groups = values[2] if has_groups else [None] * len(values[0])
                for image, label, group in zip(values[0], values[1], groups, strict=True):
                    where = f"{shown(path)}, row {row}"
                    name = image.get("path") if isinstance(image, dict) else None
                    content = image["bytes"] if isinstance(image, dict) else image
                    if content is None and name:
                        raise InputError(
                            f"{where}: holds the path of an image file ({shown(str(name))}) but "
                            "not its bytes; " + EMBED
                        )
                    if has_groups and (group is None or group != group):
                        raise InputError(f"{where}: has no group; name one or drop the row")
                    problem = None
                    if content is None:
                        problem = "holds no image bytes"
                    elif len(content) > max_image_bytes:
                        problem = _too_many_bytes(len(content), max_image_bytes)
                    yield SourceImage(
                        data=b"" if problem else content,
                        path=str(name) if name else f"{path.name}#{row}",
                        label=_label_number(label, numbers, where),
                        group=None if group is None else _class_name(str(group), where),
                        problem=problem and f"{where}: {problem}",
                    )
                    row += 1

    return Source(
        class_names=class_names,
        has_groups=has_groups,
        num_images={split: sum(map(_num_rows, paths)) for split, paths in files.items()},
        rows=rows,
        left_out=str(left_out),
    )


EMBED = (
    "write the file again with them: `from datasets.table import embed_table_storage`, then "
    '`ds.with_format("arrow").map(embed_table_storage, batched=True).with_format(None)'
    '.to_parquet("train.parquet")`'
)
"""How datasets puts the files of an image column into a Parquet file."""

_GLOB = frozenset("*?[")


def _parquet_files(root: Path, name: str, parameter: str, left_out: _LeftOut) -> list[Path]:
    """The files of one split: one file, all of a folder, or those that fit a pattern."""
    path = _below(root, name, parameter)
    if path.is_dir():
        folders, found = entries(path, left_out.hidden)
        left_out.note_links([path])
        left_out.other += folders
        where = f"the folder {shown(path)}"
    elif path.exists():
        if not path.is_file():
            raise InputError(f"{parameter}: {shown(path)} is a pipe, socket or device, no file")
        return [path]
    elif _GLOB & set(name):
        try:
            matching = sorted(root.glob(path.relative_to(root).as_posix()))
        except ValueError as error:
            raise InputError(
                f"{parameter}: {name} is no pattern ({error}); write one such as "
                "data/train-*.parquet"
            ) from error
        found = [p for p in matching if p.is_file() and not p.name.startswith(".")]
        for file in found:
            check_name(file)
        if not found:
            raise InputError(f"{parameter}: no file below {shown(root)} fits the pattern {name}")
        where = f"the pattern {name} below {shown(root)}"
    else:
        raise InputError(
            f"{parameter}: {shown(path)} does not exist; give a Parquet file, a folder of them, "
            "or a pattern such as data/train-*.parquet, below data.root"
        )
    files = [p for p in found if p.suffix.lower() in (".parquet", ".pq") or _is_parquet(p)]
    left_out.other += [p for p in found if p not in set(files)]
    if not files:
        raise InputError(f"{parameter}: {where} holds no *.parquet file")
    return files


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError as error:
        raise InputError(f"{shown(path)} cannot be read ({error.strerror})") from error


_NOT_PARQUET = (pa.ArrowException, OSError, UnicodeDecodeError)


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return InputError(f"{shown(path)} is not a readable Parquet file ({reason}); make it again")


def _parquet_schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except _NOT_PARQUET as error:
        raise _unreadable(path, error) from error


def _num_rows(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)


def _batches(path: Path, columns: list[str]) -> Iterator[list[list[Any]]]:
    """The values of the columns, some rows at a time: no more than fit into little memory."""
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                size = file.metadata.row_group(group)
                per_row = size.total_byte_size // max(1, size.num_rows) + 1
                batch_rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // per_row))
                for batch in file.iter_batches(batch_rows, row_groups=[group], columns=columns):
                    yield [_values(batch.column(name)) for name in columns]
    except _NOT_PARQUET as error:
        raise _unreadable(path, error) from error


def _values(column: "pa.Array[Any]") -> list[Any]:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    return list(column.to_pylist())


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values, whatever they are stored as."""
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    return _plain(kind.value_type) if pa.types.is_dictionary(kind) else kind


def _check_columns(data: ParquetData, path: Path, schema: pa.Schema) -> None:
    """Refuses a file whose columns cannot hold images, labels or groups."""
    wanted = (data.image_column, data.label_column)
    missing = [name for name in wanted if name not in schema.names]
    if missing:
        raise InputError(
            f"{shown(path)} has no column {', '.join(missing)}; it has "
            f"{listed(schema.names)}: set data.image_column and data.label_column to "
            "the names in the file"
        )
    for name in (*wanted, data.group_column or data.label_column):
        if (times := schema.names.count(name)) > 1:
            raise InputError(
                f"{shown(path)} has {times} columns {name}; rename or drop all but one"
            )
    image, label = (_plain(schema.field(name).type) for name in wanted)
    if not _is_image_type(image):
        raise InputError(
            f"{shown(path)}: column {data.image_column} is {brief(str(image))}, but must hold the "
            "bytes of image files (binary, or a struct with a field bytes of binary): encode "
            "pixels as PNG; where it holds paths, " + EMBED
        )
    if not _is_label_type(label):
        raise InputError(
            f"{shown(path)}: column {data.label_column} is {brief(str(label))}, but must hold one "
            "class in each row: a whole number or a name"
        )
    if data.group_column in schema.names:
        group = _plain(schema.field(data.group_column).type)
        if pa.types.is_nested(group) or _is_bytes(group):
            raise InputError(
                f"{shown(path)}: column {data.group_column} is {brief(str(group))}, but must "
                "hold one name in each row; set data.group_column to null to read no groups"
            )


def _is_bytes(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    ) and not types.is_decimal(kind)


def _is_image_type(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.StructType):
        index = kind.get_field_index("bytes")
        inner = None if index < 0 else _plain(kind.field(index).type)
        return inner is not None and (_is_bytes(inner) or bool(pa.types.is_null(inner)))
    return _is_bytes(kind)


def _is_label_type(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_integer(kind)
        or types.is_boolean(kind)
        or types.is_floating(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
    )


def _has_groups(data: ParquetData, schemas: dict[Path, pa.Schema]) -> bool:
    holding = [path for path, schema in schemas.items() if data.group_column in schema.names]
    lacking = [path for path in schemas if path not in holding]
    if holding and lacking:
        raise InputError(
            f"{shown(lacking[0])} has no column {data.group_column}, {shown(holding[0])} has one; "
            "add it, or set data.group_column to null to read no groups"
        )
    return bool(holding)


def _parquet_class_names(
    data: ParquetData, files: dict[str, list[Path]], schemas: dict[Path, pa.Schema]
) -> tuple[str, ...]:
    stated = {
        path: _checked_names(names, shown(path))
        for path, schema in schemas.items()
        if (names := class_names_of(schema, data.label_column)) is not None
    }
    if data.class_names is not None:
        known = _checked_names(data.class_names, "data.class_names")
    elif files["train"][0] in stated:
        known = stated[files["train"][0]]
    else:
        known = _names_in_labels(data, files["train"])
    for path, names in stated.items():
        if names != known:
            raise InputError(
                f"{shown(path)} names the classes {_few(names)}, but data.class_names or the "
                f"training files name them {_few(known)}; make them the same"
            )
    return known


def _few(names: Sequence[str]) -> str:
    return f"{[brief(name) for name in names[:10]]}{' ...' * (len(names) > 10)}"


def _checked_names(names: Sequence[str], where: str) -> tuple[str, ...]:
    checked = tuple(_class_name(name, where) for name in names)
    twice = (
        sorted({name for name in checked if checked.count(name) > 1})
        if (len(set(checked)) < len(checked))
        else []
    )
    if twice:
        raise InputError(
            f"{where} names the class {brief(twice[0])} more than once; give each class "
            "a name of its own, for instance in data.class_names"
        )
    if not checked:
        raise InputError(f"{where} names no classes; list them in data.class_names")
    return checked


def _names_in_labels(data: ParquetData, paths: list[Path]) -> tuple[str, ...]:
    names: set[str] = set()
    for path in paths:
        labels: set[Any] = set()
        for (column,) in _batches(path, [data.label_column]):
            labels |= set(column)
        if not all(isinstance(label, str) for label in labels - {None}):
            raise InputError(
                f"{shown(path)}: column {data.label_column} holds no class names and the file "
                "does not name its classes; list the names in data.class_names in the order of "
                "the labels"
            )
        names |= {_class_name(label, shown(path)) for label in labels if label is not None}
    if not names:
        raise InputError(f"{shown(paths[0])}: column {data.label_column} holds no labels")
    return tuple(sorted(names))


def _label_number(label: object, numbers: dict[str, int], where: str) -> int:
    if label is None or (isinstance(label, float) and math.isnan(label)):
        raise InputError(f"{where}: has no label ({label}); name its class or drop the row")
    if isinstance(label, str) and (name := _nfc(label)) in numbers:
        return numbers[name]
    if isinstance(label, float) and label.is_integer():
        label = int(label)  # pandas turns whole numbers beside a missing one into these
    if isinstance(label, int) and 0 <= label < len(numbers):
        return int(label)
    raise InputError(
        f"{where}: label {brief(repr(label))} is none of the {len(numbers)} classes, "
        f"0..{len(numbers) - 1} or {listed(list(numbers))}"
    )


def _too_many_bytes(num_bytes: int, most: int) -> str:
    return (
        f"too large: {num_bytes} bytes are more than {most}; shrink it, or raise "
        "prepare.max_image_bytes"
    )


# Folders -----------------------------------------------------------------------------------------


def open_folder(data: FolderData, max_image_bytes: int = MAX_IMAGE_BYTES) -> Source:
    """Opens a folder of class folders, with a folder for each split or with splits to draw."""
    root = Path(data.root)
    left_out = _LeftOut(root)
    if isinstance(data.split, SplitFractions):
        found = _class_files(root, data.groups, left_out)
        if _SPLIT_NAMES.issuperset(map(str.casefold, found)):
            raise InputError(
                f"data.split: {shown(root)} holds the folders {', '.join(sorted(found))}, which "
                "are splits rather than classes; read them with {by: folders, train: ..., "
                "validation: ..., test: ...}"
            )
        splits = _drawn_splits(found, data.split)
    else:
        named = {
            "train": data.split.train,
            "validation": data.split.validation,
            "test": data.split.test,
        }
        folders = [_below(root, name, f"data.split.{key}") for key, name in named.items()]
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
            beside = [path for kind in entries(root, left_out.hidden) for path in kind]
        left_out.other += [path for path in beside if path not in folders]
        splits = {
            split: _class_files(folder, data.groups, left_out)
            for split, folder in zip(SPLITS, folders, strict=True)
        }
        for split, folder in zip(SPLITS, folders, strict=True):
            _compare_classes(folders[0], set(splits["train"]), folder, splits[split])
        _check_apart(dict(zip(SPLITS, ([folder] for folder in folders), strict=True)))
    _check_sizes(
        (path for split in splits.values() for path in chain(*split.values())), max_image_bytes
    )
    class_names = tuple(sorted(splits["train"]))

    def rows(split: str) -> Iterator[SourceImage]:
        for label, name in enumerate(class_names):
            for path in splits[split][name]:
                data_, problem = _read(path, max_image_bytes)
                yield SourceImage(
                    data=data_,
                    path=path.relative_to(root).as_posix(),
                    label=label,
                    group=_class_name(path.parent.name, shown(path)) if data.groups else None,
                    problem=problem,
                )

    return Source(
        class_names=class_names,
        has_groups=data.groups,
        num_images={split: sum(map(len, splits[split].values())) for split in SPLITS},
        rows=rows,
        left_out=str(left_out),
    )


def _read(path: Path, most: int) -> tuple[bytes, str | None]:
    """The bytes of a file, or none and why."""
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)  # whatever its size is said to be
    except OSError as error:
        return b"", f"cannot be read ({error.strerror})"
    if len(content) > most:
        return b"", _too_many_bytes(path.stat().st_size, most)
    return content, None


def _check_sizes(paths: Iterable[Path], most: int) -> None:
    """Refuses files that are too large before any is read, be it for its digest."""
    large = [(path, size) for path in paths if (size := path.stat().st_size) > most]
    if large:
        path, size = large[0]
        more = f"; {len(large) - 1} more files are too large" if len(large) > 1 else ""
        raise InputError(f"{shown(path)}: {_too_many_bytes(size, most)}{more}")


def _check_apart(splits: Mapping[str, Sequence[Path]]) -> None:
    """Refuses a file or folder that is named for two splits."""
    first: dict[Path, str] = {}
    for split, paths in splits.items():
        name = "validation" if split == "val" else split
        for path in paths:
            other = first.setdefault(path.resolve(), name)
            if other != name:
                raise InputError(
                    f"data: {shown(path)} is read for {other} and for {name}; name what holds "
                    "each split's own images"
                )


def _class_files(folder: Path, groups: bool, left_out: _LeftOut) -> dict[str, list[Path]]:
    """Image files by class, sorted; refuses a layout that is not the stated one."""
    classes, files = entries(folder, left_out.hidden)
    left_out.other += files
    left_out.note_links(classes)
    if not classes:
        raise InputError(
            f"{shown(folder)} holds no class folders; put each class's images in a folder"
        )
    found: dict[str, list[Path]] = {}
    spelled: dict[str, Path] = {}
    for class_folder in classes:
        name = _class_name(class_folder.name, shown(class_folder))
        if name in spelled:
            raise InputError(
                f"{shown(folder)} holds the class {name} twice, its name in two Unicode forms; "
                "move the images into one folder"
            )
        spelled[name] = class_folder
        inner, files = entries(class_folder, left_out.hidden)
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
        found[name] = images
    return found


def _inner_pictures(folder: Path, groups: bool, left_out: _LeftOut) -> list[Path]:
    """Images of a folder within a class folder; none may lie deeper."""
    left_out.note_links([folder])
    folders, files = entries(folder, left_out.hidden)
    if not folders and not files:
        left_out.empty.append(folder)
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


def _pictures(files: list[Path], left_out: _LeftOut) -> list[Path]:
    """The files that are images, or by their names are meant to be."""
    images: list[Path] = []
    for path in files:
        try:
            meant = path.suffix.lower() in SUFFIXES or is_picture(path)
        except OSError as error:
            raise InputError(
                f"{shown(path)} cannot be read ({error.strerror}); correct its permissions"
            ) from error
        (images if meant else left_out.other).append(path)
    left_out.note_links(images)
    return images


def _compare_classes(
    train: Path, expected: set[str], folder: Path, found: dict[str, list[Path]]
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


def _drawn_splits(
    found: dict[str, list[Path]], split: SplitFractions
) -> dict[str, dict[str, list[Path]]]:
    """Draws the splits within each class, so that another class changes nothing in this one.

    Every split gets an image of a class that has at least three; a class with fewer fills training
    first, then the test.
    """
    splits: dict[str, dict[str, list[Path]]] = {name: {} for name in SPLITS}
    for name, files in found.items():
        order = random.Random(f"{split.seed}/{name}").sample(files, len(files))
        most = len(files) - (2 if len(files) > 2 else 1)
        num_test = min(max(round(split.test * len(files)), 1), most)
        spare = len(files) - num_test - 1
        num_val = min(max(round(split.validation * len(files)), 1), spare)
        splits["test"][name] = sorted(order[:num_test])
        splits["val"][name] = sorted(order[num_test : num_test + num_val])
        splits["train"][name] = sorted(order[num_test + num_val :])
    return splits


SOURCES: dict[str, Callable[[Any, int], Source]] = {"parquet": open_parquet, "folder": open_folder}
