"""Adapters to raw data: each names the classes and gives the images of a split one by one.

An adapter reads names and layout at once and stops on what cannot be right; the images themselves
are read lazily and undecoded.
"""

import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fgds_core.config.data import DataConfig, FolderData, ParquetData, SplitFractions
from fgds_core.errors import InputError
from fgds_core.images import class_names_of
from fgds_core.splits import SPLITS

log = logging.getLogger(__name__)

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
"""Files that are read as images, whatever the case of their letters."""

_BATCH_ROWS = 256


@dataclass(frozen=True)
class SourceImage:
    """One raw image.

    Attributes:
        data: The bytes of the image file.
        path: Where it comes from, for messages and for tracing it back.
        label: Its class, in 0..K-1.
        group: Its group (context), or None for data without groups.
    """

    data: bytes
    path: str
    label: int
    group: str | None


@dataclass(frozen=True)
class Source:
    """Raw data, seen through an adapter.

    Attributes:
        class_names: Name of each of the K classes.
        has_groups: Whether every image has a group.
        num_images: Number of images of each split ("train", "val", "test").
        rows: Gives the images of a split, in an order that never changes.
    """

    class_names: tuple[str, ...]
    has_groups: bool
    num_images: dict[str, int]
    rows: Callable[[str], Iterator[SourceImage]]


def open_source(data: DataConfig) -> Source:
    """Opens raw data with the adapter for its kind.

    Raises:
        InputError: A path, column, class or image file is missing, or splits do not fit together.
    """
    return SOURCES[data.kind](data)


# Parquet -----------------------------------------------------------------------------------------


def open_parquet(data: ParquetData) -> Source:
    """Opens Parquet files with one image in each row.

    Labels are whole numbers, named by the files' metadata or by `class_names`, or class names.
    """
    files = {
        split: _parquet_files(Path(data.root, path), f"data.{name}")
        for split, name, path in (
            ("train", "train", data.train),
            ("val", "validation", data.validation),
            ("test", "test", data.test),
        )
    }
    schemas = {path: _parquet_schema(path) for paths in files.values() for path in paths}
    for path, schema in schemas.items():
        missing = [c for c in (data.image_column, data.label_column) if c not in schema.names]
        if missing:
            raise InputError(
                f"{path} has no column {', '.join(missing)}; it has {', '.join(schema.names)}: "
                "set data.image_column and data.label_column to the names in the file"
            )
        kind = schema.field(data.image_column).type
        if not _is_image_type(kind):
            raise InputError(
                f"{path}: column {data.image_column} is {kind}, but must hold the bytes of image "
                "files (binary, or a struct with a field bytes)"
            )
    has_groups = _has_groups(data, schemas)
    class_names = _parquet_class_names(data, files, schemas)
    numbers = {name: label for label, name in enumerate(class_names)}

    def rows(split: str) -> Iterator[SourceImage]:
        columns = [data.image_column, data.label_column]
        if has_groups:
            columns.append(str(data.group_column))
        for path in files[split]:
            row = 0
            for batch in _batches(path, columns):
                values: list[list[Any]] = [column.to_pylist() for column in batch.columns]
                groups = values[2] if has_groups else [None] * batch.num_rows
                for image, label, group in zip(values[0], values[1], groups, strict=True):
                    where = f"{path}, row {row}"
                    content = image["bytes"] if isinstance(image, dict) else image
                    if content is None:
                        raise InputError(f"{where}: holds no image bytes; embed the image files")
                    if has_groups and group is None:
                        raise InputError(f"{where}: has no group; name one or drop the row")
                    named = isinstance(image, dict) and image.get("path")
                    yield SourceImage(
                        data=content,
                        path=str(image["path"]) if named else f"{path.name}#{row}",
                        label=_label_number(label, numbers, where),
                        group=None if group is None else str(group),
                    )
                    row += 1

    return Source(
        class_names=class_names,
        has_groups=has_groups,
        num_images={split: sum(map(_num_rows, paths)) for split, paths in files.items()},
        rows=rows,
    )


def _parquet_files(path: Path, parameter: str) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{parameter}: {path} does not exist; give a Parquet file or a folder")
    files = sorted(path.glob("*.parquet"))
    if not files:
        raise InputError(f"{parameter}: the folder {path} holds no *.parquet file")
    return files


def _parquet_schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file ({error})") from error


def _num_rows(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)


def _batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                yield batch.select(columns)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file ({error})") from error


def _is_image_type(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.StructType):
        return kind.get_field_index("bytes") >= 0
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _has_groups(data: ParquetData, schemas: dict[Path, pa.Schema]) -> bool:
    holding = [path for path, schema in schemas.items() if data.group_column in schema.names]
    lacking = [path for path in schemas if path not in holding]
    if holding and lacking:
        raise InputError(
            f"{lacking[0]} has no column {data.group_column}, {holding[0]} has one; add it, or "
            "set data.group_column to null to read no groups"
        )
    return bool(holding)


