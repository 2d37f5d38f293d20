"""What the other generators are told of an image, class and group, and how they learn from few.

B images, E numbers that tell a condition.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fgds_core.images.dataset import ImageDataset
from fgds_core.images.pixels import from_uint8

NO_GROUP = ""
"""The one group of data without groups."""


@dataclass(frozen=True, eq=False)
class Real:
    """Real training images in memory.

    Attributes:
        images: In [-1, 1], [N, 3, H, W].
        conditions: Class and group of each by their numbers, [N, 2].
        group_names: Name of each group.
        num_classes: K.
    """

    images: Tensor
    conditions: Tensor
    group_names: tuple[str, ...]
    num_classes: int


def real_of(images: ImageDataset) -> Real:
    """Reads all images of a set."""
    names = tuple(sorted(set(images.groups or (NO_GROUP,))))
    conditions = conditions_of(images.labels, images.groups, names)
    pixels = from_uint8(images.__getitems__(range(len(images))))
    return Real(pixels, conditions, names, len(images.class_names))


def conditions_of(
    labels: Tensor, groups: Sequence[str] | None, group_names: Sequence[str]
) -> Tensor:
    """Class and group of images by their numbers, [B, 2].

    Args:
        labels: Classes, [B].
        groups: Groups, B of them; None where nothing is told of them.
        group_names: Name of each group.

    Raises:
        ValueError: Groups are not told where there are some, or are where there are none.
    """
    told = [NO_GROUP] * len(labels) if groups is None else groups
    if unknown := sorted(set(told) - set(group_names)):
        raise ValueError(f"groups must be among {sorted(group_names)}, got {unknown}")
    numbers = torch.tensor([group_names.index(group) for group in told], dtype=torch.int64)
    return torch.stack([labels, numbers], dim=1)


class Condition(nn.Module):
    """Embeds class and group apart, so that pairs without an image are told too."""

    def __init__(self, num_classes: int, num_groups: int, size: int) -> None:
        super().__init__()
        self.of_class = nn.Embedding(num_classes, size)
        self.of_group = nn.Embedding(num_groups, size)

    def forward(self, conditions: Tensor) -> Tensor:
        """[B, 2] to [B, E]."""
        told: Tensor = self.of_class(conditions[:, 0]) + self.of_group(conditions[:, 1])
        return told


def balanced_batches(
    conditions: Tensor, batch_size: int, rng: torch.Generator
) -> Iterator[Tensor]:
    """Rows of batches without end; every pair of class and group that has images is as likely.

    Args:
        conditions: Class and group of each image, [N, 2].
        batch_size: B.
        rng: Draws the rows.

    Yields:
        Rows, [B].
    """
    _, cells, counts = conditions.unique(dim=0, return_inverse=True, return_counts=True)
    weights = 1 / counts[cells].double()  # [N]
    while True:
        yield torch.multinomial(weights, batch_size, replacement=True, generator=rng)


@contextmanager
def seeded(seed: int) -> Iterator[torch.Generator]:
    """Initial weights from a seed, without moving the global state; a generator for the rest."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)
