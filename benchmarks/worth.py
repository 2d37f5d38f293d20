"""Whether an estimate of worth in real images covers the truth, which is known on Fashion-LT.

    python -m benchmarks.worth --run /path/of/a/finished/default/run    # hours of one CPU core
    python -m benchmarks.worth --run PATH --show                        # of the trainings at hand

The data have real images that no split uses. The control is trained on the real images and m of
them a rare class, for a grid of m: the true worth of the synthetic set is the m at which these
reach the mean recall of the final classifier, each averaged over trainings. The estimate of
`flows.worth` sees none of those images; it is made for several seeds of the run, each with
subsamples, weights, batches and augmentation of its own. The synthetic images are the run's own,
the same for all seeds. All recalls are on validation images: no test image is opened.

Trainings are kept in `.runs/worth` of the run, so the same command goes on after it was stopped.
"""

import argparse
import hashlib
import json
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.controls.place import Place
from benchmarks.experiments import RESULTS, write_json
from fgds_core.classify.predict import predictions
from fgds_core.classify.train import train_classifier
from fgds_core.data.splits import read_real
from fgds_core.images.dataset import joined
from fgds_core.worth.estimate import Interval
from fgds_core.worth.units import RARE, Units
from flows.cli.params import read_params
from flows.worth import as_text
from tasks.workspace import FIRST
from tasks.worth import KEPT, Answers, WorthPlan, read_worth_plan, train_and_keep, worth_of

log = logging.getLogger(__name__)

RESULT = RESULTS / "worth.json"
SEEDS = 5
SHARE_SEEDS = 3
"""Trainings for each share within one estimate, the default of `flows.worth`."""

GRID = (5, 10, 20, 40, 80, 160)
"""Unused real images of each rare class that the truth is measured with."""

GRID_SEEDS = 3
FURTHEST_TRUTH = GRID[-1]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class More:
    """One training of the truth: on more real images of each rare class."""

    num_more: int
    seed: int

    @property
    def name(self) -> str:
        """What it is called while it runs."""
        return f"{self.num_more} more real, seed {self.seed}"


@cache
def _unused(folder: Path) -> Any:  # noqa: ANN401  # an ImageDataset
    return Place.of(None, folder).unused


def kept_truth(plan: WorthPlan, more: More) -> Path:
    """Where the answers of a training of the truth are."""
    inputs = {**plan.setting.inputs, "synthetic": ""}
    made_of = [plan.setting.recipe.model_dump(mode="json"), inputs, asdict(more)]
    name = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
    return KEPT / f"truth-{name}.json"


def train_more(plan: WorthPlan, more: More) -> None:
    """Trains the control on the real images and more of them, and keeps its recalls."""
    real = read_real(FIRST.prepared)
    rng = np.random.default_rng([more.seed, 1])
    unused = _unused(KEPT.parent / "controls")
    labels = unused.labels.numpy()
    rows: list[int] = []
    for place in plan.units.rare:
        mine = rng.permutation(np.flatnonzero(labels == plan.units.keys[place][0]))
        rows += mine[: more.num_more].tolist()  # of one seed, more of them hold the fewer
    classifier = train_classifier(
        joined(real.train, unused.select(sorted(rows))),
        real.val,
        plan.setting.recipe,
        more.seed,
    )
    answers = torch.cat([x.argmax(dim=-1) for x, _ in predictions(classifier, real.val)])
    right = (answers == real.val.labels).numpy()
    write_json(kept_truth(plan, more), {**asdict(more), "recalls": _recalls(plan, right).tolist()})


def _recalls(plan: WorthPlan, right: Answers) -> Floats:
    """Recall of each unit, [U]."""
    units = range(len(plan.units.keys))
    return np.array([right[plan.unit_of_image == unit].mean() for unit in units])


def _job(run: Path, work: partial[None]) -> float:
    """Does one training in this process; CPU seconds it took."""
    os.chdir(run)
    torch.set_num_threads(1)
    began = time.process_time()
    work()
    return time.process_time() - began


def train_all(run: Path, plans: Sequence[WorthPlan], jobs: int) -> None:
    """Makes all trainings that are not kept, those of estimates and of the truth in turn."""
    compute = read_params()["compute"].model_copy(update={"threads": 1, "loader_workers": 0})
    grid = [More(m, seed) for seed in range(GRID_SEEDS) for m in GRID]
    work = [
        (grid.index(each) / len(grid), each.name, partial(train_more, plans[0], each))
        for each in grid
        if not kept_truth(plans[0], each).is_file()
    ]
    for plan in plans:
        work += [
            (
                plan.subsamples.index(each) / len(plan.subsamples),
                each.name,
                partial(train_and_keep, each, plan.setting, compute),
            )
            for each in plan.missing
        ]
    work.sort(key=lambda each: each[0])  # of all of them the first seeds first
    log.info("%d trainings are to be made", len(work))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context) as pool:
        waiting = {pool.submit(_job, run, function): name for _, name, function in work}
        for number, done in enumerate(as_completed(waiting), start=1):
            log.info("%d/%d %s: %.1f s", number, len(work), waiting[done], done.result())