def _parquet_class_names(
    data: ParquetData, files: dict[str, list[Path]], schemas: dict[Path, pa.Schema]
) -> tuple[str, ...]:
    given = None if data.class_names is None else tuple(data.class_names)
    stated = {path: class_names_of(schema, data.label_column) for path, schema in schemas.items()}
    known = given or stated[files["train"][0]]
    if known is None:
        known = _names_in_labels(data, files["train"])
    for path, names in stated.items():
        if names is not None and names != known:
            raise InputError(
                f"{path} names the classes {list(names)}, but data.class_names or the training "
                f"files name them {list(known)}; make them the same"
            )
    return known


def _names_in_labels(data: ParquetData, paths: list[Path]) -> tuple[str, ...]:
    labels: set[Any] = set()
    for path in paths:
        for batch in _batches(path, [data.label_column]):
            labels |= set(batch.column(0).to_pylist())
    if not labels or not all(isinstance(label, str) for label in labels):
        raise InputError(
            f"{paths[0]}: column {data.label_column} holds no class names and the file does not "
            "name its classes; list the names in data.class_names in the order of the labels"
        )
    return tuple(sorted(labels))


def _label_number(label: object, numbers: dict[str, int], where: str) -> int:
    if isinstance(label, str) and label in numbers:
        return numbers[label]
    if isinstance(label, int) and 0 <= label < len(numbers):
        return label
    raise InputError(
        f"{where}: label {label!r} is none of the {len(numbers)} classes, "
        f"0..{len(numbers) - 1} or {', '.join(list(numbers)[:10])}{' ...' * (len(numbers) > 10)}"
    )


# Folders -----------------------------------------------------------------------------------------


def open_folder(data: FolderData) -> Source:
    """Opens a folder of class folders, with a folder for each split or with splits to draw."""
    root = Path(data.root)
    if not root.is_dir():
        raise InputError(f"data.root: the folder {root} does not exist")
    if isinstance(data.split, SplitFractions):
        found = _class_files(root, data.groups)
        splits = _drawn_splits(found, data.split)
    else:
        folders = (data.split.train, data.split.validation, data.split.test)
        splits = {
            split: _class_files(root / folder, data.groups)
            for split, folder in zip(SPLITS, folders, strict=True)
        }
        for split, folder in zip(SPLITS, folders, strict=True):
            _compare_classes(root / folders[0], set(splits["train"]), root / folder, splits[split])
    class_names = tuple(sorted(splits["train"]))

    def rows(split: str) -> Iterator[SourceImage]:
        for label, name in enumerate(class_names):
            for path in splits[split][name]:
                try:
                    content = path.read_bytes()
                except OSError as error:
                    raise InputError(f"{path} cannot be read ({error})") from error
                yield SourceImage(
                    data=content,
                    path=path.relative_to(root).as_posix(),
                    label=label,
                    group=path.parent.name if data.groups else None,
                )

    return Source(
        class_names=class_names,
        has_groups=data.groups,
        num_images={split: sum(map(len, splits[split].values())) for split in SPLITS},
        rows=rows,
    )


def _class_files(folder: Path, groups: bool) -> dict[str, list[Path]]:
    """Image files by class, sorted; refuses a layout that is not the stated one."""
    if not folder.is_dir():
        raise InputError(f"the folder {folder} does not exist; data.split names the folders")
    classes = _visible_folders(folder)
    if not classes:
        raise InputError(f"{folder} holds no class folders; put each class's images in a folder")
    found: dict[str, list[Path]] = {}
    ignored: list[Path] = []
    for class_folder in classes:
        inner = _visible_folders(class_folder)
        if inner and not groups:
            raise InputError(
                f"{class_folder} holds folders ({inner[0].name} ...); set data.groups to true to "
                "read them as groups, or data.split if they are classes"
            )
        files = [path for place in [class_folder, *inner] for path in _visible_files(place)]
        images = [path for path in files if path.suffix.lower() in EXTENSIONS]
        ignored += [path for path in files if path.suffix.lower() not in EXTENSIONS]
        outside = [path for path in images if path.parent == class_folder]
        if groups and outside:
            raise InputError(
                f"{outside[0]} lies in no group folder; move it into one, or set data.groups to "
                "false if the data have no groups"
            )
        if not images:
            raise InputError(
                f"class {class_folder.name}: {class_folder} holds no images "
                f"({', '.join(sorted(EXTENSIONS))}); add some or remove the folder"
            )
        found[class_folder.name] = images
    if ignored:
        log.info("ignored %d files that are no images, such as %s", len(ignored), ignored[0])
    return found


def _visible_folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _visible_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))


def _compare_classes(
    train: Path, expected: set[str], folder: Path, found: dict[str, list[Path]]
) -> None:
    missing, unknown = sorted(expected - set(found)), sorted(set(found) - expected)
    if missing or unknown:
        raise InputError(
            f"{folder} and {train} must hold the same classes; in {folder.name} are missing: "
            f"{', '.join(missing) or 'none'}, unknown: {', '.join(unknown) or 'none'}"
        )


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


SOURCES: dict[str, Callable[[Any], Source]] = {"parquet": open_parquet, "folder": open_folder}
