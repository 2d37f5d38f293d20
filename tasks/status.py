"""How far the synthetic set is: what lies there, what failed, when it will be done.

A part counts as done if the sidecar beside it, or in the store, has the fingerprint that the
parameters ask for now. Rate and ETA come from the parts that the run has drawn so far.
"""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fgds_core.errors import InputError
from fgds_core.generators.config import GeneratorConfig
from fgds_core.synthesis.config import SynthesizeConfig
from fgds_core.synthesis.plan import Part
from fgds_core.synthesis.record import read_sidecar, sidecar_path
from fgds_core.synthesis.shards import read_index
from tasks.identity.drawing import fingerprint, input_digests, made_by, part_fingerprints
from tasks.layout import SYNTHETIC
from tasks.plan import is_drawn, prepared_meta
from tasks.store.config import StoreConfig
from tasks.store.parts import stored
from tasks.synthesize import plan
from tasks.watch.journal import Run, read_run

PARQUET_MAGIC = b"PAR1"
"""Ends every whole Parquet file."""


@dataclass(frozen=True)
class Progress:
    """How far a class is, in images."""

    class_name: str
    wanted: int
    done: int
    failed: int


@dataclass(frozen=True)
class Status:
    """How far the set is.

    Attributes:
        classes: One for each of the K classes.
        complete: Whether its index is written: there is a synthetic set.
        run: The last run; None if none left a journal, or it drew another set.
        other_run: The last run, if it drew another set.
        rate: Images per second of the run; None before it has drawn a part, and once it is gone.
        done_at: When the run will be done, in seconds since 1970; None without a rate.
        failures: Path -> error of the parts that failed and are not done since.
    """

    classes: tuple[Progress, ...]
    complete: bool
    run: Run | None
    other_run: Run | None
    rate: float | None
    done_at: float | None
    failures: dict[str, str]


def read_status(
    generator: GeneratorConfig,
    config: SynthesizeConfig,
    seed: int,
    store: StoreConfig,
    *,
    verify: bool = False,
) -> Status:
    """Compares what the parameters ask for with what is in the workspace; changes nothing.

    Args:
        generator: The generator and its prompts.
        config: How the images are drawn, and how many.
        seed: Seed of the run.
        store: Where parts of other workers are, if not all in this workspace.
        verify: Whether to compare the sha256 of every part, as a run does.

    Raises:
        InputError: The prepared data, the baseline or another input is missing, or the store is
            out of reach.
    """
    prepared_meta()
    planned = plan(config)
    origin = made_by(generator, config, seed, input_digests(generator, config))
    asked = fingerprint(origin)
    last = read_run()
    run = last if last is not None and last.fingerprint == asked else None

    done: Counter[int] = Counter()
    failed: Counter[int] = Counter()
    failures = {}
    drawn, drawn_at = 0, 0.0
    fingerprints = part_fingerprints(origin, planned)
    there = stored(store, planned.parts, fingerprints)
    for part, its_own in zip(planned.parts, fingerprints, strict=True):
        written_at = _written_at(part, its_own)
        if written_at is not None and verify and not is_drawn(part, its_own):
            written_at = None
        if part.path in there:  # since it was drawn; here only since it came down
            written_at = there[part.path]
        if written_at is not None:
            done[part.label] += part.num_images
            if run is not None and written_at > run.started and part.path not in run.found:
                drawn += part.num_images
                drawn_at = max(drawn_at, written_at)
        elif run is not None and part.path in run.failed:
            failed[part.label] += part.num_images
            failures[part.path] = run.failed[part.path]

    rate = done_at = None
    if run is not None and run.is_running is not False and drawn:
        rate = drawn / (drawn_at - run.started)
        left = sum(planned.wanted) - done.total() - failed.total()
        done_at = drawn_at + left / rate
    return Status(
        classes=tuple(
            Progress(name, wanted, done[label], failed[label])
            for label, (name, wanted) in enumerate(
                zip(planned.class_names, planned.wanted, strict=True)
            )
        ),
        complete=done.total() == sum(planned.wanted) and _has_index(asked, planned.wanted),
        run=run,
        other_run=None if last is run else last,
        rate=rate,
        done_at=done_at,
        failures=failures,
    )


def _written_at(part: Part, fingerprint: str) -> float | None:
    """When a part was finished, by its sidecar; None if it is missing, cut short or another's."""
    file = Path(SYNTHETIC, part.path)
    record = read_sidecar(Path(SYNTHETIC), part.path)
    asked = (fingerprint, part.label, part.first_index, part.num_images)
    if record is None or asked != (
        record.fingerprint,
        record.label,
        record.first_index,
        record.num_rows,
    ):
        return None
    try:
        with file.open("rb") as parquet:
            parquet.seek(-len(PARQUET_MAGIC), os.SEEK_END)
            is_whole = parquet.read() == PARQUET_MAGIC
        return Path(SYNTHETIC, sidecar_path(part.path)).stat().st_mtime if is_whole else None
    except OSError:
        return None


def _has_index(fingerprint: str, wanted: tuple[int, ...]) -> bool:
    try:
        index = read_index(Path(SYNTHETIC))
    except InputError:
        return False
    return (index.fingerprint, index.wanted) == (fingerprint, wanted)
