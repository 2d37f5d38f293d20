"""ImageNet-LT on paper, from the slopes that `benchmarks.data` has measured.

    python -m benchmarks.projection    # prints the tables of docs/performance.md

Nothing of that size was run. A stage's cost is taken to be a start that does not depend on the
number of images and a slope an image, both from the two sizes that were measured; GPU work was not
measured and is in no number.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.data import IMAGES, RESULT, STAGES

TRAIN, VAL, TEST = 115_846, 20_000, 50_000
"""ImageNet-LT."""

SYNTHETIC = 1_183_621
"""To fill its classes up to 1,300, as in `benchmarks.scale`."""

CORES = 16
EPOCHS = 90
"""Passes over the training images, the budget of most published runs."""

ORIGINAL_FACTOR = 3.0
"""An original of ImageNet has about three times the pixels of one of 256 x 256, and is resized."""

FEATURES = 1024
"""Width of the CLIP embedding that assess keeps of every image, in 4 bytes each."""


@dataclass(frozen=True)
class Line:
    """A stage at the size of ImageNet-LT.

    Attributes:
        stage: Its name.
        images: What it goes through, in words, and how many images.
        cpu_hours: Processor hours, all but the GPU's.
        peak_gb: Memory.
        disk_gb: What it leaves.
    """

    stage: str
    images: str
    cpu_hours: float
    peak_gb: float
    disk_gb: float

    @property
    def wall_hours(self) -> float:
        """Hours on all cores."""
        return self.cpu_hours / CORES


def slope(results: Mapping[str, Any], stage: str, name: str) -> float:
    """What one more training image (and one more synthetic one) adds to a stage."""
    few, many = (
        results["details"]["peaks"][str(num_images)][stage][name] for num_images in IMAGES
    )
    return float(many - few) / (IMAGES[1] - IMAGES[0])


def peak_gb(results: Mapping[str, Any], stage: str, images: float) -> float:
    """The peak of the larger set, and the slope for the images above it; never less."""
    many = results["details"]["peaks"][str(IMAGES[1])][stage]["peak_gb"]
    return float(many + max(0.0, slope(results, stage, "peak_gb")) * (images - IMAGES[1]))


def lines(results: Mapping[str, Any]) -> list[Line]:
    """The stages with a gate; a training reads its images once an epoch."""
    real, stored = TRAIN + VAL + TEST, bytes_per_image(results)
    prepare_s = ORIGINAL_FACTOR / results["prepare_images_per_cpu_second"]
    read_s = 1 / per_core(results)
    seen = EPOCHS * TRAIN
    cpu_s = {
        "prepare": real * prepare_s,
        "train_baseline": seen * read_s + TRAIN * slope(results, "train_baseline", "cpu_s"),
        "synthesize": SYNTHETIC * slope(results, "synthesize", "cpu_s"),
        "assess": (SYNTHETIC + TRAIN) / 2 * slope(results, "assess", "cpu_s"),
        "retrain": seen * read_s + SYNTHETIC * slope(results, "retrain", "cpu_s"),
        "report": SYNTHETIC * slope(results, "report", "cpu_s"),
    }
    most = {
        "prepare": TRAIN,
        "train_baseline": TRAIN,
        "synthesize": SYNTHETIC,
        "assess": SYNTHETIC,
        "retrain": SYNTHETIC,
        "report": SYNTHETIC,
    }
    disk = {
        "prepare": real * stored,
        "synthesize": SYNTHETIC * stored,
        "assess": 4 * FEATURES * (SYNTHETIC + TRAIN + VAL),
    }
    words = {
        "prepare": f"{real:,} originals",
        "train_baseline": f"{EPOCHS} x {TRAIN:,} read, {TRAIN:,} once more",
        "synthesize": f"{SYNTHETIC:,} conditioned, encoded, written",
        "assess": f"{SYNTHETIC + TRAIN + VAL:,} read",
        "retrain": f"{EPOCHS} x {TRAIN:,} read",
        "report": f"{SYNTHETIC:,} summed up",
    }
    return [
        Line(
            stage,
            words[stage],
            max(0.0, cpu_s[stage]) / 3600,
            peak_gb(results, stage, most[stage]),
            disk.get(stage, 0.0) / 1e9,
        )
        for stage in STAGES
    ]


def bytes_per_image(results: Mapping[str, Any]) -> float:
    """Bytes of a stored image of 256 px."""
    runs = results["details"]["prepare"]["runs"]["1"]
    return float(runs[0]["stored_bytes"] / runs[0]["images"])


def per_core(results: Mapping[str, Any]) -> float:
    """Images a second that a core reads in our loader."""
    loader = results["details"]["loader"]
    return float(loader["images_per_second"]["ours"] / results["machine"]["cores"])


def table(projected: Sequence[Line]) -> str:
    """The projection in Markdown."""
    text = [
        "| stage | what it goes through | CPU hours | hours on 16 cores | peak GB | leaves GB |"
    ]
    text.append("|---" * 6 + "|")
    for line in projected:
        text.append(
            f"| {line.stage} | {line.images} | {line.cpu_hours:.1f} | {line.wall_hours:.2f} |"
            f" {line.peak_gb:.1f} | {line.disk_gb:.1f} |"
        )
    return "\n".join(text)


def main() -> None:
    """Prints the projection."""
    print(table(lines(json.loads(RESULT.read_text()))))


if __name__ == "__main__":
    main()
