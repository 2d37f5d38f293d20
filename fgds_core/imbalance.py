"""Class imbalance: shot bins, the long-tailed profile, quotas, balanced batches.

Bins and quotas come from real training counts only. Counting real and synthetic images together
would turn every class into a frequent one.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Sampler

from fgds_core.errors import InputError

T = TypeVar("T")

MANY_ABOVE = 100
"""A class with more real training images than this is in the bin "many"."""

FEW_BELOW = 20
"""A class with fewer real training images than this is in the bin "few"."""


def shot_bins(counts: Sequence[int]) -> list[str]:
    """Bin of each class: "many" above 100 images, "few" below 20, else "medium".

    Args:
        counts: Real training images of each class, [K].

    Returns:
        One of "many", "medium", "few" for each class.

    Source: Liu et al. (2019), Large-Scale Long-Tailed Recognition in an Open World,
        https://arxiv.org/abs/1904.05160
    """
    return [
        "many" if count > MANY_ABOVE else "few" if count < FEW_BELOW else "medium"
        for count in counts
    ]


def long_tailed_counts(largest: int, imbalance_factor: float, num_classes: int) -> list[int]:
    """Exponential long-tailed profile: largest * imbalance_factor^(-k / (K - 1)), rounded down.

    Args:
        largest: Images of the most frequent class.
        imbalance_factor: Ratio of the largest to the smallest count, 1 or more; 1 is balanced.
        num_classes: Number of classes K.

    Returns:
        Decreasing counts, each at least 1, [K].

    Source: Cui et al. (2019), Class-Balanced Loss, https://arxiv.org/abs/1901.05555
    """
    if largest < 1 or num_classes < 1 or not 1 <= imbalance_factor < math.inf:
        raise ValueError(
            "largest, num_classes and imbalance_factor must be finite and at least 1, "
            f"got {largest}, {num_classes}, {imbalance_factor}"
        )
    span = max(num_classes - 1, 1)
    # The small addend keeps whole numbers whole: 5000 * 100^-1 must not become 49.
    return [
        max(1, math.floor(largest * imbalance_factor ** (-k / span) + 1e-6))
        for k in range(num_classes)
    ]


def quotas(counts: Sequence[int], target_per_class: int | Literal["max"]) -> list[int]:
    """Synthetic images each class needs to reach the target.

    Args:
        counts: Real training images of each class, [K].
        target_per_class: Images wanted per class, real and synthetic together; "max" is the
            largest count.

    Returns:
        max(target - count, 0) for each class, [K].
    """
    target = max(counts, default=0) if target_per_class == "max" else target_per_class
    if target < 0:
        raise ValueError(f'target_per_class must be "max" or at least 0, got {target_per_class}')
    return [max(target - count, 0) for count in counts]


def check_target(counts: Sequence[int], target_per_class: int | Literal["max"]) -> None:
    """Refuses a target that no class is below: there would be nothing to draw.

    Args:
        counts: Real training images of each class, [K].
        target_per_class: As in `quotas`.

    Raises:
        InputError: No class needs an image; says what to set instead.
    """
    if any(quotas(counts, target_per_class)):
        return
    fewest, most = min(counts, default=0), max(counts, default=0)
    is_level = fewest == most
    if len(counts) == 1:
        have = f"the one class has {most:,} real training images"
    elif is_level:
        have = f"all {len(counts):,} classes have {most:,} real training images"
    else:
        have = f"even the smallest class has {fewest:,} real training images"
    target = "max, the largest class's count" if target_per_class == "max" else target_per_class
    remedy = f"set it to a number above {fewest:,}{'' if is_level else f', or to max ({most:,})'}"
    raise InputError(
        f"synthesize.target_per_class is {target}, and {have}: no class needs a synthetic one; "
        + remedy
    )


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
