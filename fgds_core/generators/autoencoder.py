"""From latents to images.

Of the shape of a module of a family: it waits for no library of models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def decode(vae: Any, z: Tensor) -> Tensor:  # noqa: ANN401
    """Decodes latents [B, C, H, W], differentiably, to images of about [-1, 1].

    Args:
        vae: An autoencoder of diffusers whose configuration says how its latents were scaled.
        z: The latents.
    """
    config = vae.config
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    latents = z / config.scaling_factor
    if mean is not None and std is not None:
        latents = latents * z.new_tensor(std).view(-1, 1, 1) + z.new_tensor(mean).view(-1, 1, 1)
    latents = latents + (getattr(config, "shift_factor", None) or 0.0)
    dtype = next(vae.parameters()).dtype  # `vae.dtype` walks through all modules to find it
    x: Tensor = vae.decode(latents.to(dtype), return_dict=False)[0]
    return x.to(z.dtype)
