"""Which images a training batch holds."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, RandomSampler, Sampler, WeightedRandomSampler

from fgds_core.classify.config import TrainConfig, Treatment
from fgds_core.images.dataset import ImageDataset, joined

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Batch:
    """What a training step sees.

    Attributes:
        x: Images in [-1, 1], [B, C, H, W].
        labels: Their classes, [B].
        groups: Number of each image's group among the sorted names, [B]; None without groups.
        synthetic: Whether each image is synthetic, [B].
        progress: Share of the training's steps that lie behind this one, in [0, 1).
        share: Share of each image that shows its own class, [B]; None where no image is mixed.
        partner: The same images, told as what they show beside it; None where no image is mixed.
    """

    x: Tensor
    labels: Tensor
    groups: Tensor | None
    synthetic: Tensor
    progress: float = 0.0
    share: Tensor | None = None
    partner: "Batch | None" = None


class TrainingImages:
    """Real images and, behind them, synthetic ones.

    Attributes:
        images: All of them.
        num_real: How many are real.
        real_share: Share of a batch's slots that is meant for real images.
        treatment: What else is done with synthetic images.
        synthetic: Whether each image is synthetic, [N].
        groups: Number of each image's group among the sorted names, [N]; None without groups.
    """

    def __init__(
        self,
        real: ImageDataset,
        synthetic: ImageDataset | None = None,
        real_share: float = 1.0,
        treatment: Treatment = Treatment(),
    ) -> None:
        self.images = real if synthetic is None else joined(real, synthetic)
        self.num_real = len(real)
        self.real_share = 1.0 if synthetic is None else real_share
        self.treatment = Treatment() if synthetic is None else treatment
        self.synthetic = torch.arange(len(self.images)) >= self.num_real
        self.groups: Tensor | None = None
        if (names := self.images.groups) is not None:
            numbers = {name: number for number, name in enumerate(sorted(set(names)))}
            self.groups = torch.tensor([numbers[name] for name in names], dtype=torch.int64)

    def batch(self, rows: list[int], x: Tensor, progress: float) -> Batch:
        """The images of some rows, as `x` on its device, with what is known of them."""
        return Batch(
            x=x,
            labels=self.images.labels[rows].to(x.device),
            groups=None if self.groups is None else self.groups[rows].to(x.device),
            synthetic=self.synthetic[rows].to(x.device),
            progress=progress,
        )


BatchSource = Callable[[TrainingImages, TrainConfig, torch.Generator], Iterable[list[int]]]
"""(images, recipe, source of randomness) -> the rows of each of `num_steps` batches."""


def instance(
    training: TrainingImages, config: TrainConfig, rng: torch.Generator
) -> Iterable[list[int]]:
    """Shuffled passes over all images: a class comes as often as it has images."""
    images = RandomSampler(range(len(training.images)), num_samples=_slots(config), generator=rng)
    return BatchSampler(images, config.batch_size, drop_last=False)


def square_root(
    training: TrainingImages, config: TrainConfig, rng: torch.Generator
) -> Iterable[list[int]]:
    """Images at random, a class of n images in proportion to n^0.5."""
    labels = training.images.labels
    weights = labels.bincount().double()[labels] ** -0.5  # [N]
    images = WeightedRandomSampler(weights.tolist(), _slots(config), generator=rng)
    return BatchSampler(images, config.batch_size, drop_last=False)


def class_balanced(
    training: TrainingImages, config: TrainConfig, rng: torch.Generator
) -> Iterable[list[int]]:
    """All classes alike, with the wanted share of real images; see `BalancedBatchSampler`."""
    labels = training.images.labels
    return BalancedBatchSampler(
        labels[: training.num_real],
        labels[training.num_real :],
        batch_size=config.batch_size,
        real_share=training.real_share,
        num_batches=config.num_steps,
        rng=rng,
    )


BATCH_SOURCES: dict[str, BatchSource] = {
    "instance": instance,
    "square_root": square_root,
    "class_balanced": class_balanced,
}


def _slots(config: TrainConfig) -> int:
    """Images that a whole training sees."""
    return config.num_steps * config.batch_size


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
        rng: torch.Generator,
    ) -> None:
        """Sorts the images by source and class.

        Args:
            real_labels: Classes of the real images, [N].
            synthetic_labels: Classes of the synthetic images, [M], or None for real images alone.
            batch_size: Images in a batch.
            real_share: Fraction of a batch's slots meant for real images, in [0, 1].
            num_batches: Batches in an epoch.
            rng: Source of all randomness; it moves on with every batch.
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
        self._rng = rng
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
        order = torch.randperm(len(items), generator=self._rng).tolist()
        return [items[i] for i in order]
