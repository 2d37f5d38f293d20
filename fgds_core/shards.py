"""The synthetic set: one folder a class, parts of a stated size, and its index.

A part is an image table (see `images`) with a sidecar that makes it count as finished; the index
is written last and turns the parts into a set: no index, no data set.
"""

import json
import logging
import os
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fgds_core import __version__
from fgds_core.errors import InputError
from fgds_core.files import FileRecord, read_json, relative_to, sha256_file, write_json
from fgds_core.images import (
    HUGGINGFACE,
    ImageSet,
    class_names_of,
    column_values,
    image_schema,
    read_table,
    table_images,
    write_images,
)

log = logging.getLogger(__name__)

INDEX_NAME = "index.json"

_FINGERPRINT = b"fgds_fingerprint"
_SYNTHESIZE_AGAIN = "run the stage synthesize again, finished parts are kept"

_SYNTHETIC_COLUMNS: dict[str, pa.DataType] = {
    "group": pa.string(),
    "prompt": pa.string(),
    "seed": pa.int64(),
    "index": pa.int64(),
    "attempt": pa.int64(),
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


def synthetic_schema(class_names: Sequence[str]) -> pa.Schema:
    """The schema of a synthetic shard.

    Beside image and label: group; prompt; seed (below 2^63); index in the class; attempt (how
    often it was drawn before, with values that were not finite); conditioning_id (place of the
    conditioning image among those of its class in `train.parquet`, null for text alone);
    embedding_dropout (fraction); noise_level (0 to 999); guidance_scale (1 is off); feedback and
    feedback_scale (0 is off); criterion_first and criterion_last (at the first and last gradient,
    null if none) and criterion_final (of the finished image, null where it was not
    computed); guided_steps, skipped_steps and nonfinite_steps; judge_label and judge_probability
    (null without a judge).
    """
    return image_schema(class_names, _SYNTHETIC_COLUMNS)


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
    labels, indices, seeds = (column_values(rows, name) for name in ("label", "index", "seed"))
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
    staged = out / "relabelled.part"
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
    for path in (path for record in records for path in _files_of(record.path)):
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged / path, out / path)
    for source in set(sources) - {record.path for record in records}:
        for path in _files_of(source):
            (out / path).unlink()
    shutil.rmtree(staged, ignore_errors=True)
    return records


def _files_of(path: str) -> tuple[str, str]:
    """A part and its sidecar."""
    return path, path.removesuffix(".parquet") + ".json"


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
    found = sorted(relative_to(file, out) for file in out.glob("*/part-*"))
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
    value = read_json(path, _SYNTHESIZE_AGAIN)
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
    if made_by != record.fingerprint or set(column_values(table, "label")) != {record.label}:
        raise InputError(f"{path} belongs to another synthetic set; {_SYNTHESIZE_AGAIN}")
    return table.replace_schema_metadata({HUGGINGFACE: table.schema.metadata[HUGGINGFACE]})


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
    foreign = sorted({relative_to(file, folder) for file in folder.rglob("*.parquet")} - known)
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
