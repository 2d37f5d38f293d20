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

from typing import TYPE_CHECKING

import numpy as np

from fgds_core.classify.intervals import (
    RESAMPLES,
    Bools,
    Floats,
    Interval,
    Labels,
    Statistic,
    chunks,
    percentiles,
)
from fgds_core.classify.reliability import ECE_BINS, bin_of

if TYPE_CHECKING:
    from scipy.sparse import csr_array

PERMUTATIONS = 1000


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
    return percentiles((drawn[:, 0] - drawn[:, 1]) / total)


def lowest(
    groups: Labels, first: Bools, second: Bools, rng: np.random.Generator, statistic: Statistic
) -> Interval:
    """Bootstrap of the difference of what each classifier's worst groups come to, a fraction.

    Which groups are worst is found anew in each resample, and need not be the same for both
    classifiers. Each group keeps its number of images; the two images are added to each.

    Args:
        groups: Number of the group of each image, from 0, [N].
        first: Whether the first classifier gets each image right, [N].
        second: The same of the second one, [N].
        rng: Draws the resamples.
        statistic: Such as the smallest recall.
    """
    outcomes = _outcomes(groups, first, second)  # [C, 4]
    outcomes[:, :2] += 1
    total = outcomes.sum(axis=1)  # [C]
    differences = []
    for size in chunks(outcomes.size):
        drawn = rng.multinomial(total, outcomes / total[:, None], (size, len(total)))  # [r, C, 4]
        before, after = (statistic(recalls / total) for recalls in _right(drawn))  # [r] each
        differences.append(after - before)
    return percentiles(np.concatenate(differences))


def group_mean(
    groups: Labels, first: Bools, second: Bools, rng: np.random.Generator, weights: Floats
) -> Interval:
    """Bootstrap of the difference of the means of the groups' recalls, a fraction.

    Each group keeps its number of images; for small ones see `intervals.of_mean`. The two added
    images are of all groups, each group in its share.

    Args:
        groups: Number of the group of each image, from 0, [N].
        first: Whether the first classifier gets each image right, [N].
        second: The same of the second one, [N].
        rng: Draws the resamples.
        weights: Weight of each group, [C].
    """
    outcomes = _outcomes(groups, first, second).astype(np.float64)  # [C, 4]
    total = outcomes.sum(axis=1, keepdims=True)  # [C, 1]
    alone = total[:, 0] == 1
    shares = np.where(total == 1, outcomes[alone].mean(axis=0) if alone.any() else 0, outcomes)
    shares = shares / total + np.array([1, 1, 0, 0]) / len(groups)
    shares /= shares.sum(axis=1, keepdims=True)
    drawn_images = np.maximum(total[:, 0] - 1, 1).astype(np.int64)  # [C]
    weights = weights / weights.sum()
    differences = []
    for size in chunks(outcomes.size):
        drawn = rng.multinomial(drawn_images, shares, (size, len(shares)))  # [r, C, 4]
        before, after = (recalls / drawn_images @ weights for recalls in _right(drawn))
        differences.append(after - before)
    return percentiles(np.concatenate(differences))


def _outcomes(groups: Labels, first: Bools, second: Bools) -> Labels:
    """Images of each group that only the second, only the first, both, neither gets right."""
    kinds = (second & ~first, first & ~second, first & second, ~first & ~second)
    num = groups.max() + 1
    return np.stack([np.bincount(groups[kind], minlength=num) for kind in kinds], axis=1)


def _right(outcomes: Labels) -> tuple[Labels, Labels]:
    """Images that the first, and that the second classifier gets right, from `_outcomes`."""
    both = outcomes[..., 2]
    return outcomes[..., 1] + both, outcomes[..., 0] + both


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
    for size in chunks(max(len(kinds), num_classes)):
        drawn = rng.multinomial(total, weights / weights.sum(), size).astype(np.float64)  # [r, U]
        actually = drawn @ occurs  # [r, K + 1]
        scores = []
        for predicted, hits in zip(says, right, strict=True):
            both = actually + drawn @ predicted
            f1 = np.divide(2 * (drawn @ hits), both, out=np.zeros_like(both), where=both > 0)
            scores.append(f1[:, :num_classes].mean(axis=1))
        differences.append(scores[1] - scores[0])
    return percentiles(np.concatenate(differences))


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
        place = bin_of(confidence)  # [N + 2]
        table = np.zeros((num_images, ECE_BINS))
        table[np.arange(num_images), place] = right - confidence
        gaps.append(table)
    both = np.concatenate(gaps, axis=1)  # [N + 2, 2 bins]
    differences = []
    for size in chunks(num_images):
        images = rng.integers(num_images, size=(size, num_images))  # [r, N + 2]
        drawn = np.stack([np.bincount(row, minlength=num_images) for row in images])
        errors = np.abs(drawn @ both).reshape(size, 2, ECE_BINS).sum(axis=2)  # [r, 2]
        differences.append((errors[:, 1] - errors[:, 0]) / num_images)
    return percentiles(np.concatenate(differences))


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


def holm(p: Floats) -> Floats:
    """p-values corrected for their number: one in twenty families has any false find below 0.05.

    Args:
        p: Uncorrected, [K].

    Source: Holm (1979), https://www.jstor.org/stable/4615733
    """
    order = np.argsort(p)
    steps = (len(p) - np.arange(len(p))) * p[order]  # the smallest times K, the next K - 1, ...
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
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
    for size in chunks(len(actual), PERMUTATIONS):
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
