"""Accuracy over the scale of the feedback, a line for each imbalance factor."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

PICTURE = Path("docs", "images", "strength.png")
COLOURS = {"10": "#1e8449", "50": "#2471a3", "100": "#7d3c98", "200": "#c0392b"}
TITLES = {"macro": "all classes", "few": "the three rarest classes"}


def picture(imbalance: Mapping[str, Any]) -> Figure:
    """Means over the scales; dashes are the control, which has no synthetic images.

    Args:
        imbalance: Of `study.imbalance`.
    """
    figure: Figure
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axes, (column, title) in zip(panels, TITLES.items(), strict=True):
        for factor in sorted(imbalance, key=int):
            rows = dict(imbalance[factor]["scales"])
            control, colour = rows.pop("control"), COLOURS[factor]
            means = [100 * row[column]["mean"] for row in rows.values()]
            axes.plot(range(len(rows)), means, "o-", color=colour, label=factor, lw=1.6, ms=4)
            axes.axhline(100 * control[column]["mean"], color=colour, ls="--", lw=0.9)
        axes.set_xticks(range(len(rows)), rows)
        axes.set_xlabel("feedback_scale")
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("recall on validation images, %")
    lines, names = panels[0].get_legend_handles_labels()
    figure.legend(lines, names, title="imbalance factor", loc="outside right", frameon=False)
    return figure


def write_picture(imbalance: Mapping[str, Any]) -> Path:
    """Draws the picture and says where it is."""
    figure = picture(imbalance)
    figure.savefig(PICTURE, dpi=110)
    plt.close(figure)
    return PICTURE
