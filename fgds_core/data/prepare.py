"""Preparation of the real images: every one is checked, brought to one size and written.

Nothing is replaced before everything is checked, so a failed run leaves earlier prepared data as
they were.
"""

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, combinations, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fgds_core.data.config import DataConfig, PrepareConfig
from fgds_core.data.imbalance import shot_bins
from fgds_core.data.meta import META_NAME, METADATA_NAME, SPLITS, Meta, write_meta
from fgds_core.data.near_duplicates import described, near_duplicates
from fgds_core.data.pictures import Prepared, prepare_pictures
from fgds_core.data.sources import Source, SourceImage, check_splits, open_source
from fgds_core.data.writer import SplitWriter
from fgds_core.errors import InputError
from fgds_core.files import FileRecord, listed, shown, write_text
from fgds_core.images.table import (
    ROW_GROUP_BYTES,
    ROW_GROUP_ROWS,
    column_values,
    image_schema,
    image_table,
    write_image_batches,
)
from fgds_core.processes import Workers, num_cores

log = logging.getLogger(__name__)

SHOWN_CORRUPT = 20
SHOWN_OVERLAPS = 5

_STAGING = "new.part"


_CHUNK_ROWS = 32
_CHUNK_BYTES = 2**24
"""What one process prepares at a time: as many images, or as many bytes of pixels."""

_WORTH_PROCESSES = 2**25
"""Pixels, read and written, from which on more processes are started than this one."""

PictureWorkers = Workers[list[SourceImage], list[Prepared | str]]


