"""Images at rest: Parquet tables of PNG images.

A table follows the image convention of Hugging Face datasets (`image: struct<bytes, path>`,
`label: int64` with `ClassLabel` names in the schema), so `datasets.load_dataset("parquet", ...)`
shows pictures and class names. The same rows always give the same bytes.

This is the only module that knows uint8; everywhere else images are float32 [B, 3, H, W] in [-1,
1].
"""

import io
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from fgds_core.errors import InputError
from fgds_core.files import FileRecord, relative_to, replacing, sha256_file

ROW_GROUP_ROWS = 1000
"""Rows in a row group: what a reader that streams holds in memory at a time."""

HUGGINGFACE = b"huggingface"
"""Key of the schema's metadata where datasets keeps the features."""

_IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images in memory.

    Attributes:
        images: float32 in [-1, 1], [N, 3, H, W].
        labels: int64, [N].
        groups: Name of each image's group (context), or None for data without groups.
        class_names: Name of each of the K classes.
    """

    images: Tensor
    labels: Tensor
    groups: tuple[str, ...] | None
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def of_class(self, label: int) -> "ImageSet":
        """The images of one class, in their order."""
        which = torch.nonzero(self.labels == label).flatten()
        groups = None if self.groups is None else tuple(self.groups[i] for i in which.tolist())
        return ImageSet(self.images[which], self.labels[which], groups, self.class_names)


# Pixels ----------------------------------------------------------------------------------------


def to_uint8(images: Tensor) -> Tensor:
    """Quantises images in [-1, 1] to bytes; values beyond the range are clamped.

    Args:
        images: Finite floats, any shape.

    Returns:
        uint8 in [0, 255], the same shape. `to_uint8(from_uint8(p))` is `p`, exactly.

    Raises:
        ValueError: A value is NaN or infinite.
    """
    if not torch.isfinite(images).all():
        raise ValueError("images must be finite, got NaN or infinite values")
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def from_uint8(pixels: Tensor) -> Tensor:
    """Maps bytes [0, 255] to float32 in [-1, 1]."""
    return pixels.to(torch.float32, copy=True).div_(127.5).sub_(1)


def png_bytes(image: Image.Image) -> bytes:
    """Encodes one picture as PNG with fixed settings, so the same pixels give the same bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=6, optimize=False)
    return buffer.getvalue()


def encode_png(images: Tensor) -> list[bytes]:
    """Encodes a batch as PNG, without loss beyond the quantisation to 8 bits.

    Args:
        images: In [-1, 1], [B, 3, H, W].

    Returns:
        One PNG file per image.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be [B, 3, H, W], got {tuple(images.shape)}")
    pixels = (
        to_uint8(images.detach().cpu()).permute(0, 2, 3, 1).contiguous().numpy()
    )  # [B, H, W, 3]
    return [png_bytes(Image.fromarray(picture)) for picture in pixels]


FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF", "GIF", "PPM")
"""The only file formats that are ever opened. Pillow knows forty more, and for some of them it
starts other programs on the file. PPM stands for PBM, PGM and PPM."""

MAX_PIXELS = 178_956_970
"""Pillow opens no picture that has more pixels."""


def decode_picture(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decodes every pixel of one image file and checks its checksums; no lazy opening.

    Of an animation the first frame is decoded.

    Args:
        data: The image file.
        max_pixels: More are refused before any of them is decoded.

    Raises:
        InputError: The bytes are no image of a known format, a damaged or truncated one, or one
            of too many pixels.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ValueError("PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set: truncated images would pass")
    try:
        return _decoded(data, max_pixels)
    except InputError:
        raise
    except (
        Exception
    ) as error:  # PIL's parsers let OSError, SyntaxError, struct.error and others through
        if data.startswith(_PNG) and (stripped := _without_texts(data)) != data:
            return decode_picture(stripped, max_pixels)  # long texts are refused, not the pixels
        reason = str(error)
        if isinstance(error, UnidentifiedImageError):
            reason = f"none of {', '.join(FORMATS)}, or its beginning is damaged"
        raise InputError(f"not a readable image ({reason})") from error


def _decoded(data: bytes, max_pixels: int) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes, judged here, and of odd but readable files
        try:
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise InputError(f"too large: more than {MAX_PIXELS} pixels; shrink it") from error
        width, height = picture.size
        if width * height > max_pixels:
            raise InputError(
                f"too large: {width} x {height} pixels are more than {max_pixels}; shrink it, or "
                "raise prepare.max_image_pixels"
            )
        if _is_preview(picture, data):
            raise InputError(
                "a small preview of a camera's raw picture; convert it, to JPEG for instance"
            )
        # Decoding skips the checksums of PNG's pixels; `verify` reads them, but decodes nothing.
        picture.verify()
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        picture.load()
    return picture


def _is_preview(picture: Image.Image, data: bytes) -> bool:
    """Whether the first page of a TIFF is what cameras put before their raw pixels."""
    if not isinstance(picture, TiffImageFile):
        return False
    tags = picture.tag_v2
    reduced = tags.get(_SUBFILE_TYPE)
    return (
        data[8:10] == b"CR"
        or _DNG_VERSION in tags
        or (isinstance(reduced, int) and reduced & 1 == 1)
    )


_SUBFILE_TYPE, _DNG_VERSION = 254, 50706
"""TIFF's tags: whether a page is a smaller copy of another, and the mark of a digital negative."""

_PNG = b"\x89PNG\r\n\x1a\n"

_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")


