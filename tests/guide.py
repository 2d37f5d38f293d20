"""Guidance put together as drawing does it, for the tests of laws."""

from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from fgds_core.diffusion.denoise import ClassifierFree, NoiseLevel
from fgds_core.diffusion.guidance.gradient import Decode, Objective, gradient_of
from fgds_core.diffusion.guidance.limits import up_to
from fgds_core.diffusion.guidance.look import GuidedState, Look, at, guided, plain
from fgds_core.diffusion.guidance.reuse import reused
from fgds_core.diffusion.guidance.rules import load_rule
from fgds_core.diffusion.guidance.stats import GuidanceStats, recorded


@dataclass(frozen=True)
class Steps:
    """A look at a batch, and what it did to it."""

    look: Look
    stats: GuidanceStats

    def __call__(self, z: Tensor, level: NoiseLevel) -> GuidedState:
        """Takes one step's look."""
        return self.look(z, level)


def guide(
    denoiser: ClassifierFree,
    decode: Decode,
    objective: Objective,
    *,
    rule: str = "relative",
    scale: float = 0.05,
    steps: Collection[int] = range(1000),
    num_images: int = 4,
    limits: Tensor | None = None,
    jacobian: bool = True,
    refresh: int = 1,
) -> Steps:
    """Guides a batch."""
    stats = GuidanceStats.empty(num_images)
    gradient_at = gradient_of(decode, objective, denoiser, jacobian=jacobian)
    if limits is not None:
        gradient_at = up_to(limits, gradient_at)
    gradient_at = recorded(stats, reused(refresh, denoiser, gradient_at))
    steered = guided(denoiser, gradient_at, load_rule(rule), scale)
    return Steps(at(steps, steered, otherwise=plain(denoiser)), stats)
