"""What guidance did to each image."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fgds_core.diffusion.denoise import NoiseLevel
from fgds_core.diffusion.guidance.gradient import Gradient, GradientAt


@dataclass
class GuidanceStats:
    """What guidance did to each image of a batch, [B] each."""

    guided: Tensor
    """Steps at which the image was pushed."""
    skipped: Tensor
    """Steps at which it was left alone: its gradient was zero, or it had reached its limit."""
    non_finite: Tensor
    """Steps at which it was left alone because criterion or gradient were not finite."""
    first: Tensor | None = None
    """Criterion at the first guided step, before the push."""
    last: Tensor | None = None
    """Criterion at the last guided step, before the push."""

    @classmethod
    def empty(cls, num_images: int) -> "GuidanceStats":
        """Statistics in which nothing has happened."""
        return cls(*(torch.zeros(num_images, dtype=torch.int64) for _ in range(3)))

    def of(self, which: Tensor) -> "GuidanceStats":
        """The statistics of some images of the batch; a mask [B]."""
        first = None if self.first is None else self.first[which]
        last = None if self.last is None else self.last[which]
        return GuidanceStats(
            self.guided[which], self.skipped[which], self.non_finite[which], first, last
        )

    def add(self, found: Gradient) -> None:
        """Adds one guided step."""
        if found.grad is None:
            self.skipped += 1
            return
        pushed = found.grad.flatten(1).any(dim=1).cpu()  # [B]
        finite = found.finite.cpu()  # [B]
        self.guided += pushed
        self.skipped += finite & ~pushed
        self.non_finite += ~finite
        if found.values is not None:
            self.last = found.values.cpu()
            self.first = self.last if self.first is None else self.first


def recorded(stats: GuidanceStats, gradient_at: GradientAt) -> GradientAt:
    """Keeps statistics of what a batch is steered by."""

    def noted(z: Tensor, level: NoiseLevel) -> Gradient:
        found = gradient_at(z, level)
        stats.add(found)
        return found

    return noted
