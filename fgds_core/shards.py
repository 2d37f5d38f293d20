"""Images at rest: Parquet tables of PNG images, their digests, the synthetic set and its index.

A table follows the image convention of Hugging Face datasets (`image: struct<bytes, path>`,
`label: int64` with `ClassLabel` names in the schema), so `datasets.load_dataset("parquet", ...)`
shows pictures and class names. The same rows always give the same bytes. Every file is written
under a temporary name, flushed to the disk and renamed, so a file that has its final name is
whole.

This is the only module that knows uint8; everywhere else images are float32 [B, 3, H, W] in [-1,
1].
"""

import errno
import hashlib
import io
import json
import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageFile
from torch import Tensor

from fgds_core import __version__
from fgds_core.errors import InputError

log = logging.getLogger(__name__)

ROW_GROUP_ROWS = 1000
"""Rows in a row group: what a reader that streams holds in memory at a time."""

INDEX_NAME = "index.json"
META_NAME = "meta.json"
SPLITS = ("train", "val", "test")

_IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_HUGGINGFACE = b"huggingface"
_FINGERPRINT = b"fgds_fingerprint"

_SYNTHETIC_COLUMNS: dict[str, pa.DataType] = {
    "group": pa.string(),
    "prompt": pa.string(),
    "seed": pa.int64(),
    "index": pa.int64(),
    "conditioning_id": pa.int64(),
    "embedding_dropout": pa.float64(),
    "noise_level": pa.int64(),
    "guidance_scale": pa.float64(),
    "feedback": pa.string(),
    "feedback_scale": pa.float64(),
    "criterion_first": pa.float64(),
    "criterion_last": pa.float64(),
    "criterion_final": pa.float64(),
    "guided_steps": pa.int64(),
    "skipped_steps": pa.int64(),
    "nonfinite_steps": pa.int64(),
    "judge_label": pa.int64(),
    "judge_probability": pa.float64(),
}
_NULLABLE = frozenset(
    {
        "group",  # data without groups
        "conditioning_id",  # text-only images
        "criterion_first",  # unguided images
        "criterion_last",
        "criterion_final",
        "judge_label",  # before there is a judge
        "judge_probability",
    }
)


@dataclass(frozen=True)
class FileRecord:
    """What identifies a written file.

    Attributes:
        path: Relative to the folder the writer was told (POSIX form), so that it holds in any
            workspace.
        sha256: Digest of the file's bytes.
        num_rows: Number of images in it.
    """

    path: str
    sha256: str
    num_rows: int


@dataclass(frozen=True)
class PartRecord:
    """What identifies one part of the synthetic set.

    Attributes:
        path: Relative to the folder of the synthetic set (POSIX form).
        sha256: Digest of the part's bytes.
        num_rows: Number of images in the part.
        label: The class all of them are meant to show.
        first_index: Index in the class of the first image; the others follow without a gap.
        fingerprint: Digest of everything that made the part.
        seeds: Seed of each image, in the order of the rows.
    """

    path: str
    sha256: str
    num_rows: int
    label: int
    first_index: int
    fingerprint: str
    seeds: tuple[int, ...]


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


@dataclass(frozen=True)
class Meta:
    """What `meta.json` says about prepared data.

    Attributes:
        class_names: Name of each of the K classes.
        image_size: Height and width of every image, in pixels.
        counts: Images of each class, for each split.
        bins: "many", "medium" or "few" for each class name, from the real training counts.
        groups: Names of the groups, sorted, or None for data without groups.
        duplicates: Images that repeat an earlier image of their own split, for each split.
        content_sha256: Digest of each split's file.
    """

    class_names: tuple[str, ...]
    image_size: int
    counts: dict[str, tuple[int, ...]]
    bins: dict[str, str]
    groups: tuple[str, ...] | None
    duplicates: dict[str, int]
    content_sha256: dict[str, str]


@dataclass(frozen=True)
class SyntheticIndex:
    """What `index.json` says about a synthetic set.

    Attributes:
        core_version: Version of this package that drew the images.
        fingerprint: Digest of everything that made the set.
        made_by: What the fingerprint is made of, for a human reader.
        class_names: Name of each of the K classes.
        wanted: Images wanted of each class; as many are present.
        parts: The parts in order of class and index.
    """

    core_version: str
    fingerprint: str
    made_by: dict[str, Any]
    class_names: tuple[str, ...]
    wanted: tuple[int, ...]
    parts: tuple[PartRecord, ...]


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


