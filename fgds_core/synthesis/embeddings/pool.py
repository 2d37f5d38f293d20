"""The real images that may be mixed, by what decides which of them go together."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fgds_core.images.dataset import ImageDataset


@dataclass(frozen=True, eq=False)
class Pool:
    """Class and group of each of the N real training images.

    Attributes:
        labels: Classes, [N].
        groups: Numbers of the groups (contexts), [N]; all the same for data without groups.
    """

    labels: Tensor
    groups: Tensor

    def of_group(self, row: int) -> Tensor:
        """Rows of the images of any class in the group of one, itself among them."""
        return torch.nonzero(self.groups == self.groups[row]).flatten()

    def of_cell(self, row: int) -> Tensor:
        """Rows of the images of the same class in the same group, itself among them."""
        same = (self.labels == self.labels[row]) & (self.groups == self.groups[row])  # [N]
        return torch.nonzero(same).flatten()


def pool_of(real: ImageDataset) -> Pool:
    """The pool of all images of a set."""
    numbers: dict[str, int] = {}
    groups = [numbers.setdefault(name, len(numbers)) for name in real.groups or ()]
    return Pool(
        real.labels,
        torch.tensor(groups) if groups else torch.zeros_like(real.labels),
    )
