"""The conditioning image with an image of whatever class, as mixup mixes images.

Source: Zhang et al. (2018), mixup, https://arxiv.org/abs/1710.09412, there of pixels and labels.
"""

import torch
from torch import Tensor

from fgds_core.synthesis.embeddings import Mixture, one_of, with_norm
from fgds_core.synthesis.embeddings.pool import Pool


def choose(row: int, pool: Pool, rng: torch.Generator) -> list[int]:
    """Any real image of the conditioning image's group, so classes in proportion to their images.

    Args:
        row: Of the conditioning image.
        pool: The real images.
        rng: The image's own.

    Returns:
        Its row.
    """
    return [one_of(pool.of_group(row), rng)]


def combine(own: Tensor, others: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """The weighted mean of both, at the weighted mean of their norms.

    Args:
        own: Embedding of the conditioning image, [D].
        others: That of the other image, [1, D].
        share: Weight of the other image; 1 is that image alone.
        rng: Unused; every mixture has this signature.

    Returns:
        The mixture, [D].
    """
    return with_norm(torch.lerp(own, others[0], share), own, others, share)


MIXTURE = Mixture(choose, combine, of_others=True)
