"""Keeps finished parts when classes are added or removed beside their own."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
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


def relabelled_parts(
    out: Path, class_names: Sequence[str], fingerprint_of: FingerprintOf
) -> Iterator[tuple[PartRecord, int, str]]:
    """Finds finished parts that `relabel_parts` keeps; changes nothing.

    Args:
        out: Folder of the synthetic set.
        class_names: Name of each of the K classes now.
        fingerprint_of: Of their parts.

    Yields:
        The record of a part as it is, its label and its path from now on.
    """
    for file in sorted(out.glob("*/part-*.parquet")):
        try:
            before = class_names_of(pq.read_schema(file)) or ()
            old_label = int(file.parent.name.partition("-")[0])
            label = list(class_names).index(before[old_label])
        except (OSError, ValueError, IndexError):  # damaged, foreign, or its class is gone
            continue
        if before == tuple(class_names):
            continue
        old = finished_part(out, relative_to(file, out), fingerprint_of(old_label, before))
        if old is not None:
            yield old, label, f"{class_folder(label, class_names[label])}/{file.name}"


def relabel_parts(
    out: Path, class_names: Sequence[str], fingerprint_of: FingerprintOf
) -> list[PartRecord]:
    """Keeps finished parts when classes are added or removed beside their own.

    Their images stay as they are; label, class names and place become those of now.

    Args:
        out: Folder of the synthetic set.
        class_names: Name of each of the K classes now.
        fingerprint_of: Of their parts.

    Returns:
        The records of the parts that were given another label or other class names.
    """
    metadata = synthetic_schema(class_names).metadata
    staged = out / STAGED
    shutil.rmtree(staged, ignore_errors=True)  # of a run that was killed
    records, sources = [], []
    for old, label, path in relabelled_parts(out, class_names, fingerprint_of):
        rows = read_part(out, old)
        labels = pa.array([label] * rows.num_rows, pa.int64())
        rows = rows.set_column(rows.column_names.index("label"), "label", labels)
        rows = rows.replace_schema_metadata(metadata)
        records.append(
            write_synthetic_part(staged, path, rows, fingerprint_of(label, class_names))
        )
        sources.append(old.path)
    # Only now, for the new place of one may be the old place of another
    if records:
        remove_index(out)
    for path in (path for record in records for path in files_of(record.path)):
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged / path, out / path)
    for source in set(sources) - {record.path for record in records}:
        for path in files_of(source):
            (out / path).unlink()
    shutil.rmtree(staged, ignore_errors=True)
    return records
