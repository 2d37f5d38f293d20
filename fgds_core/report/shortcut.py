"""Whether the final classifier has learned what synthetic images look like, not what they show.

Rare classes are filled up with synthetic images, so whatever tells these from real ones tells of
the class as well. A classifier that took that shortcut sends real images of mostly real classes to
mostly synthetic ones, as often as something in them looks drawn. Counted is how often it does so
on test images, beside the control of the same recipe, which saw no synthetic image. Whoever has
learned more of rare classes sends more images there, too, so that is suspicious only where false
alarms rise by more than recall does. A sign, and no proof.

N test images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fgds_core.report import paired
from fgds_core.report.gains import SIGNIFICANT, Answers


@dataclass(frozen=True)
class Sent:
    """Test images of mostly real classes that are taken for mostly synthetic ones.

    Attributes:
        num_images: Test images of mostly real classes.
        control: Those of them that the control takes for a mostly synthetic class.
        final: The same of the final classifier.
        p: That neither does so more often, by McNemar's exact test.
        recall_gain: What the final classifier adds to the recall of mostly synthetic classes, a
            fraction of their test images.
    """

    num_images: int
    control: int
    final: int
    p: float
    recall_gain: float

    @property
    def is_suspicious(self) -> bool:
        """Whether the final classifier does so more often, beyond chance and its gain."""
        rise = (self.final - self.control) / self.num_images
        return self.p <= SIGNIFICANT and rise > max(0.0, self.recall_gain)


def sent_to_synthetic(
    answers: Answers, real: Mapping[str, int], synthetic: Mapping[str, int]
) -> Sent | None:
    """Counts them; None where no class is mostly real or none mostly synthetic.

    Args:
        answers: The answers on the test images.
        real: Real training images of each class name.
        synthetic: Synthetic images of each class name.
    """
    drawn = np.array([synthetic[name] > real[name] for name in answers.class_names])  # [K]
    mostly_real = ~drawn[answers.actual]  # [N]
    if not drawn.any() or not mostly_real.any():
        return None
    sent = {name: drawn[answers.predicted[name]] & mostly_real for name in ("control", "final")}
    more, less = sent["final"] & ~sent["control"], sent["control"] & ~sent["final"]
    p = paired.mcnemar(np.array([more.sum()]), np.array([less.sum()]))
    hits = [answers.right(name)[~mostly_real].sum() for name in ("control", "final")]
    return Sent(
        num_images=int(mostly_real.sum()),
        control=int(sent["control"].sum()),
        final=int(sent["final"].sum()),
        p=float(p[0]),
        recall_gain=float((hits[1] - hits[0]) / max(1, (~mostly_real).sum())),
    )
