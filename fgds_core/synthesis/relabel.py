"""Keeps finished parts when classes are added or removed beside their own."""

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fgds_core.files import relative_to
from fgds_core.images.table import class_names_of
from fgds_core.synthesis.columns import synthetic_schema
from fgds_core.synthesis.record import (
    PartRecord,
    class_folder,
    files_of,
    finished_part,
    write_synthetic_part,
)
from fgds_core.synthesis.shards import STAGED, read_part, remove_index

FingerprintOf = Callable[[int, Sequence[str]], str]
"""Digest of everything that makes a part, for a label and class names."""


@dataclass(frozen=True)
class Relabelled:
    """A finished part whose images stay, at another place or under other class names.

    Attributes:
        before: Its record as it is.
        label: Its label from now on.
        path: Its path from now on.
    """

    before: PartRecord
    label: int
    path: str


def relabelled_parts(
    out: Path,
    class_names: Sequence[str],
    fingerprint_of: FingerprintOf,
    known: Collection[str] = (),
) -> Iterator[Relabelled]:
    """Finds finished parts that `relabel_parts` keeps; changes nothing.

    Args:
        out: Folder of the synthetic set.
        class_names: Name of each of the K classes now.
        fingerprint_of: Of their parts.
        known: Paths of parts that are as they should be; they are not opened.
    """
    for file in sorted(out.glob("*/part-*.parquet")):
        if relative_to(file, out) in known or not file.is_file():
            continue
        try:
            before = class_names_of(pq.read_schema(file)) or ()
            old_label = int(file.parent.name.partition("-")[0])
            label = list(class_names).index(before[old_label])
        except (OSError, ValueError, IndexError):  # damaged, foreign, or its class is gone
            continue
        if before == tuple(class_names):
            continue
        path = relative_to(file, out)
        old = finished_part(out, path, fingerprint_of(old_label, before))
        if old is not None:
            folder = class_folder(label, class_names[label])
            yield Relabelled(old, label, f"{folder}/{file.name}")


def relabel_parts(
    out: Path,
    class_names: Sequence[str],
    fingerprint_of: FingerprintOf,
    parts: Sequence[Relabelled],
) -> list[PartRecord]:
    """Gives finished parts the label, class names and place of now; their images stay.

    Args:
        out: Folder of the synthetic set.
        class_names: Name of each of the K classes now.
        fingerprint_of: Of their parts.
        parts: From `relabelled_parts`.

    Returns:
        Their records as they are now.
    """
    metadata = synthetic_schema(class_names).metadata
    staged = out / STAGED
    shutil.rmtree(staged, ignore_errors=True)  # of a run that was killed
    records = []
    for part in parts:
        rows = read_part(out, part.before)
        labels = pa.array([part.label] * rows.num_rows, pa.int64())
        rows = rows.set_column(rows.column_names.index("label"), "label", labels)
        rows = rows.replace_schema_metadata(metadata)
        fingerprint = fingerprint_of(part.label, class_names)
        records.append(write_synthetic_part(staged, part.path, rows, fingerprint))
    # Only now, for the new place of one may be the old place of another
    if records:
        remove_index(out)
    for path in (path for record in records for path in files_of(record.path)):
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged / path, out / path)
    for old in {part.before.path for part in parts} - {record.path for record in records}:
        for path in files_of(old):
            (out / path).unlink()
    shutil.rmtree(staged, ignore_errors=True)
    return records
