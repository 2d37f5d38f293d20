"""Which images a training batch holds."""

from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.data import Sampler

T = TypeVar("T")


class BalancedBatchSampler(Sampler[list[int]]):
    """Batches in which every class is as frequent as any other, with a set share of real images.

    Classes come in shuffled rounds (each class once a round, rounds run on across batches), so
    over any stretch of slots two classes differ by at most two occurrences. Each batch has
    `round(real_share * batch_size)` slots for real images at random places; a class without images
    of the wanted source gives one of the other. Within a class and source, images come in shuffled
    rounds too: none repeats before all have been drawn. Rounds go on from one epoch to the next.

    Indices below `len(real_labels)` are real images, the others synthetic ones behind them, as in
    `torch.cat([real, synthetic])`.
    """

    def __init__(
        self,
        real_labels: Tensor,
        synthetic_labels: Tensor | None,
        *,
        batch_size: int,
        real_share: float,
        num_batches: int,
        generator: torch.Generator,
    ) -> None:
        """Sorts the images by source and class.

        Args:
            real_labels: Classes of the real images, [N].
            synthetic_labels: Classes of the synthetic images, [M], or None for real images alone.
            batch_size: Images in a batch.
            real_share: Fraction of a batch's slots meant for real images, in [0, 1].
            num_batches: Batches in an epoch.
            generator: Source of all randomness; it moves on with every batch.
        """
        if batch_size < 1 or num_batches < 0:
            raise ValueError(
                "batch_size must be at least 1 and num_batches at least 0, "
                f"got {batch_size}, {num_batches}"
            )
        if not 0 <= real_share <= 1:
            raise ValueError(f"real_share must be a fraction in [0, 1], got {real_share}")
        synthetic = real_labels.new_empty(0) if synthetic_labels is None else synthetic_labels
        labels = torch.cat([real_labels, synthetic])  # [N + M]
        if len(labels) == 0:
            raise ValueError("there is no image to draw from")
        is_real = torch.arange(len(labels)) < len(real_labels)  # [N + M]
        self._classes: list[int] = sorted(set(labels.tolist()))
        self._images: dict[tuple[int, bool], list[int]] = {
            (label, source): torch.where((labels == label) & (is_real == source))[0].tolist()
            for label in self._classes
            for source in (True, False)
        }
        self._batch_size = batch_size
        self._num_real = round(real_share * batch_size)
        self._num_batches = num_batches
        self._generator = generator
        self._class_round: list[int] = []
        self._image_rounds: dict[tuple[int, bool], list[int]] = {key: [] for key in self._images}

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(self._num_batches):
            slots = self._shuffled([s < self._num_real for s in range(self._batch_size)])
            yield [self._draw(source) for source in slots]

    def _draw(self, source: bool) -> int:
        self._class_round = self._class_round or self._shuffled(self._classes)
        label = self._class_round.pop()
        key = (label, source) if self._images[label, source] else (label, not source)
        self._image_rounds[key] = self._image_rounds[key] or self._shuffled(self._images[key])
        return self._image_rounds[key].pop()

    def _shuffled(self, items: list[T]) -> list[T]:
        order = torch.randperm(len(items), generator=self._generator).tolist()
        return [items[i] for i in order]
