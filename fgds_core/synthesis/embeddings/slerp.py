"""A point on the way from the conditioning image to another image of its class."""

import torch
from scipy.spatial import geometric_slerp
from torch import Tensor

from fgds_core.synthesis.embeddings import Mixture, one_of, with_norm
from fgds_core.synthesis.embeddings.pool import Pool


def choose(row: int, pool: Pool, rng: torch.Generator) -> list[int]:
    """Another image of the class, and of the group where there are groups.

    Args:
        row: Of the conditioning image.
        pool: The real images.
        rng: The image's own.

    Returns:
        The other image's row; that of the image itself where there is no other.
    """
    same = pool.of_cell(row)
    others = same[same != row]
    return [one_of(others, rng) if len(others) else row]


def slerp(start: Tensor, end: Tensor, share: float) -> Tensor:
    """Spherical linear interpolation; the norm goes evenly from one to the other.

    Args:
        start: Where it begins, [D].
        end: Where it ends, [D].
        share: How much of the way has been gone, in [0, 1].

    Returns:
        The point there, [D].

    Source: Shoemake (1985), https://doi.org/10.1145/325165.325242
    """
    unit = [(x / x.norm()).cpu().numpy() for x in (start.double(), end.double())]
    (direction,) = torch.from_numpy(geometric_slerp(*unit, [share]))
    return with_norm(direction.to(start), start, end[None], share)


def combine(own: Tensor, others: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Goes a part of the way, drawn evenly from none to `share` of it.

    Args:
        own: Embedding of the conditioning image, [D].
        others: That of the other image, [1, D].
        share: The largest part of the way.
        rng: The image's own.

    Returns:
        The mixture, [D].
    """
    gone = share * float(torch.rand((), generator=rng, dtype=torch.float64))
    return slerp(own, others[0], gone)


MIXTURE = Mixture(choose, combine, of_others=False)
