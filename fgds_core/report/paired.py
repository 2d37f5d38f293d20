"""What two classifiers differ by on the same test images, and how sure that is.

Both have answered the same images, so images are drawn again in pairs of answers: an image that is
easy for both says nothing about their difference. The intervals say what other test images of the
same kind could change. They say nothing of another seed of the training.

A few images that all agree would have an interval of no width. Therefore two images are added to
those that are resampled, one that each classifier alone gets right, which is Laplace's adjustment
and matters for small samples only.

N images, K classes.

Sources: Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13 (percentiles);
    Bonett and Price (2012), https://doi.org/10.3102/1076998610393968 (the two added images);
    McNemar (1947), https://doi.org/10.1007/BF02295996 (the test)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

RESAMPLES = 2000
PERMUTATIONS = 1000
PERCENTILES = (2.5, 97.5)
ECE_BINS = 15
CHUNK = 2**20  # numbers of a table of resamples held at once

Bools = NDArray[np.bool_]
Labels = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Interval:
    """A 95 % interval of a difference, in the unit of what differs."""

    low: float
    high: float

    @property
    def covers_zero(self) -> bool:
        """Whether there may be no difference at all."""
        return self.low <= 0 <= self.high


def accuracy(won: int, lost: int, num_images: int, rng: np.random.Generator) -> Interval:
    """Bootstrap over images of a difference of accuracies, a fraction.

    Args:
        won: Images that only the second classifier gets right.
        lost: Images that only the first one gets right.
        num_images: All images, at least `won + lost`.
        rng: Draws the resamples.
    """
    outcomes = np.array([won + 1, lost + 1, num_images - won - lost])
    total = num_images + 2
    drawn = rng.multinomial(total, outcomes / total, RESAMPLES)  # [R, 3]
    return _interval((drawn[:, 0] - drawn[:, 1]) / total)


def worst_group(cells: Labels, first: Bools, second: Bools, rng: np.random.Generator) -> Interval:
    """Bootstrap of the difference of the worst groups' accuracies, a fraction.

    The worst group of each resample counts, which need not be the same for both classifiers. Each
    group keeps its number of images.

    Args:
        cells: The group of each image, any numbers, [N].
        first: Whether the first classifier gets each image right, [N].
        second: The same of the second one, [N].
        rng: Draws the resamples.
    """
    cell = np.unique(cells, return_inverse=True)[1]  # [N]
    kinds = (second & ~first, first & ~second, first & second, ~first & ~second)
    outcomes = np.stack([np.bincount(cell[kind], minlength=cell.max() + 1) for kind in kinds])
    outcomes[:2] += 1  # the two added images
    worst = np.ones((RESAMPLES, 2))
    for counts in outcomes.T:
        total = counts.sum()
        drawn = rng.multinomial(total, counts / total, RESAMPLES)  # [R, 4]
        right = np.stack([drawn[:, 1] + drawn[:, 2], drawn[:, 0] + drawn[:, 2]], axis=1)  # [R, 2]
        worst = np.minimum(worst, right / total)
    return _interval(worst[:, 1] - worst[:, 0])


def macro_f1(
    actual: Labels, first: Labels, second: Labels, num_classes: int, rng: np.random.Generator
) -> Interval:
    """Bootstrap over images of a difference of macro F1, a fraction.

    The two added images are of all classes, each class in its share.

    Args:
        actual: True classes, [N].
        first: Classes that the first classifier predicts, [N].
        second: The same of the second one, [N].
        num_classes: K; a class without images or predictions counts as 0.
        rng: Draws the resamples.
    """
    # Images with the same three classes are alike: their number is drawn, not each of them.
    answers = np.stack([actual, first, second], axis=1)  # [N, 3]
    kinds, counts = np.unique(answers, axis=0, return_counts=True)
    present, per_class = np.unique(actual, return_counts=True)
    none = np.full_like(present, num_classes)  # no class: how the added images are mistaken
    kinds = np.concatenate(
        [
            kinds,
            np.stack([present, none, present], axis=1),
            np.stack([present, present, none], axis=1),
        ]
    )  # [U, 3]
    share = per_class / len(actual)
    weights = np.concatenate([counts, share, share])  # [U], the sum is N + 2
    total = len(actual) + 2

    occurs, *says = (_one_hot(kinds[:, j], num_classes) for j in range(3))
    right = [_one_hot(kinds[:, j], num_classes, kinds[:, j] == kinds[:, 0]) for j in (1, 2)]
    differences = []
    for size in _chunks(max(len(kinds), num_classes)):
        drawn = rng.multinomial(total, weights / weights.sum(), size).astype(np.float64)  # [r, U]
        actually = drawn @ occurs  # [r, K + 1]
        scores = []
        for predicted, hits in zip(says, right, strict=True):
            both = actually + drawn @ predicted
            f1 = np.divide(2 * (drawn @ hits), both, out=np.zeros_like(both), where=both > 0)
            scores.append(f1[:, :num_classes].mean(axis=1))
        differences.append(scores[1] - scores[0])
    return _interval(np.concatenate(differences))


def calibration_error(
    first: tuple[Floats, Bools], second: tuple[Floats, Bools], rng: np.random.Generator
) -> Interval:
    """Bootstrap over images of a difference of expected calibration errors, a fraction.

    The two added images have each classifier's mean confidence.

    Args:
        first: Confidence of the first classifier and whether it is right, [N] each.
        second: The same of the second one.
        rng: Draws the resamples.

    Source: Guo et al. (2017), https://arxiv.org/abs/1706.04599 (the error)
    """
    num_images = len(first[0]) + 2
    gaps = []
    for (confidence, right), added in zip((first, second), ([1, 0], [0, 1]), strict=True):
        confidence = np.append(confidence, [confidence.mean()] * 2)  # [N + 2]
        right = np.append(right, added)  # [N + 2]
        place = np.clip(np.ceil(confidence * ECE_BINS).astype(int), 1, ECE_BINS) - 1  # [N + 2]
        table = np.zeros((num_images, ECE_BINS))
        table[np.arange(num_images), place] = right - confidence
        gaps.append(table)
    both = np.concatenate(gaps, axis=1)  # [N + 2, 2 bins]
    differences = []
    for size in _chunks(num_images):
        images = rng.integers(num_images, size=(size, num_images))  # [r, N + 2]
        drawn = np.stack([np.bincount(row, minlength=num_images) for row in images])
        errors = np.abs(drawn @ both).reshape(size, 2, ECE_BINS).sum(axis=2)  # [r, 2]
        differences.append((errors[:, 1] - errors[:, 0]) / num_images)
    return _interval(np.concatenate(differences))


def mcnemar(won: Labels, lost: Labels) -> Floats:
    """Exact two-sided p-values that neither classifier is right more often, one per row.

    Args:
        won: Images that only the second classifier gets right, [K].
        lost: Images that only the first one gets right, [K].
    """
    from scipy.stats import binom

    tail = binom.cdf(np.minimum(won, lost), won + lost, 0.5)
    p: Floats = np.minimum(1.0, 2 * tail)
    return p


def corrected(p: Floats) -> Floats:
    """p-values such that those below 0.05 hold one false find in twenty, [K].

    Source: Benjamini and Hochberg (1995), https://doi.org/10.1111/j.2517-6161.1995.tb02031.x
    """
    from scipy.stats import false_discovery_control

    adjusted: Floats = false_discovery_control(p) if p.size else p
    return adjusted


def chance(actual: Labels, predicted: Labels, rng: np.random.Generator) -> float:
    """The p-value of a classifier that guesses: how often its answers, shuffled, do as well.

    What counts is the mean over classes of their accuracy, which a constant answer cannot raise.

    Args:
        actual: True classes, [N].
        predicted: Predicted classes, [N].
        rng: Shuffles.
    """
    weight = 1 / np.bincount(actual)[actual]  # [N], each class counts the same
    observed = weight[actual == predicted].sum()
    as_good = 0
    for size in _chunks(len(actual), PERMUTATIONS):
        shuffled = rng.permuted(np.tile(predicted, (size, 1)), axis=1)  # [r, N]
        scores = ((shuffled == actual) * weight).sum(axis=1)
        as_good += int((scores >= observed - 1e-9).sum())
    return (1 + as_good) / (1 + PERMUTATIONS)


def _one_hot(labels: Labels, num_classes: int, chosen: Bools | None = None) -> csr_array:
    """A sparse row with a 1 in its class for each label, or for the chosen ones, [N, K + 1]."""
    from scipy.sparse import csr_array

    rows = np.arange(len(labels)) if chosen is None else np.flatnonzero(chosen)
    ones = np.ones(len(rows), dtype=np.float64)
    return csr_array((ones, (rows, labels[rows])), shape=(len(labels), num_classes + 1))


def _interval(differences: Floats) -> Interval:
    low, high = PERCENTILES
    return Interval(
        float(np.percentile(differences, low, method="lower")),
        float(np.percentile(differences, high, method="higher")),
    )


def _chunks(width: int, rows: int = RESAMPLES) -> list[int]:
    """How many of the rows of a table of this width are drawn at a time."""
    size = max(1, CHUNK // width)
    return [min(size, rows - start) for start in range(0, rows, size)]
