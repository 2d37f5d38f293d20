"""How often a judge sees what was meant, measured by how often it sees it in real images.

A judge that knows two of three real shirts cannot be asked to know more of three synthetic ones.
So agreement is given as a share of its own recall: 1 is as right as real images are, to it. Both
are proportions of few images, and the interval of the share is made of theirs.

S classes.

Sources: Donner and Zou (2012), https://doi.org/10.1177/0962280210383082 (the interval of a ratio);
    Zou and Donner (2008), https://doi.org/10.1002/sim.3095 (of a sum)
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgds_core.classify.intervals import exact
from fgds_core.judge.record import Recognised

LEAST = 5
"""Real images that a judge has to recognise before anything is divided by it."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ShareOfRecall:
    """Agreement as a share of the judge's own recall.

    Attributes:
        value: 1 where it sees what was meant as often as in real images; None where it cannot be
            said, and then `reason` says why.
        low: Lower end of its 95 % interval.
        high: Upper end; None where it is not bounded.
        reason: Why there is no value.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    def entry(self) -> dict[str, Any]:
        """As JSON; `reason` without a value alone."""
        return {k: v for k, v in asdict(self).items() if k != "reason" or v is not None}


def share_of_recall(synthetic: Sequence[Recognised], real: Sequence[Recognised]) -> ShareOfRecall:
    """Agreement over the recall that would be expected of the same numbers of real images.

    Args:
        synthetic: Of each class the synthetic images, and those in which the judge sees it, [S].
        real: The same of real images that the judge has not learnt from, [S]. Classes without
            any are left out.
    """
    drawn = sum(each.num_images for each in synthetic)
    known = [
        (ours, theirs)
        for ours, theirs in zip(synthetic, real, strict=True)
        if ours.num_images and theirs.num_images
    ]
    if not drawn:
        return ShareOfRecall(None, reason="there is no synthetic image")
    if not known:
        return ShareOfRecall(None, reason="the judge was shown no real image to compare with")
    shown = sum(theirs.num_images for _, theirs in known)
    right = sum(theirs.num_right for _, theirs in known)
    if right < LEAST:
        return ShareOfRecall(
            None,
            reason=f"the judge recognises {right} of {shown} real images, too few to divide by;"
            f" it takes {LEAST}",
        )
    weights = np.array([ours.num_images for ours, _ in known], dtype=np.float64)  # [S]
    weights /= weights.sum()
    agreement = _sum(weights, [ours for ours, _ in known])
    recall = _sum(weights, [theirs for _, theirs in known])
    low, high = _ratio(agreement, recall)
    return ShareOfRecall(agreement[0] / recall[0], low, high)


def _sum(weights: Floats, counts: Sequence[Recognised]) -> tuple[float, float, float]:
    """A weighted sum of proportions with its interval.

    Args:
        weights: Of each class, [S].
        counts: Of each class, [S].
    """
    num_images = np.array([each.num_images for each in counts])  # [S]
    num_right = np.array([each.num_right for each in counts])  # [S]
    shares = num_right / num_images  # [S]
    lows, highs = exact(num_right, num_images)  # [S], [S]
    value = float(weights @ shares)
    return (
        value,
        max(0.0, value - math.sqrt(((weights * (shares - lows)) ** 2).sum())),
        min(1.0, value + math.sqrt(((weights * (highs - shares)) ** 2).sum())),
    )


def _ratio(
    above: tuple[float, float, float], below: tuple[float, float, float]
) -> tuple[float, float | None]:
    """The interval of a ratio of two numbers, given with theirs; not bounded where below may be 0.

    The limits of Donner and Zou, with the root in the denominator: nothing is divided by 0.
    """
    (a, a_low, a_high), (b, b_low, b_high) = above, below
    product = a * b
    gain = a_low * (2 * a - a_low)
    root = math.sqrt(max(0.0, product**2 - gain * b_high * (2 * b - b_high)))
    low = gain / (product + root) if product + root else 0.0
    divisor = b_low * (2 * b - b_low)
    if divisor <= 0:
        return low, None
    root = math.sqrt(max(0.0, product**2 - a_high * (2 * a - a_high) * divisor))
    return low, (product + root) / divisor
