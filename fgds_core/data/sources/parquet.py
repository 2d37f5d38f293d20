"""Parquet files with one image in each row.

Labels are whole numbers, named by the files' metadata or by `class_names`, or class names.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from fgds_core.data.config import ParquetData
from fgds_core.data.sources import Source, SourceImage
from fgds_core.data.sources.left_out import LeftOut
from fgds_core.data.sources.names import checked_names, class_name, composed
from fgds_core.data.sources.places import below, check_apart, too_many_bytes
from fgds_core.data.sources.tables import batches, num_rows, schema_of
from fgds_core.errors import InputError
from fgds_core.files import brief, check_name, listed, shown
from fgds_core.images.table import class_names_of


def open_data(data: ParquetData, max_image_bytes: int) -> Source:
    """Opens Parquet files with one image in each row."""
    left_out = LeftOut(root := Path(data.root))
    files = {
        split: _parquet_files(root, path, f"data.{name}", left_out)
        for split, name, path in (
            ("train", "train", data.train),
            ("val", "validation", data.validation),
            ("test", "test", data.test),
        )
    }
    return open_files(data, files, left_out, max_image_bytes)


def open_files(
    data: ParquetData, files: dict[str, list[Path]], left_out: LeftOut, max_image_bytes: int
) -> Source:
    """Opens the Parquet or Arrow files of some splits, "train" among them.

    Args:
        data: Which columns are read, and perhaps the names of the classes.
        files: The files of each split.
        left_out: Takes what is not read.
        max_image_bytes: Rows of larger images say so.

    Raises:
        InputError: A file or column is missing or damaged, or a file is named for two splits.
    """
    check_apart(files)
    left_out.note_links(path for paths in files.values() for path in paths)
    left_out.note_shards(path for paths in files.values() for path in paths)
    schemas = {path: schema_of(path) for paths in files.values() for path in paths}
    for path, schema in schemas.items():
        _check_columns(data, path, schema)
    has_groups = _has_groups(data, schemas)
    names = _class_names(data, files, schemas)
    numbers = {name: label for label, name in enumerate(names)}

    def rows(split: str) -> Iterator[SourceImage]:
        columns = [data.image_column, data.label_column]
        if has_groups:
            columns.append(str(data.group_column))
        for path in files[split]:
            row = 0
            for values in batches(path, columns):
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
                        problem = too_many_bytes(len(content), max_image_bytes)
                    yield SourceImage(
                        content=b"" if problem else content,
                        path=str(name) if name else f"{path.name}#{row}",
                        label=_label_number(label, numbers, where),
                        group=None if group is None else class_name(str(group), where),
                        problem=problem and f"{where}: {problem}",
                    )
                    row += 1

    return Source(
        class_names=names,
        has_groups=has_groups,
        num_images={split: sum(map(num_rows, paths)) for split, paths in files.items()},
        rows=rows,
        left_out=str(left_out),
    )


def labels_of(data: ParquetData, paths: Sequence[Path], names: Sequence[str]) -> Iterator[int]:
    """The class of each row, in 0..K-1, without reading images.

    Raises:
        InputError: A row has none.
    """
    numbers = {name: label for label, name in enumerate(names)}
    for path in paths:
        row = 0
        for (labels,) in batches(path, [data.label_column]):
            for label in labels:
                yield _label_number(label, numbers, f"{shown(path)}, row {row}")
                row += 1


def class_names(data: ParquetData) -> tuple[str, ...] | None:
    """The classes as far as the parameters or the training files' metadata name them."""
    if data.class_names is not None:
        return tuple(data.class_names)
    root = Path(data.root)
    first = _parquet_files(root, data.train, "data.train", LeftOut(root))[0]
    names = class_names_of(schema_of(first), data.label_column)
    return None if names is None else checked_names(names, shown(first))


EMBED = (
    "write the file again with them: `from datasets.table import embed_table_storage`, then "
    '`ds.with_format("arrow").map(embed_table_storage, batched=True).with_format(None)'
    '.to_parquet("train.parquet")`'
)
"""How datasets puts the files of an image column into a Parquet file."""

_GLOB = frozenset("*?[")


def _parquet_files(root: Path, name: str, parameter: str, left_out: LeftOut) -> list[Path]:
    """The files of one split: one file, all of a folder, or those that fit a pattern."""
    path = below(root, name, parameter)
    if path.is_dir():
        folders, found = left_out.entries(path)
        left_out.note_links([path])
        left_out.other.add(folders)
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
    left_out.other.add(p for p in found if p not in set(files))
    if not files:
        raise InputError(f"{parameter}: {where} holds no *.parquet file")
    return files


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError as error:
        raise InputError(f"{shown(path)} cannot be read ({error.strerror})") from error


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


def image_columns(schema: pa.Schema) -> list[str]:
    """The columns that can hold images."""
    return [field.name for field in schema if _is_image_type(_plain(field.type))]


def label_columns(schema: pa.Schema) -> list[str]:
    """The columns that can hold classes, or groups."""
    return [field.name for field in schema if _is_label_type(_plain(field.type))]


def most_label(paths: Sequence[Path], column: str) -> int | None:
    """The largest number in a column of labels; None where they are names.

    Raises:
        InputError: A file is damaged.
    """
    most = -1
    for path in paths:
        for (labels,) in batches(path, [column]):
            if any(isinstance(label, str) for label in labels):
                return None
            most = max([most, *(int(label) for label in labels if label == label and label)])
    return most


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


def _class_names(
    data: ParquetData, files: dict[str, list[Path]], schemas: dict[Path, pa.Schema]
) -> tuple[str, ...]:
    stated = {
        path: checked_names(names, shown(path))
        for path, schema in schemas.items()
        if (names := class_names_of(schema, data.label_column)) is not None
    }
    if data.class_names is not None:
        known = checked_names(data.class_names, "data.class_names")
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


def _names_in_labels(data: ParquetData, paths: list[Path]) -> tuple[str, ...]:
    names: set[str] = set()
    for path in paths:
        labels: set[Any] = set()
        for (column,) in batches(path, [data.label_column]):
            labels |= set(column)
        if not all(isinstance(label, str) for label in labels - {None}):
            raise InputError(
                f"{shown(path)}: column {data.label_column} holds no class names and the file "
                "does not name its classes; list the names in data.class_names in the order of "
                "the labels"
            )
        names |= {class_name(label, shown(path)) for label in labels if label is not None}
    if not names:
        raise InputError(f"{shown(paths[0])}: column {data.label_column} holds no labels")
    return tuple(sorted(names))


def _label_number(label: object, numbers: dict[str, int], where: str) -> int:
    if label is None or (isinstance(label, float) and math.isnan(label)):
        raise InputError(f"{where}: has no label ({label}); name its class or drop the row")
    if isinstance(label, str) and (name := composed(label)) in numbers:
        return numbers[name]
    if isinstance(label, float) and label.is_integer():
        label = int(label)  # pandas turns whole numbers beside a missing one into these
    if isinstance(label, int) and 0 <= label < len(numbers):
        return int(label)
    raise InputError(
        f"{where}: label {brief(repr(label))} is none of the {len(numbers)} classes, "
        f"0..{len(numbers) - 1} or {listed(list(numbers))}"
    )
