"""What each chart shows, in words, for those who do not see it.

A chart of classes has a table beside it that tells all; here is the gist of it. Of other charts
the ends of each line are told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fgds_core.report import numbers

Rows = Sequence[Mapping[str, Any]]

NAMED = 3
"""Classes or stages that are named, at most."""


def lines(rows: Rows, of: str, x: str, y: str, unit: str) -> str:
    """Where each line begins and ends, such as `control: 20.0 at step 100, 80.0 at step 600`.

    Args:
        rows: The points, in the order of their line.
        of: The field with the name of the line.
        x: The field of the horizontal axis, named as it is read.
        y: The field of the vertical axis.
        unit: Of the vertical axis.
    """
    ends: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        ends.setdefault(row[of], []).append(row)
    said = [
        f"{name}: {_number(some[0][y])} at {x} {some[0][x]:,}, "
        f"{_number(some[-1][y])} at {x} {some[-1][x]:,}"
        for name, some in ends.items()
    ]
    return f"{'; '.join(said)} ({unit})"


def trade_off(rows: Rows, frequent: str, rare: str) -> str:
    """Each classifier as it is, and how far its line goes.

    Args:
        rows: `classifier`, `tau`, and the accuracies `frequent` and `rare`, in percent.
        frequent: Name of the more frequent bin.
        rare: Name of the other.
    """
    said = []
    for name in dict.fromkeys(row["classifier"] for row in rows):
        points = sorted((row for row in rows if row["classifier"] == name), key=_tau)
        text = f"{name}: {_pair(next(row for row in points if not row['tau']), frequent, rare)}"
        if len(points) > 1:
            text += f", up to {_number(max(row['rare'] for row in points))} {rare}-shot"
        said.append(text)
    return f"{'; '.join(said)} (% of validation images)"


def _tau(row: Mapping[str, Any]) -> float:
    return float(row["tau"])


def _pair(row: Mapping[str, Any], frequent: str, rare: str) -> str:
    return f"{_number(row['frequent'])} {frequent}-shot and {_number(row['rare'])} {rare}-shot"


def gains(rows: Rows) -> str:
    """How many classes gained, and lost, and which of them most.

    Args:
        rows: `class`, `gain` in points, `shown`, and what `change` it is.
    """
    said = []
    for kind, sign, what in (("gain", -1, "gained"), ("loss", 1, "lost")):
        some = sorted((row for row in rows if row["change"] == kind), key=lambda r: r["gain"])
        names = [f"{row['class']} {row['shown'].partition(' (')[0]}" for row in some[::sign]]
        said.append(f"{len(some):,} {what}{_most(names)}")
    noise = sum(row["change"] == "within noise" for row in rows)
    return f"{', '.join(said)}, {noise:,} within noise; the table of all classes has each"


def _most(names: Sequence[str]) -> str:
    return f" ({numbers.names(list(names), NAMED)})" if names else ""


def calibration(rows: Rows) -> str:
    """Of each classifier the dot with most images.

    Args:
        rows: `classifier`, `confidence` and `accuracy` in percent, `images`.
    """
    said = []
    for name in dict.fromkeys(row["classifier"] for row in rows):
        most = max(
            (row for row in rows if row["classifier"] == name), key=lambda row: int(row["images"])
        )
        said.append(
            f"{name}: most images at confidence {_number(most['confidence'])}, of which "
            f"{_number(most['accuracy'])} are right"
        )
    return f"{'; '.join(said)} (%)"


def confusion(rows: Rows) -> str:
    """How many cells changed beyond noise.

    Args:
        rows: `kind` of each cell.
    """
    more, less = (sum(row["kind"] == kind for row in rows) for kind in ("more", "less"))
    return (
        f"of {len(rows):,} pairs {more:,} became more frequent and {less:,} less, beyond noise; "
        "the lists beside it name the largest"
    )


def bars(rows: Rows, of: str, of_bar: str, value: str) -> str:
    """The values of each group of bars.

    Args:
        rows: The bars.
        of: The field with the name of the group.
        of_bar: The field with the name of the bar within it.
        value: The field of its length.
    """
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(row[of], []).append(f"{row[of_bar]} {_number(row[value])}")
    return "; ".join(f"{name}: {', '.join(some)}" for name, some in groups.items())


def stages(seconds: Mapping[str, float]) -> str:
    """The stages that took longest."""
    longest = sorted(seconds.items(), key=lambda each: -each[1])
    told = [f"{name} {numbers.duration(each)}" for name, each in longest]
    return f"longest {numbers.names(told, NAMED)}; the table beside it has each"


def hardness(rows: Rows) -> str:
    """How many classes are harder than real ones, and which of them most.

    Args:
        rows: `class`, and the entropies `real` and `synthetic`.
    """
    harder = sorted(
        (row for row in rows if row["synthetic"] > row["real"]),
        key=lambda row: float(row["real"] - row["synthetic"]),
    )
    names = [str(row["class"]) for row in harder]
    return (
        f"{len(harder):,} of {len(rows):,} classes are harder than their real images"
        f"{_most(names)}; the table below has each"
    )


def steps(rows: Rows) -> str:
    """The mean over classes at the first step and at the last.

    Args:
        rows: `class`, `step` and `value`.
    """
    last = max(row["step"] for row in rows)
    first, end = (
        [float(row["value"]) for row in rows if row["step"] == step] for step in (1, last)
    )
    if not first:
        return f"{numbers.number(sum(end) / len(end))} at step {last} in the mean of classes"
    return (
        f"{numbers.number(sum(first) / len(first))} at step 1 and "
        f"{numbers.number(sum(end) / len(end))} at step {last}, in the mean of classes"
    )


def _number(value: float) -> str:
    return f"{value:.1f}"
