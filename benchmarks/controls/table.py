"""What came out: `benchmarks/results/controls-<data>.json`, and its tables in the documents."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.controls.arms import CEILING, CONTROL, PAIRS, UNGUIDED
from benchmarks.controls.pieces import COLUMNS
from benchmarks.experiments import percent
from fgds_core.classify.metrics import interval

SHOWN = ("overall", "many", "medium", "few")
GROUPS = ("worst_group", "worst_tenth")

Values = Mapping[int, float]
Interval = Mapping[str, Any]


def of_arm(runs: Mapping[str, Any], arm: str, split: str, column: str) -> dict[int, float]:
    """A column of an arm by seed."""
    return {
        run["seed"]: run["columns"][column]
        for run in runs.values()
        if (run["arm"], run["split"]) == (arm, split) and run["columns"][column] is not None
    }


def difference(one: Values, other: Values) -> Interval | None:
    """Mean and 95 % interval of the difference within a seed; None without a common seed."""
    seeds = sorted(one.keys() & other.keys())
    return interval([one[seed] - other[seed] for seed in seeds]) if seeds else None


def gap_closed(arm: Values, control: Values, ceiling: Values) -> Interval | None:
    """What an arm makes up of the way from the control to more real images.

    The ratio of the mean differences, with its 95 % interval after Fieller, for both differences
    are of the same seeds and the denominator is uncertain too.

    Returns:
        `mean`, `low`, `high` and `seeds`; no bounds with fewer than two seeds, or where the
        ceiling is not clear of the control; None where it is not above it.

    Source: Fieller (1954), https://doi.org/10.1111/j.2517-6161.1954.tb00159.x
    """
    import numpy as np
    from scipy import stats

    seeds = sorted(arm.keys() & control.keys() & ceiling.keys())
    if not seeds:
        return None
    gained = np.array([arm[seed] - control[seed] for seed in seeds])
    gap = np.array([ceiling[seed] - control[seed] for seed in seeds])
    if gap.mean() <= 0:
        return None
    mean = float(gained.mean() / gap.mean())
    found: dict[str, Any] = {"mean": mean, "low": None, "high": None, "seeds": len(seeds)}
    if len(seeds) < 2:
        return found
    # Bounds r of |mean(gained) - r mean(gap)| <= t * its standard error
    t2 = float(stats.t.ppf(0.975, len(seeds) - 1)) ** 2 / len(seeds)
    (a, b), (_, c) = np.cov(gained, gap)
    square = gap.mean() ** 2 - t2 * c
    linear = gained.mean() * gap.mean() - t2 * b
    constant = gained.mean() ** 2 - t2 * a
    root = linear**2 - square * constant
    if square > 0 and root >= 0:
        found["low"] = float((linear - root**0.5) / square)
        found["high"] = float((linear + root**0.5) / square)
    return found


def summary(runs: Mapping[str, Any], arms: Sequence[str], split: str) -> dict[str, Any]:
    """The table of a split.

    Args:
        runs: All runs.
        arms: The lines, in their order; those without runs are left out.
        split: val or test.

    Returns:
        `arms`: per arm its columns, `{mean, low, high, seeds}` each (95 %, Student t, over seeds),
        `over_control` and `over_unguided` (paired differences), `gap_closed` by column, and
        `seconds_per_image` (processor time). `order`: their names. `tries`: how many there are.
        `pairs`: differences within a seed of `PAIRS`, `arm`, `other` and `difference` by column.
    """
    found: dict[str, Any] = {}
    names = [name for name in arms if of_arm(runs, name, split, "overall")]
    values = {
        name: {column: of_arm(runs, name, split, column) for column in COLUMNS} for name in names
    }
    for name in names:
        own = values[name]
        seconds = [
            run["seconds_per_image"]
            for run in runs.values()
            if run["arm"] == name and run["seconds_per_image"] is not None
        ]
        found[name] = {
            **{
                column: interval(list(of_seed.values())) if of_seed else None
                for column, of_seed in own.items()
            },
            "over_control": _over(values, name, CONTROL),
            "over_unguided": _over(values, name, UNGUIDED),
            "gap_closed": {
                column: gap_closed(own[column], values[CONTROL][column], values[CEILING][column])
                if CONTROL in values and CEILING in values and own[column]
                else None
                for column in COLUMNS
            },
            "seconds_per_image": round(sum(seconds) / len(seconds), 4) if seconds else None,
        }
    pairs = [
        {"arm": one, "other": other, "difference": _over(values, one, other)}
        for one, other in PAIRS
        if one in values and other in values
    ]
    order = {"order": names, "tries": len(found), "split": split}
    return {"arms": found, "pairs": pairs, **order}


def _over(values: Mapping[str, Any], name: str, other: str) -> dict[str, Interval | None]:
    if other not in values:
        return {}
    return {column: difference(values[name][column], values[other][column]) for column in COLUMNS}


def as_markdown(results: Mapping[str, Any]) -> str:
    """The table: accuracies in percent, differences in points, what of the gap is closed."""
    arms = results["arms"]
    if not arms:
        return ""
    grouped = any(arm["worst_group"] is not None for arm in arms.values())
    columns = ("overall", *GROUPS) if grouped else SHOWN
    key = "worst_tenth" if grouped else "few"
    spoken = {"worst_group": "worst pair", "worst_tenth": "worst tenth"}
    titles = [spoken.get(column, column) for column in columns]
    lines = [
        f"| arm | {' | '.join(titles)} | {spoken.get(key, key)}, over control | overall, over "
        f"control | gap closed, {spoken.get(key, key)} | s an image | seeds |",
        "|---" * (len(columns) + 6) + "|",
    ]
    for name in results["order"]:
        arm = arms[name]
        over, seconds = arm["over_control"], arm["seconds_per_image"]
        cells = [percent(arm[column]) for column in columns]
        if name == CONTROL:
            cells += ["", "", ""]
        else:
            cells += [percent(over.get(key), "+"), percent(over.get("overall"), "+")]
            cells += ["" if name == CEILING else _share(arm["gap_closed"][key])]
        cells += ["" if seconds is None else f"{seconds:.3f}", str(arm["overall"]["seeds"])]
        shown = f"**{name}**" if name in (CONTROL, CEILING) else name
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def pairs_as_markdown(results: Mapping[str, Any]) -> str:
    """The table of pairs: differences in points; bold where they are clear of zero."""
    pairs = results["pairs"]
    if not pairs:
        return ""
    grouped = any(arm["worst_tenth"] is not None for arm in results["arms"].values())
    columns = {"overall": "overall"} | (
        {"worst_tenth": "worst tenth"} if grouped else {"many": "many", "few": "few"}
    )
    lines = [
        f"| arm | less | {' | '.join(columns.values())} | seeds |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for pair in pairs:
        found = pair["difference"]
        cells = [_clear(found[column]) for column in columns]
        seeds = found["overall"]["seeds"]
        lines.append(f"| {pair['arm']} | {pair['other']} | {' | '.join(cells)} | {seeds} |")
    return "\n".join(lines) + "\n"


def _clear(value: Interval | None) -> str:
    shown = percent(value, "+")
    is_clear = value is not None and value["low"] is not None and value["low"] * value["high"] > 0
    return f"**{shown}**" if is_clear else shown


def _share(value: Interval | None) -> str:
    if value is None:
        return ""
    mean = f"{100 * value['mean']:.0f} %"
    if value["low"] is None or value["seeds"] < 3:  # two seeds bound no ratio
        return mean
    return f"{mean} ({100 * value['low']:.0f} to {100 * value['high']:.0f})"
