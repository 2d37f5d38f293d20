"""Which images become one: the partners of those of a batch, of the same batch or of all.

B images in a batch, N in all.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fgds_core.errors import InputError

SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


class Contrast:
    """Images in the order of two numbers, to find those alike in one and unlike in the other."""

    def __init__(self, alike: Integers, unlike: Integers, first: int) -> None:
        """Sorts the images.

        Args:
            alike: What an image and its partner have in common, [N].
            unlike: What they differ in, [N].
            first: Row of the first image.
        """
        self.alike, self.unlike, self.first = alike, unlike, first
        self.order = np.lexsort((unlike, alike))
        self.alike_sorted = alike[self.order]
        self.width = int(unlike.max(initial=0)) + 1
        self.cells_sorted = self.alike_sorted * self.width + unlike[self.order]

    def partners(self, rows: Integers, rng: np.random.Generator) -> Integers:
        """For each row one of those that fit it, all as likely; the row itself where none does."""
        alike = self.alike[rows - self.first]
        cells = alike * self.width + self.unlike[rows - self.first]
        # Those that are alike stand in one stretch, and in it in another those that are no other
        low, high = (np.searchsorted(self.alike_sorted, alike, side=s) for s in SIDES)
        start, end = (np.searchsorted(self.cells_sorted, cells, side=s) for s in SIDES)
        num = (high - low) - (end - start)
        place = low + (rng.random(len(rows)) * num).astype(np.int64)
        place += np.where(place >= start, end - start, 0)
        found = self.order[place.clip(max=len(self.order) - 1)] + self.first
        return np.where(num > 0, found, rows)


class Pool:
    """The images of a training, from which partners come.

    Attributes:
        num_real: How many are real; the others stand behind them.
        within_source: Whether real images are mixed with real ones alone, synthetic with
            synthetic ones.
        rarity: Sums of the images' weights 1 / n, n being the real images of their class, up to
            each image and without it, [N + 1].
        labels: Classes, [N].
        groups: Numbers of their groups, [N]; None without groups.
    """

    def __init__(
        self, labels: Tensor, num_real: int, within_source: bool, groups: Tensor | None = None
    ) -> None:
        self.num_real, self.within_source = num_real, within_source
        self.labels: Integers = labels.numpy()
        self.groups: Integers | None = None if groups is None else groups.numpy()
        self._contrasts: dict[tuple[bool, int, int], Contrast] = {}
        counts = labels[:num_real].bincount(minlength=int(labels.max()) + 1).clamp(min=1)
        weights = 1 / counts[labels].double().numpy()
        self.rarity: Floats = np.concatenate([[0.0], np.cumsum(weights)])

    def sources(self, rows: Integers) -> Iterator[tuple[Integers, int, int]]:
        """Which images are mixed with which: places in the batch, first row, end of the rows."""
        end = len(self.rarity) - 1
        if not self.within_source:
            yield np.arange(len(rows)), 0, end
            return
        yield np.flatnonzero(rows < self.num_real), 0, self.num_real
        yield np.flatnonzero(rows >= self.num_real), self.num_real, end

    def contrast(self, of_class: bool, first: int, end: int) -> Contrast:
        """The images of some rows: of one class in other groups, or of one group in other classes.

        Raises:
            InputError: The images have no groups.
        """
        if self.groups is None:
            raise InputError(
                "mix: got lisa, but the training images have no groups, or the synthetic ones "
                "not; name their column or folders in data, or choose another mix"
            )
        which = (of_class, first, end)
        if which not in self._contrasts:
            labels, groups = self.labels[first:end], self.groups[first:end]
            alike, unlike = (labels, groups) if of_class else (groups, labels)
            self._contrasts[which] = Contrast(alike, unlike, first)
        return self._contrasts[which]


Partners = Callable[[Integers, Pool, np.random.Generator], tuple[Integers, bool]]
"""(rows of a batch, pool, rng) -> partners, [B], and whether they are rows of their own: else
they are places in the batch."""


def permuted(rows: Integers, pool: Pool, rng: np.random.Generator) -> tuple[Integers, bool]:
    """Each image of the batch is the partner of one of them."""
    places = np.arange(len(rows))
    for members, _, _ in pool.sources(rows):
        places[members] = rng.permutation(members)
    return places, False


def rare(rows: Integers, pool: Pool, rng: np.random.Generator) -> tuple[Integers, bool]:
    """Any images, each as likely as 1 / n, n being the real images of its class."""
    partners = np.empty_like(rows)
    for members, first, end in pool.sources(rows):
        low, high = pool.rarity[first], pool.rarity[end]
        drawn = rng.uniform(low, high, len(members))
        found = np.searchsorted(pool.rarity, drawn, side="right") - 1
        partners[members] = found.clip(first, end - 1)  # a sum may be rounded up to its end
    return partners, True


def selected(rows: Integers, pool: Pool, rng: np.random.Generator) -> tuple[Integers, bool]:
    """Any images of the same class in another group, or of the same group and another class."""
    partners = np.empty_like(rows)
    for members, first, end in pool.sources(rows):
        own = rows[members]
        in_class, in_group = (
            pool.contrast(of_class, first, end).partners(own, rng) for of_class in (True, False)
        )
        partners[members] = np.where(rng.random(len(own)) < 0.5, in_class, in_group)
    return partners, True
