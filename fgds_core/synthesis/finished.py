"""Whether a part of the plan is there."""

import os
from pathlib import Path

from fgds_core.synthesis import record
from fgds_core.synthesis.plan import Part
from fgds_core.synthesis.record import PartRecord

PARQUET_MAGIC = b"PAR1"
"""Ends every whole Parquet file."""


def finished_part(part: Part, fingerprint: str, out: Path) -> PartRecord | None:
    """Finds a part finished before, by fingerprint, images and bytes; None if it must be drawn."""
    found = record.finished_part(out, part.path, fingerprint)
    return found if found is not None and _is_of(found, part, fingerprint) else None


def finished_at(part: Part, fingerprint: str, out: Path, *, verify: bool = False) -> float | None:
    """When a part was finished.

    Args:
        part: The part.
        fingerprint: Of everything that decides what it holds.
        out: Folder of the synthetic set.
        verify: Whether to compare its bytes, rather than to believe the record beside it.

    Returns:
        Seconds since 1970; None if it is missing, cut short or another's, and must be drawn.
    """
    found = record.read_sidecar(out, part.path)
    if found is None or not _is_of(found, part, fingerprint):
        return None
    if verify and finished_part(part, fingerprint, out) is None:
        return None
    try:
        with (out / part.path).open("rb") as parquet:
            parquet.seek(-len(PARQUET_MAGIC), os.SEEK_END)
            is_whole = parquet.read() == PARQUET_MAGIC
        return (out / record.sidecar_path(part.path)).stat().st_mtime if is_whole else None
    except OSError:
        return None


def _is_of(found: PartRecord, part: Part, fingerprint: str) -> bool:
    images = (found.label, found.first_index, found.num_rows)
    return (fingerprint, part.label, part.first_index, part.num_images) == (
        found.fingerprint,
        *images,
    )