@dataclass
class _Findings:
    """What reading the images has shown so far; of a million images it takes 270 MB."""

    digests: bytearray = field(default_factory=bytearray)  # of the usable images, 16 bytes each
    thumbnails: bytearray = field(default_factory=bytearray)  # of the same, if they are wanted
    corrupt: list[str] = field(default_factory=list)  # the first of them
    num_corrupt: int = 0
    num_pixels: int = 0
    counts: dict[str, Counter[int]] = field(default_factory=dict)
    cells: dict[str, Counter[tuple[int, str]]] = field(default_factory=dict)  # class, group

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that occur, sorted."""
        return tuple(sorted({group for cells in self.cells.values() for _, group in cells}))

    def group_counts(self, names: Sequence[str]) -> dict[str, dict[str, dict[str, int]]]:
        """For each split and class name, the images in each group that has some."""
        found: dict[str, dict[str, dict[str, int]]] = {split: {} for split in self.cells}
        for split, cells in self.cells.items():
            for (label, group), number in sorted(cells.items()):
                if number:
                    found[split].setdefault(names[label], {})[group] = number
        return found


@dataclass(frozen=True)
class _Repetitions:
    """Images that occur more than once.

    Attributes:
        firsts: The first row with the same content as each, counted over all splits, [N].
        starts: Where each split begins among the rows, and where the last one ends.
    """

    firsts: NDArray[np.int64]
    starts: dict[str, tuple[int, int]]

    @property
    def within(self) -> dict[str, int]:
        """For each split, how many images repeat an earlier one of their own split."""
        return {s: end - begin - len(self._of(s)) for s, (begin, end) in self.starts.items()}

    @property
    def across(self) -> list[tuple[int, int]]:
        """First and repeated row of the images in two splits."""
        begins = np.array([begin for begin, _ in self.starts.values()])
        rows = np.arange(len(self.firsts))
        split_of = np.searchsorted(begins, rows, side="right")
        elsewhere = np.flatnonzero(split_of[self.firsts] != split_of)
        return [(int(self.firsts[row]), int(row)) for row in elsewhere]

    @property
    def overlaps(self) -> dict[str, int]:
        """Different images that two splits share, for each pair that shares some."""
        pairs = combinations(self.starts, 2)
        shared = {
            f"{a}-{b}": len(np.intersect1d(self._of(a), self._of(b), assume_unique=True))
            for a, b in pairs
        }
        return {pair: number for pair, number in shared.items() if number}

    @property
    def leaked(self) -> NDArray[np.bool_]:
        """Which training images occur in validation or test."""
        begin, end = self.starts["train"]
        later = np.union1d(self._of("val"), self._of("test"))
        return np.isin(self.firsts[begin:end], later)

    def _of(self, split: str) -> NDArray[np.int64]:
        begin, end = self.starts[split]
        return np.unique(self.firsts[begin:end])


def prepare(
    data: DataConfig,
    config: PrepareConfig,
    out: Path,
    *,
    source: Source | None = None,
    workers: int | None = None,
    advance: Callable[[int], None] = lambda num_images: None,
) -> Meta:
    """Checks all real images and writes `{train,val,test}.parquet` and `meta.json`.

    Where the source has drawn splits that others may want, `metadata.csv` says them.

    Bins come from the counts of the training split. Images that repeat an earlier one of their own
    split are kept, and counted.

    Args:
        data: Where the raw images are.
        config: Size, interpolation, crop and encoding.
        out: Folder of the prepared data; replaced only if everything is right.
        source: The raw images, where they have been opened before.
        workers: Processes that decode and encode; None is one for each core, with 0 this one does
            it. It changes no byte of what is written, and of few images this one does it anyway.
        advance: Called with the number of images that were done since the last call.

    Returns:
        What `meta.json` says.

    Raises:
        InputError: Corrupt images (all are looked for, the first 20 named), a split without
            images, an image that occurs in two splits unless `overlaps` or a published set bears
            it, a full disk, a process that was killed, or anything `open_source` refuses.
    """
    source = source or open_source(data, max_image_bytes=config.max_image_bytes)
    if source.left_out:
        log.info("%s", source.left_out)
    for note in source.notes:
        log.info("%s", note)
    existed = out.is_dir()
    staging = out / _STAGING
    shutil.rmtree(staging, ignore_errors=True)  # left by a killed run
    try:
        number = num_cores() if workers is None else workers
        with Workers(partial(prepare_pictures, config=config), number) as processes:
            meta = _write_splits(source, config, staging, processes, advance)
        # Without meta.json there are no prepared data: none until all three splits are in place.
        (out / META_NAME).unlink(missing_ok=True)
        for split in SPLITS:
            (staging / f"{split}.parquet").replace(out / f"{split}.parquet")
        (out / METADATA_NAME).unlink(missing_ok=True)
        if source.metadata:
            write_text(out / METADATA_NAME, source.metadata)
        write_meta(out, meta)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if not existed and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
    return meta


def _write_splits(
    source: Source,
    config: PrepareConfig,
    staging: Path,
    processes: PictureWorkers,
    advance: Callable[[int], None],
) -> Meta:
    findings = _Findings()
    extra = {"group": pa.string()} if source.has_groups else {}
    schema = image_schema(source.class_names, extra)
    if sum(source.num_images.values()) * config.image_size**2 > _WORTH_PROCESSES:
        processes.start()
    written = {}
    with SplitWriter(staging, schema) as writer:
        for split in SPLITS:
            findings.counts[split], findings.cells[split] = Counter(), Counter()
            chunks = _chunks(source.rows(split), config)
            usable = _usable(split, processes.map(chunks), findings, processes, advance)
            written[split] = writer.write(split, _tables(usable, source.class_names, schema))
    records = {split: record.result() for split, record in written.items()}
    sha256 = {split: record.sha256 for split, record in records.items()}
    num_rows = {split: record.num_rows for split, record in records.items()}
    _refuse_corrupt(findings)
    repetitions = _repetitions(findings.digests, num_rows)
    overlaps = repetitions.overlaps
    policy = config.overlaps or ("report" if source.published else "refuse")
    if policy == "refuse":
        _refuse_overlaps(repetitions, staging, num_rows)
    near, alike = _near(findings, repetitions, config, staging, num_rows)
    leaked = (
        repetitions.leaked if policy == "drop" else np.zeros(num_rows["train"], dtype=np.bool_)
    )
    if dropped := int(leaked.sum()):
        overlaps |= {"dropped": dropped}
    if alike is not None and (dropped := int((alike & ~leaked).sum())):
        near |= {"dropped": dropped}
        leaked |= alike
    if leaked.any():
        record = _drop(leaked, findings, staging / "train.parquet", schema)
        sha256["train"], num_rows["train"] = record.sha256, record.num_rows
        repetitions = _repetitions(findings.digests, num_rows)
    _refuse_gaps(findings, source.class_names)
    for split, number in repetitions.within.items():
        if number:
            log.warning("%d images of the %s split repeat an earlier one", number, split)
    classes = range(len(source.class_names))
    counts = {split: tuple(findings.counts[split][k] for k in classes) for split in SPLITS}
    bins = dict(zip(source.class_names, shot_bins(counts["train"]), strict=True))
    return Meta(
        class_names=source.class_names,
        image_size=config.image_size,
        counts=counts,
        bins=bins,
        groups=findings.groups if source.has_groups else None,
        duplicates=repetitions.within,
        content_sha256=sha256,
        encoding=config.encoding,
        overlaps=overlaps or None,
        group_counts=findings.group_counts(source.class_names) if source.has_groups else None,
        near_duplicates=near or None,
    )


def _chunks(rows: Iterator[SourceImage], config: PrepareConfig) -> Iterator[list[SourceImage]]:
    number = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // (3 * config.image_size**2)))
    while chunk := list(islice(rows, number)):
        yield chunk


def _usable(
    split: str,
    done: Iterator[tuple[list[SourceImage], list[Prepared | str]]],
    findings: _Findings,
    processes: PictureWorkers,
    advance: Callable[[int], None],
) -> Iterator[tuple[SourceImage, bytes]]:
    """The images that are prepared, noting on the way what they and the others show."""
    for rows, results in done:
        for row, result in zip(rows, results, strict=True):
            findings.counts[split][row.label] += 1
            if row.group is not None:
                findings.cells[split][row.label, row.group] += 1
            if isinstance(result, str):
                findings.num_corrupt += 1
                if findings.num_corrupt <= SHOWN_CORRUPT:
                    findings.corrupt.append(f"{split}: {shown(row.path)}: {result}")
                continue
            findings.num_pixels += result.num_pixels
            findings.digests += result.digest
            findings.thumbnails += result.thumbnail
            yield row, result.file
        if findings.num_pixels > _WORTH_PROCESSES:
            processes.start()
        advance(len(rows))


def _tables(
    usable: Iterator[tuple[SourceImage, bytes]], class_names: tuple[str, ...], schema: pa.Schema
) -> Iterator[pa.Table]:
    """Tables of one row group each."""
    rows: list[SourceImage] = []
    files: list[bytes] = []

    def table() -> pa.Table:
        extra = {"group": [row.group for row in rows]} if "group" in schema.names else {}
        labels, paths = [row.label for row in rows], [row.path for row in rows]
        return image_table(files, labels, class_names, extra, schema=schema, paths=paths)

    num_bytes = 0
    for row, file in usable:
        if rows and num_bytes + len(file) > ROW_GROUP_BYTES:
            yield table()
            rows, files, num_bytes = [], [], 0
        rows.append(row)
        files.append(file)
        num_bytes += len(file)
        if len(rows) == ROW_GROUP_ROWS:
            yield table()
            rows, files, num_bytes = [], [], 0
    if rows:
        yield table()


def _repetitions(digests: bytearray, num_rows: dict[str, int]) -> _Repetitions:
    """Finds equal digests, 16 bytes each, of the rows of all splits one after the other."""
    halves = np.frombuffer(digests, dtype=np.uint64).reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: the first of equal ones stays first
    same = np.all(halves[order[1:]] == halves[order[:-1]], axis=1)
    begins = np.concatenate([[True], ~same])[: len(order)]
    firsts = np.empty(len(order), dtype=np.int64)
    firsts[order] = order[begins][np.cumsum(begins) - 1]
    ends = list(accumulate(num_rows.values()))
    starts = zip([0, *ends], ends, strict=False)
    return _Repetitions(firsts, dict(zip(num_rows, starts, strict=True)))


def _near(
    findings: _Findings,
    repetitions: _Repetitions,
    config: PrepareConfig,
    staging: Path,
    num_rows: dict[str, int],
) -> tuple[dict[str, Any], NDArray[np.bool_] | None]:
    """What is told of images that are nearly the same in two splits, and which to leave out."""
    if config.near_duplicates == "off":
        return {}, None
    found = near_duplicates(
        findings.thumbnails, repetitions.firsts, repetitions.starts, threads=num_cores()
    )
    if found is None or not found.counts:
        return {}, None
    pairs = [[_named(row, staging, num_rows) for row in pair] for pair in found.pairs]
    return described(found, pairs), found.leaked if config.near_duplicates == "drop" else None


def _drop(
    leaked: NDArray[np.bool_], findings: _Findings, table: Path, schema: pa.Schema
) -> FileRecord:
    """Leaves training images out; the findings forget them."""
    digests = np.frombuffer(bytes(findings.digests), dtype=np.uint8).reshape(-1, 16)
    kept = np.concatenate([~leaked, np.ones(len(digests) - len(leaked), dtype=bool)])
    findings.digests = bytearray(digests[kept].tobytes())
    whole = table.with_name("whole.parquet")
    table.replace(whole)
    with pq.ParquetFile(whole) as file:

        def tables() -> Iterator[pa.Table]:
            row = 0
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group)
                out = leaked[row : row + rows.num_rows]
                row += rows.num_rows
                gone = rows.filter(pa.array(out))
                labels = column_values(gone, "label")
                findings.counts["train"].subtract(labels)
                if "group" in gone.column_names:
                    groups = column_values(gone, "group")
                    findings.cells["train"].subtract(zip(labels, groups, strict=True))
                if not out.all():
                    yield rows.filter(pa.array(~out)).cast(schema)

        record = write_image_batches(table, schema, tables())
    whole.unlink()
    return record


def _refuse_overlaps(repetitions: _Repetitions, staging: Path, num_rows: dict[str, int]) -> None:
    """Stops on images that occur in two splits."""
    if across := repetitions.across:
        lines = [
            " = ".join(_named(row, staging, num_rows) for row in pair)
            for pair in across[:SHOWN_OVERLAPS]
        ]
        raise InputError(
            f"{len(across)} images occur in two splits, so that results would be too "
            "good; remove each from one of them, or choose prepare.overlaps:"
            + _listed(lines, len(across))
        )


def _named(row: int, staging: Path, num_rows: dict[str, int]) -> str:
    """Split and path of an image, by its row counted over all splits."""
    for split, number in num_rows.items():
        if row < number:
            return f"{split}: {shown(_path_of(row, staging / f'{split}.parquet'))}"
        row -= number
    raise AssertionError("more rows than were written")


def _path_of(row: int, table: Path) -> str:
    with pq.ParquetFile(table) as file:
        group = 0
        while row >= (number := file.metadata.row_group(group).num_rows):
            row -= number
            group += 1
        images = file.read_row_group(group, columns=["image.path"])["image"]
    return str(images[row].as_py()["path"])


def _refuse_corrupt(findings: _Findings) -> None:
    """Stops on images that cannot be used."""
    if findings.corrupt:
        raise InputError(
            f"{findings.num_corrupt} images cannot be used; repair, convert or remove them:"
            + _listed(findings.corrupt, findings.num_corrupt)
        )


def _refuse_gaps(findings: _Findings, class_names: tuple[str, ...]) -> None:
    """Stops on empty splits and classes without images; warns of gaps in single splits."""
    missing = {
        split: [name for k, name in enumerate(class_names) if not findings.counts[split][k]]
        for split in SPLITS
    }
    absent = set(class_names).intersection(*missing.values())
    if absent:
        raise InputError(
            f"classes without any image: {listed(sorted(absent))}; add images or remove the "
            "classes"
        )
    check_splits({split: findings.counts[split].total() for split in SPLITS})
    for split in SPLITS:
        if missing[split]:
            log.warning("no %s images of the classes %s", split, listed(missing[split]))


def summary(meta: Meta) -> str:
    """What was prepared, in two lines for a person, and more where there is more to know."""
    train, val, test = (sum(meta.counts[split]) for split in SPLITS)
    named = zip(meta.class_names, meta.counts["train"], strict=True)
    count, smallest = min((count, name) for name, count in named)
    bins = Counter(meta.bins.values())
    sizes = ", ".join(f"{bins[name]} {name}" for name in ("many", "medium", "few") if bins[name])
    groups = f" in {len(meta.groups)} groups" if meta.groups is not None else ""
    return (
        f"prepared {train:,} training, {val:,} validation, {test:,} test images{groups} of "
        f"{meta.image_size} x {meta.image_size} pixels\n"
        f"{len(meta.class_names)} classes ({sizes}); smallest: {shown(smallest)} with {count} "
        "training images" + _untrained(meta) + _shared(meta.overlaps or {})
    ) + _alike(meta.near_duplicates or {})


def _untrained(meta: Meta) -> str:
    """Says which classes and how many groups have no training images; nothing if all do."""
    names = [name for name, n in zip(meta.class_names, meta.counts["train"], strict=True) if not n]
    said = ""
    if names:
        said = (
            f"\nno training images: {listed(names)}; such a class is drawn from text alone "
            "(synthesize.conditioning: text)"
        )
    counted = meta.cells if meta.group_counts is not None else None
    cells = [number for of_class in counted or () for number in of_class.values()]
    if empty := cells.count(0):
        said += f"\n{empty:,} of {len(cells):,} groups (class x group) have no training images"
    return said


def _shared(overlaps: dict[str, int]) -> str:
    pairs = [f"{number:,} {pair}" for pair, number in overlaps.items() if pair != "dropped"]
    if not pairs:
        return ""
    what = ""
    if dropped := overlaps.get("dropped"):
        what = f"; {dropped:,} copies were left out of training"
    elif any(pair.startswith("train-") for pair in overlaps):
        what = "; prepare.overlaps: drop leaves those of training out"
    return f"\nimages in two splits: {', '.join(pairs)}{what}"


def _alike(near: dict[str, Any]) -> str:
    if not near:
        return ""
    counts = [f"{number:,} {pair}" for pair, number in near["counts"].items()]
    what = ""
    if dropped := near.get("dropped"):
        what = f"; {dropped:,} of them were left out of training"
    elif any(pair.startswith("train-") for pair in near["counts"]):
        what = "; prepare.near_duplicates: drop leaves those of training out"
    pairs = _listed([" ~ ".join(pair) for pair in near["pairs"]], sum(near["counts"].values()))
    return (
        f"\nimages nearly the same in two splits: {', '.join(counts)} (thumbnails correlate above "
        f"{1 - near['threshold']:.4f}){what}{pairs}"
    )


def _listed(lines: Sequence[str], number: int) -> str:
    more = [f"... and {number - len(lines)} more"] if number > len(lines) else []
    return "".join(f"\n  {line}" for line in [*lines, *more])
