"""Images of which two become one, and how much of each is left: mixup, CutMix, CMO, LISA.

timm has mixup and CutMix too, but draws from numpy's global state, so that a training that was
stopped could not go on to the same weights; here all is drawn from the training's own rng.

B images in a batch, E read beside them, N in all, C channels, H x W pixels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fgds_core.classify.config import TrainConfig
from fgds_core.classify.partners import Floats, Partners, Pool, permuted, rare, selected


@dataclass(frozen=True, eq=False)
class Mixture:
    """How the images of one batch are mixed, as it was drawn.

    Attributes:
        mix: By what.
        partners: Row of what is mixed into each image, of B; its own where it stays as it is.
        places: Where in what was read each partner stands, of B.
        extra: Rows that are read behind those of the batch, for no partner is among them.
        shares: Share of each image that is wanted to stay its own, [B].
        centres: Vertical and horizontal centre of what is pasted, as shares of the sides, [2, B].
    """

    mix: "Mix"
    partners: list[int]
    places: list[int]
    extra: list[int]
    shares: Floats
    centres: Floats

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mixes what was read.

        Args:
            x: Images of the batch and behind them the extra ones, floats, [B + E, C, H, W].

        Returns:
            The mixed images, [B, C, H, W], and the share of each that is its own, [B].
        """
        return self.mix.blend(x, self)


Blend = Callable[[Tensor, Mixture], tuple[Tensor, Tensor]]
"""What a `Mixture` does with images."""


@dataclass(frozen=True)
class Mix:
    """A way of mixing: which images, and how two become one."""

    partners: Partners
    blend: Blend


def averaged(x: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """Each pixel is the weighted mean of those of both images."""
    share = torch.from_numpy(mixture.shares).to(x)  # [B]
    own = share.view(-1, 1, 1, 1)
    return own * x[: len(share)] + (1 - own) * x[torch.tensor(mixture.places)], share


def pasted(x: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """A rectangle of the partner stands in the image; its label counts by the pixels it has."""
    mixed = x[: len(mixture.places)].clone()
    share = np.ones(len(mixed))
    for place, partner in enumerate(mixture.places):
        above, below, left, right = rectangle(
            mixture.shares[place], mixture.centres[:, place], x.shape[2], x.shape[3]
        )
        mixed[place, :, above:below, left:right] = x[partner, :, above:below, left:right]
        share[place] -= (below - above) * (right - left) / (x.shape[2] * x.shape[3])
    return mixed, torch.from_numpy(share).to(x)


def rectangle(share: float, centre: Floats, height: int, width: int) -> tuple[int, int, int, int]:
    """What is pasted: a rectangle of the image's form, cut off where it stands out of the image.

    Args:
        share: Of the image that stays, unless something is cut off.
        centre: Of the rectangle, as shares of height and width below 1, [2].
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Returns:
        First row, end of the rows, first column, end of the columns.
    """
    sides = []
    for at, length in zip(centre, (height, width), strict=True):
        middle, half = int(at * length), int(length * math.sqrt(1 - share)) // 2
        sides += [max(middle - half, 0), min(middle + half, length)]
    return sides[0], sides[1], sides[2], sides[3]


MIXES = {
    "mixup": Mix(permuted, averaged),
    "cutmix": Mix(permuted, pasted),
    "cmo": Mix(rare, pasted),
    "lisa": Mix(selected, averaged),
}
"""Name -> a way of mixing.

Sources: Zhang et al. (2018), mixup, https://arxiv.org/abs/1710.09412; Yun et al. (2019), CutMix,
https://arxiv.org/abs/1905.04899; Park et al. (2022), The Majority Can Help the Minority (CMO),
https://arxiv.org/abs/2112.00412, in which an image of a class of n is pasted as often as 1 / n
says, as in its authors' code; Yao et al. (2022), Improving Out-of-Distribution Robustness via
Selective Augmentation (LISA), https://arxiv.org/abs/2201.00299. Here every image has a share of
its own, where theirs have one for a batch.
"""


class Mixer:
    """Draws how the batches of a training are mixed."""

    def __init__(self, config: TrainConfig, pool: Pool) -> None:
        self.config, self.pool, self.mix = config, pool, MIXES[config.mix]

    def draw(self, rows: list[int], rng: torch.Generator) -> Mixture:
        """How the images of a batch are mixed.

        Args:
            rows: Of the batch, of B.
            rng: Source of the randomness; it moves on by one number, however many are mixed.
        """
        config, num_images = self.config, len(rows)
        draws = np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=rng)))
        is_mixed = draws.random(num_images) < config.mix_probability
        shares = np.where(
            is_mixed, draws.beta(config.mix_alpha, config.mix_alpha, num_images), 1.0
        )
        centres = draws.random((2, num_images))
        own, itself = np.array(rows), np.arange(num_images)
        found, are_rows = self.mix.partners(own, self.pool, draws)
        if not are_rows:
            places = np.where(is_mixed, found, itself)
            return Mixture(self.mix, own[places].tolist(), places.tolist(), [], shares, centres)
        places = np.where(is_mixed, num_images + is_mixed.cumsum() - 1, itself)
        partners = np.where(is_mixed, found, own)
        extra = found[is_mixed].tolist()
        return Mixture(self.mix, partners.tolist(), places.tolist(), extra, shares, centres)


def create_mixer(
    config: TrainConfig,
    labels: Tensor,
    num_real: int,
    within_source: bool,
    groups: Tensor | None = None,
) -> Mixer | None:
    """What mixes the images of a training; None where its recipe mixes none.

    Args:
        config: The recipe.
        labels: Classes of all images, real ones first, [N].
        num_real: How many are real.
        within_source: Whether real images are mixed with real ones alone.
        groups: Numbers of their groups, [N]; None without groups.
    """
    if config.mix == "none":
        return None
    return Mixer(config, Pool(labels, num_real, within_source, groups))
