"""The synthetic set: one folder a class, parts of a stated size, and its index.

A part is an image table (see `images`) with a sidecar that makes it count as finished; the index
is written last and turns the parts into a set: no index, no data set. Sidecars and index have
names that readers of Parquet folders pass over (they begin with a dot or an underscore), so that
`datasets.load_dataset` and `pandas.read_parquet` read the folder itself.
"""

import json
import logging
import os
import re
import shutil
import tempfile
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
from fgds_core.images.dataset import ImageDataset, images_of
from fgds_core.images.table import (
    HUGGINGFACE,
    class_names_of,
    column_values,
    image_schema,
    read_table,
    write_images,
)

log = logging.getLogger(__name__)

INDEX_NAME = "_index.json"

_BEFORE = "index.json"
"""What earlier versions called the index."""

_STAGED = "relabelled.part"
"""Where parts wait that get another place."""

_FINGERPRINT = b"fgds_fingerprint"
_SYNTHESIZE_AGAIN = "run the stage synthesize again, finished parts are kept"


@dataclass(frozen=True)
class Column:
    """What a column of the synthetic set holds.

    Attributes:
        type: Of its values at rest.
        about: What it says, with unit, range and off-value, for a reader of the set.
        null: When there is no value; None if there always is one.
    """

    type: pa.DataType
    about: str
    null: str | None = None


