"""Shows what goes with the gain: a line for each number, and the sets beside some of them.

python -m benchmarks.usefulness.plot     # of the results at hand
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.controls_plot import colours_of, family_of
from benchmarks.experiments import RESULTS
from benchmarks.usefulness.gains import POOLED
from benchmarks.usefulness.table import label_of, ranking, spoken

PICTURE = Path("docs/images") / "usefulness.png"
COLOURS = {"fashion-lt": "#2471a3", "fashion-contexts": "#c0392b", POOLED: "#222222"}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
BESIDE = ("fid", "coverage")
"""Numbers whose sets are shown beside those of the strongest one: the usual ones."""


def forest(axes: Axes, found: Mapping[str, Any], names: Sequence[str]) -> None:
    """The rank correlation of each number with the rare gain, and its interval."""
    scopes = [scope for scope in found["sets"]]
    for place, scope in enumerate(scopes):
        shift = 0.25 * (place - (len(scopes) - 1) / 2)
        label = scope if scope == POOLED else f"{scope}, {spoken(scope, 'rare')}"
        for row, name in enumerate(names):
            value = (found["measures"][name].get(scope) or {}).get("rare")
            if value is None or value["rho"] is None or value["low"] is None:
                continue
            axes.plot([value["low"], value["high"]], [row + shift] * 2, color=COLOURS[scope], lw=1)
            is_sure = value["p_holm"] is not None and value["p_holm"] < 0.05
            fill = COLOURS[scope] if is_sure else "white"
            axes.plot(value["rho"], row + shift, "o", ms=4, color=COLOURS[scope], mfc=fill)
        axes.plot([], [], "o-", ms=4, color=COLOURS[scope], label=label)
    axes.axvline(0, color="#999999", lw=0.8)
    axes.set_yticks(range(len(names)), [label_of(name) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(-1, 1)
    axes.grid(axis="y", color="#eeeeee")
    axes.set_xlabel("rank correlation with the gain (95 %, arms resampled);\n"
                    "filled: p < 0.05 corrected for all numbers", fontsize=8)  # fmt: skip
    axes.legend(
        fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncol=len(scopes), frameon=False
    )


def scatter(axes: Axes, found: Mapping[str, Any], name: str, data: str) -> None:
    """The sets of one data set: the gain over a number, a colour a kind of arm."""
    points = [
        point
        for point in found["points"]
        if point["data"] == data and point["measures"].get(name) is not None
    ]
    kinds = list(dict.fromkeys(family_of(point["arm"]) for point in found["points"]))
    colours = colours_of(kinds)
    for number, kind in enumerate(kinds):
        some = [point for point in points if family_of(point["arm"]) == kind]
        axes.plot(
            [point["measures"][name] for point in some],
            [100 * point["gain"]["rare"] for point in some],
            MARKERS[number % len(MARKERS)],
            color=colours[kind],
            ms=5,
            alpha=0.7,
            label=kind,
        )
    axes.axhline(0, color="#999999", lw=0.8)
    axes.set_xlabel(label_of(name), fontsize=8)
    axes.set_ylabel(f"gain, {spoken(data, 'rare')}, points", fontsize=8)
    axes.tick_params(labelsize=7)


def draw(found: Mapping[str, Any], picture: Path = PICTURE) -> None:
    """Writes the picture."""
    names = [name for name in ranking(found) if found["measures"][name]]
    shown = list(dict.fromkeys([*names[:1], *(name for name in BESIDE if name in names)]))[:3]
    data = [each for each in found["sets"] if each != POOLED]
    height = max(6.0, 0.3 * len(names) + 1.6)
    figure = plt.figure(figsize=(14, height), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.1))
    forest(left.subplots(), found, names)
    panels = right.subplots(len(shown), len(data), squeeze=False)
    for row, name in zip(panels, shown, strict=True):
        for axes, each in zip(row, data, strict=True):
            scatter(axes, found, name, each)
    for axes, each in zip(panels[0], data, strict=True):
        axes.set_title(each, fontsize=9)
    handles, labels = panels[0][0].get_legend_handles_labels()
    right.legend(handles, labels, fontsize=8, loc="outside lower center", ncol=4, frameon=False)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def main() -> None:
    """Draws the results at hand."""
    draw(json.loads((RESULTS / "usefulness.json").read_text()))


if __name__ == "__main__":
    main()
