"""A part at rest: an image table, and the sidecar that makes it count as finished."""

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from fgds_core.files import sha256_file, write_json
from fgds_core.images.table import class_names_of, column_values, write_images
from fgds_core.synthesis.columns import COLUMNS, synthetic_schema

FINGERPRINT = b"fgds_fingerprint"


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


def class_folder(label: int, name: str) -> str:
    """Folder of a class in the synthetic set, such as `06-shirt`: letters, digits, hyphens."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60].rstrip("-")
    return f"{label:02d}-{slug}" if slug else f"{label:02d}"


def part_path(label: int, name: str, part: int) -> str:
    """Path of a part relative to the synthetic set, such as `06-shirt/part-00000.parquet`."""
    return f"{class_folder(label, name)}/part-{part:05d}.parquet"


def sidecar_path(path: str) -> str:
    """Path of the sidecar of a part, such as `06-shirt/.part-00000.json`."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/.{name.removesuffix('.parquet')}.json"


def files_of(path: str) -> tuple[str, str]:
    """A part and its sidecar."""
    return path, sidecar_path(path)


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
    empty = [
        name
        for name in rows.column_names
        if rows[name].null_count and (name not in COLUMNS or COLUMNS[name].null is None)
    ]
    if empty:
        raise ValueError(f"{path}: null values in {empty}")
    labels, indices, seeds = (column_values(rows, name) for name in ("label", "index", "seed"))
    if len(set(labels)) > 1:
        raise ValueError(f"{path}: a part holds one class, got labels {sorted(set(labels))}")
    if indices != list(range(indices[0], indices[0] + len(indices))):
        raise ValueError(f"{path}: indices must follow each other, got {indices}")
    if len(set(seeds)) != len(seeds):
        raise ValueError(f"{path}: a seed comes twice")
    metadata = {**rows.schema.metadata, FINGERPRINT: fingerprint.encode()}
    file = out / path
    # From here on the old part no longer counts
    (out / sidecar_path(path)).unlink(missing_ok=True)
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
    write_sidecar(out, record)
    return record


def write_sidecar(out: Path, record: PartRecord) -> None:
    """Writes what makes a part count as finished, once its bytes are there."""
    write_json(out / sidecar_path(record.path), vars(record), indent=None)


def read_sidecar(out: Path, path: str) -> PartRecord | None:
    """The record beside a part; None if it is missing, damaged or another's."""
    try:
        text = (out / sidecar_path(path)).read_text(encoding="utf-8")
        record = part_record(json.loads(text))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if record.path == path else None


def finished_part(out: Path, path: str, fingerprint: str) -> PartRecord | None:
    """The record of a finished part: made by this fingerprint, with the bytes once written.

    Args:
        out: Folder of the synthetic set.
        path: From `part_path`.
        fingerprint: Digest of everything that makes the part.

    Returns:
        None if the part is missing, damaged, or was made by something else: it has to be drawn.
    """
    record = read_sidecar(out, path)
    if record is None or record.fingerprint != fingerprint:
        return None
    try:
        is_whole = (out / path).is_file() and sha256_file(out / path) == record.sha256
    except OSError:  # of the disk or the network
        return None
    return record if is_whole else None


def part_record(value: Mapping[str, Any]) -> PartRecord:
    """The record of what a sidecar or the index says of a part."""
    return PartRecord(
        path=str(value["path"]),
        sha256=str(value["sha256"]),
        num_rows=int(value["num_rows"]),
        label=int(value["label"]),
        first_index=int(value["first_index"]),
        fingerprint=str(value["fingerprint"]),
        seeds=tuple(int(seed) for seed in value["seeds"]),
    )
