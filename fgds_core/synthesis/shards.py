"""The synthetic set: one folder a class, parts of a stated size, and its index.

A part is an image table (see `images`) with a sidecar that makes it count as finished; the index
is written last and turns the parts into a set: no index, no data set. Sidecars and index have
names that readers of Parquet folders pass over (they begin with a dot or an underscore), so that
`datasets.load_dataset` and `pandas.read_parquet` read the folder itself.
"""

import logging
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
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
    read_table,
)
from fgds_core.synthesis.columns import synthetic_schema
from fgds_core.synthesis.excluded import EXCLUDED_NAME, LeftOut, kept_rows, read_excluded
from fgds_core.synthesis.record import (
    FINGERPRINT,
    PartRecord,
    class_folder,
    files_of,
    part_record,
    read_sidecar,
)

log = logging.getLogger(__name__)

INDEX_NAME = "_index.json"

_BEFORE = "index.json"
"""What earlier versions called the index."""


UNGUIDED_NAME = "_unguided.parquet"
"""Where twins of some images lie that were drawn without feedback; no part of the set."""

STAGED = "relabelled.part"
"""Where parts wait that get another place."""

_SYNTHESIZE_AGAIN = "run the stage synthesize again, finished parts are kept"


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
        excluded: The table of images that are left out of training; None if there are none.
    """

    core_version: str
    fingerprint: str
    made_by: dict[str, Any]
    class_names: tuple[str, ...]
    wanted: tuple[int, ...]
    parts: tuple[PartRecord, ...]
    excluded: FileRecord | None = None

    @property
    def num_kept(self) -> int:
        """Images that are not left out."""
        return sum(self.wanted) - (self.excluded.num_rows if self.excluded else 0)

    @property
    def resampled(self) -> tuple[str, ...]:
        """The classes that real images fill in place of drawn ones, in their order."""
        filled = self.made_by.get("resampled", {})
        return tuple(name for name in self.class_names if name in filled)


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
            if file in (out / EXCLUDED_NAME, out / UNGUIDED_NAME):
                continue
            if relative_to(file, out) not in planned and not _is_drawn(file, out):
                unknown.append(relative_to(file, out))
    nested = (relative_to(file, out) for file in out.glob("*/*/**/*.parquet"))
    unknown += [name for name in nested if _top(name) != STAGED]
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
    return bool(named) and FINGERPRINT in (schema.metadata or {})


_PART = re.compile(r"part-\d+\.parquet")
_LEFT_BEHIND = re.compile(r"part-\d+\.(json|(parquet|json)\.part)|\.part-\d+\.json(\.part)?")
"""Sidecars, also those of earlier versions, and files of a run that was killed."""


def remove_foreign_parts(out: Path, records: Iterable[PartRecord]) -> list[str]:
    """Removes parts and sidecars of earlier runs, which the records do not name.

    Only files in class folders that a run has written are touched, and no link is followed.

    Returns:
        The removed paths, relative to `out`.
    """
    kept = {path for record in records for path in files_of(record.path)}
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


def in_order(records: Iterable[PartRecord]) -> list[PartRecord]:
    """Parts as a set has them: by class and index."""
    return sorted(records, key=lambda record: (record.label, record.first_index))


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
    excluded: FileRecord | None = None,
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
        excluded: The table of images that are left out, see `excluded`; None without any.

    Returns:
        The record of the index; its number of rows is the number of synthetic images.

    Raises:
        InputError: A class is short of images, or nothing was wanted at all.
        ValueError: Parts overlap, leave a gap or share a seed.
    """
    if len(wanted) != len(class_names):
        raise ValueError(f"wanted must have {len(class_names)} entries, got {len(wanted)}")
    parts = in_order(records)
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
            **({} if excluded is None else {"excluded": vars(excluded)}),
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
            parts=tuple(part_record(part) for part in value["parts"]),
            excluded=_file_record(value["excluded"]) if "excluded" in value else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error!r}); {_SYNTHESIZE_AGAIN}") from error


def _file_record(value: Mapping[str, Any]) -> FileRecord:
    return FileRecord(str(value["path"]), str(value["sha256"]), int(value["num_rows"]))


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
    made_by = (table.schema.metadata or {}).get(FINGERPRINT, b"").decode()
    if made_by != record.fingerprint or set(column_values(table, "label")) != {record.label}:
        raise InputError(f"{path} belongs to another synthetic set; {_SYNTHESIZE_AGAIN}")
    return table.replace_schema_metadata({HUGGINGFACE: table.schema.metadata[HUGGINGFACE]})


def read_synthetic(folder: Path, *, whole: bool = False) -> tuple[ImageDataset, pa.Table]:
    """Opens a synthetic set and verifies the bytes of all its parts against its index.

    Args:
        folder: The synthetic set.
        whole: Whether the images are among them that are left out of training.

    Returns:
        The images, and the table with the columns of `synthetic_schema` but the images, both in
        order of class and index.

    Raises:
        InputError: The index is missing or damaged; a part is missing, truncated, changed or
            foreign.
    """
    index = read_index(folder)
    known = {part.path for part in index.parts} | {EXCLUDED_NAME, UNGUIDED_NAME}
    there = {relative_to(file, folder) for file in folder.rglob("*.parquet")}
    foreign = sorted(there - known)
    if foreign:
        raise InputError(
            f"{folder} holds files that {INDEX_NAME} does not name: {', '.join(foreign[:5])}"
            f"{' ...' if len(foreign) > 5 else ''}; remove them or {_SYNTHESIZE_AGAIN}"
        )
    images, rows = read_parts(folder, index.class_names, index.parts)
    if index.excluded is None or whole:
        return images, rows
    kept = kept_rows(images.labels.numpy(), rows["index"].to_numpy(), left_out_of(folder, index))
    return images.select(np.flatnonzero(kept).tolist()), rows.filter(pa.array(kept))


def left_out_of(folder: Path, index: SyntheticIndex) -> tuple[LeftOut, ...]:
    """The images of a set that are left out, as its index knows them.

    Raises:
        InputError: Their table is missing, damaged or another's.
    """
    if index.excluded is None:
        return ()
    path = folder / index.excluded.path
    if not path.is_file() or sha256_file(path) != index.excluded.sha256:
        raise InputError(
            f"{path} is missing or has changed since it was written; {_SYNTHESIZE_AGAIN}"
        )
    return read_excluded(folder)


def read_parts(
    folder: Path, class_names: Sequence[str], parts: Sequence[PartRecord]
) -> tuple[ImageDataset, pa.Table]:
    """Opens some parts of a synthetic set, of which there need be no index yet.

    Args:
        folder: The synthetic set.
        class_names: Name of each class.
        parts: Records of the parts, at least one.

    Returns:
        See `read_synthetic`; in the order of the parts.

    Raises:
        InputError: A part is missing, truncated, changed or foreign.
    """
    schema = synthetic_schema(class_names)
    schema = schema.remove(schema.get_field_index("image"))
    tables: list[pa.Table] = []
    for part in parts:
        table = read_part(folder, part, images=False)
        if not table.schema.equals(schema, check_metadata=True):
            raise InputError(
                f"{folder / part.path} has other columns or classes than the synthetic set"
            )
        tables.append(table)
    whole = pa.concat_tables(tables)
    return images_of([folder / part.path for part in parts], whole), whole
