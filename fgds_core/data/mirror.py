"""Whether mirror images of a class look like the class: what a flip in training takes for granted.

Each image is compared with the others of its class as it is and mirrored, in grey and small. Where
left and right mean nothing, the nearest other image is as often nearer to the one as to the other;
of letters, digits and things that all face one way, it is nearer to the image as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

SIDE = 16
"""Pixels a side of the images that are compared."""

FEWEST = 8
"""Images of a class from which on it is judged by itself."""

ENOUGH = 40
"""Images of all classes together that can tell that flips do no harm."""

MOST = 60
"""Images of one class that are compared."""

_SHARE, _CHANCE = 0.75, 0.01
"""A class is told apart from its mirror images above this share, if chance gives it rarely."""

_POOLED = 0.6
"""The same for all classes together."""


@dataclass(frozen=True)
class Mirrored:
    """How often an image is nearer to its class as it is than mirrored.

    Attributes:
        share: Of all images that were compared, 0 to 1; about 0.5 where flips do no harm.
        num_images: How many were compared.
        told_apart: Share and number of images of the classes whose mirror images are told apart.
    """

    share: float
    num_images: int
    told_apart: dict[int, tuple[float, int]]

    @property
    def may_flip(self) -> bool:
        """Whether nothing speaks against flips; with too few images to say, something does."""
        return self.num_images >= ENOUGH and not self.told_apart and self.share < _POOLED


def mirrored(images: Sequence[tuple[int, NDArray[np.uint8]]]) -> Mirrored:
    """Compares images with their mirror images, class by class.

    Args:
        images: Label and grey picture, [SIDE, SIDE] each.
    """
    by_class: dict[int, list[NDArray[np.uint8]]] = {}
    for label, image in images:
        if len(each := by_class.setdefault(label, [])) < MOST:
            each.append(image)
    wins = {label: _wins(np.stack(each)) for label, each in by_class.items() if len(each) > 1}
    nearer = sum(number for number, _ in wins.values())
    compared = sum(number for _, number in wins.values())
    told_apart = {
        label: (number / of, of)
        for label, (number, of) in sorted(wins.items())
        if of >= FEWEST
        and number / of >= _SHARE
        and _by_chance(number, of) < _CHANCE / max(1, len(wins))
    }
    return Mirrored(nearer / compared if compared else 0.5, compared, told_apart)


def _wins(images: NDArray[np.uint8]) -> tuple[int, int]:
    """How many of M images, [M, SIDE, SIDE], are nearer as they are, and how many are decided."""
    x = images.reshape(len(images), -1).astype(np.float64)  # [M, D]
    flipped = images[:, :, ::-1].reshape(len(images), -1).astype(np.float64)
    x, flipped = _standard(x), _standard(flipped)
    as_is, mirror = -x @ x.T, -flipped @ x.T  # [M, M], distances but for a constant
    np.fill_diagonal(as_is, np.inf)
    np.fill_diagonal(mirror, np.inf)
    difference = mirror.min(axis=1) - as_is.min(axis=1)
    decided = np.abs(difference) > 1e-9  # of even pictures there is nothing to tell
    return int((difference > 1e-9).sum()), int(decided.sum())


def _standard(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = x - x.mean(axis=1, keepdims=True)
    lengths: NDArray[np.float64] = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.maximum(lengths, 1e-9))


def _by_chance(number: int, of: int) -> float:
    """Probability of at least so many heads in that many throws of a coin."""
    return float(sum(comb(of, k) for k in range(number, of + 1)) / 2**of)
