"""Says what the synthetic set of a finished run is worth in real images, and what more would be.

    python -m flows.worth --plan            # what it trains, and how long that takes
    python -m flows.worth                   # trains, and prints the table
    python -m flows.worth --max-minutes 30  # refuses to start if it takes longer

Trains by the final recipe on 1/4, 1/2 and all of the rare classes' real images, and with 1/4, 1/2
and all of the synthetic ones: 18 trainings of 3 seeds. Reads no test image. Writes
`reports/worth.json`. Trainings are kept in `.runs/worth`, so the same command goes on after it
was stopped. docs/worth.md says how to read it. About 5 minutes for the embedded default.
"""

import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect import flow

from fgds_core.classify.config import RetrainConfig
from fgds_core.data.imbalance import BINS
from fgds_core.errors import InputError
from fgds_core.files import write_json
from fgds_core.report import numbers
from flows.cli.heartbeat import never_silent
from flows.cli.numbers import positive_number, whole_number
from flows.cli.options import add_params, add_round, command
from flows.cli.params import read_params
from flows.cli.stage import exit_status, guarded
from flows.cli.tables import MAX_ROWS, cut, table
from tasks.watch.progress import clock
from tasks.workers.config import ComputeConfig
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from tasks.worth import WorthPlan

NAME = "worth.json"


@dataclass(frozen=True)
class Budget:
    """What an estimate may cost.

    Attributes:
        seeds: Trainings for each share of the images.
        jobs: Trainings at the same time.
        max_minutes: With more it does not start; None is no limit.
    """

    seeds: int
    jobs: int
    max_minutes: float | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Estimates the worth; returns the exit status, 2 if it costs more than allowed."""
    parser = command("worth", __doc__)
    add_params(parser)
    parser.add_argument("--plan", action="store_true", help="say what it costs, train nothing")
    parser.add_argument(
        "--seeds",
        type=_seeds,
        default=3,
        metavar="N",
        help="trainings for each share of the images, 2 or more: more narrow the intervals (3)",
    )
    parser.add_argument(
        "--jobs",
        type=_jobs,
        default=1,
        metavar="N",
        help="trainings at the same time, each with its share of the cores (1)",
    )
    parser.add_argument(
        "--max-minutes",
        type=positive_number,
        metavar="M",
        help="exit with status 2 if what is left to train takes longer (no limit)",
    )
    add_round(parser)
    args = parser.parse_args(arguments)
    workspace, budget = Workspace(args.round), Budget(args.seeds, args.jobs, args.max_minutes)

    def planned() -> None:
        params = read_params(args.params)
        _planned(params["seed"], params["retrain"], budget, workspace)

    def run() -> None:
        params = read_params(args.params)
        worth(params["seed"], params["retrain"], params["compute"], budget, workspace)

    # What is wrong is known before a server starts
    with never_silent("worth"):
        status = exit_status(planned)
        return status if status or args.plan else guarded(run, workspace)


def _planned(
    seed: int, retrain: RetrainConfig, budget: Budget, workspace: Workspace
) -> "WorthPlan":
    """Prints what is to be trained; refuses what costs more than allowed."""
    from tasks.worth import read_worth_plan

    plan = read_worth_plan(seed, retrain, budget.seeds, workspace)
    show_plan(plan, budget)
    check_minutes(plan, budget)
    return plan


@flow(name="worth")
def worth(
    seed: int,
    retrain: RetrainConfig,
    compute: ComputeConfig,
    budget: Budget,
    workspace: Workspace,
) -> None:
    """Trains what is missing, writes the estimate and prints it."""
    from tasks.worth import read_worth_plan, train_missing, worth_of

    plan = read_worth_plan(seed, retrain, budget.seeds, workspace)
    train_missing(plan, compute, budget.jobs)
    found = worth_of(plan, seed)
    path = workspace.reports / NAME
    write_json(path, found)
    print(f"\n{as_text(found)}\n\nIntervals are 95 %, by validation images. All of it: {path}")


def show_plan(plan: "WorthPlan", budget: Budget) -> None:
    """Prints how many trainings there are, how many are left, and how long they take."""
    done = len(plan.subsamples) - len(plan.missing)
    print(f"{len(plan.subsamples)} trainings, {done} of them kept, {len(plan.missing)} to make")
    minutes = plan.minutes(budget.jobs)
    if not plan.missing:
        return
    if minutes is None or plan.seconds is None:
        print("Cost: not known before the first one; reports/timing.json has no train_control.")
        return
    print(
        f"Cost: {clock(60 * minutes)} at {plan.seconds:.3g} s a training,"
        f" {budget.jobs} at a time on this machine's cores"
    )


def check_minutes(plan: "WorthPlan", budget: Budget) -> None:
    """Refuses what costs more than allowed.

    Raises:
        InputError: It takes longer, or nobody knows how long.
    """
    limit, minutes = budget.max_minutes, plan.minutes(budget.jobs)
    if limit is None or not plan.missing:
        return
    if minutes is None:
        raise InputError(
            "--max-minutes: nothing says how long a training takes; run `python -m"
            " flows.train_control` once, or leave the limit out"
        )
    if minutes > limit:
        raise InputError(
            f"{len(plan.missing)} trainings take about {minutes:.3g} minutes, more than the limit"
            f" of {limit:g}; raise it (--max-minutes), or lower --seeds"
        )


def as_text(found: Mapping[str, Any]) -> str:
    """The estimate in words and a table, at most 80 columns wide.

    Args:
        found: The content of `worth.json`.
    """
    unit = found["unit"]
    bins = found["bins"]
    paragraphs = [_of_bin(name, bins[name], found) for name in BINS if name in bins]
    units = found["units"]
    rows = [
        (
            cut(each["unit"], 28),
            each["bin"],
            each["real"],
            f"{100 * each['recall']:.1f}",
            _points(each["doubling"]),
        )
        for each in units[:MAX_ROWS]
    ]
    lines = [
        "Where real photographs would pay most, as twice as many of every rare one:",
        table((unit, "bin", "real", "recall", "gain in points"), rows),
    ]
    if rest := units[MAX_ROWS:]:
        lines.append(f"and {len(rest):,} more")
    return "\n\n".join([*paragraphs, "\n".join(lines)])


def _of_bin(name: str, each: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    one = found["unit"]
    before, after = (_percent(each[key]) for key in ("recall_real", "recall_synthetic"))
    worth = numbers.images(each["worth"])
    more = numbers.images(each["more"]).removesuffix(" of")
    sentences = (
        f"{name}: recall {before} on real images alone ({each['real_per_unit']:.1f} a {one}, of"
        f" {each['units']:,}), {after} with synthetic ones.",
        f"The {found['num_synthetic']:,} synthetic images are worth {worth} real"
        f" ones a rare {one}; {found['num_more']:,} more would add {more}.",
    )
    return "\n".join(textwrap.fill(each, 80, subsequent_indent="  ") for each in sentences)


def _percent(interval: Mapping[str, float]) -> str:
    value, low, high = (100 * interval[key] for key in ("value", "low", "high"))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"


def _points(interval: Mapping[str, float]) -> str:
    value, low, high = (100 * interval[key] for key in ("value", "low", "high"))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def _seeds(text: str) -> int:
    return whole_number(text, 2, 1000)


def _jobs(text: str) -> int:
    return whole_number(text, 1, 1024)


if __name__ == "__main__":
    sys.exit(main())
