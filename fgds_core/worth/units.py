"""What real images are counted of: classes or, where the data have groups, classes in a group."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fgds_core.data.imbalance import BINS, shot_bins
from fgds_core.images.dataset import ImageDataset

Unit = tuple[int, str | None]
"""A class, and the group within it; None for data without groups."""

RARE = BINS[1:]
"""Bins whose units get fewer images in the trainings of a learning curve."""


@dataclass(frozen=True)
class Units:
    """The units that have real training images.

    Attributes:
        keys: In order of class and group, [U].
        names: For people, [U].
        counts: Real training images, [U].
        bins: Shot bin of each by these counts, [U].
    """

    keys: tuple[Unit, ...]
    names: tuple[str, ...]
    counts: tuple[int, ...]
    bins: tuple[str, ...]

    @property
    def rare(self) -> NDArray[np.int64]:
        """Places of the units with few images, medium ones and few-shot ones."""
        return np.array([i for i, each in enumerate(self.bins) if each in RARE], dtype=np.int64)

    def of(self, images: ImageDataset) -> NDArray[np.int64]:
        """The unit of each image, -1 of one that belongs to none, [N]."""
        place = {key: i for i, key in enumerate(self.keys)}
        return np.array([place.get(key, -1) for key in _keys(images)], dtype=np.int64)


def units_of(train: ImageDataset) -> Units:
    """The units of real training images; a class in a group counts by itself, with its own bin."""
    counted = Counter(_keys(train))
    keys = sorted(counted, key=lambda key: (key[0], key[1] or ""))
    counts = [counted[key] for key in keys]
    names = [_name(train.class_names[label], group) for label, group in keys]
    return Units(tuple(keys), tuple(names), tuple(counts), tuple(shot_bins(counts)))


def _keys(images: ImageDataset) -> list[Unit]:
    groups: Sequence[str | None] = images.groups or (None,) * len(images)
    return list(zip(images.labels.tolist(), groups, strict=True))


def _name(class_name: str, group: str | None) -> str:
    return class_name if group is None else f"{class_name}, {group}"