def _without_texts(data: bytes) -> bytes:
    """A PNG file without the chunks that describe it, whose length Pillow limits."""
    kept, start = [data[:8]], 8
    while start + 8 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4])
        if data[start + 4 : start + 8] not in _PNG_TEXTS:
            kept.append(data[start:end])
        start = end
    return b"".join(kept)


_SIGNATURES = (_PNG, b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")


def is_picture(path: Path) -> bool:
    """Whether a file is an image of a known format by its content, even a damaged one.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(16)
        if head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
            return True
        if head[4:8] != b"ftyp" and head[:1] not in (b"P", b"B"):
            return False
        file.seek(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                Image.open(file, formats=("AVIF", "BMP", "PPM")).close()
        except Image.DecompressionBombError:
            return True
        except Exception:  # a text that begins like one
            return False
    return True


def decode_images(
    column: "pa.ChunkedArray[Any] | pa.Array[Any] | Sequence[bytes]",
    *,
    source: str = "image column",
) -> Tensor:
    """Decodes image files of one size.

    Args:
        column: The `image` column of a table, or the bytes of each file.
        source: What to call the column's origin in an error.

    Returns:
        float32 in [-1, 1], [B, 3, H, W].

    Raises:
        InputError: An image is missing, corrupt or of another size than the first; names source
            and row.
    """
    files = _column_bytes(column)
    if not files:
        return torch.empty(0, 3, 0, 0)
    pixels: np.ndarray[Any, np.dtype[np.uint8]] | None = None  # [B, H, W, 3]
    for row, data in enumerate(files):
        if data is None:
            raise InputError(f"{source}, row {row}: holds no image bytes; make the file again")
        try:
            picture = np.asarray(decode_picture(data).convert("RGB"))  # [H, W, 3]
        except InputError as error:
            raise InputError(f"{source}, row {row}: {error}; make the file again") from error
        if pixels is None:
            pixels = np.empty((len(files), *picture.shape), dtype=np.uint8)
        if picture.shape != pixels.shape[1:]:
            height, width = picture.shape[:2]
            raise InputError(
                f"{source}, row {row}: the image is {width}x{height} pixels, the first one "
                f"{pixels.shape[2]}x{pixels.shape[1]}; all must have one size"
            )
        pixels[row] = picture
    return from_uint8(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous())  # [B, 3, H, W]


def _column_bytes(
    column: "pa.ChunkedArray[Any] | pa.Array[Any] | Sequence[bytes]",
) -> list[bytes | None]:
    if isinstance(column, pa.ChunkedArray):
        return [data for chunk in column.chunks for data in _column_bytes(chunk)]
    if isinstance(column, pa.StructArray):
        return list(column.field("bytes").to_pylist())
    if isinstance(column, pa.Array):
        return list(column.to_pylist())
    return list(column)


# Tables ----------------------------------------------------------------------------------------


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
    images: Tensor | Sequence[bytes],
    labels: Tensor | Sequence[int],
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
    files = encode_png(images) if isinstance(images, Tensor) else list(images)
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
        "image": pa.array(
            [{"bytes": data, "path": path} for data, path in zip(files, paths, strict=True)],
            type=_IMAGE_TYPE,
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
    }
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, **options) as writer:
        for batch in batches:
            writer.write_table(batch.combine_chunks(), row_group_size=ROW_GROUP_ROWS)
            num_rows += batch.num_rows
    return FileRecord(relative_to(path, root or path.parent), sha256_file(path), num_rows)


def write_images(path: Path, rows: pa.Table, *, root: Path | None = None) -> FileRecord:
    """Writes an image table; the same rows give the same bytes. See `write_image_batches`."""
    return write_image_batches(path, rows.schema, [rows], root=root)


def read_table(path: Path) -> pa.Table:
    """Reads an image table without decoding its images.

    Raises:
        InputError: The file is missing, not Parquet, damaged, or lacks columns, class names or
            valid labels.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; run the stage that writes it")
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path} is not a readable Parquet file ({error}); make it again"
        ) from error
    missing = {"image", "label"} - set(table.column_names)
    if missing:
        raise InputError(
            f"{path} lacks the columns {sorted(missing)}; it has {table.column_names}"
        )
    class_names = class_names_of(table.schema)
    if class_names is None:
        raise InputError(f"{path} does not name its classes; write it with fgds_core.images")
    for row, label in enumerate(column_values(table, "label")):
        if label is None or not 0 <= label < len(class_names):
            raise InputError(
                f"{path}, row {row}: label {label} is not in 0..{len(class_names) - 1}"
            )
    return table


def read_images(path: Path) -> ImageSet:
    """Reads and fully decodes an image table.

    Raises:
        InputError: As `read_table`, or an image is corrupt; names file and row.
    """
    return table_images(read_table(path), source=str(path))


def table_images(table: pa.Table, *, source: str = "image table") -> ImageSet:
    """Decodes the images of a table; `source` names it in an error."""
    class_names = class_names_of(table.schema)
    if class_names is None:
        raise InputError(f"{source} does not name its classes; write it with fgds_core.images")
    groups: tuple[str, ...] | None = None
    if "group" in table.column_names and table["group"].null_count < table.num_rows:
        names = column_values(table, "group")
        if None in names:
            raise InputError(f"{source}, row {names.index(None)}: has no group, others have one")
        groups = tuple(names)
    return ImageSet(
        images=decode_images(table["image"], source=source),
        labels=torch.tensor(column_values(table, "label"), dtype=torch.int64),
        groups=groups,
        class_names=class_names,
    )


def column_values(table: pa.Table, name: str) -> list[Any]:
    """A column as Python values, None for null."""
    return list(table[name].to_pylist())
