"""The sets of the comparison with their gains, and what goes with these."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.controls.arms import CONTROL, Arm
from benchmarks.controls.pieces import Piece
from benchmarks.controls.sets import MoreReal
from benchmarks.usefulness.correlation import (
    FEWEST,
    PERMUTATIONS,
    RESAMPLES,
    Floats,
    Points,
    bootstrap,
    holm,
    leave_one_arm_out,
    permuted,
    picked,
    reliability,
    spearman,
)

OUTCOMES = ("overall", "rare")
RARE = {False: "few", True: "worst_tenth"}
"""The column behind `rare`, by whether the images have groups."""

POOLED = "pooled"

Runs = Mapping[str, Mapping[str, Any]]
Row = dict[str, Any]


def trains_as_control(arm: Arm) -> bool:
    """Whether an arm differs from the control in synthetic images alone: its gain is theirs."""
    if arm.images is None or isinstance(arm.images, MoreReal):
        return False
    return replace(arm, images=None) == Arm(final=arm.final)


def rows_of(data: str, runs: Runs, arms: Mapping[str, Arm], split: str = "val") -> list[Row]:
    """The sets of one data set: `data`, `arm`, `seed`, `gain` by outcome and `measures`.

    A set that two arms have in common comes once.

    Args:
        data: Its name.
        runs: Those of the comparison, with the control's; runs on validation images have measures.
        arms: Its arms.
        split: The images that the gain is measured on: val or test.
    """
    rows, known = [], set()
    for _, run in sorted(runs.items()):
        name, seed = run["arm"], run["seed"]
        control = runs.get(Piece(CONTROL, seed, split).name)
        measured = runs.get(Piece(name, seed, "val").name, {})
        if run["split"] != split or control is None or "measures" not in measured:
            continue
        if name not in arms or not trains_as_control(arms[name]) or (run["set"], seed) in known:
            continue
        known.add((run["set"], seed))
        rare = RARE[control["columns"]["worst_group"] is not None]
        gain = {
            outcome: round(run["columns"][column] - control["columns"][column], 6)
            for outcome, column in (("overall", "overall"), ("rare", rare))
        }
        of_set = {"data": data, "arm": name, "seed": seed}
        rows.append({**of_set, "gain": gain, "measures": measured["measures"]})
    return rows


def points_of(rows: Sequence[Row], names: Sequence[str]) -> Points:
    """The rows as arrays; the columns of predictors are the measures of these names."""
    data = sorted({row["data"] for row in rows})
    arms = sorted({(row["data"], row["arm"]) for row in rows})
    seeds = sorted({(row["data"], row["seed"]) for row in rows})
    return Points(
        np.array(
            [
                [np.nan if (v := row["measures"].get(n)) is None else v for n in names]
                for row in rows
            ]
        ),
        np.array([[row["gain"][outcome] for outcome in OUTCOMES] for row in rows]),
        np.array([arms.index((row["data"], row["arm"])) for row in rows]),
        np.array([data.index(row["data"]) for row in rows]),
        np.array([seeds.index((row["data"], row["seed"])) for row in rows]),
    )


def usefulness(
    rows: Sequence[Row],
    on_test: Sequence[Row] = (),
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
) -> dict[str, Any]:
    """What goes with the gain, and what does not.

    Args:
        rows: Sets of one or more data sets, see `rows_of`.
        on_test: Some of them with their gains on test images.
        seed: Of resamples and permutations.
        resamples: How many stand behind an interval.
        permutations: How many stand behind a p value.

    Returns:
        `sets` and `arms`: how many there are of each data set and pooled; `tried`: how many
        numbers were looked at; `measures`: by name and scope (a data set or pooled) and outcome
        `rho` (rank correlation over sets), `low` and `high` (95 %, arms resampled), `rho_arms`
        (over the means of arms), `p` (arms permuted) and `p_holm` (corrected for all numbers and
        outcomes of the scope); `ceiling`: by scope and outcome the root of `reliability`, about
        what a number that knew each arm's worth would correlate by; `left_out`: by data set and
        outcome, see `LeftOut`; `picked`: by measure, data set and outcome the arm that it picks,
        if its direction is that which it has on the other data sets, and `lost`, how much less
        that gains than the best arm; `worth`: the mean gains of arms; `on_test`: by data set and
        measure `rho` with the gains on test images, by outcome; `points`: the rows themselves.
    """
    names = sorted({name for row in rows for name, v in row["measures"].items() if v is not None})
    of_data = {
        data: [row for row in rows if row["data"] == data]
        for data in dict.fromkeys(row["data"] for row in rows)
    }
    scopes = {**of_data, **({POOLED: list(rows)} if len(of_data) > 1 else {})}
    measures: dict[str, dict[str, Any]] = {name: {} for name in names}
    left_out: dict[str, dict[str, Any]] = {}
    ceiling: dict[str, dict[str, float | None]] = {}
    for number, (scope, some) in enumerate(scopes.items()):
        points = points_of(some, names)
        if len(np.unique(points.arm)) < FEWEST:
            continue
        rng = np.random.default_rng([seed, number])
        of_scope = _correlated(
            points, permuted(points, rng, permutations), bootstrap(points, rng, resamples)
        )
        for name, of_measure in zip(names, of_scope, strict=True):
            measures[name][scope] = of_measure
        of_arms = reliability(points)
        ceiling[scope] = {
            outcome: _number(of_arms[g] ** 0.5) for g, outcome in enumerate(OUTCOMES)
        }
        if scope != POOLED:
            left_out[scope] = {
                outcome: _left_out(points, place, names) for place, outcome in enumerate(OUTCOMES)
            }
    return {
        "tried": len(names),
        "outcomes": list(OUTCOMES),
        "sets": {scope: len(some) for scope, some in scopes.items()},
        "arms": {
            scope: len({(row["data"], row["arm"]) for row in some})
            for scope, some in scopes.items()
        },
        "measures": measures,
        "ceiling": ceiling,
        "left_out": left_out,
        "picked": {name: _picked(name, of_data) for name in names},
        "worth": {data: _worth(some) for data, some in of_data.items()},
        "on_test": {data: _on_test(data, on_test, names) for data in of_data},
        "points": list(rows),
    }


def _correlated(points: Points, p: Floats, interval: Floats) -> list[dict[str, Any]]:
    """The entries of each measure in one scope, by outcome."""
    columns = {
        "rho": spearman(points),
        "low": interval[0],
        "high": interval[1],
        "rho_arms": spearman(points.arms()),
        "p": p,
        "p_holm": holm(p),
    }
    return [
        {
            outcome: {key: _number(value[place, g]) for key, value in columns.items()}
            for g, outcome in enumerate(OUTCOMES)
        }
        for place in range(len(p))
    ]


def _left_out(points: Points, outcome: int, names: Sequence[str]) -> dict[str, Any] | None:
    found = leave_one_arm_out(points, outcome)
    if found is None:
        return None
    chosen = {name: times for name, times in zip(names, found.chosen, strict=True) if times}
    numbers = {key: _number(value) for key, value in vars(found).items() if key != "chosen"}
    return {**numbers, "chosen": chosen}


def _picked(name: str, of_data: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """The arm that one number picks in each data set, its direction taken from the others."""
    found = {}
    for data, rows in of_data.items():
        others = [row for other, some in of_data.items() if other != data for row in some]
        if not others:
            continue
        direction = spearman(points_of(others, [name]).arms())[0]  # [G]
        arms = points_of(rows, [name]).arms()
        spoken = sorted({row["arm"] for row in rows})
        choices = (
            picked(arms.predictors[:, 0], float(direction[g]), arms.outcomes[:, g])
            for g in range(len(OUTCOMES))
        )
        found[data] = {
            outcome: None
            if choice is None
            else {"arm": spoken[choice[0]], "lost": _number(choice[1])}
            for outcome, choice in zip(OUTCOMES, choices, strict=True)
        }
    return found


def _on_test(data: str, rows: Sequence[Row], names: Sequence[str]) -> dict[str, Any]:
    """The rank correlation of each number with the gain on test images, where there are some."""
    some = [row for row in rows if row["data"] == data]
    if len({row["arm"] for row in some}) < FEWEST:
        return {}
    rho = spearman(points_of(some, names))
    return {
        name: {outcome: _number(rho[place, g]) for g, outcome in enumerate(OUTCOMES)}
        for place, name in enumerate(names)
    }


def _worth(rows: Sequence[Row]) -> dict[str, dict[str, float | None]]:
    """The mean gain of each arm of one data set, by outcome."""
    worth = points_of(rows, []).arms().outcomes  # [A, G]
    return {
        arm: {outcome: _number(worth[a, g]) for g, outcome in enumerate(OUTCOMES)}
        for a, arm in enumerate(sorted({row["arm"] for row in rows}))
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