def truth(plans: Sequence[WorthPlan], name: str) -> dict[str, Any]:
    """The true worth to the units of a bin, with what the trainings leave unsure of it.

    Args:
        plans: One for each seed: their control and final trainings count, too.
        name: The bin.
    """
    units = plans[0].units
    places = [i for i, each in enumerate(units.bins) if each == name]
    controls = [_kept(plan, 0.0)[:, places].mean(1) for plan in plans]  # of each seed, [R]
    finals = np.concatenate([_kept(plan, 1.0)[:, places].mean(1) for plan in plans])
    curve = {0: np.concatenate(controls)}
    for m in GRID:
        recalls = [json.loads(file.read_text())["recalls"] for file in _of_grid(plans[0], m)]
        curve[m] = np.array(recalls)[:, places].mean(1)
    rng = np.random.default_rng(0)
    drawn = [
        _crossing(units, places, {m: rng.choice(x, len(x)) for m, x in curve.items()}, again)
        for again in (rng.choice(finals, len(finals)) for _ in range(500))
    ]
    found = _crossing(units, places, curve, finals)
    low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")
    return {
        "worth": _bounded(found),
        "low": _bounded(low),
        "high": _bounded(high),
        "recall_final": round(float(finals.mean()), 4),
        "curve": {str(m): round(float(x.mean()), 4) for m, x in curve.items()},
    }


def _of_grid(plan: WorthPlan, num_more: int) -> list[Path]:
    """The trainings of the truth at one number of images that are there."""
    files = [kept_truth(plan, More(num_more, seed)) for seed in range(GRID_SEEDS)]
    return [file for file in files if file.is_file()]


def _bounded(value: float) -> float | None:
    """A worth in images; None beyond the grid."""
    return round(float(value), 2) if np.isfinite(value) else None


def _kept(plan: WorthPlan, synthetic: float) -> Floats:
    """Recalls of a plan's trainings on all real images, [R, U]."""
    found = []
    for each in plan.subsamples:
        if (each.real, each.synthetic) == (1.0, synthetic):
            value = json.loads(plan.setting.kept_at(each).read_text())
            packed = np.frombuffer(bytes.fromhex(value["right"]), dtype=np.uint8)
            right = np.unpackbits(packed, count=value["num_images"]).astype(bool)
            found.append(_recalls(plan, right))
    return np.array(found)


def _crossing(
    units: Units, places: Sequence[int], curve: dict[int, Floats], finals: Floats
) -> float:
    """Where a rising curve through the measured means has a recall, linear in the log of n.

    Inf beyond the grid; 0 where the control alone does as well or better.
    """
    from sklearn.isotonic import IsotonicRegression

    n = np.mean([units.counts[place] for place in places])
    x = np.log(np.array(list(curve)) + n)
    number = [len(values) for values in curve.values()]
    means = [values.mean() for values in curve.values()]
    y = IsotonicRegression().fit_transform(x, means, sample_weight=number)
    target = float(finals.mean())
    if target > y[-1]:
        return float("inf")
    rising = np.concatenate([[True], np.diff(y) > 0])  # of a flat piece, where it begins
    return float(np.exp(np.interp(target, y[rising], x[rising])) - n)


def summary(plans: Sequence[WorthPlan]) -> dict[str, Any]:
    """The truth of each bin, each seed's estimate, and which of them cover it."""
    estimates = {seed: worth_of(plan, seed) for seed, plan in enumerate(plans)}
    bins = {}
    for name in RARE:
        known = truth(plans, name)
        at_least = FURTHEST_TRUTH if known["worth"] is None else known["worth"]
        of_seed = {}
        for seed, found in estimates.items():
            of_seed[str(seed)] = found["bins"][name]["worth"]
        covered = [seed for seed, each in of_seed.items() if Interval(**each).covers(at_least)]
        bins[name] = {
            "truth": known,
            "estimates": of_seed,
            "covered": covered,
            "more": {str(seed): found["bins"][name]["more"] for seed, found in estimates.items()},
        }
    return {
        "num_synthetic": plans[0].num_synthetic,
        "seeds": len(plans),
        "trainings_per_estimate": len(plans[0].subsamples),
        "truth_trainings": {str(m): len(_of_grid(plans[0], m)) for m in GRID},
        "bins": bins,
        "first": estimates[0],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains what is missing, writes the comparison; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.worth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--run", type=Path, default=Path(), help="a finished default run (.)")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at the same time (2)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"estimates ({SEEDS})")
    parser.add_argument(
        "--share-seeds",
        type=int,
        default=SHARE_SEEDS,
        help=f"trainings for each share, as `flows.worth --seeds` ({SHARE_SEEDS})",
    )
    parser.add_argument("--out", type=Path, default=RESULT, help="the file of the results")
    parser.add_argument("--show", action="store_true", help="train nothing")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    out = args.out.resolve()
    os.chdir(args.run)
    run, retrain = Path.cwd(), read_params()["retrain"]
    plans = [read_worth_plan(seed, retrain, args.share_seeds, FIRST) for seed in range(args.seeds)]
    if not args.show:
        train_all(run, plans, args.jobs)
    elif missing := sum(len(plan.missing) for plan in plans):
        parser.exit(1, f"{missing} trainings of the estimates are missing; leave --show out\n")
    elif not all(_of_grid(plans[0], m) for m in GRID):
        parser.exit(1, "some of the truth was not measured yet; leave --show out\n")
    found = summary(plans)
    write_json(out, found)
    print(as_text(found["first"]))
    for name, each in found["bins"].items():
        print(f"{name}: truth {each['truth']['worth']}, covered by {len(each['covered'])} seeds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
