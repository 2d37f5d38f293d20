"""How a classifier does on each class within a context, and on the worst of them.

A group of the literature is a class within a context: a landbird on water. What has no test images
has no recall and is in no measure, and neither is 0.

N images, C classes within a context that have images, r resamples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fgds_core.classify import intervals
from fgds_core.classify.intervals import Bools, Floats, Interval, Labels

LARGE = 10
"""Test images from which on a group's recall is more than luck."""

WORST_SHARE = 10
"""One in so many groups is among the worst."""

TrainCounts = Mapping[tuple[str, str], int]
"""Real training images of each (class, context); those without any may be left out."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Which images are of which class and context.

    Attributes:
        names: Class and context of each group that has images, C of them.
        of_image: Number of the group of each image, [N].
        num_images: Images of each group, [C].
        num_train: Real training images of each group, [C].
    """

    names: tuple[tuple[str, str], ...]
    of_image: Labels
    num_images: Labels
    num_train: Labels

    def hits(self, right: Bools) -> Labels:
        """Images of each group that are recognised, [C], from whether each image is, [N]."""
        return np.bincount(self.of_image[right], minlength=len(self.names))


def grouped(
    labels: Sequence[int],
    contexts: Sequence[str],
    class_names: Sequence[str],
    num_train: TrainCounts,
) -> Groups:
    """The groups of some images, sorted by class and context.

    Args:
        labels: Class of each image, [N].
        contexts: Context of each image, N of them.
        class_names: Name of each class.
        num_train: Real training images.
    """
    pairs = list(zip(labels, contexts, strict=True))
    found = sorted(set(pairs))
    place = {pair: number for number, pair in enumerate(found)}
    of_image = np.array([place[pair] for pair in pairs], dtype=np.int64)  # [N]
    names = tuple((class_names[label], context) for label, context in found)
    return Groups(
        names,
        of_image,
        np.bincount(of_image, minlength=len(names)),
        np.array([num_train.get(name, 0) for name in names], dtype=np.int64),
    )


def train_counts(
    labels: Sequence[int], contexts: Sequence[str], class_names: Sequence[str]
) -> TrainCounts:
    """Images of each (class, context)."""
    counts = Counter(zip(labels, contexts, strict=True))
    return {(class_names[label], context): count for (label, context), count in counts.items()}


def worst(recalls: Floats, groups: Groups) -> Floats:
    """The smallest recall."""
    lowest: Floats = recalls.min(axis=-1)
    return lowest


def worst_large(recalls: Floats, groups: Groups) -> Floats | None:
    """The smallest recall of a group with at least `LARGE` images; None where there is none."""
    large = groups.num_images >= LARGE
    return recalls[..., large].min(axis=-1) if large.any() else None


def worst_tenth(recalls: Floats, groups: Groups) -> Floats:
    """Mean recall of the tenth of the groups that is worst, at least one."""
    num = num_worst(recalls.shape[-1])
    lowest: Floats = np.partition(recalls, num - 1, axis=-1)[..., :num].mean(axis=-1)
    return lowest


def num_worst(num_groups: int) -> int:
    """How many groups are the worst tenth."""
    return -(-num_groups // WORST_SHARE)


def mean(recalls: Floats, groups: Groups) -> Floats:
    """Mean recall, all groups alike."""
    found: Floats = recalls.mean(axis=-1)
    return found


def adjusted_mean(recalls: Floats, groups: Groups) -> Floats | None:
    """Mean recall, weighted by real training images; None where no group has any.

    What the accuracy would be on test images with the proportions of training.

    Source: Koh et al. (2021), WILDS, https://arxiv.org/abs/2012.07421 (`adj_acc_avg`)
    """
    total = groups.num_train.sum()
    if not total:
        return None
    adjusted: Floats = recalls @ (groups.num_train / total)
    return adjusted


Measure = Callable[[Floats, Groups], Floats | None]
"""Recalls of the groups, [..., C], and the groups -> a fraction each, [...]."""

MEASURES: dict[str, Measure] = {
    "worst_group": worst,
    "worst_group_10": worst_large,
    "worst_tenth": worst_tenth,
    "mean_group": mean,
    "adjusted_mean": adjusted_mean,
}
"""Name in the Metrics JSON -> what it says of the recalls of all groups."""

LOWEST = frozenset({"worst_group", "worst_group_10", "worst_tenth"})


def measured(name: str, hits: Labels, groups: Groups) -> float | None:
    """A measure of `MEASURES`, a fraction; None where the images have no such number.

    Args:
        name: Its name.
        hits: Images of each group that are recognised, [C].
        groups: The groups.
    """
    value = MEASURES[name](hits / groups.num_images, groups)
    return None if value is None else float(value)


def interval(name: str, hits: Labels, groups: Groups, rng: np.random.Generator) -> Interval | None:
    """The 95 % interval of a measure by bootstrap within groups; None where it has no number."""
    measure = MEASURES[name]
    if measure(hits / groups.num_images, groups) is None:
        return None
    if name in LOWEST:
        return intervals.of_lowest(
            hits, groups.num_images, rng, lambda recalls: number(measure, recalls, groups)
        )
    weights = None if name == "mean_group" else groups.num_train.astype(np.float64)
    return intervals.of_mean(hits, groups.num_images, rng, weights)


def rows(hits: Labels, groups: Groups) -> list[dict[str, Any]]:
    """`class`, `group`, `recall`, its exact interval and images of each group, worst first.

    Of equally bad ones the larger comes first, as the more certain.

    Args:
        hits: Images of each group that are recognised, [C].
        groups: The groups.
    """
    low, high = intervals.exact(hits, groups.num_images)
    found = [
        {
            "class": class_name,
            "group": context,
            "recall": float(hits[k] / groups.num_images[k]),
            "low": float(low[k]),
            "high": float(high[k]),
            "num_images": int(groups.num_images[k]),
            "num_train": int(groups.num_train[k]),
        }
        for k, (class_name, context) in enumerate(groups.names)
    ]
    return sorted(found, key=lambda row: (row["recall"], -row["num_images"]))


def number(measure: Measure, recalls: Floats, groups: Groups) -> Floats:
    """A measure of groups that have such a number."""
    value = measure(recalls, groups)
    assert value is not None  # the caller has looked
    return value
