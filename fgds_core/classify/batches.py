"""Which images a training batch holds."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, RandomSampler, WeightedRandomSampler

from fgds_core.classify.config import TrainConfig, Treatment
from fgds_core.classify.slots import Draw, Rounds, Weighted, stratified
from fgds_core.errors import InputError
from fgds_core.images.dataset import ImageDataset, joined


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

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same, each of its tensors changed."""
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = change(value)
            elif isinstance(value, Batch):
                changed[field.name] = value.map(change)
        return replace(self, **changed)

    def showing(self, x: Tensor) -> Self:
        """What is known of the images, of other pixels."""
        partner = None if self.partner is None else self.partner.showing(x)
        return replace(self, x=x, partner=partner)

    def select(self, rows: slice) -> Self:
        """Some of the images, with all that is known of them."""
        return self.map(lambda t: t[rows])


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
        self.groups = group_numbers(self.images)

    def batch(self, rows: list[int], x: Tensor, progress: float) -> Batch:
        """The images of some rows, as `x` on its device, with what is known of them."""
        return Batch(
            x=x,
            labels=self.images.labels[rows].to(x.device),
            groups=None if self.groups is None else self.groups[rows].to(x.device),
            synthetic=self.synthetic[rows].to(x.device),
            progress=progress,
        )


def group_numbers(images: ImageDataset) -> Tensor | None:
    """Number of each image's group among the sorted names, int64, [N]; None without groups."""
    if images.groups is None:
        return None
    numbers = {name: number for number, name in enumerate(sorted(set(images.groups)))}
    return torch.tensor([numbers[name] for name in images.groups], dtype=torch.int64)


BatchSource = Callable[[TrainingImages, TrainConfig, torch.Generator], Iterable[list[int]]]
"""(images, recipe, source of randomness) -> the rows of each of `num_steps` batches."""


def instance(
    training: TrainingImages, config: TrainConfig, rng: torch.Generator
) -> Iterable[list[int]]:
    """A class comes as often as it has real images: of these alone, shuffled passes over them."""
    if not training.synthetic.any():
        images = RandomSampler(
            range(len(training.images)), num_samples=_slots(config), generator=rng
        )
        return BatchSampler(images, config.batch_size, drop_last=False)
    by_image = Rounds(_real_labels(training), rng)
    return _by_class(training, config, rng, lambda progress: by_image.draw())


def square_root(
    training: TrainingImages, config: TrainConfig, rng: torch.Generator
) -> Iterable[list[int]]:
    """At random, a class of n real images in proportion to n^0.5."""
    labels = training.images.labels
    if not training.synthetic.any():
        weights = labels.bincount().double()[labels] ** -0.5  # [N]
        images = WeightedRandomSampler(weights.tolist(), _slots(config), generator=rng)
        return BatchSampler(images, config.batch_size, drop_last=False)
    counts = torch.tensor(_real_labels(training)).bincount()  # [K]
    chosen = Weighted(counts.double().sqrt(), rng)
    return _by_class(training, config, rng, lambda progress: chosen.draw())


def class_balanced(
    training: TrainingImages, config: TrainConfig, rng: torch.Generator
) -> Iterable[list[int]]:
    """All classes alike, in shuffled rounds."""
    classes = Rounds(_present(training.images.labels), rng)
    return _by_class(training, config, rng, lambda progress: classes.draw())


def progressive(
    training: TrainingImages, config: TrainConfig, rng: torch.Generator
) -> Iterable[list[int]]:
    """From `instance` to `class_balanced`: t of T steps done, a share t/T of slots is balanced.

    Source: Kang et al. (2020), Decoupling Representation and Classifier for Long-Tailed
        Recognition, https://arxiv.org/abs/1910.09217
    """
    by_image = Rounds(_real_labels(training), rng)
    by_class = Rounds(_present(training.images.labels), rng)

    def draw(progress: float) -> int:
        coin = torch.rand((), generator=rng).item()
        return (by_class if coin < progress else by_image).draw()

    return _by_class(training, config, rng, draw)


def group_balanced(
    training: TrainingImages, config: TrainConfig, rng: torch.Generator
) -> Iterable[list[int]]:
    """All cells of class and group that have images alike, in shuffled rounds.

    Raises:
        InputError: The images have no groups.
    """
    if training.groups is None:
        raise InputError(
            "sampling: got group_balanced, but the training images have no groups, or the "
            "synthetic ones not; name their column or folders in data, or choose another sampling"
        )
    num_groups = int(training.groups.max()) + 1
    cells = training.images.labels * num_groups + training.groups  # [N]
    rounds = Rounds(_present(cells), rng)
    return _stratified(training, config, rng, cells, lambda progress: rounds.draw())


BATCH_SOURCES: dict[str, BatchSource] = {
    "instance": instance,
    "square_root": square_root,
    "class_balanced": class_balanced,
    "progressive": progressive,
    "group_balanced": group_balanced,
}


def _slots(config: TrainConfig) -> int:
    """Images that a whole training sees."""
    return config.num_steps * config.batch_size


def _present(strata: Tensor) -> list[int]:
    """Those that have images, in order."""
    return sorted(set(strata.tolist()))


def _real_labels(training: TrainingImages) -> list[int]:
    """The classes of the real images; one with synthetic images alone counts as one with one."""
    real = training.images.labels[: training.num_real]
    alone = set(_present(training.images.labels)) - set(_present(real))
    return [*real.tolist(), *sorted(alone)]


def _by_class(
    training: TrainingImages, config: TrainConfig, rng: torch.Generator, draw: Draw
) -> Iterator[list[int]]:
    return _stratified(training, config, rng, training.images.labels, draw)


def _stratified(
    training: TrainingImages, config: TrainConfig, rng: torch.Generator, strata: Tensor, draw: Draw
) -> Iterator[list[int]]:
    return stratified(
        strata,
        training.num_real,
        draw,
        batch_size=config.batch_size,
        real_share=training.real_share,
        num_batches=config.num_steps,
        rng=rng,
    )
