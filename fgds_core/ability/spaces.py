"""The feature spaces in which drawn images are compared with real ones.

One network that had no part in the drawing, and the pixels themselves, which no network has to
understand: noise and empty pictures stand out there whatever else is missing.

B images, C channels, H height, W width, D features.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from fgds_core.assess.features import Embed, FeatureSources, clip, tower_of
from fgds_core.classify.network import load_classifier
from fgds_core.errors import InputError
from fgds_core.generators.config import GeneratorConfig
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.pixels import from_uint8

THUMBNAIL = 8
"""Pixels a side of what is left of an image's layout."""

BANDS = 8
"""Bands of the spectrum, from the coarsest pattern to the finest."""

POWER = 1e-4
"""Added to the power of a band before its logarithm, about that of the rounding to 8 bits."""

SLACK_OF_PIXELS = 1.5
"""How many times as far as real images an image may be there. What two cameras, two sizes or two
encoders do to pixels is no reason to refuse: this is for what is no picture."""

SEEN = 500
"""Real images that scale the pixels."""


@dataclass(frozen=True, eq=False)
class Space:
    """A feature space.

    Attributes:
        name: For a reader.
        embed: Images in [-1, 1], [B, 3, H, W] -> features, [B, D].
        device: Where it computes.
        slack: How many times as far as real images an image may be.
    """

    name: str
    embed: Embed
    device: str = "cpu"
    slack: float = 1.0

    @torch.inference_mode()
    def features(self, images: ImageDataset, batch_size: int = 64) -> Tensor:
        """The features of a few images, float64 [N, D] on the CPU."""
        found = []
        for first in range(0, len(images), batch_size):
            rows = list(range(first, min(first + batch_size, len(images))))
            x = from_uint8(images.__getitems__(rows)).to(self.device)  # [B, 3, H, W]
            found.append(self.embed(x).double().cpu())
        return torch.cat(found)


def network_space(generator: GeneratorConfig, baseline: Path, device: str) -> list[Space]:
    """The features of a network: the generator's vision tower, or else the baseline.

    Returns:
        One space, or none where there is neither.
    """
    try:
        embed = clip(FeatureSources(tower=tower_of(generator)), device)
    except InputError:
        if not baseline.is_dir():
            return []
        return [Space("baseline", load_classifier(baseline, device).features, device)]
    return [Space("vision tower", embed, device)]


def pixels(real: ImageDataset) -> Space:
    """Layout and spectrum of images, each in units of how much real ones differ.

    Args:
        real: Of all classes, at least one; of many some are taken.
    """
    step = max(1, len(real) // SEEN)
    rows = list(range(0, len(real), step))
    x = from_uint8(real.__getitems__(rows))
    scales = [each.std(dim=0, correction=0).mean().clamp(min=1e-6) for each in _parts(x)]

    def embed(x: Tensor) -> Tensor:
        parts = zip(_parts(x), scales, strict=True)
        return torch.cat([each / scale / each.shape[1] ** 0.5 for each, scale in parts], dim=1)

    return Space("pixels", embed, slack=SLACK_OF_PIXELS)


def _parts(x: Tensor) -> Sequence[Tensor]:
    """Layout [B, 3 * THUMBNAIL^2] and log power of each band [B, 3 * BANDS], float64."""
    layout = F.interpolate(x.double().cpu(), (THUMBNAIL, THUMBNAIL), mode="area").flatten(1)
    return layout, spectrum(x.double().cpu())


def spectrum(x: Tensor) -> Tensor:
    """Log power of bands of an image's spectrum, the coarsest first, [B, C * at most BANDS]."""
    height, width = x.shape[-2:]
    power = torch.fft.rfft2(x).abs() ** 2 / (height * width)  # [B, C, H, W // 2 + 1]
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    radius = (rows**2 + columns**2).sqrt()  # cycles a pixel, [H, W // 2 + 1]
    first = 1 / max(height, width)  # without the mean, which the layout has
    edges = torch.logspace(math.log10(first), math.log10(0.5), BANDS + 1)
    edges[0], edges[-1] = first / 2, 1.0
    bands = [(radius >= low) & (radius < high) for low, high in itertools.pairwise(edges)]
    found = [(power[..., band].mean(dim=-1) + POWER).log10() for band in bands if band.any()]
    return torch.stack(found, dim=-1).flatten(1)
