"""The charts of the page, as Vega-Lite: what altair describes, a runtime inside the page draws.

Colours are the page's own, by their names in its style sheet: charts follow light and dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fgds_core.classify.reliability import reliability
from fgds_core.data.imbalance import BINS
from fgds_core.report import alternatives, numbers
from fgds_core.report.accuracy import Line
from fgds_core.report.confusions import matrices
from fgds_core.report.cost import Cost
from fgds_core.report.gains import STAGES, Answers
from fgds_core.report.health import Health
from fgds_core.report.summary import Row

if TYPE_CHECKING:
    import altair as alt

Spec = dict[str, Any]
"""A chart as Vega-Lite has it, without configuration, which all charts of a page share."""

STRONGEST = 1.0
"""Strengths beyond this, up or down, are left to the table: hardly anyone wants them."""

FEWEST = 10
"""Images of a bin of confidence from which on its accuracy is shown: of fewer it is luck."""

MATRIX = 30
"""Classes of a matrix, at most."""

HEIGHT = 280
"""Of a chart, in pixels; its width is that of its place."""

CALLED = {"baseline": "imbalanced", "control": "control", "final": "final"}
"""What the page calls the classifiers."""

_COLOURS = {
    "imbalanced": "var(--imbalanced)",
    "control": "var(--control)",
    "final": "var(--final)",
    "gain": "var(--gain)",
    "loss": "var(--loss)",
    "within noise": "var(--control)",
    "more": "var(--final)",
    "less": "var(--few)",
    "work": "var(--final)",
    "start-up and bookkeeping": "var(--control)",
}

_OTHERS = ("var(--imbalanced)", "var(--final)", "var(--gain)", "var(--loss)", "var(--few)") * 2
"""Of what has no colour of its own, such as experiments, in their order."""

CONFIG: Spec = {
    "background": "transparent",
    # as the page's own: text is measured in it, and "inherit" cannot be measured
    "font": 'system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif',
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--soft)",
        "titleColor": "var(--soft)",
        "titleFontWeight": "normal",
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelFontSize": 11,
        "titleFontSize": 12,
        "labelLimit": 120,
    },
    "legend": {
        "labelColor": "var(--ink)",
        "orient": "top",
        "title": None,
        "labelFontSize": 12,
        "symbolStrokeWidth": 2,
    },
    "text": {"color": "var(--ink)"},
}
"""What the charts of a page have in common."""


@cache
def runtime() -> str:
    """The JavaScript that draws the charts, Vega and Vega-Lite with what they need."""
    import vl_convert

    library: Any = vl_convert  # whose types forget that the argument may be left out
    bundle: str = library.javascript_bundle()
    if "</script" in bundle.lower():
        raise ValueError("the runtime of the charts would end its own place in a page")
    return bundle


def trade_off(curves: Mapping[str, Sequence[Mapping[str, str]]]) -> Spec | None:
    """Few-shot over many-shot accuracy on validation images, a point for each strength.

    Data without one of these bins has the most and the least frequent of those it has. Strengths
    for which another one is better in both are left out, but for none at all.

    Args:
        curves: Rows of `tradeoff.csv` of each classifier.

    Returns:
        None where only one bin has classes.
    """
    import altair as alt

    there = [name for name in BINS if all(row[name] for rows in curves.values() for row in rows)]
    if len(there) < 2:
        return None
    frequent, rare = there[0], there[-1]
    rows = [
        {
            "classifier": CALLED.get(name, name),
            "tau": tau,
            "frequent": 100 * a,
            "rare": 100 * b,
        }
        for name, of_one in curves.items()
        for tau, a, b in _wanted(
            [(float(row["tau"]), float(row[frequent]), float(row[rare])) for row in of_one]
        )
    ]
    x_title = f"{frequent}-shot, % of validation images"
    chart = (
        alt.Chart(_data(rows))
        .encode(
            x=alt.X("frequent:Q", title=x_title, scale=alt.Scale(zero=False)),
            y=alt.Y("rare:Q", title=f"{rare}-shot, %", scale=alt.Scale(zero=False)),
            color=_colour("classifier", [CALLED.get(name, name) for name in curves]),
            order=alt.Order("tau:Q"),
        )
        .properties(height=HEIGHT)
    )
    points = chart.mark_point(filled=True, opacity=1).encode(
        size=alt.condition("datum.tau === 0", alt.value(140), alt.value(45)),
        tooltip=[
            alt.Tooltip("classifier:N"),
            alt.Tooltip("tau:Q"),
            alt.Tooltip("frequent:Q", title=f"{frequent}-shot, %", format=".1f"),
            alt.Tooltip("rare:Q", title=f"{rare}-shot, %", format=".1f"),
        ],
    )
    said = alternatives.trade_off(rows, frequent, rare)
    return _spec(chart.mark_line() + points, f"{rare}-shot over {frequent}-shot accuracy", said)


def _wanted(points: Sequence[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    """The points (strength, two accuracies) that someone could want."""
    near = [point for point in points if abs(point[0]) <= STRONGEST]
    return [
        (tau, a, b)
        for tau, a, b in near
        if tau == 0
        or not any(one >= a and other >= b and (one, other) != (a, b) for _, one, other in near)
    ]


def gains(lines: Sequence[Line], counts: Mapping[str, int]) -> Spec | None:
    """The gain of each class over its real training images; None where no class was tested.

    Args:
        lines: Of all classes.
        counts: Real training images of each class name.
    """
    import altair as alt

    rows = [
        {
            "class": line.label,
            "real": max(1, counts[line.label]),
            "gain": 100 * line.row.gain,
            "low": 100 * line.row.low,
            "high": 100 * line.row.high,
            "shown": f"{line.shown['gain']} ({line.shown['95 % interval']})",
            "change": "within noise" if line.verdict == "same" else line.verdict,
            "test": line.row.num_images,
        }
        for line in lines
        if line.row.gain is not None and line.row.low is not None and line.row.high is not None
    ]
    if not rows:
        return None
    base = alt.Chart(_data(rows)).encode(
        x=alt.X(
            "real:Q",
            title="real training images of the class",
            scale=alt.Scale(type="log"),
            axis=alt.Axis(format=",d", tickCount=5),
        ),
    )
    # of one colour: a legend of both marks shows the paler one
    whiskers = base.mark_rule(color="var(--soft)", opacity=0.45).encode(
        y=alt.Y("low:Q"), y2="high:Q"
    )
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(
        color=_colour("change", ["gain", "within noise", "loss"]),
        y=alt.Y("gain:Q", title="final minus control, points"),
        tooltip=[
            alt.Tooltip("class:N"),
            alt.Tooltip("shown:N", title="gain, points"),
            alt.Tooltip("real:Q", title="real images", format=",d"),
            alt.Tooltip("test:Q", title="test images", format=",d"),
        ],
    )
    zero = alt.Chart(_data([{"y": 0}])).mark_rule(color="var(--soft)").encode(y="y:Q")
    drawn = (zero, whiskers, dots) if len(rows) <= 4 * MATRIX else (zero, dots)
    chart = alt.layer(*drawn).properties(height=HEIGHT)
    return _spec(chart, "gain of each class", alternatives.gains(rows))


def calibration(answers: Answers) -> Spec | None:
    """Accuracy over confidence on the test images, a dot for each bin, larger for more images.

    Args:
        answers: The answers, with their confidence.

    Returns:
        None where no bin has `FEWEST` images.
    """
    import altair as alt

    rows = [
        {
            "classifier": CALLED[name],
            "confidence": 100 * row["confidence"],
            "accuracy": 100 * row["accuracy"],
            "images": row["num_images"],
        }
        for name in STAGES
        for row in reliability(answers.confidence[name], answers.right(name))
        if row["num_images"] >= FEWEST
    ]
    if not rows:
        return None
    chart = alt.Chart(_data(rows)).encode(
        x=alt.X("confidence:Q", title="confidence, %", scale=alt.Scale(domain=[0, 100])),
        y=alt.Y(
            "accuracy:Q", title="accuracy, % of test images", scale=alt.Scale(domain=[0, 100])
        ),
        color=_colour("classifier", list(CALLED.values())),
    )
    dots = chart.mark_point(filled=True, opacity=1).encode(
        size=alt.Size("images:Q", legend=None, scale=alt.Scale(range=[20, 160])),
        tooltip=[
            alt.Tooltip("classifier:N"),
            alt.Tooltip("confidence:Q", format=".1f"),
            alt.Tooltip("accuracy:Q", format=".1f"),
            alt.Tooltip("images:Q", format=",d"),
        ],
    )
    return _spec(
        (_diagonal(0, 100) + chart.mark_line() + dots).properties(height=HEIGHT),
        "accuracy over confidence",
        alternatives.calibration(rows),
    )


def confusion(answers: Answers, names: Sequence[str]) -> Spec | None:
    """What is taken for what, final minus control, in points; None of more than `MATRIX` classes.

    Args:
        answers: The answers on the test images.
        names: The classes, in their order.
    """
    import altair as alt

    if not 1 < len(names) <= MATRIX:
        return None
    control, final, difference = matrices(answers, names)
    has_numbers = len(names) <= MATRIX // 2
    strongest = 0.45 if has_numbers else 1.0  # so that numbers can be read on it, in dark mode too
    rows = [
        {
            "actual": actual,
            "predicted": predicted,
            "change": 100 * difference["shares"][i][j],
            "text": numbers.typeset(numbers.points(difference["shares"][i][j], 0)),
            "kind": "within noise"
            if difference["noise"][i][j]
            else ("less" if difference["shares"][i][j] < 0 else "more"),
            "before": 100 * control["shares"][i][j],
            "after": 100 * final["shares"][i][j],
            "opacity": strongest * min(1.0, 2 * abs(difference["shares"][i][j])),
        }
        for i, actual in enumerate(names)
        for j, predicted in enumerate(names)
    ]
    order = list(names)
    base = alt.Chart(_data(rows)).encode(
        x=alt.X("predicted:N", sort=order, title="called", axis=alt.Axis(labelAngle=-50)),
        y=alt.Y("actual:N", sort=order, title=None),
    )
    cells = base.mark_rect(stroke="var(--line)").encode(
        color=_colour("kind", ["more", "less", "within noise"]).legend(None),
        opacity=alt.Opacity("opacity:Q", scale=None, legend=None),
        tooltip=[
            alt.Tooltip("actual:N"),
            alt.Tooltip("predicted:N", title="called"),
            alt.Tooltip("before:Q", title="control, %", format=".1f"),
            alt.Tooltip("after:Q", title="final, %", format=".1f"),
            alt.Tooltip("change:Q", title="points", format="+.1f"),
        ],
    )
    drawn: Any = cells
    if has_numbers:
        drawn = cells + base.transform_filter(
            "datum.kind != 'within noise' && abs(datum.change) >= 0.5"
        ).mark_text(fontSize=10).encode(text="text:N")
    height = max(200, (26 if has_numbers else 16) * len(names))
    said = alternatives.confusion(rows)
    return _spec(drawn.properties(height=height), "mistakes, final minus control", said)


def learning_curves(curves: Mapping[str, Sequence[tuple[int, float]]]) -> Spec | None:
    """Accuracy on validation images over the steps; None where no curve was kept.

    Args:
        curves: (step, accuracy) of each classifier.
    """
    import altair as alt

    rows = [
        {"classifier": CALLED.get(name, name), "step": step, "accuracy": 100 * value}
        for name, points in curves.items()
        for step, value in points
    ]
    if not rows:
        return None
    chart = (
        alt.Chart(_data(rows))
        .encode(
            x=alt.X("step:Q", title="optimiser step"),
            y=alt.Y("accuracy:Q", title="% of validation images", scale=alt.Scale(zero=False)),
            color=_colour("classifier", [CALLED.get(name, name) for name in curves]),
            tooltip=[
                alt.Tooltip("classifier:N"),
                alt.Tooltip("step:Q", format=",d"),
                alt.Tooltip("accuracy:Q", format=".1f"),
            ],
        )
        .properties(height=HEIGHT)
    )
    said = alternatives.lines(rows, "classifier", "step", "accuracy", "% of validation images")
    return _spec(chart.mark_line(point=True), "learning curves", said)


def finals(rows: Sequence[tuple[str, Row]]) -> Spec | None:
    """Accuracy of the final classifiers of some experiments, overall and by bin.

    Args:
        rows: Name of the experiment, and a row of its summary.
    """
    import altair as alt

    shown = [
        {"experiment": name, "of": row.bin, "accuracy": 100 * row.final}
        for name, row in rows
        if row.bin in ("overall", *BINS) and row.final is not None
    ]
    if not shown:
        return None
    names = list(dict.fromkeys(name for name, _ in rows))
    chart = (
        alt.Chart(_data(shown))
        .mark_bar()
        .encode(
            x=alt.X("of:N", sort=["overall", *BINS], title=None, axis=alt.Axis(labelAngle=0)),
            xOffset=alt.XOffset("experiment:N", sort=names),
            y=alt.Y("accuracy:Q", title="% of test images"),
            color=_colour("experiment", names),
            tooltip=[
                alt.Tooltip("experiment:N"),
                alt.Tooltip("of:N"),
                alt.Tooltip("accuracy:Q", format=".1f"),
            ],
        )
        .properties(height=HEIGHT)
    )
    said = alternatives.bars(shown, "experiment", "of", "accuracy")
    return _spec(chart, "accuracy of each experiment, % of test images", said)


def hardness(lines: Sequence[Health]) -> Spec | None:
    """The baseline's entropy on synthetic over that on real images, a dot for each class."""
    import altair as alt

    rows = [
        {"class": line.name, "real": line.real, "synthetic": line.synthetic}
        for line in lines
        if line.real is not None and line.synthetic is not None
    ]
    if not rows:
        return None
    top = max(max(line.real or 0, line.synthetic or 0) for line in lines) or 1.0
    dots = (
        alt.Chart(_data(rows))
        .mark_point(filled=True, size=60, color="var(--final)")
        .encode(
            x=alt.X("real:Q", title="entropy of real validation images, nats"),
            y=alt.Y("synthetic:Q", title="of synthetic images, nats"),
            tooltip=[
                alt.Tooltip("class:N"),
                alt.Tooltip("real:Q", format=".3f"),
                alt.Tooltip("synthetic:Q", format=".3f"),
            ],
        )
    )
    chart = (_diagonal(0, top) + dots).properties(height=HEIGHT)
    return _spec(chart, "as hard as real", alternatives.hardness(rows))


