"""Mixtures: the generator is told one embedding that was made of several real images.

One module each, loaded when it is chosen. Which images an image is mixed of follows from its own
seed, so that it depends on no other image; and they are few, so that a part embeds a bounded
number of images, however large the data are.

N real images in all, n of them in one mixture beside the conditioning image, D numbers in an
embedding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import torch
from torch import Tensor
from torch.nn import functional as F

from fgds_core.synthesis.embeddings.pool import Pool


@dataclass(frozen=True)
class Mixture:
    """One way to make one embedding of several.

    Attributes:
        choose: (row of the conditioning image, the real images, random generator) -> the rows of
            the n other images of the mixture.
        combine: (embedding of the conditioning image [D], those of the others [n, D], share of
            what is not the conditioning image in [0, 1], random generator) -> the mixture, [D].
        of_others: Whether images of other classes are among them.
    """

    choose: Callable[[int, Pool, torch.Generator], list[int]]
    combine: Callable[[Tensor, Tensor, float, torch.Generator], Tensor]
    of_others: bool


MIXTURES = {
    "slerp": "fgds_core.synthesis.embeddings.slerp",
    "transfer": "fgds_core.synthesis.embeddings.transfer",
    "any_class": "fgds_core.synthesis.embeddings.any_class",
}
"""The module of each mixture by its name in the parameters; it is called `MIXTURE` there."""


def load_mixture(name: str) -> Mixture:
    """The mixture called `name`, one of `MIXTURES`."""
    mixture: Mixture = import_module(MIXTURES[name]).MIXTURE
    return mixture


def one_of(rows: Tensor, rng: torch.Generator) -> int:
    """One of some rows, each as likely."""
    return int(rows[torch.randint(len(rows), (), generator=rng)])


def with_norm(embedding: Tensor, own: Tensor, others: Tensor, share: float) -> Tensor:
    """Brings an embedding to the norm of those it was made of.

    A mean of embeddings is shorter than they are, and generators have seen none that short.

    Args:
        embedding: The mixture, [D].
        own: Embedding of the conditioning image, [D].
        others: Embeddings with the other norm, of which the mean counts, [n, D].
        share: How much of the norm is theirs, in [0, 1].

    Returns:
        The embedding in the same direction, [D].
    """
    norm = (1 - share) * own.norm() + share * others.norm(dim=-1).mean()
    brought: Tensor = F.normalize(embedding, dim=0) * norm
    return brought
