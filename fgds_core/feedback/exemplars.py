"""Exemplars: a few real training images of each class that synthetic ones are drawn towards."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from fgds_core.diffusion.noise import stream
from fgds_core.feedback.criterion import Known, Needs, Parameters, Sources
from fgds_core.images.pixels import from_uint8

BLOCK = 32
"""Images that are looked at together; no parameter, for it may change the last bits."""

KEPT = 64
"""Classes whose exemplars are kept, those of the last ones."""


def _choose(config: Parameters, sources: Sources) -> Known:
    """Exemplars of each class, looked at when the first image of the class is drawn."""
    real = sources.images("train")

    @lru_cache(KEPT)
    @torch.no_grad()
    def exemplars(label: int) -> Tensor:
        """Their features, each of length 1, [E, D]."""
        own = real.of_class(label)
        if not len(own):
            return torch.empty(0, 0, device=sources.device)
        rng = stream(sources.seed, f"exemplars of {own.class_names[label]}")
        rows = torch.randperm(len(own), generator=rng)[: config.feedback_exemplars].tolist()
        features = [
            sources.see(from_uint8(own.__getitems__(rows[first : first + BLOCK]))).features
            for first in range(0, len(rows), BLOCK)
        ]
        return F.normalize(torch.cat(features), dim=-1)

    return Known(exemplars=exemplars, mix=config.feedback_mix)


EXEMPLARS = Needs(
    find=_choose, together=True, real=True, parameters=frozenset({"feedback_exemplars"})
)
"""What `exemplar` needs."""

MIXED = Needs(
    find=_choose,
    together=True,
    real=True,
    parameters=frozenset({"feedback_exemplars", "feedback_mix"}),
)
"""What a criterion needs of which `exemplar` is the first term."""
