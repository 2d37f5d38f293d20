"""Where guidance stops."""

import torch
from torch import Tensor

from fgds_core.diffusion.denoise import NoiseLevel
from fgds_core.diffusion.guidance.gradient import Gradient, GradientAt


def up_to(limits: Tensor, gradient_at: GradientAt) -> GradientAt:
    """Leaves an image alone while its criterion is at or above its limit, [B]."""

    def limited(z: Tensor, level: NoiseLevel) -> Gradient:
        found = gradient_at(z, level)
        if found.grad is None or found.values is None:
            return found
        below = (found.values < limits)[:, None, None, None]  # [B, 1, 1, 1]
        return found._replace(grad=torch.where(below, found.grad, 0.0))

    return limited
