"""Pictures in the tones of others: what a change of brightness or contrast does to a copy.

Whatever has been done to the brightness of a copy, its darker pixels are still no brighter than
the others, though many may have become white. So the grey values of the picture that it may be a
copy of are replaced by those of the copy in the same order. Of a copy nothing is then left but
what else was changed; two other pictures are as different as their shapes.

B images.

Source: Gonzalez and Woods (2018), Digital Image Processing, 3.3 (histogram matching)
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fgds_core.copies.thumbnails import SIDE, Bytes

_LEVELS = 256


def toned(
    thumbnails: Bytes, like: Bytes, places: Tensor | None = None, device: str = "cpu"
) -> Tensor:
    """Pictures whose parts have the grey values of others, the darkest where they are darkest.

    Pixels of one value keep one: the mean of what they would be.

    Args:
        thumbnails: The pictures, [B, SIDE * SIDE].
        like: Pixels of the others in any order, [B, N].
        places: The parts: top, left and side in pixels, [B, 3]; None is all of each.
        device: Where it is computed.

    Returns:
        float32 [B, SIDE * SIDE].
    """
    x, y = (torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in (thumbnails, like))
    levels = x.long()
    counts = torch.zeros(len(x), _LEVELS, device=device)
    inside = torch.ones_like(levels, dtype=torch.float32) if places is None else _inside(places)
    counts.scatter_add_(1, levels, inside)
    upto = counts.cumsum(dim=1)
    upto = upto / upto[:, -1:] * y.shape[1]  # pixels of the other one that are as dark, [B, 256]
    before = torch.cat([torch.zeros_like(upto[:, :1]), upto[:, :-1]], dim=1)
    ordered = y.float().sort(dim=1).values  # [B, N]
    sums = torch.cat([torch.zeros_like(ordered[:, :1]), ordered.cumsum(dim=1)], dim=1)

    def total(pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of so many of the darkest pixels, and the next one, [B, 256] each."""
        whole = pixels.long().clamp(max=y.shape[1] - 1)
        following = ordered.gather(1, whole)
        return sums.gather(1, whole) + (pixels - whole) * following, following

    (upper, following), (lower, _) = total(upto), total(before)
    means = (upper - lower) / (upto - before).clamp(min=1e-6)
    tones = torch.where(counts > 0, means, following)  # [B, 256]; outside the part, what is next
    return tones.gather(1, levels)


def _inside(places: Tensor) -> Tensor:
    """The share of each pixel that lies in a part, [B, SIDE * SIDE]."""
    edges = torch.arange(SIDE, device=places.device)

    def along(first: Tensor, side: Tensor) -> Tensor:
        low, high = first[:, None], (first + side)[:, None]  # [B, 1] each
        return (torch.minimum(edges + 1, high) - torch.maximum(edges + 0.0, low)).clamp(0, 1)

    top, left, side = places.unbind(dim=1)
    return (along(top, side)[:, :, None] * along(left, side)[:, None]).flatten(1)