def guidance_steps(lines: Sequence[Health], what: str) -> Spec | None:
    """What was noted of each step of guidance, a line for each class, or a band of many.

    Args:
        lines: Of all classes.
        what: `criterion` or `gradient`.

    Returns:
        None where nothing was noted.
    """
    import altair as alt

    rows = [
        {"class": line.name, "step": step + 1, "value": value}
        for line in lines
        for step, value in enumerate(getattr(line, what))
        if value is not None
    ]
    if not rows:
        return None
    titles = {
        "criterion": ("criterion before the push", "the criterion at each gradient"),
        "gradient": ("norm of its gradient", "how steep it is at each gradient"),
    }
    title, about = titles[what]
    steps = max(row["step"] for row in rows)
    ticks = list(range(1, steps + 1, 1 + steps // 12))
    x = alt.X("step:Q", title="gradients in turn", axis=alt.Axis(values=ticks, format="d"))
    num_classes = len({row["class"] for row in rows})
    if num_classes <= MOST_LINES:
        chart = (
            alt.Chart(_data(rows))
            .mark_line(strokeWidth=1.5, opacity=0.7, color="var(--final)")
            .encode(
                x=x,
                y=alt.Y("value:Q", title=title),
                detail="class:N",
                tooltip=[
                    alt.Tooltip("class:N"),
                    alt.Tooltip("step:Q"),
                    alt.Tooltip("value:Q", format=".3g"),
                ],
            )
        )
        about += ", a line for each class"
        return _spec(chart.properties(height=HEIGHT), about, alternatives.steps(rows))
    base = alt.Chart(_data(_bands(rows))).encode(x=x)
    band = base.mark_area(opacity=0.25, color="var(--final)").encode(
        y=alt.Y("low:Q", title=title), y2="high:Q"
    )
    middle = base.mark_line(color="var(--final)").encode(
        y="middle:Q",
        tooltip=[
            alt.Tooltip("step:Q"),
            *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("low", "middle", "high")),
        ],
    )
    about += f", the median of {num_classes:,} classes, and four fifths of them"
    return _spec((band + middle).properties(height=HEIGHT), about, alternatives.steps(rows))


MOST_LINES = 20
"""Classes up to which each has a line."""


def _bands(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The median and the middle four fifths of the values of each step."""
    values: dict[int, list[float]] = {}
    for row in rows:
        values.setdefault(row["step"], []).append(row["value"])
    found = []
    for step, some in sorted(values.items()):
        low, middle, high = np.quantile(some, (0.1, 0.5, 0.9)).tolist()
        found.append({"step": step, "low": low, "middle": middle, "high": high})
    return found


def stage_times(cost: Cost) -> Spec:
    """Seconds of each stage, work apart from the rest."""
    import altair as alt

    rows = [
        {"stage": stage.name, "kind": kind, "seconds": seconds, "place": place}
        for stage in cost.stages
        for place, (kind, seconds) in enumerate(
            (
                ("work", stage.work_s),
                ("start-up and bookkeeping", max(0.0, stage.total_s - stage.work_s)),
            )
        )
    ]
    chart = (
        alt.Chart(_data(rows))
        .mark_bar()
        .encode(
            x=alt.X("seconds:Q", title="seconds"),
            y=alt.Y("stage:N", sort=[stage.name for stage in cost.stages], title=None),
            color=_colour("kind", ["work", "start-up and bookkeeping"]),
            order=alt.Order("place:Q"),
            tooltip=[
                alt.Tooltip("stage:N"),
                alt.Tooltip("kind:N"),
                alt.Tooltip("seconds:Q", format=",.1f"),
            ],
        )
        .properties(height=30 * len(cost.stages))
    )
    said = alternatives.stages({stage.name: stage.total_s for stage in cost.stages})
    return _spec(chart, "seconds by stage", said)


def worth(bins: Mapping[str, Any], unit: str) -> Spec | None:
    """Recall by further real images, and what the synthetic set reaches; None without a curve.

    Args:
        bins: Of `worth.json`.
        unit: What is counted, such as a class.
    """
    import altair as alt

    curve = [
        {"bin": f"{name}-shot", "more": int(more)}
        | {key: 100 * at[key] for key in ("value", "low", "high") if at[key] is not None}
        for name, of_bin in bins.items()
        for more, at in of_bin["curve"].items()
        if at["value"] is not None
    ]
    reached = [
        {"bin": f"{name}-shot", "value": 100 * of_bin["recall_synthetic"]["value"]}
        for name, of_bin in bins.items()
        if of_bin["recall_synthetic"]["value"] is not None
    ]
    if not curve:
        return None
    shades = alt.Color(
        "bin:N", scale=alt.Scale(range=["var(--few)", "var(--final)", "var(--gain)"])
    )
    base = alt.Chart(_data(curve)).encode(
        x=alt.X("more:Q", title=f"further real images a {unit}"), color=shades
    )
    band = base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q"), y2="high:Q")
    line = base.mark_line(point=True).encode(
        y=alt.Y("value:Q", title="recall, % of validation images", scale=alt.Scale(zero=False)),
        tooltip=[
            alt.Tooltip("bin:N"),
            alt.Tooltip("more:Q", title="further real images"),
            alt.Tooltip("value:Q", title="recall, %", format=".1f"),
        ],
    )
    level = (
        alt.Chart(_data(reached)).mark_rule(strokeDash=[5, 4]).encode(y="value:Q", color=shades)
    )
    x, y = "further real images", "% of validation images"
    said = alternatives.lines([{**row, x: row["more"]} for row in curve], "bin", x, "value", y)
    if reached:
        levels = [f"{each['bin']} {each['value']:.1f}" for each in reached]
        said += f"; the synthetic ones reach {numbers.names(levels)}"
    return _spec((band + line + level).properties(height=HEIGHT), "recall by real images", said)


def _data(rows: Sequence[Mapping[str, Any]]) -> alt.InlineData:
    import altair as alt

    return alt.InlineData(values=list(rows))


def _colour(field: str, names: Sequence[str]) -> alt.Color:
    import altair as alt

    others = iter(_OTHERS)
    colours = [_COLOURS[name] if name in _COLOURS else next(others) for name in names]
    scale = alt.Scale(domain=list(names), range=colours)
    return alt.Color(f"{field}:N", scale=scale, legend=alt.Legend())


def _diagonal(low: float, high: float) -> alt.Chart:
    """Where both axes say the same."""
    import altair as alt

    ends = [{"x": low, "y": low}, {"x": high, "y": high}]
    chart: alt.Chart = (
        alt.Chart(_data(ends))
        .mark_line(strokeDash=[3, 4], color="var(--soft)")
        .encode(x="x:Q", y="y:Q")
    )
    return chart


def _spec(chart: Any, description: str, said: str) -> Spec:  # noqa: ANN401, any of altair's charts
    """The chart as JSON, as wide as its place.

    Args:
        chart: The chart.
        description: What it is.
        said: What it shows, in words.
    """
    spec: Spec = chart.properties(width="container").to_dict()
    spec.pop("config", None)
    spec.pop("$schema", None)
    return spec | {
        "description": description[:1].upper() + description[1:],
        "usermeta": {"said": numbers.typeset(said)},
        "autosize": {"type": "fit-x", "contains": "padding"},
    }
