"""Images at rest: Parquet tables of encoded images.

A table follows the image convention of Hugging Face datasets (`image: struct<bytes, path>`,
`label: int64` with `ClassLabel` names in the schema), so `datasets.load_dataset("parquet", ...)`
shows pictures and class names. The same rows always give the same bytes.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fgds_core.errors import InputError
from fgds_core.files import FileRecord, relative_to, replacing, sha256_file
from fgds_core.images.formats import PNG

if TYPE_CHECKING:
    from torch import Tensor

ROW_GROUP_ROWS = 1000
"""Most rows of a row group: what a reader that streams holds in memory at a time."""

ROW_GROUP_BYTES = 2**26
"""Most bytes of images in a row group, unless one image alone has more."""

_PAGE_BYTES = 2**31 - 1

HUGGINGFACE = b"huggingface"
"""Key of the schema's metadata where datasets keeps the features."""

_IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def image_schema(
    class_names: Sequence[str], extra: Mapping[str, pa.DataType] | None = None
) -> pa.Schema:
    """The schema of an image table: image, label, then the extra columns in their order."""
    if len(set(class_names)) != len(class_names):
        raise ValueError(f"class names must differ from each other, got {list(class_names)}")
    extra = extra or {}
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"names": list(class_names), "_type": "ClassLabel"},
    }
    for name, kind in extra.items():
        dtype = {"double": "float64", "float": "float32"}.get(str(kind), str(kind))
        features[name] = {"dtype": dtype, "_type": "Value"}
    fields = [("image", _IMAGE_TYPE), ("label", pa.int64()), *extra.items()]
    metadata: dict[Any, Any] = {HUGGINGFACE: json.dumps({"info": {"features": features}}).encode()}
    return pa.schema(fields, metadata=metadata)


