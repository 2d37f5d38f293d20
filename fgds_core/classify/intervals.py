"""How far a measured accuracy may be off: 95 % intervals of one classifier.

Test images are drawn again with replacement. Of images that count the same only their number is
drawn, which is the same bootstrap and costs no more for many images. The intervals say what other
test images of the same kind could change; they say nothing of another seed of the training.

Images that are all right, or all wrong, would have an interval of no width. Therefore two images
that are right and two that are wrong are added to those that are resampled, which matters for
small samples only.

N images, S strata (classes, or classes within a context), R resamples.

Sources: Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13 (percentiles);
    Agresti and Coull (1998), https://doi.org/10.1080/00031305.1998.10480550 (the added images);
    Rao and Wu (1988), https://doi.org/10.1080/01621459.1988.10478591 (small strata);
    Clopper and Pearson (1934), https://doi.org/10.1093/biomet/26.4.404 (the exact interval)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
PERCENTILES = (2.5, 97.5)
RESAMPLING_SEED = 0
ADDED = 2
"""Images that are added as right ones, and as many as wrong ones."""

CHUNK = 2**20  # numbers of a table of resamples held at once

Bools = NDArray[np.bool_]
Labels = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
Statistic = Callable[[Floats], Floats]
"""What a resample comes to: recalls of the strata [r, S] -> a value each, [r]."""


@dataclass(frozen=True)
class Interval:
    """A 95 % interval, in the unit of what it is of."""

    low: float
    high: float

    @property
    def covers_zero(self) -> bool:
        """Whether there may be no difference at all, where it is one of a difference."""
        return self.low <= 0 <= self.high


def of_accuracy(hits: int, num_images: int, rng: np.random.Generator) -> Interval:
    """Bootstrap over images of an accuracy, a fraction.

    Args:
        hits: Images that are recognised.
        num_images: All images, at least one.
        rng: Draws the resamples.
    """
    total = num_images + 2 * ADDED
    drawn = rng.binomial(total, (hits + ADDED) / total, RESAMPLES) / total  # [R]
    return holding(percentiles(drawn), hits / num_images)


def of_mean(
    hits: Labels, num_images: Labels, rng: np.random.Generator, weights: Floats | None = None
) -> Interval:
    """Bootstrap within strata of the mean of their recalls, a fraction.

    Each stratum keeps its number of images, so that none is lost. As many images less one are
    drawn, or the few images of a small stratum would seem to vary less than they do; those of
    strata with one image are drawn from each other. The added images are spread over all strata.

    Args:
        hits: Images of each stratum that are recognised, [S].
        num_images: All images of each, at least one, [S].
        rng: Draws the resamples.
        weights: Weight of each stratum, [S]; None weights all alike.
    """
    weights = np.full(len(hits), 1 / len(hits)) if weights is None else weights / weights.sum()
    added = ADDED / num_images.sum()  # to each image of a stratum
    alone = num_images == 1
    right = np.where(alone, hits[alone].mean() if alone.any() else 0.0, hits / num_images)
    p = (right + added) / (1 + 2 * added)  # [S]
    drawn = np.maximum(num_images - 1, 1)  # [S]
    means = [rng.binomial(drawn, p, (r, len(p))) / drawn @ weights for r in chunks(len(p))]
    return holding(percentiles(np.concatenate(means)), float(hits / num_images @ weights))


def of_lowest(
    hits: Labels, num_images: Labels, rng: np.random.Generator, statistic: Statistic
) -> Interval:
    """Bootstrap within strata of what the worst of them come to, a fraction.

    Which ones are worst is found anew in each resample. The added images are added to each
    stratum, so that a few images that are all wrong say little. Of many small strata, the worst
    of a resample is worse than the worst one is, so the interval reaches too low.

    Args:
        hits: Images of each stratum that are recognised, [S].
        num_images: All images of each, at least one, [S].
        rng: Draws the resamples.
        statistic: Such as the smallest recall.
    """
    total = num_images + 2 * ADDED  # [S]
    p = (hits + ADDED) / total
    drawn = [statistic(rng.binomial(total, p, (r, len(p))) / total) for r in chunks(len(p))]
    value = statistic((hits / num_images)[None])[0]
    return holding(percentiles(np.concatenate(drawn)), float(value))


def exact(hits: Labels, num_images: Labels) -> tuple[Floats, Floats]:
    """The exact intervals of Clopper and Pearson of some proportions, lower and upper ends.

    Args:
        hits: Images that are recognised, [S].
        num_images: All images, at least one, [S].
    """
    from scipy.stats import beta

    lower, upper = (p / 100 for p in PERCENTILES)
    low = beta.ppf(lower, np.maximum(hits, 1), num_images - hits + 1)
    high = beta.ppf(upper, hits + 1, np.maximum(num_images - hits, 1))
    return np.where(hits == 0, 0.0, low), np.where(hits == num_images, 1.0, high)


def percentiles(drawn: Floats) -> Interval:
    """The middle 95 % of the resamples, [R]."""
    low, high = PERCENTILES
    return Interval(
        float(np.percentile(drawn, low, method="lower")),
        float(np.percentile(drawn, high, method="higher")),
    )


def holding(interval: Interval, value: float) -> Interval:
    """The interval, widened to its own value where skewed resamples miss it."""
    return Interval(min(interval.low, value), max(interval.high, value))


def chunks(width: int, rows: int = RESAMPLES) -> Iterator[int]:
    """How many of the rows of a table of this width are drawn at a time."""
    size = max(1, CHUNK // width)
    yield from (min(size, rows - start) for start in range(0, rows, size))
