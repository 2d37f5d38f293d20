"""The variation of another class around the mean of the image's own.

A class of few images shows little variety; how images of frequent classes vary is known better
and may do for it.

Source: Yin et al. (2019), Feature Transfer Learning for Face Recognition with Under-Represented
Data, https://arxiv.org/abs/1803.09014, where deviations from class means are transferred.
"""

import math

import torch
from torch import Tensor

from fgds_core.errors import InputError
from fgds_core.synthesis.embeddings import Mixture, one_of, with_norm
from fgds_core.synthesis.embeddings.pool import Pool

MOST = 64
"""Images of a class that its mean is taken of at most: its error is then an eighth of the
deviation of one image."""


def choose(row: int, pool: Pool, rng: torch.Generator) -> list[int]:
    """Two images of another class, and those that the mean of the own class is taken of.

    The other class is chosen in proportion to its images. All are of the conditioning image's
    group; where no other class has two images there, the two are of any group.

    Args:
        row: Of the conditioning image.
        pool: The real images.
        rng: The image's own.

    Returns:
        The rows of the two, and of up to `MOST` images of the class, evenly spread over them and
        the same for all images of the class and group.

    Raises:
        InputError: No other class has two images.
    """
    own = pool.of_cell(row)
    number = min(len(own), MOST)
    spread = own[torch.arange(number) * len(own) // number]
    return [*_pair(row, pool, rng), *spread.tolist()]


def _pair(row: int, pool: Pool, rng: torch.Generator) -> tuple[int, int]:
    """Two images of one other class."""
    for rows in (pool.of_group(row), torch.arange(len(pool.labels))):
        others = rows[pool.labels[rows] != pool.labels[row]]
        labels = pool.labels[others]
        counts = torch.bincount(labels)  # [K]
        several = others[counts[labels] > 1]
        if len(several):
            first = one_of(several, rng)
            same = others[(labels == pool.labels[first]) & (others != first)]
            return first, one_of(same, rng)
    raise InputError(
        "synthesize.embedding_mix: got transfer, but no other class has two real training images"
        " whose difference could be transferred; choose another one"
    )


def transferred(own: Tensor, mean: Tensor, pair: Tensor, share: float) -> Tensor:
    """Moves an embedding towards its class's mean and adds what another class varies by.

    The difference of two images of a class over sqrt(2) has the covariance of that class. With
    random own images the mixture has the mean of their class and the covariance
    `(1 - share)**2 * own + share * other`.

    Args:
        own: Embedding of the conditioning image, [D].
        mean: Mean embedding of its class, [D].
        pair: Embeddings of two images of another class, [2, D].
        share: How far to go; 0 is the image itself, 1 the mean and the other class's variation.

    Returns:
        The mixture, of any norm, [D].
    """
    residual = (pair[0] - pair[1]) / math.sqrt(2)
    return (1 - share) * own + share * mean + math.sqrt(share) * residual


def combine(own: Tensor, others: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Mixes, at the norm of the embeddings of the class.

    Args:
        own: Embedding of the conditioning image, [D].
        others: Those of the images from `choose`, [n, D].
        share: See `transferred`.
        rng: Unused; every mixture has this signature.

    Returns:
        The mixture, [D].
    """
    pair, of_class = others[:2], others[2:]
    mixed = transferred(own, of_class.mean(dim=0), pair, share)
    return with_norm(mixed, own, of_class, share)


MIXTURE = Mixture(choose, combine, of_others=True)
