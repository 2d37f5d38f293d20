"""What was done: `benchmarks/results/controls-<data>_runs.json`, an entry a piece."""

import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.controls.arms import arms_of
from benchmarks.controls.pieces import Piece, measure, run, source
from benchmarks.controls.place import Place
from benchmarks.experiments import each_in_processes, write_json

log = logging.getLogger(__name__)

Runs = dict[str, dict[str, Any]]


def read_runs(path: Path) -> Runs:
    """The runs of a file; none if it is not there."""
    return json.loads(path.read_text()) if path.is_file() else {}


def is_current(place: Place, entry: Mapping[str, Any]) -> bool:
    """Whether a run is of an arm as it is now: its training, its images and their code."""
    arms = arms_of(place)
    return entry["arm"] in arms and entry.get("made_of") == made_of(place, entry["arm"])


def made_of(place: Place, name: str) -> str:
    """Digest of an arm: how it is trained, and what its images are made by."""
    arm = arms_of(place)[name]
    images = None if arm.images is None else arm.images.made_by(place)
    return place.identity(source(place, arm, 0, None), images, arm.retrain)


def run_missing(place: Place, pieces: Sequence[Piece], path: Path, jobs: int) -> Runs:
    """Makes what is not among the runs yet, or was made of something else; keeps each at once.

    Raises:
        SystemExit: Some failed; the others are kept.
    """
    runs = {name: entry for name, entry in read_runs(path).items() if is_current(place, entry)}
    missing = [piece for piece in pieces if piece.name not in runs]
    log.info("%s: %d pieces, %d are to be done", place.name, len(pieces), len(missing))

    def keep(name: str, found: dict[str, Any]) -> None:
        runs[name] = {**found, "made_of": made_of(place, found["arm"])}
        write_json(path, runs)
        shown = {key: found["columns"][key] for key in ("macro", "few", "worst_tenth")}
        log.info("%s: %s", name, shown)

    by_name = {piece.name: piece for piece in missing}
    each_in_processes(partial(run, place), by_name, keep, jobs)
    return runs


def measure_missing(place: Place, pieces: Sequence[Piece], path: Path, jobs: int) -> Runs:
    """Measures the sets of runs that are there and were not measured; keeps each at once.

    Raises:
        SystemExit: Some failed; the others are kept.
    """
    runs = read_runs(path)
    missing = [
        piece
        for piece in pieces
        if piece.split == "val"
        and (entry := runs.get(piece.name, {})).get("set") is not None
        and "measures" not in entry
    ]
    log.info("%s: %d sets are to be measured", place.name, len(missing))

    def keep(name: str, found: dict[str, Any]) -> None:
        runs[name] |= found
        write_json(path, runs)

    by_name = {piece.name: piece for piece in missing}
    each_in_processes(partial(measure, place), by_name, keep, jobs)
    return runs
