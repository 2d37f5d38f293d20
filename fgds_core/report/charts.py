"""Charts of the page as places on a grid: what the template draws as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fgds_core.classify.reliability import reliability
from fgds_core.data.imbalance import BINS
from fgds_core.report.gains import STAGES, Answers

WIDTH, HEIGHT = 340, 280
"""Of a chart, in the unit of its text; a phone shows it as it is."""

LEFT, RIGHT, TOP, BOTTOM = 44, 14, 12, 42
"""Room around the grid."""

STRONGEST = 1.0
"""Strengths beyond this, up or down, are left to the table: hardly anyone wants them."""

FEWEST = 10
"""Images of a bin of confidence from which on its accuracy is shown: of fewer it is luck."""

NAMED = (-0.5, 0.0, 0.5, 1.0)
"""The strengths of an adjustment that are written beside their points."""


@dataclass(frozen=True)
class Point:
    """A point of a line.

    Attributes:
        x: Place in the chart.
        y: Place in the chart, downwards.
        label: Written beside it; often nothing.
        title: Its numbers, shown where one points.
        radius: Of its dot.
    """

    x: float
    y: float
    label: str
    title: str
    radius: float = 3.5


@dataclass(frozen=True)
class Line:
    """A line of points; `kind` chooses its colour: the classifier it is of."""

    kind: str
    points: tuple[Point, ...]

    @property
    def path(self) -> str:
        """The points as SVG has them."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)


@dataclass(frozen=True)
class Tick:
    """A mark of an axis, in percent."""

    place: float
    label: str


@dataclass(frozen=True)
class Chart:
    """What the template draws."""

    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    is_square: bool = False
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class _Axis:
    """A stretch of [0, 1] on a stretch of the chart."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> tuple[Tick, ...]:
        step = 0.2 if self.high - self.low > 0.5 else 0.1
        num = math.floor((self.high - self.low) / step + 1e-6)
        values = [self.low + step * k for k in range(num + 1)]
        return tuple(Tick(self.place(value), f"{100 * value:.0f}") for value in values)


def _axis(values: Sequence[float], start: float, end: float) -> _Axis:
    """The tens of percent around some fractions."""
    low, high = math.floor(10 * min(values) + 1e-9) / 10, math.ceil(10 * max(values) - 1e-9) / 10
    return _Axis(low, high if high > low else low + 0.1, start, end)


def trade_off(curves: Mapping[str, Sequence[Mapping[str, str]]]) -> Chart | None:
    """Few-shot over many-shot accuracy on validation images, a point for each strength.

    Data without one of these bins has the most and the least frequent of those it has. Strengths
    for which another one is better in both are left out, but for none at all.

    Args:
        curves: Rows of `tradeoff.csv` of each classifier.

    Returns:
        None where all classes are in one bin.
    """
    there = [name for name in BINS if all(row[name] for rows in curves.values() for row in rows)]
    if len(there) < 2:
        return None
    frequent, rare = there[0], there[-1]
    found = {
        name: _wanted(
            [(float(row["tau"]), float(row[frequent]), float(row[rare])) for row in rows]
        )
        for name, rows in curves.items()
    }
    x = _axis([p[1] for points in found.values() for p in points], LEFT, WIDTH - RIGHT)
    y = _axis([p[2] for points in found.values() for p in points], HEIGHT - BOTTOM, TOP)
    lines = tuple(
        Line(
            name,
            tuple(
                Point(
                    x.place(many),
                    y.place(few),
                    f"{tau:g}".replace("-", "\N{MINUS SIGN}") if tau in NAMED else "",
                    f"{name}, tau {tau:g}: {frequent} {100 * many:.1f}, {rare} {100 * few:.1f} %",
                    5 if tau == 0 else 3.5,
                )
                for tau, many, few in points
            ),
        )
        for name, points in found.items()
    )
    return Chart(
        f"{rare.capitalize()}-shot over {frequent}-shot accuracy",
        f"{frequent}-shot, % of validation images",
        f"{rare}-shot, %",
        x.ticks(),
        y.ticks(),
        lines,
    )


def _wanted(points: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """The points (strength, two accuracies) that someone could want."""
    near = [point for point in points if abs(point[0]) <= STRONGEST]
    return [
        (tau, *own)
        for tau, *own in near
        if tau == 0
        or not any(
            all(a >= b for a, b in zip(others, own, strict=True)) and others != own
            for _, *others in near
        )
    ]


def calibration(answers: Answers) -> Chart | None:
    """Accuracy over confidence on the test images, a dot for each bin, larger for more images.

    Args:
        answers: The answers, with their confidence.

    Returns:
        None where no bin has `FEWEST` images.
    """
    x, y = _Axis(0, 1, LEFT, WIDTH - RIGHT), _Axis(0, 1, HEIGHT - BOTTOM, TOP)
    lines = []
    for name in STAGES:
        points = [
            Point(
                x.place(row["confidence"]),
                y.place(row["accuracy"]),
                "",
                f"{name}: {100 * row['accuracy']:.1f} % right at a confidence of "
                f"{100 * row['confidence']:.1f} %, {row['num_images']:,} images",
                2 + 5 * math.sqrt(row["num_images"] / len(answers.actual)),
            )
            for row in reliability(answers.confidence[name], answers.right(name))
            if row["num_images"] >= FEWEST
        ]
        lines.append(Line(name, tuple(points)))
    if not any(line.points for line in lines):
        return None
    return Chart(
        "Accuracy over confidence",
        "confidence, %",
        "accuracy, % of test images",
        x.ticks(),
        y.ticks(),
        tuple(lines),
        is_square=True,
    )
