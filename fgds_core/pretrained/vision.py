"""What an image processor of CLIP does, as tensor operations.

B images, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def preprocess(processor: Any, device: str) -> Callable[[Tensor], Tensor]:  # noqa: ANN401
    """Shorter side resized, centre cropped, normalised, as a processor says.

    Args:
        processor: A `CLIPImageProcessor`.
        device: Where it computes.

    Returns:
        Images in [-1, 1], [B, 3, H, W] -> what the tower takes, [B, 3, height, width].
    """
    import torch
    from torch.nn import functional as F

    height, width = processor.crop_size["height"], processor.crop_size["width"]
    shorter = processor.size["shortest_edge"]
    mean = torch.tensor(processor.image_mean, device=device).view(-1, 1, 1)
    std = torch.tensor(processor.image_std, device=device).view(-1, 1, 1)

    def taken(x: Tensor) -> Tensor:
        size = tuple(shorter * side // min(x.shape[-2:]) for side in x.shape[-2:])
        if tuple(x.shape[-2:]) != size:
            x = F.interpolate(x, list(size), mode="bicubic", antialias=True).clamp(-1, 1)
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        x = x[..., top : top + height, left : left + width]  # [B, 3, height, width]
        return ((x + 1) / 2 - mean) / std

    return taken