COLUMNS: dict[str, Column] = {
    "group": Column(pa.string(), "group of the conditioning image", "data without groups"),
    "prompt": Column(pa.string(), "text the generator was told; empty for the image alone"),
    "seed": Column(pa.int64(), "what the image follows from, below 2^63"),
    "index": Column(pa.int64(), "place of the image within its class, from 0"),
    "attempt": Column(pa.int64(), "how often it was drawn before, with values not finite"),
    "conditioning_id": Column(
        pa.int64(),
        "place of the conditioning image among those of its class in `train.parquet`",
        "drawn from text alone",
    ),
    "embedding_dropout": Column(
        pa.float64(), "share of the image embedding's coordinates set to zero; 0 is off"
    ),
    "noise_level": Column(pa.int64(), "noise on the image embedding, 0 to 999; 0 is least"),
    "guidance_scale": Column(pa.float64(), "weight of classifier-free guidance; 1 is off"),
    "feedback": Column(pa.string(), "criterion that guidance climbed; none is off"),
    "feedback_scale": Column(pa.float64(), "strength of the feedback; 0 is off"),
    "criterion_first": Column(
        pa.float64(), "criterion at the first gradient, in nats", "not guided"
    ),
    "criterion_last": Column(
        pa.float64(), "criterion at the last gradient, in nats", "not guided"
    ),
    "criterion_final": Column(
        pa.float64(), "criterion of the finished image, in nats", "not guided"
    ),
    "guided_steps": Column(pa.int64(), "steps that feedback pushed"),
    "skipped_steps": Column(pa.int64(), "steps it left alone, where the criterion was reached"),
    "nonfinite_steps": Column(pa.int64(), "steps without a push, the gradient was not finite"),
}
"""The columns beside image and label, in their order: the schema and the card are made of them."""


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
    """What `_index.json` says about a synthetic set.

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
    """The schema of a synthetic shard: image, label and `COLUMNS`, which explain themselves."""
    return image_schema(class_names, {name: column.type for name, column in COLUMNS.items()})


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
    metadata = {**rows.schema.metadata, _FINGERPRINT: fingerprint.encode()}
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
        record = _part_record(json.loads(text))
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
    staged = out / _STAGED
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
    return path, sidecar_path(path)


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


def check_folder(
    out: Path, planned: Iterable[str], is_cached: Callable[[Path], bool] = lambda link: False
) -> None:
    """Refuses a place where the set cannot be drawn, or where others would lose files.

    Args:
        out: Folder of the synthetic set; it need not exist.
        planned: Paths of the parts that the set will have.
        is_cached: Whether a linked file is one that DVC keeps elsewhere; replacing the link leaves
            that as it is.

    Raises:
        InputError: The folder or one in it is a link, no folder, or may not be read or written; a
            part is a link, no file, or may not be read; or there are Parquet files that no run
            has drawn.
    """
    try:
        unknown = _check_places(out, set(planned), is_cached)
    except OSError as error:
        raise InputError(_cannot(Path(error.filename or out), error)) from error
    if unknown:
        raise InputError(
            f"{out} holds Parquet files that no run has drawn, and whoever reads the folder would"
            f" take them for synthetic images: {', '.join(unknown[:5])}"
            f"{f' and {len(unknown) - 5} more' if len(unknown) > 5 else ''}; move them elsewhere"
        )


def _check_places(
    out: Path, planned: set[str], is_cached: Callable[[Path], bool]
) -> Sequence[str]:
    """Refuses places as `check_folder` says; returns the Parquet files that no run has drawn."""
    _refuse_link(out)
    if not out.exists():
        return []
    folders = [out, *sorted({out / name for name in _folders(out) | {_top(p) for p in planned}})]
    for folder in folders:
        _refuse_link(folder)
        if folder.exists():
            _check_writable(folder)
    unknown = []
    for folder in folders:
        for file in sorted(folder.glob("*.parquet")):
            if file.is_symlink() and not is_cached(file):
                _refuse_link(file)
            if not file.is_file():
                raise InputError(
                    f"{file} is no file, but has the name of one; move it out of {out}"
                )
            _check_readable(file)
            if relative_to(file, out) not in planned and not _is_drawn(file, out):
                unknown.append(relative_to(file, out))
    nested = (relative_to(file, out) for file in out.glob("*/*/**/*.parquet"))
    unknown += [name for name in nested if _top(name) != _STAGED]
    return unknown


def _folders(out: Path) -> set[str]:
    _check_writable(out)
    return {entry.name for entry in os.scandir(out) if entry.is_dir() or entry.is_symlink()}


def _top(path: str) -> str:
    return path.partition("/")[0]


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise InputError(
            f"{path} is a symbolic link to {os.readlink(path)}; drawing replaces and removes files"
            " there, so it goes through no link: remove the link, or move what it points to here"
        )


def _check_writable(folder: Path) -> None:
    """Refuses what is no folder, or one that cannot be listed and written."""
    if not folder.is_dir():
        raise InputError(f"{folder} is a file, a folder belongs there; move it elsewhere")
    try:
        os.listdir(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(_cannot(folder, error)) from error


def _check_readable(file: Path) -> None:
    try:
        file.open("rb").close()
    except OSError as error:
        raise InputError(_cannot(file, error)) from error


def _cannot(path: Path, error: OSError) -> str:
    return (
        f"{path} cannot be read and written ({error.strerror}); correct its permissions or the"
        " disk, and run again: finished parts are kept"
    )


def _is_drawn(file: Path, out: Path) -> bool:
    """Whether a run has written this file at this place, for this or an earlier set."""
    record = read_sidecar(out, relative_to(file, out))
    if record is not None and re.fullmatch(r"\d{2,}(-.*)?", file.parent.name):
        return True
    try:
        schema = pq.read_schema(file)
        label = int(file.parent.name.partition("-")[0])
        name = (class_names_of(schema) or ())[label]
    except (OSError, ValueError, IndexError):
        return False
    named = class_folder(label, name) == file.parent.name and _PART.fullmatch(file.name)
    return bool(named) and _FINGERPRINT in (schema.metadata or {})


_PART = re.compile(r"part-\d+\.parquet")
_LEFT_BEHIND = re.compile(r"part-\d+\.(json|(parquet|json)\.part)|\.part-\d+\.json(\.part)?")
"""Sidecars, also those of earlier versions, and files of a run that was killed."""


def remove_foreign_parts(out: Path, records: Iterable[PartRecord]) -> list[str]:
    """Removes parts and sidecars of earlier runs, which the records do not name.

    Only files in class folders that a run has written are touched, and no link is followed.

    Returns:
        The removed paths, relative to `out`.
    """
    kept = {path for record in records for path in _files_of(record.path)}
    removed = []
    for folder in sorted(out.glob("[0-9][0-9]*")):
        if folder.is_symlink() or not folder.is_dir():
            continue
        names = {relative_to(file, out): file for file in sorted(folder.iterdir())}
        stale = [
            name
            for name, file in names.items()
            if name not in kept
            and not file.is_dir()
            and (
                _LEFT_BEHIND.fullmatch(file.name)
                or (_PART.fullmatch(file.name) and _is_drawn(file, out))
            )
        ]
        for name in stale:
            names[name].unlink()
            log.info("removed %s: no part of the new synthetic set", names[name])
        removed += stale
        if stale and not any(folder.iterdir()):
            folder.rmdir()
    return removed


def remove_index(out: Path) -> None:
    """Withdraws the index: from here until `write_index` there is no synthetic set, only parts."""
    for name in (INDEX_NAME, _BEFORE):
        (out / name).unlink(missing_ok=True)


def write_index(
    out: Path,
    records: Sequence[PartRecord],
    *,
    class_names: Sequence[str],
    wanted: Sequence[int],
    fingerprint: str,
    made_by: Mapping[str, Any],
) -> FileRecord:
    """Writes `_index.json`, last: it turns the parts into a synthetic set. Reads no Parquet file.

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
    (out / _BEFORE).unlink(missing_ok=True)
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
    """Reads `_index.json` of a synthetic set.

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


def read_part(folder: Path, record: PartRecord, *, images: bool = True) -> pa.Table:
    """Reads one part of a synthetic set after comparing it with its record.

    Args:
        folder: The synthetic set.
        record: Of the part.
        images: Whether the encoded images are read too; False leaves their column out.

    Raises:
        InputError: The part is missing, has other bytes than were recorded, or was made by
            something else.
    """
    path = folder / record.path
    if not path.is_file():
        raise InputError(f"{path} is missing; {_SYNTHESIZE_AGAIN}")
    if sha256_file(path) != record.sha256:
        raise InputError(f"{path} has changed since it was written; {_SYNTHESIZE_AGAIN}")
    table = read_table(path, images=images)
    made_by = (table.schema.metadata or {}).get(_FINGERPRINT, b"").decode()
    if made_by != record.fingerprint or set(column_values(table, "label")) != {record.label}:
        raise InputError(f"{path} belongs to another synthetic set; {_SYNTHESIZE_AGAIN}")
    return table.replace_schema_metadata({HUGGINGFACE: table.schema.metadata[HUGGINGFACE]})


def read_synthetic(folder: Path) -> tuple[ImageDataset, pa.Table]:
    """Opens a synthetic set and verifies the bytes of all its parts against its index.

    Returns:
        The images, and the table with the columns of `synthetic_schema` but the images, both in
        order of class and index.

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
    schema = schema.remove(schema.get_field_index("image"))
    tables: list[pa.Table] = []
    for part in index.parts:
        table = read_part(folder, part, images=False)
        if not table.schema.equals(schema, check_metadata=True):
            raise InputError(
                f"{folder / part.path} has other columns or classes than {INDEX_NAME}"
            )
        tables.append(table)
    whole = pa.concat_tables(tables)
    return images_of([folder / part.path for part in index.parts], whole), whole
