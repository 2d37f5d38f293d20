"""Shows the comparison: every arm between the control and more real images, and how many to draw.

    python -m benchmarks.controls_plot      # a picture of each data set, to docs/images

What is shown are the tables at hand: accuracies on test images where there are some, else on
validation images; how many images to draw was chosen on validation images and is shown on these.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.controls.arms import CEILING, CONTROL
from benchmarks.controls.place import Place
from benchmarks.experiments import RESULTS

IMAGES = Path("docs/images")
DATA = ("fashion-lt", "fashion-contexts")
NAMES = {"few": "few-shot", "worst_tenth": "worst tenth", "overall": "overall"}
HOW_MANY = re.compile(r"\bn=(\d+)\b")
"""In the name of an arm: how many images a class is filled up to."""

ROOM = 6
"""Points beside the lowest and the highest mean; an interval over few seeds is cut off there."""

COLOURS = {
    "real": "#7f8c8d",
    "more real images": "#222222",
    "unguided": "#2471a3",
    "feedback": "#c0392b",
    "equal compute": "#1e8449",
}
OTHERS = ("#8e44ad", "#d68910", "#16a085", "#2e4053", "#a04000", "#5b2c6f")

Arms = Mapping[str, Mapping[str, Any]]


def family_of(arm: str) -> str:
    """What kind of arm it is: what its name begins with."""
    return arm.split(":")[0]


def colours_of(arms: Sequence[str]) -> dict[str, str]:
    """A colour for each kind of arm."""
    families = list(dict.fromkeys(map(family_of, arms)))
    unknown = [family for family in families if family not in COLOURS]
    return COLOURS | {each: OTHERS[k % len(OTHERS)] for k, each in enumerate(unknown)}


def rare_column(arms: Arms) -> str:
    """Few-shot accuracy, or the mean of the worst tenth where there are groups."""
    return "few" if all(arm["worst_tenth"] is None for arm in arms.values()) else "worst_tenth"


def curves(arms: Arms, column: str, usual: int) -> dict[str, list[tuple[int, Mapping[str, Any]]]]:
    """The arms that differ in how many images are drawn, by the rest of their name.

    Args:
        arms: All arms; one whose name says no number has the usual one.
        column: What is shown of them.
        usual: How many images a class is filled up to otherwise.

    Returns:
        For each series how many images a class is filled up to, increasing, and the accuracy:
        `mean`, `low` and `high`.
    """
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    for name, arm in arms.items():
        number = HOW_MANY.search(name)
        if number is not None and arm[column] is not None:
            series = HOW_MANY.sub("", name).strip(" :,")
            found.setdefault(series, {})[int(number[1])] = arm[column]
    for series, points in found.items():
        if series in arms and arms[series][column] is not None:
            points[usual] = arms[series][column]
    return {series: sorted(points.items()) for series, points in found.items() if len(points) > 1}


def draw_arms(axes: Axes, arms: Arms, column: str) -> None:
    """The mean and 95 % interval of each arm; control and ceiling go through all of them."""
    colours = colours_of(list(arms))
    for row, (name, arm) in enumerate(arms.items()):
        value, colour = arm[column], colours[family_of(name)]
        if value is None:
            continue
        if value["low"] is not None:
            ends = [100 * value["low"], 100 * value["high"]]
            axes.plot(ends, [row, row], color=colour, lw=1.4)
        axes.plot(100 * value["mean"], row, "o", ms=5, color=colour)
    for name, style in ((CONTROL, "--"), (CEILING, ":")):
        if name in arms and arms[name][column] is not None:
            axes.axvline(100 * arms[name][column]["mean"], color="#444444", ls=style, lw=1)
    axes.set_yticks(range(len(arms)), list(arms), fontsize=8)
    axes.set_ylim(len(arms) - 0.4, -0.6)
    means = [100 * arm[column]["mean"] for arm in arms.values() if arm[column] is not None]
    axes.set_xlim(min(means) - ROOM, max(means) + ROOM)
    axes.grid(axis="y", color="#eeeeee")
    axes.set_xlabel(f"{NAMES[column]} accuracy, %")


def draw_curves(axes: Axes, arms: Arms, column: str, usual: int) -> None:
    """Accuracy over the number of images, a line a series; control and ceiling level."""
    for number, (series, points) in enumerate(curves(arms, column, usual).items()):
        colour = COLOURS.get(family_of(series), OTHERS[number % len(OTHERS)])
        x = [many for many, _ in points]
        means = [100 * value["mean"] for _, value in points]
        low, high = (
            [100 * (value["mean"] if value[end] is None else value[end]) for _, value in points]
            for end in ("low", "high")
        )
        axes.fill_between(x, low, high, color=colour, alpha=0.12, lw=0)
        axes.plot(x, means, "o-", ms=4, color=colour, label=series or "images")
    for name, style in ((CONTROL, "--"), (CEILING, ":")):
        if name in arms and arms[name][column] is not None:
            level = 100 * arms[name][column]["mean"]
            axes.axhline(level, color="#444444", ls=style, lw=1, label=name)
    axes.set_xlabel("images a class is filled up to")
    axes.set_ylabel(f"{NAMES[column]} on validation, %")
    axes.legend(fontsize=8, frameon=False)


def draw(results: Mapping[str, Any], data: str, usual: int, picture: Path) -> None:
    """Writes the picture of one data set.

    Args:
        results: Its `controls-<data>.json`.
        data: Its name.
        usual: How many images a class is filled up to where an arm says nothing else.
        picture: The file.
    """
    val = results["validation"]["arms"]
    split, arms = ("test", results["arms"]) if results["arms"] else ("validation", val)
    rare = rare_column(arms)
    shown = {name: arm for name, arm in arms.items() if not HOW_MANY.search(name)}
    has_curves = bool(curves(val, rare, usual))
    figure, panels = plt.subplots(
        1,
        2 + has_curves,
        figsize=(11 + 5 * has_curves, max(3.5, 0.26 * len(shown) + 1.4)),
        layout="constrained",
        squeeze=False,
    )
    for axes, column in zip(panels[0], (rare, "overall"), strict=False):
        draw_arms(axes, shown, column)
    panels[0][1].set_yticklabels([])
    if has_curves:
        draw_curves(panels[0][2], val, rare, usual)
    figure.suptitle(
        f"{data}, {split} images: mean and 95 % interval over seeds; "
        f"dashed: {CONTROL}, dotted: {CEILING}",
        fontsize=9,
    )
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def main() -> None:
    """Draws the data sets whose results are at hand."""
    for data in DATA:
        path = RESULTS / f"controls-{data}.json"
        if path.is_file():
            usual = Place.of(data).params["synthesize"].target_per_class
            draw(json.loads(path.read_text()), data, usual, IMAGES / f"controls-{data}.png")


if __name__ == "__main__":
    main()
