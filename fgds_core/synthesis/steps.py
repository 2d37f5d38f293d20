"""What was noted of each step of guidance, at rest: the criterion, and how steep it was.

A small file for each part, in a folder of its own next to the set's: what a set holds does not
depend on who drew it, and a part that came from a store of other workers, from DVC's cache or from
an earlier version has no notes. Nothing but what people are shown is made of them.

S gradients of an image.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fgds_core.files import replacing
from fgds_core.synthesis.record import FINGERPRINT, PartRecord

STEPS = {"criterion_by_step": "criterion", "gradient_by_step": "gradient norm"}
"""The columns: a list of S numbers an image, null where they were not noted; the norm is that of
the criterion's gradient with respect to the image's pixels in [-1, 1]."""

SCHEMA = pa.schema([("index", pa.int64()), *((name, pa.list_(pa.float32())) for name in STEPS)])


Row = tuple[Sequence[float] | None, Sequence[float] | None]
"""The columns of an image."""


def steps_folder(out: Path) -> Path:
    """Where the notes on a synthetic set lie, next to its folder."""
    return out.with_name(f".{out.name}-guidance")


def steps_path(out: Path, part: str) -> Path:
    """Where the notes of a part lie.

    Args:
        out: Folder of the synthetic set.
        part: Path of the part in it.
    """
    return steps_folder(out) / part


def write_steps(path: Path, first_index: int, rows: Sequence[Row], fingerprint: str) -> None:
    """Writes what was noted of a part.

    Args:
        path: From `steps_path`.
        first_index: Place within its class of the first image.
        rows: Of its images.
        fingerprint: Of everything that decides what the part holds.

    Raises:
        InputError: The disk is full or may not be written.
    """
    indices = list(range(first_index, first_index + len(rows)))
    table = pa.table([indices, *map(list, zip(*rows, strict=True))], schema=SCHEMA)
    table = table.replace_schema_metadata({FINGERPRINT: fingerprint.encode()})
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="none", version="2.6", use_dictionary=False)


def read_steps(out: Path, parts: Iterable[PartRecord]) -> pa.Table:
    """What was noted of the images of a set.

    Args:
        out: Folder of the set.
        parts: Its parts.

    Returns:
        A row for each image of which something was noted: `label`, `index` and the columns of
        `STEPS`. Files that are damaged or of other parts are passed over: they decide nothing.
    """
    found = [SCHEMA.append(pa.field("label", pa.int64())).empty_table()]
    for part in parts:
        try:
            table = pq.read_table(steps_path(out, part.path))
        except (OSError, pa.ArrowException):
            continue
        made_by = (table.schema.metadata or {}).get(FINGERPRINT, b"").decode()
        if made_by == part.fingerprint and table.num_rows == part.num_rows:
            table = table.replace_schema_metadata(None)
            label = pa.array([part.label] * table.num_rows, pa.int64())
            found.append(table.append_column("label", label))
    return pa.concat_tables(found)


def with_steps(rows: pa.Table, out: Path, parts: Iterable[PartRecord]) -> pa.Table:
    """The rows of a set with what was noted of their images; as they are if nothing was.

    Args:
        rows: With `label` and `index`, in any order.
        out: Folder of the set.
        parts: All its parts.
    """
    noted = read_steps(out, parts)
    if not noted.num_rows:
        return rows
    keys = [
        list(zip(*(table[name].to_pylist() for name in ("label", "index")), strict=True))
        for table in (noted, rows)
    ]
    place = {key: row for row, key in enumerate(keys[0])}
    which = pa.array([place.get(key) for key in keys[1]], pa.int64())
    for name in STEPS:
        rows = rows.append_column(name, noted[name].combine_chunks().take(which))
    return rows


def remove_foreign_steps(out: Path, parts: Iterable[PartRecord]) -> None:
    """Removes notes on parts that a set does not have.

    Args:
        out: Folder of the set.
        parts: Its parts.
    """
    kept = {steps_path(out, part.path) for part in parts}
    for path in steps_folder(out).glob("*/*.parquet"):
        if path not in kept:
            path.unlink()
    for folder in sorted(steps_folder(out).glob("**/"), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