def decode_picture(data: bytes) -> Image.Image:
    """Decodes every pixel of one image file and checks its checksums; no lazy opening.

    Raises:
        InputError: The bytes are no image, or a damaged or truncated one.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ValueError("PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set: truncated images would pass")
    try:
        # Decoding skips the checksums of PNG's pixels; `verify` reads them, but decodes nothing.
        Image.open(io.BytesIO(data)).verify()
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except (
        Exception
    ) as error:  # PIL's parsers let OSError, SyntaxError, struct.error and others through
        raise InputError(f"not a readable image ({error})") from error
    return picture


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
    metadata: dict[Any, Any] = {
        _HUGGINGFACE: json.dumps({"info": {"features": features}}).encode()
    }
    return pa.schema(fields, metadata=metadata)


def synthetic_schema(class_names: Sequence[str]) -> pa.Schema:
    """The schema of a synthetic shard.

    Beside image and label: group; prompt; seed (below 2^63); index in the class; conditioning_id
    (row of the conditioning image in `train.parquet`, null for text alone); embedding_dropout
    (fraction); noise_level (0 to 999); guidance_scale (1 is off); feedback and feedback_scale (0
    is off); criterion_first and criterion_last (at the first and last guided step, null if none)
    and criterion_final (of the finished image, null where it was not computed); guided_steps,
    skipped_steps and nonfinite_steps; judge_label and judge_probability (null without a judge).
    """
    return image_schema(class_names, _SYNTHETIC_COLUMNS)


def class_names_of(schema: pa.Schema, column: str = "label") -> tuple[str, ...] | None:
    """The class names a schema carries for its label column, or None where it carries none."""
    text = (schema.metadata or {}).get(_HUGGINGFACE)
    if text is None:
        return None
    try:
        names = json.loads(text)["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError):
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
    with _replacing(path) as temporary, pq.ParquetWriter(temporary, schema, **options) as writer:
        for batch in batches:
            writer.write_table(batch.combine_chunks(), row_group_size=ROW_GROUP_ROWS)
            num_rows += batch.num_rows
    return FileRecord(_relative(path, root or path.parent), sha256_file(path), num_rows)


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
        raise InputError(f"{path} does not name its classes; write it with fgds_core.shards")
    for row, label in enumerate(_values(table, "label")):
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
        raise InputError(f"{source} does not name its classes; write it with fgds_core.shards")
    groups: tuple[str, ...] | None = None
    if "group" in table.column_names and table["group"].null_count < table.num_rows:
        names = _values(table, "group")
        if None in names:
            raise InputError(f"{source}, row {names.index(None)}: has no group, others have one")
        groups = tuple(names)
    return ImageSet(
        images=decode_images(table["image"], source=source),
        labels=torch.tensor(_values(table, "label"), dtype=torch.int64),
        groups=groups,
        class_names=class_names,
    )


def _values(table: pa.Table, name: str) -> list[Any]:
    return list(table[name].to_pylist())


# Files -----------------------------------------------------------------------------------------


def sha256_file(path: Path) -> str:
    """Digest of a file's bytes, in hexadecimal.

    Raises:
        InputError: The file does not exist.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; run the stage that writes it")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_tree(path: Path) -> str:
    """Digest of a folder: names and contents of all files below it, in the order of their names.

    Raises:
        InputError: The folder does not exist.
    """
    if not path.is_dir():
        raise InputError(f"the folder {path} does not exist; run the stage that writes it")
    digest = hashlib.sha256()
    for name in sorted(_relative(file, path) for file in path.rglob("*") if file.is_file()):
        digest.update(f"{name}\0{sha256_file(path / name)}\n".encode())
    return digest.hexdigest()


