"""Random changes of an image that leave its class alone, for training and for feedback."""

from dataclasses import dataclass
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


@dataclass(frozen=True, eq=False)
class Changes:
    """What happens to each of B images, as it was drawn.

    Attributes:
        shift: Largest shift each way, in pixels.
        offsets: How far the image's rows and columns move, in pixels, [2, B].
        flipped: Whether it is mirrored, [B]; None mirrors none.
        squares: Side, top and left of the middle of its grey square, as shares of the image's
            side, [3, B]; None has no squares.
    """

    shift: int
    offsets: Tensor
    flipped: Tensor | None
    squares: Tensor | None


def draw_changes(num_images: int, augmentation: Augmentation, rng: torch.Generator) -> Changes:
    """Draws what happens to each image.

    Args:
        num_images: How many there are, B.
        augmentation: Says how far to shift, whether to flip, how much to erase.
        rng: Source of the randomness, on the CPU.
    """
    shift = augmentation.shift
    offsets = torch.randint(-shift, shift + 1, (2, num_images, 1), generator=rng)
    flipped = squares = None
    if augmentation.horizontal_flip:
        flipped = (torch.rand(num_images, 1, generator=rng) < 0.5).squeeze(1)  # [B]
    if augmentation.erase:
        squares = torch.rand(3, num_images, 1, generator=rng).squeeze(2)  # [3, B]
        squares[0] *= augmentation.erase
    return Changes(shift, offsets.squeeze(2), flipped, squares)


def move(x: Tensor, changes: Changes) -> Tensor:
    """Shifts (border repeated) and flips images; bytes as well as floats, differentiably.

    Args:
        x: Images of any type, [B, C, H, W].
        changes: Of each image.

    Returns:
        Images of that type, [B, C, H, W].
    """
    height, width = x.shape[-2:]
    # A shift by more than the image's side leaves nothing but its border, too
    down, right = min(changes.shift, height), min(changes.shift, width)
    x = _widened(_widened(x, down, dim=2), right, dim=3)  # [B, C, H + 2 down, W + 2 right]
    tops = (changes.offsets[0].clamp(-down, down) + down).tolist()
    lefts = (changes.offsets[1].clamp(-right, right) + right).tolist()
    flipped = [False] * len(x) if changes.flipped is None else changes.flipped.tolist()
    moved = []
    for image, top, left, mirrored in zip(x, tops, lefts, flipped, strict=True):
        image = image[:, top : top + height, left : left + width]  # [C, H, W]
        moved.append(image.flip(-1) if mirrored else image)
    return torch.stack(moved)  # [B, C, H, W]


def _widened(x: Tensor, by: int, dim: int) -> Tensor:
    """Images with their first and last row or column repeated."""
    if by == 0:
        return x
    repeats = [by if d == dim else -1 for d in range(4)]
    first, last = x.narrow(dim, 0, 1), x.narrow(dim, x.shape[dim] - 1, 1)
    return torch.cat([first.expand(repeats), x, last.expand(repeats)], dim=dim)


def erase_(x: Tensor, changes: Changes) -> Tensor:
    """Greys the squares of images, in place.

    Args:
        x: Floats in [-1, 1], [B, C, H, W].
        changes: Of each image.

    Returns:
        The same floats, [B, C, H, W].
    """
    if changes.squares is None:
        return x
    height, width = x.shape[-2:]
    side, top, left = changes.squares[..., None]  # [B, 1] each
    rows = _stretches(((torch.arange(height) + 0.5) / height - top).abs() < side / 2)
    columns = _stretches(((torch.arange(width) + 0.5) / width - left).abs() < side / 2)
    for place, ((above, below), (first, last)) in enumerate(zip(rows, columns, strict=True)):
        x[place, :, above:below, first:last] = 0.0
    return x


def _stretches(inside: Tensor) -> list[tuple[int, int]]:
    """Where what is inside begins and where it has ended, for each row of [B, L]."""
    starts, lengths = inside.int().argmax(dim=1), inside.sum(dim=1)
    return list(zip(starts.tolist(), (starts + lengths).tolist(), strict=True))


def augment(x: Tensor, augmentation: Augmentation, rng: torch.Generator) -> Tensor:
    """Shifts (border repeated), flips and erases images at random, each on its own.

    Args:
        x: Images in [-1, 1], [B, C, H, W].
        augmentation: Says how far to shift, whether to flip, how much to erase.
        rng: Source of the randomness, on the CPU.

    Returns:
        Images in [-1, 1], [B, C, H, W].
    """
    changes = draw_changes(len(x), augmentation, rng)
    return erase_(move(x, changes), changes)
