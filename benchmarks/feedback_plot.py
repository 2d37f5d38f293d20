"""Draws criterion and accuracy over the feedback scale, from the rows of the study on validation.

python -m benchmarks.feedback_plot      # writes docs/images/feedback_study.png
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.feedback_study import RESULTS
from fgds_core.feedback import FEEDBACKS

PICTURE = Path("docs/images/feedback_study.png")
GUIDANCE_SCALE = 1.5
UNITS = {"loss": 1, "entropy": 1, "hardness": 50}
"""Nats a unit of the last panel; hardness is a log-likelihood in many dimensions."""
COLOURS = {"loss": "#c0392b", "hardness": "#2471a3", "entropy": "#1e8449"}


def by_scale(rows: Mapping[str, Any], feedback: str) -> dict[float, list[Mapping[str, Any]]]:
    """Rows of one criterion without a target, by scale; scale 0 is the unguided ones."""
    found: dict[float, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows.values():
        config = row["synthesize"]
        plain = config["conditioning"] == "dual" and config["embedding_dropout"] == 0.4
        if config["guidance_scale"] != GUIDANCE_SCALE or not plain:
            continue
        if config["feedback"] == "none":
            found[0.0].append(row)
        elif config["feedback"] == feedback and config["feedback_target"] == "none":
            found[config["feedback_scale"]].append(row)
    return dict(sorted(found.items()))


def excess(row: Mapping[str, Any], feedback: str) -> float:
    """Criterion on synthetic images less that on real ones, mean over classes, in nats."""
    values = row["criterion"][feedback].values()
    return sum(value["synthetic"] - value["real"] for value in values) / len(values)


def draw(axes: Axes, points: Mapping[float, list[float]], label: str, colour: str) -> None:
    """The mean over seeds as a line, each run as a point."""
    scales = list(points)
    axes.plot(
        scales, [sum(v) / len(v) for v in points.values()], "-", color=colour, label=label, lw=1.6
    )
    for scale, values in points.items():
        axes.plot([scale] * len(values), values, "o", color=colour, ms=3.5, alpha=0.6)


def main() -> None:
    """Reads the rows and writes the picture."""
    rows = json.loads(RESULTS.read_text())
    figure, panels = plt.subplots(1, 4, figsize=(13, 3.3), layout="constrained")
    for feedback in FEEDBACKS:
        scales = by_scale(rows, feedback)
        colour = COLOURS[feedback]
        for axes, bin_name in zip(panels, ("few", "overall"), strict=False):
            points = {
                scale: [100 * row["final"][bin_name] for row in some]
                for scale, some in scales.items()
            }
            draw(axes, points, feedback, colour)
            axes.set_title(f"{bin_name}, validation accuracy (%)", fontsize=10)
        agreement = {
            scale: [
                100 * sum(row["label_agreement"].values()) / len(row["label_agreement"])
                for row in some
            ]
            for scale, some in scales.items()
        }
        draw(panels[2], agreement, feedback, colour)
        above = {
            scale: [excess(row, feedback) / UNITS[feedback] for row in some]
            for scale, some in scales.items()
        }
        draw(panels[3], above, feedback, colour)
    panels[2].set_title("judge's agreement (%)", fontsize=10)
    panels[3].set_title("criterion: synthetic - real\n(nats; hardness / 50)", fontsize=10)
    panels[3].axhline(0, color="grey", lw=0.8)
    for axes in panels:
        axes.set_xlabel("feedback_scale")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=9)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=110)
    print(PICTURE)


if __name__ == "__main__":
    main()
