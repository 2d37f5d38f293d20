"""Random changes of training images at rest, by the transforms of torchvision and timm.

They are made while images are read, each from a seed of its own: what becomes of an image depends
neither on the process that reads it nor on the images beside it.

C channels, H x W pixels.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any, Protocol
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fgds_core.images.dataset import ImageDataset

_SHIFT = 0.45
"""Share of the shorter side by which a policy shifts at most, as in `timm.data`."""
_SECTION = re.compile(r"(m|n|inc|mmax)\d+|(p|mstd)\d+(\.\d+)?|t(weights|3a|3aw)")
_AHEAD = 1024


class Augmentation(Protocol):
    """What is changed, as `TrainConfig` says it."""

    @property
    def crop_scale(self) -> float | None:
        """Smallest share of an image's area that is cut out and enlarged; None cuts nothing."""
        ...

    @property
    def rand_augment(self) -> str | None:
        """A policy of timm's RandAugment; None has none."""
        ...

    @property
    def color_jitter(self) -> float:
        """Largest relative change of brightness, contrast and saturation; 0 changes none."""
        ...


class Transform:
    """Crops, applies a policy and changes colours, in this order; what is off is left out.

    Source: Szegedy et al. (2015), https://arxiv.org/abs/1409.4842, for the crop; Cubuk et al.
        (2020), RandAugment, https://arxiv.org/abs/1909.13719.
    """

    def __init__(self, augmentation: Augmentation, size: tuple[int, int]) -> None:
        """Prepares what is on.

        Args:
            augmentation: Says what is changed.
            size: Height and width of the images, in pixels.

        Raises:
            ValueError: timm knows no such policy.
        """
        from torchvision.transforms import v2

        self._crop = self._jitter = self._policy = None
        if (smallest := augmentation.crop_scale) is not None:
            self._crop = v2.RandomResizedCrop(size, scale=(smallest, 1.0))
        if augmentation.rand_augment is not None:
            self._policy = _policy(augmentation.rand_augment, size)
        if strength := augmentation.color_jitter:
            self._jitter = v2.ColorJitter(strength, strength, strength)

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """An image, uint8 [3, H, W], as it becomes by the randomness of a seed."""
        with _drawn_from(seed):
            if self._crop is not None:
                image = self._crop(image)
            if self._policy is not None:
                image = _by_policy(self._policy, image, seed)
            if self._jitter is not None:
                image = self._jitter(image)
        return image


class TransformedImages:
    """A set whose images are changed at random when they are read.

    Attributes:
        is_kept: Never, for an image differs each time.
    """

    is_kept = False

    def __init__(self, images: ImageDataset, transform: Transform) -> None:
        self.images, self.transform = images, transform
        if images.is_kept:  # read now, once for all processes that are forked
            for first in range(0, len(images), _AHEAD):
                images.__getitems__(range(first, min(first + _AHEAD, len(images))))

    def __getitems__(self, asked: Sequence[tuple[int, int]]) -> Tensor:
        """The images of some rows by some seeds, uint8 [B, 3, H, W]. Raises as the set does."""
        pixels = self.images.__getitems__([row for row, _ in asked])
        seeds = [seed for _, seed in asked]
        return torch.stack(
            [self.transform(x, seed) for x, seed in zip(pixels, seeds, strict=True)]
        )


def create_transform(augmentation: Augmentation, size: tuple[int, int]) -> Transform | None:
    """The transform of a recipe for images of a size (height, width); None where all is off."""
    is_off = augmentation.crop_scale is None and augmentation.rand_augment is None
    if is_off and not augmentation.color_jitter:
        return None
    return Transform(augmentation, size)


def draw_seeds(num_images: int, rng: torch.Generator) -> list[int]:
    """A seed for each image."""
    seeds: list[int] = torch.randint(2**63 - 1, (num_images,), generator=rng).tolist()
    return seeds


def check_policy(policy: str) -> None:
    """Tries a policy of RandAugment on a small image.

    Raises:
        ValueError: timm knows no such policy; says how one is written.
    """
    _by_policy(_policy(policy, (8, 8)), torch.zeros(3, 8, 8, dtype=torch.uint8), seed=0)


def _policy(policy: str, size: tuple[int, int]) -> Any:  # noqa: ANN401 - timm has no types
    from timm.data.auto_augment import posterize, rand_augment_transform

    name, *sections = policy.split("-")
    # timm passes over what it cannot read
    if name != "rand" or not all(_SECTION.fullmatch(section) for section in sections):
        raise ValueError(
            "must be rand and its sections, such as rand-m9-mstd0.5-inc1: m magnitude, n number "
            "of operations, p probability, mstd deviation of the magnitude, mmax its largest "
            "value, inc 1 for operations that grow with it, t weights, 3a or 3aw for other "
            "operations"
        )
    made = rand_augment_transform(policy, {"translate_const": round(_SHIFT * min(size))})
    for operation in made.ops:
        if operation.aug_fn is posterize:
            operation.level_fn = partial(_some_bits, operation.level_fn)
    return made


def _some_bits(level_fn: Callable[..., tuple[int]], *level: object) -> tuple[int]:
    """Bits that posterising leaves of a colour; at the largest magnitude timm asks for none."""
    return (max(level_fn(*level)[0], 1),)


def _by_policy(policy: Any, image: Tensor, seed: int) -> Tensor:  # noqa: ANN401 - timm has no types
    """An image, uint8 [3, H, W], after the operations that a policy draws from a seed."""
    chosen = np.random.default_rng(seed).choice(
        len(policy.ops),
        policy.num_layers,
        replace=policy.choice_weights is None,
        p=policy.choice_weights,
    )
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    for operation in chosen:
        picture = policy.ops[operation](picture)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)  # [3, H, W]


@contextmanager
def _drawn_from(seed: int) -> Iterator[None]:
    """Has torchvision and timm draw from a seed, and leaves no trace of it.

    torchvision draws from torch's generator on the CPU. timm draws from the module `random`, from
    which other threads may draw meanwhile; so it is lent a generator that nobody else has.
    """
    from timm.data import auto_augment

    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        with patch.object(auto_augment, "random", Random(seed)):
            yield
    finally:
        torch.default_generator.set_state(state)
