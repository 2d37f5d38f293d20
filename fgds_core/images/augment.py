"""Random changes of an image that leave its class alone, for training and for feedback."""

from typing import Protocol

import torch
from torch import Tensor


class Augmentation(Protocol):
    """How images are changed."""

    @property
    def shift(self) -> int:
        """Largest shift each way, in pixels."""
        ...

    @property
    def horizontal_flip(self) -> bool:
        """Whether half of the images are flipped."""
        ...

    @property
    def erase(self) -> float:
        """Largest side of a grey square, as a share of the image's."""
        ...


def augment(x: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Shifts (border repeated), flips and erases images at random, each on its own.

    Args:
        x: Images in [-1, 1], [B, C, H, W].
        augmentation: Says how far to shift, whether to flip, how much to erase.
        generator: Source of the randomness, on the CPU.

    Returns:
        Images in [-1, 1], [B, C, H, W].
    """
    num_images, _, height, width = x.shape
    rows, columns = torch.arange(height), torch.arange(width)
    offsets = torch.randint(
        -augmentation.shift, augmentation.shift + 1, (2, num_images, 1), generator=generator
    )
    row = (rows + offsets[0]).clamp(0, height - 1)  # [B, H]
    column = (columns + offsets[1]).clamp(0, width - 1)  # [B, W]
    if augmentation.horizontal_flip:
        flipped = torch.rand(num_images, 1, generator=generator) < 0.5
        column = torch.where(flipped, column.flip(-1), column)
    index = torch.arange(num_images)
    x = x[index[:, None, None], :, row[:, :, None], column[:, None, :]]  # [B, H, W, C]
    x = x.permute(0, 3, 1, 2)  # [B, C, H, W]
    if augmentation.erase:
        side, top, left = torch.rand(3, num_images, 1, generator=generator)
        side = side * augmentation.erase  # a share of the image, like the distances below
        in_rows = ((rows + 0.5) / height - top).abs() < side / 2  # [B, H]
        in_columns = ((columns + 0.5) / width - left).abs() < side / 2  # [B, W]
        erased = in_rows[:, :, None] & in_columns[:, None, :]  # [B, H, W]
        x = x.masked_fill(erased[:, None].to(x.device), 0.0)
    return x.contiguous()
