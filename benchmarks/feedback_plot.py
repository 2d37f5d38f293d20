"""Shows the study on validation: a picture of criterion and accuracy over scale, and its table.

python -m benchmarks.feedback_plot      # writes docs/images/feedback_study.png, prints the table
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

PICTURE = Path("docs/images/feedback_study.png")
GUIDANCE_SCALE = 1.5
DROPOUTS = (0.4, 0.9)
UNITS = {"loss": 1, "entropy": 1, "hardness": 50}
"""Nats a unit of the last panel; hardness is a log-likelihood in many dimensions."""
COLOURS = {"loss": "#c0392b", "hardness": "#2471a3", "entropy": "#1e8449"}


def by_scale(
    rows: Mapping[str, Any], feedback: str, dropout: float
) -> dict[float, list[Mapping[str, Any]]]:
    """Rows of one criterion at plain settings, by scale; scale 0 is the unguided ones."""
    plain = {
        "guidance_scale": GUIDANCE_SCALE,
        "embedding_dropout": dropout,
        "embedding_rescale": False,
        "conditioning": "dual",
        "feedback_calibrated": False,
        "feedback_start": 0.0,
        "feedback_end": 1.0,
        "feedback_every": 2,
        "target_per_class": 200,
    }
    found: dict[float, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows.values():
        config = row["synthesize"]
        if any(config[key] != value for key, value in plain.items()):
            continue
        if row["setting"].get("train_baseline.sampling"):
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


def agreement(row: Mapping[str, Any]) -> float:
    """Share of images that the judge takes for what was wanted, mean over classes."""
    values = row["label_agreement"].values()
    return float(sum(values) / len(values))


def table(rows: Mapping[str, Any]) -> str:
    """Means over seeds of every setting, in percent."""
    settings: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows.values():
        settings[describe(row)].append(row)
    lines = [
        "| guidance | dropout | feedback | seeds | overall | many | medium | few | agreement |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for setting, some in sorted(settings.items()):
        cells = [
            f"{100 * sum(row['final'][name] for row in some) / len(some):.1f}"
            for name in ("overall", "many", "medium", "few")
        ]
        judged = f"{100 * sum(map(agreement, some)) / len(some):.1f}"
        lines.append(f"| {setting} | {len(some)} | {' | '.join(cells)} | {judged} |")
    return "\n".join(lines)


def describe(row: Mapping[str, Any]) -> str:
    """A setting as the first cells of its line."""
    config = row["synthesize"]
    dropout = f"{config['embedding_dropout']:g}"
    if config["conditioning"] == "text":
        dropout = "text only"
    elif config["embedding_rescale"]:
        dropout += ", rescaled"
    feedback = config["feedback"]
    if feedback != "none":
        feedback += f" {config['feedback_scale']:g}"
        words = {
            "to real": config["feedback_target"] == "real",
            "calibrated": config["feedback_calibrated"],
            "first half": config["feedback_end"] == 0.5,
            "second half": config["feedback_start"] == 0.5,
            "every 5th step": config["feedback_every"] == 5,
            "class-balanced guide": row["setting"].get("train_baseline.sampling") is not None,
        }
        if config["target_per_class"] != 200:
            feedback += f", {config['target_per_class']} a class"
        feedback += "".join(f", {word}" for word, applies in words.items() if applies)
    return f"{config['guidance_scale']:g} | {dropout} | {feedback}"


def main() -> None:
    """Reads the rows, writes the picture and prints the table."""
    rows = json.loads(RESULTS.read_text())
    print(table(rows))
    figure, lines = plt.subplots(len(DROPOUTS), 4, figsize=(13, 6.2), layout="constrained")
    for dropout, panels in zip(DROPOUTS, lines, strict=True):
        for feedback, colour in COLOURS.items():
            scales = by_scale(rows, feedback, dropout)
            for axes, value in zip(
                panels,
                (
                    lambda row: 100 * row["final"]["few"],
                    lambda row: 100 * row["final"]["overall"],
                    lambda row: 100 * agreement(row),
                    lambda row, feedback=feedback: excess(row, feedback) / UNITS[feedback],
                ),
                strict=True,
            ):
                points = {scale: [value(row) for row in some] for scale, some in scales.items()}
                draw(axes, points, feedback, colour)
        titles = ("few", "overall", "judge's agreement", "criterion: synthetic - real")
        units = ("accuracy, %", "accuracy, %", "%", "nats; hardness / 50")
        for axes, title, unit in zip(panels, titles, units, strict=True):
            axes.set_title(f"{title} (dropout {dropout})", fontsize=10)
            axes.set_ylabel(unit, fontsize=9)
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
        panels[3].axhline(0, color="grey", lw=0.8)
    for axes in lines[-1]:
        axes.set_xlabel("feedback_scale")
    lines[0][0].legend(frameon=False, fontsize=9)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=110)
    print(PICTURE)


if __name__ == "__main__":
    main()
