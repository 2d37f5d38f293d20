"""Batches slot by slot: which class or group a slot is for, which source, and then which image."""

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")

Draw = Callable[[float], int]
"""Share of the training that lies behind -> the stratum of the next slot: a class or a cell."""


class Rounds(Generic[T]):
    """Items in shuffled rounds without end: none comes again before all have come."""

    def __init__(self, items: Sequence[T], rng: torch.Generator) -> None:
        self._items, self._rng = items, rng
        self._left: list[T] = []

    def draw(self) -> T:
        """The next item."""
        self._left = self._left or shuffled(self._items, self._rng)
        return self._left.pop()


class Weighted:
    """Numbers at random, each in proportion to its weight."""

    AHEAD = 1024
    """Numbers drawn at once, for the time that takes."""

    def __init__(self, weights: Tensor, rng: torch.Generator) -> None:
        self._weights, self._rng = weights, rng
        self._left: list[int] = []

    def draw(self) -> int:
        """The next number."""
        if not self._left:
            numbers = torch.multinomial(self._weights, self.AHEAD, True, generator=self._rng)
            self._left = numbers.tolist()
        return self._left.pop()


def stratified(
    strata: Tensor,
    num_real: int,
    draw: Draw,
    *,
    batch_size: int,
    real_share: float,
    num_batches: int,
    rng: torch.Generator,
) -> Iterator[list[int]]:
    """Batches with a set share of real images, the strata of their slots drawn one by one.

    Each batch has `round(real_share * batch_size)` slots for real images, at random places; a
    stratum without images of the wanted source gives one of the other. Within a stratum and source
    images come in shuffled rounds: none repeats before all have been drawn. Rounds run on across
    batches.

    Args:
        strata: Class or cell of each image, [N]: the real ones, then the synthetic ones.
        num_real: How many are real.
        draw: Chooses the stratum of each slot; one that has images.
        batch_size: Images in a batch.
        real_share: Fraction of a batch's slots meant for real images, in [0, 1].
        num_batches: Batches to be drawn.
        rng: Source of all randomness.

    Yields:
        The rows of a batch.
    """
    images = {
        (stratum, source): Rounds(rows, rng)
        for stratum, both in _rows(strata, num_real).items()
        for source, rows in zip((True, False), both, strict=True)
        if rows
    }
    num_slots = round(real_share * batch_size)
    for number in range(num_batches):
        batch = []
        for source in shuffled([slot < num_slots for slot in range(batch_size)], rng):
            stratum = draw(number / num_batches)
            key = (stratum, source) if (stratum, source) in images else (stratum, not source)
            batch.append(images[key].draw())
        yield batch


def shuffled(items: Sequence[T], rng: torch.Generator) -> list[T]:
    """The items in another order."""
    return [items[i] for i in torch.randperm(len(items), generator=rng).tolist()]


def _rows(strata: Tensor, num_real: int) -> dict[int, tuple[list[int], list[int]]]:
    """The real and the synthetic rows of each stratum, in their order."""
    order = strata.argsort(stable=True).numpy()  # [N]
    names, firsts = np.unique(strata.numpy()[order], return_index=True)
    return {
        name: (rows[rows < num_real].tolist(), rows[rows >= num_real].tolist())
        for name, rows in zip(names.tolist(), np.split(order, firsts[1:]), strict=True)
    }