def write_json(path: Path, value: Mapping[str, Any], *, indent: int | None = 2) -> None:
    """Writes JSON with sorted keys under a temporary name, flushes and renames it.

    Args:
        path: The file.
        value: JSON values only.
        indent: Spaces of each level; None writes one line, much faster for long lists.

    Raises:
        ValueError: A number is NaN or infinite (JSON has neither; write null).
        InputError: The disk is full or may not be written.
    """
    text = json.dumps(value, sort_keys=True, indent=indent, allow_nan=False, ensure_ascii=False)
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text under a temporary name, flushes and renames it.

    Raises:
        InputError: The disk is full.
    """
    with _replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS})


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name; its file takes the place of `path`, or is removed on an error."""
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _fsync(temporary)
        temporary.replace(path)
        _fsync(path.parent)  # the renaming itself must survive a power cut
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise InputError(
            f"cannot write {path} ({error.strerror}); make room or change the permissions and run "
            "again, finished files are kept"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _read_json(path: Path, remedy: str) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path} does not exist; {remedy}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is damaged ({error}); {remedy}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} is damaged (not a JSON object); {remedy}")
    return value


# Prepared data ---------------------------------------------------------------------------------

_PREPARE_AGAIN = "run the stage prepare again"


def write_meta(folder: Path, meta: Meta) -> None:
    """Writes `meta.json`: the last file of prepared data, without it there is none."""
    write_json(folder / META_NAME, asdict(meta))


