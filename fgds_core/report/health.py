"""What guidance did to the images of each class, as the page shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fgds_core.report import numbers
from fgds_core.report.inputs import ReportInputs

UNHEALTHY = ("left alone", "not finite", "ran away")
"""What guidance did to an image that a person should know of; the words are those of assess."""


@dataclass(frozen=True)
class Health:
    """What guidance did to the images of a class.

    Attributes:
        name: Of the class.
        num_images: Synthetic images.
        first: Criterion at the first gradient, in the mean; None where none was guided.
        final: Criterion of the finished image.
        rise: Of the criterion, from the first push to the last.
        share_of_pushes: Share of the guided steps that pushed an image.
        nonfinite: Steps of all its images whose gradient was not finite.
        redrawn: Images that were drawn again.
        unhealthy: How many images were left alone, not finite or ran away; empty where it was not
            measured.
        criterion: By step, in the mean; empty where it was not noted.
        gradient: Norm of its gradient by step.
        real: The baseline's entropy on real validation images of the class, in nats.
        synthetic: The same on the synthetic ones.
    """

    name: str
    num_images: int
    first: float | None
    final: float | None
    rise: float | None
    share_of_pushes: float | None
    nonfinite: int
    redrawn: int
    unhealthy: Mapping[str, int]
    criterion: Sequence[float | None]
    gradient: Sequence[float | None]
    real: float | None
    synthetic: float | None

    @property
    def steepness(self) -> str:
        """The norm of the gradient at the first step and at the last."""
        if not self.gradient:
            return numbers.MISSING
        return " to ".join(numbers.number(self.gradient[place]) for place in (0, -1))

    @property
    def said(self) -> str:
        """How many of its images are not as guidance should leave them, in words."""
        some = [f"{number:,} {what}" for what, number in self.unhealthy.items() if number]
        return ", ".join(some) if some else "none" if self.unhealthy else numbers.MISSING


def health(inputs: ReportInputs) -> list[Health]:
    """Of each class that has synthetic images, those with most unusual guidance first."""
    found = {(row["class"], row["criterion"], row["source"]): row for row in inputs.criterion}

    def mean(name: str, source: str) -> float | None:
        row = found.get((name, "entropy", source))
        return float(row["mean"]) if row and row["mean"] else None

    lines = [
        _health(name, of_class, mean(name, "real"), mean(name, "synthetic"))
        for name, of_class in inputs.synthetic["per_class"].items()
        if of_class["num_synthetic"]
    ]
    return sorted(
        lines,
        key=lambda line: (
            -line.nonfinite - line.redrawn,
            -sum(line.unhealthy.values()) / line.num_images,
            line.name,
        ),
    )


def _health(
    name: str, of_class: Mapping[str, Any], real: float | None, synthetic: float | None
) -> Health:
    did = of_class.get("guidance") or {}
    images = did.get("images", {})
    return Health(
        name=name,
        num_images=of_class["num_synthetic"],
        first=did.get("criterion_first"),
        final=did.get("criterion_final"),
        rise=did.get("criterion_rise"),
        share_of_pushes=did.get("share_of_pushes"),
        nonfinite=did.get("nonfinite_steps", 0),
        redrawn=did.get("redrawn_images", 0),
        unhealthy={what: images[what] for what in UNHEALTHY if what in images},
        criterion=did.get("criterion_by_step", ()),
        gradient=did.get("gradient_by_step", ()),
        real=real,
        synthetic=synthetic,
    )
