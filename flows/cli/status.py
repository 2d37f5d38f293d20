"""The answer to `python -m flows.synthesize --status`; needs no server."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from flows.cli.adapter import drawing_recipe
from flows.cli.stage import Question
from flows.cli.tables import MAX_ROWS, table
from tasks.watch.journal import Run
from tasks.watch.progress import clock
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from tasks.status import Status

MAX_FAILURES = 10
RESUME = "Draw the rest with `dvc repro`, or `python -m flows.synthesize`."


def show_status(params: Mapping[str, Any], workspace: Workspace, *, verify: bool = False) -> None:
    """Prints how far each class is, what failed, and the ETA."""
    from tasks.status import read_status

    recipe = drawing_recipe(params, workspace)
    sections = params["retrain"], params["store"]
    status = read_status(recipe, *sections, workspace, judge=params["judge"], verify=verify)
    classes = sorted(
        (each for each in status.classes if each.wanted),
        key=lambda each: each.done - each.wanted,
    )
    rows = [(each.class_name, each.wanted, each.done, each.failed) for each in classes]
    shown, rest = rows[:MAX_ROWS], rows[MAX_ROWS:]
    if rest:
        shown.append(_sum(f"({len(rest):,} more)", rest))
    if status.unplanned:
        shown.append(("(later rounds)", status.unplanned, 0, 0))
        rows.append(shown[-1])
    header = ("images of class", "wanted", "done", "failed")
    print(table(header, [*shown, _sum("all", rows)]), end="\n\n")

    if status.num_rounds > 1:
        print(f"Round {status.round} of {status.num_rounds}{_next(status)}")
    if status.checks is not None:
        number, more = status.checks
        print(f"Checks of the images: {number} so far, {'another' if more else 'none'} follows.")
    for path, error in list(status.failures.items())[:MAX_FAILURES]:
        print("failed", path, error.partition("\n")[0], sep=": ")
    if len(status.failures) > MAX_FAILURES:
        print(f"and {len(status.failures) - MAX_FAILURES:,} more parts failed")
    if status.other_run is not None:
        print("Another set, of other parameters, data or code:", _run(status.other_run))
    if status.run is not None:
        print(_run(status.run))
    if status.rate is not None and status.done_at is not None:
        left = clock(max(0.0, status.done_at - time.time()))
        print(f"{status.rate:.3g} images/s, ETA {left}, at {_when(status.done_at)}.")
    elif status.run is not None and status.run.is_running is not False:
        print("No ETA before the first part is drawn.")
    if status.complete:
        print("The set is complete.")
    elif status.run is None or status.run.is_running is False:
        print(f"The set is not complete, and nothing draws it. {RESUME}")


def _next(status: "Status") -> str:
    """What comes after the round that is drawn."""
    if status.round == status.num_rounds:
        return "."
    return ": a classifier that learns from it guides the next" + (
        " and says how many images of each class it draws." if status.unplanned else "."
    )


Row = tuple[str, int, int, int]


def _sum(name: str, rows: Sequence[Row]) -> Row:
    wanted, done, failed = (sum(column) for column in list(zip(*rows, strict=True))[1:])
    return name, wanted, done, failed


def _run(run: Run) -> str:
    began = f"The run that began {_when(run.started)} (process {run.pid} on {run.host})"
    if run.ended is not None:
        return f"{began} is not running: it ended {_when(run.ended)}."
    if run.is_running is None:
        return f"{began} has not ended; only {run.host} can tell whether it is still running."
    if run.is_running:
        return f"{began} is running."
    return f"{began} is not running: it was stopped before its end."


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


QUESTIONS = (
    Question(
        "status", "say how far each class is and when it will be done, run nothing", show_status
    ),
    Question(
        "verify", "--status that compares every part's sha256", partial(show_status, verify=True)
    ),
)