def read_meta(folder: Path) -> Meta:
    """Reads `meta.json` of prepared data.

    Raises:
        InputError: The file is missing or damaged.
    """
    value = _read_json(folder / META_NAME, _PREPARE_AGAIN)
    try:
        return Meta(
            class_names=tuple(value["class_names"]),
            image_size=int(value["image_size"]),
            counts={split: tuple(value["counts"][split]) for split in SPLITS},
            bins=dict(value["bins"]),
            groups=None if value["groups"] is None else tuple(value["groups"]),
            duplicates=dict(value["duplicates"]),
            content_sha256=dict(value["content_sha256"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / META_NAME} is damaged ({error!r}); {_PREPARE_AGAIN}"
        ) from error


def read_prepared(folder: Path, split: str) -> ImageSet:
    """Reads one split of prepared data after comparing its digest with `meta.json`.

    Args:
        folder: The output of the stage prepare.
        split: "train", "val" or "test".

    Raises:
        InputError: The data are missing, damaged or not those `meta.json` speaks of.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    path = folder / f"{split}.parquet"
    if sha256_file(path) != read_meta(folder).content_sha256.get(split):
        raise InputError(f"{path} is not the file {META_NAME} speaks of; {_PREPARE_AGAIN}")
    return read_images(path)


# The synthetic set -----------------------------------------------------------------------------

_SYNTHESIZE_AGAIN = "run the stage synthesize again, finished parts are kept"


def class_folder(label: int, name: str) -> str:
    """Folder of a class in the synthetic set, such as `06-shirt`: letters, digits, hyphens."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60].rstrip("-")
    return f"{label:02d}-{slug}" if slug else f"{label:02d}"


def part_path(label: int, name: str, part: int) -> str:
    """Path of a part relative to the synthetic set, such as `06-shirt/part-00000.parquet`."""
    return f"{class_folder(label, name)}/part-{part:05d}.parquet"


def write_synthetic_part(out: Path, path: str, rows: pa.Table, fingerprint: str) -> PartRecord:
    """Writes one part and, after it, the sidecar that makes it count as finished.

    Args:
        out: Folder of the synthetic set.
        path: From `part_path`.
        rows: Images of one class with the columns of `synthetic_schema`, at least one.
        fingerprint: Digest of everything that makes the part; kept in sidecar and Parquet
            metadata.

    Raises:
        ValueError: The rows are no part: other columns, nulls, several classes, a gap in the
            index, or a seed that comes twice.
        InputError: The disk is full or may not be written.
    """
    class_names = class_names_of(rows.schema)
    if class_names is None or not rows.schema.equals(synthetic_schema(class_names)):
        raise ValueError(f"{path}: columns must be those of synthetic_schema, got {rows.schema}")
    if rows.num_rows == 0:
        raise ValueError(f"{path}: a part holds at least one image")
    empty = [c for c in rows.column_names if c not in _NULLABLE and rows[c].null_count]
    if empty:
        raise ValueError(f"{path}: null values in {empty}")
    labels, indices, seeds = (_values(rows, name) for name in ("label", "index", "seed"))
    if len(set(labels)) > 1:
        raise ValueError(f"{path}: a part holds one class, got labels {sorted(set(labels))}")
    if indices != list(range(indices[0], indices[0] + len(indices))):
        raise ValueError(f"{path}: indices must follow each other, got {indices}")
    if len(set(seeds)) != len(seeds):
        raise ValueError(f"{path}: a seed comes twice")
    metadata = {**rows.schema.metadata, _FINGERPRINT: fingerprint.encode()}
    file = out / path
    sidecar = file.with_suffix(".json")
    sidecar.unlink(missing_ok=True)  # from here on the old part no longer counts
    written = write_images(file, rows.replace_schema_metadata(metadata), root=out)
    record = PartRecord(
        path=written.path,
        sha256=written.sha256,
        num_rows=written.num_rows,
        label=labels[0],
        first_index=indices[0],
        fingerprint=fingerprint,
        seeds=tuple(seeds),
    )
    write_json(sidecar, vars(record), indent=None)
    return record


def finished_part(out: Path, path: str, fingerprint: str) -> PartRecord | None:
    """The record of a finished part: made by this fingerprint, with the bytes once written.

    Args:
        out: Folder of the synthetic set.
        path: From `part_path`.
        fingerprint: Digest of everything that makes the part.

    Returns:
        None if the part is missing, damaged, or was made by something else: it has to be drawn.
    """
    file = out / path
    try:
        record = _part_record(json.loads(file.with_suffix(".json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if record.path != path or record.fingerprint != fingerprint or not file.is_file():
        return None
    return record if sha256_file(file) == record.sha256 else None


def _part_record(value: Mapping[str, Any]) -> PartRecord:
    return PartRecord(
        path=str(value["path"]),
        sha256=str(value["sha256"]),
        num_rows=int(value["num_rows"]),
        label=int(value["label"]),
        first_index=int(value["first_index"]),
        fingerprint=str(value["fingerprint"]),
        seeds=tuple(int(seed) for seed in value["seeds"]),
    )


def remove_foreign_parts(out: Path, records: Iterable[PartRecord]) -> list[str]:
    """Removes parts and sidecars of earlier runs, which the records do not name.

    Only files in class folders that have the name of a part are touched.

    Returns:
        The removed paths, relative to `out`.
    """
    kept = {record.path for record in records}
    kept |= {path.removesuffix(".parquet") + ".json" for path in kept}
    found = sorted(_relative(file, out) for file in out.glob("*/part-*"))
    parts = [name for name in found if re.fullmatch(r".+/part-\d+\.(parquet|json)(\.part)?", name)]
    removed = [name for name in parts if name not in kept]
    for name in removed:
        (out / name).unlink()
        log.info("removed %s: no part of the new synthetic set", out / name)
    for folder in {(out / name).parent for name in removed}:
        if not any(folder.iterdir()):
            folder.rmdir()
    return removed


def remove_index(out: Path) -> None:
    """Withdraws the index: from here until `write_index` there is no synthetic set, only parts."""
    (out / INDEX_NAME).unlink(missing_ok=True)


def write_index(
    out: Path,
    records: Sequence[PartRecord],
    *,
    class_names: Sequence[str],
    wanted: Sequence[int],
    fingerprint: str,
    made_by: Mapping[str, Any],
) -> FileRecord:
    """Writes `index.json`, last: it turns the parts into a synthetic set. Reads no Parquet file.

    Args:
        out: Folder of the synthetic set.
        records: Every part, in any order.
        class_names: Name of each of the K classes.
        wanted: Images wanted of each class, [K].
        fingerprint: Digest of everything that made the set.
        made_by: What the fingerprint is made of, as JSON values (generator, baseline, data,
            parameters).

    Returns:
        The record of the index; its number of rows is the number of synthetic images.

    Raises:
        InputError: A class is short of images, or nothing was wanted at all.
        ValueError: Parts overlap, leave a gap or share a seed.
    """
    if len(wanted) != len(class_names):
        raise ValueError(f"wanted must have {len(class_names)} entries, got {len(wanted)}")
    parts = sorted(records, key=lambda record: (record.label, record.first_index))
    present = [0] * len(class_names)
    for part in parts:
        if part.first_index != present[part.label]:
            raise ValueError(
                f"{part.path} starts at index {part.first_index}, expected {present[part.label]}"
            )
        present[part.label] += part.num_rows
    differing = [
        f"{name} ({there} of {want})"
        for name, there, want in zip(class_names, present, wanted, strict=True)
        if there != want
    ]
    if differing:
        raise InputError(
            f"{out}: classes not finished: {', '.join(differing)}; {_SYNTHESIZE_AGAIN}"
        )
    if not parts:
        raise InputError(f"{out}: no class needs synthetic images; raise target_per_class")
    repeated = [seed for seed, times in _seed_counts(parts).items() if times > 1]
    if repeated:
        raise ValueError(f"{len(repeated)} seeds come more than once, such as {repeated[0]}")
    write_json(
        out / INDEX_NAME,
        {
            "core_version": __version__,
            "fingerprint": fingerprint,
            "made_by": dict(made_by),
            "classes": [
                {
                    "label": label,
                    "name": name,
                    "folder": class_folder(label, name),
                    "wanted": wanted[label],
                    "present": present[label],
                }
                for label, name in enumerate(class_names)
            ],
            "parts": [vars(part) for part in parts],
        },
        indent=None,
    )
    return FileRecord(INDEX_NAME, sha256_file(out / INDEX_NAME), sum(present))


def _seed_counts(parts: Iterable[PartRecord]) -> Counter[int]:
    return Counter(seed for part in parts for seed in part.seeds)


def read_index(folder: Path) -> SyntheticIndex:
    """Reads `index.json` of a synthetic set.

    Raises:
        InputError: The index is missing (no index, no data set) or damaged.
    """
    path = folder / INDEX_NAME
    value = _read_json(path, _SYNTHESIZE_AGAIN)
    try:
        return SyntheticIndex(
            core_version=str(value["core_version"]),
            fingerprint=str(value["fingerprint"]),
            made_by=dict(value["made_by"]),
            class_names=tuple(str(entry["name"]) for entry in value["classes"]),
            wanted=tuple(int(entry["wanted"]) for entry in value["classes"]),
            parts=tuple(_part_record(part) for part in value["parts"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error!r}); {_SYNTHESIZE_AGAIN}") from error


def read_part(folder: Path, record: PartRecord) -> pa.Table:
    """Reads one part of a synthetic set after comparing it with its record.

    Raises:
        InputError: The part is missing, has other bytes than were recorded, or was made by
            something else.
    """
    path = folder / record.path
    if not path.is_file():
        raise InputError(f"{path} is missing; {_SYNTHESIZE_AGAIN}")
    if sha256_file(path) != record.sha256:
        raise InputError(f"{path} has changed since it was written; {_SYNTHESIZE_AGAIN}")
    table = read_table(path)
    made_by = (table.schema.metadata or {}).get(_FINGERPRINT, b"").decode()
    if made_by != record.fingerprint or set(_values(table, "label")) != {record.label}:
        raise InputError(f"{path} belongs to another synthetic set; {_SYNTHESIZE_AGAIN}")
    return table.replace_schema_metadata({_HUGGINGFACE: table.schema.metadata[_HUGGINGFACE]})


def read_synthetic(folder: Path) -> tuple[ImageSet, pa.Table]:
    """Reads a whole synthetic set and verifies it against its index.

    Returns:
        The images, and the table with all columns of `synthetic_schema`, both in order of class
        and index.

    Raises:
        InputError: The index is missing or damaged; a part is missing, truncated, changed or
            foreign.
    """
    index = read_index(folder)
    known = {part.path for part in index.parts}
    foreign = sorted({_relative(file, folder) for file in folder.rglob("*.parquet")} - known)
    if foreign:
        raise InputError(
            f"{folder} holds files that {INDEX_NAME} does not name: {', '.join(foreign[:5])}"
            f"{' ...' if len(foreign) > 5 else ''}; remove them or {_SYNTHESIZE_AGAIN}"
        )
    schema = synthetic_schema(index.class_names)
    tables: list[pa.Table] = []
    for part in index.parts:
        table = read_part(folder, part)
        if not table.schema.equals(schema, check_metadata=True):
            raise InputError(
                f"{folder / part.path} has other columns or classes than {INDEX_NAME}"
            )
        tables.append(table)
    whole = pa.concat_tables(tables)
    return table_images(whole, source=str(folder)), whole