def class_names_of(schema: pa.Schema, column: str = "label") -> tuple[str, ...] | None:
    """The class names a schema carries for its label column, or None where it carries none."""
    text = (schema.metadata or {}).get(HUGGINGFACE)
    if text is None:
        return None
    try:
        names = json.loads(text)["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(names, list) or not all(isinstance(name, str | int) for name in names):
        return None
    return tuple(str(name) for name in names)


def image_table(
    images: "Tensor | Sequence[bytes]",
    labels: "Tensor | Sequence[int]",
    class_names: Sequence[str],
    extra: Mapping[str, Sequence[Any]] | None = None,
    *,
    schema: pa.Schema | None = None,
    paths: Sequence[str | None] | None = None,
) -> pa.Table:
    """Makes an image table.

    Args:
        images: [B, 3, H, W] in [-1, 1], or the encoded files.
        labels: Class of each image, [B].
        class_names: Name of each class.
        extra: Further columns by name.
        schema: The schema the table must have, such as `synthetic_schema(class_names)`; without it
            the types of the extra columns are inferred.
        paths: Where each image came from, kept beside its bytes.

    Raises:
        ValueError: Lengths differ, a label is no class, or the columns are not the schema's.
    """
    if isinstance(images, Sequence):
        files = list(images)
    else:
        from fgds_core.images.pixels import encode

        files = encode(images, PNG)
    classes = [int(label) for label in labels]
    extra = extra or {}
    paths = [None] * len(files) if paths is None else paths
    lengths = {"images": len(files), "labels": len(classes), "paths": len(paths)}
    lengths |= {name: len(values) for name, values in extra.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns must have one length, got {lengths}")
    wrong = sorted({label for label in classes if not 0 <= label < len(class_names)})
    if wrong:
        raise ValueError(f"labels must be in 0..{len(class_names) - 1}, got {wrong}")
    columns: dict[str, Any] = {
        "image": pa.StructArray.from_arrays(
            [pa.array(files, pa.binary()), pa.array(paths, pa.string())], fields=list(_IMAGE_TYPE)
        ),
        "label": pa.array(classes, type=pa.int64()),
    }
    if schema is None:
        columns |= {name: pa.array(values) for name, values in extra.items()}
        schema = image_schema(class_names, {name: columns[name].type for name in extra})
    else:
        expected = set(schema.names) - {"image", "label"}
        if expected != set(extra):
            raise ValueError(
                f"extra columns must be {sorted(expected)}, "
                f"missing {sorted(expected - set(extra))}, unknown {sorted(set(extra) - expected)}"
            )
        columns |= {name: pa.array(extra[name], type=schema.field(name).type) for name in extra}
    return pa.table([columns[name] for name in schema.names], schema=schema)


def write_image_batches(
    path: Path, schema: pa.Schema, batches: Iterable[pa.Table], *, root: Path | None = None
) -> FileRecord:
    """Writes an image table that arrives in pieces; each piece starts a new row group.

    A row group has at most `ROW_GROUP_ROWS` rows and `ROW_GROUP_BYTES` bytes of images. Its images
    are one page, neither compressed nor in a dictionary: every file lies there as it is, after
    its length in four bytes, and a reader can take any of them by its place.

    Args:
        path: The Parquet file.
        schema: Schema of every piece.
        batches: The pieces, in order.
        root: Folder the record's path is relative to; the file's own folder if None.

    Returns:
        The record of the written file.

    Raises:
        InputError: The disk is full or may not be written.
    """
    num_rows = 0
    # Compression is left to PNG: what pyarrow's codecs write changes with their versions.
    text_columns = [field.name for field in schema if pa.types.is_string(field.type)]
    options: dict[str, Any] = {
        "version": "2.6",
        "data_page_version": "1.0",
        "compression": "none",
        "use_dictionary": text_columns,
        "data_page_size": _PAGE_BYTES,
        "write_batch_size": ROW_GROUP_ROWS,
        "max_rows_per_page": ROW_GROUP_ROWS,
    }
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, **options) as writer:
        for batch in batches:
            for rows in _row_groups(batch):
                writer.write_table(rows.combine_chunks(), row_group_size=ROW_GROUP_ROWS)
            num_rows += batch.num_rows
    return FileRecord(relative_to(path, root or path.parent), sha256_file(path), num_rows)


def _row_groups(rows: pa.Table) -> Iterator[pa.Table]:
    """Cuts a table where the next image would be too much for one row group."""
    if not rows.num_rows:
        yield rows
    start = num_bytes = 0
    for row, size in enumerate(_image_sizes(rows)):
        if row > start and (row - start == ROW_GROUP_ROWS or num_bytes + size > ROW_GROUP_BYTES):
            yield rows.slice(start, row - start)
            start, num_bytes = row, 0
        num_bytes += size
    if start < rows.num_rows:
        yield rows.slice(start)


def _image_sizes(rows: pa.Table) -> list[int]:
    """Bytes of each image; 0 for one that is missing."""
    sizes = pc.binary_length(pc.struct_field(rows["image"], "bytes"))
    return list(pc.fill_null(sizes, 0).to_pylist())


def write_images(path: Path, rows: pa.Table, *, root: Path | None = None) -> FileRecord:
    """Writes an image table; the same rows give the same bytes. See `write_image_batches`."""
    return write_image_batches(path, rows.schema, [rows], root=root)


def read_table(path: Path, *, images: bool = True) -> pa.Table:
    """Reads an image table without decoding its images.

    Args:
        path: The file.
        images: Whether the encoded images are read too; False leaves their column out.

    Raises:
        InputError: The file is missing, not Parquet, damaged, or lacks columns, class names or
            valid labels.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; run the stage that writes it")
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            read = names if images else [name for name in names if name != "image"]
            table = file.read(columns=read)
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path} is not a readable Parquet file ({error}); make it again"
        ) from error
    missing = {"image", "label"} - set(names)
    if missing:
        raise InputError(f"{path} lacks the columns {sorted(missing)}; it has {names}")
    class_names = class_names_of(table.schema)
    if class_names is None:
        raise InputError(f"{path} does not name its classes; write it with fgds_core.images")
    for row, label in enumerate(column_values(table, "label")):
        if label is None or not 0 <= label < len(class_names):
            raise InputError(
                f"{path}, row {row}: label {label} is not in 0..{len(class_names) - 1}"
            )
    return table


def image_paths(path: Path) -> list[str | None]:
    """Where each image of a table came from; None where that was not kept."""
    with pq.ParquetFile(path) as file:
        images = file.read(columns=["image.path"])["image"]
    return list(pc.struct_field(images, "path").to_pylist())


def column_values(table: pa.Table, name: str) -> list[Any]:
    """A column as Python values, None for null."""
    return list(table[name].to_pylist())
