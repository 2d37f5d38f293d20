"""The gradient where images are valued together: what one is worth depends on all the others.

A batch is then all images that are valued together, however large; the networks take
`denoiser.at_a_time` of them. A step goes through them twice: first without a gradient, to see all
images, then with one, for each image beside all others as they were seen.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from fgds_core.diffusion.denoise import ClassifierFree, NoiseLevel
from fgds_core.diffusion.guidance.gradient import (
    Decode,
    Gradient,
    GradientAt,
    Objective,
    gradient_of,
    predictable,
)

See = Callable[[Tensor], Tensor]
"""Images [b, 3, H, W] -> the features by which they are valued together, [b, D]."""

Among = Callable[[Tensor], Objective]
"""Features of all images, [B, D] -> values images among these."""


def gradient_together(
    decode: Decode,
    see: See,
    among: Among,
    denoiser: ClassifierFree,
    *,
    jacobian: bool = True,
    micro_batch: int | None = None,
) -> GradientAt:
    """Finds the gradients of an objective that values images together.

    Args:
        decode: Makes images of latents.
        see: Finds features of images.
        among: Values images among others, of which it is told the features.
        denoiser: The generator under classifier-free guidance.
        jacobian: As in `gradient_of`.
        micro_batch: As in `gradient_of`.
    """

    def gradient_at(z: Tensor, level: NoiseLevel) -> Gradient:
        if not predictable(level):
            finite = torch.ones(len(z), dtype=torch.bool)
            with torch.inference_mode():
                return Gradient(denoiser(z, level), None, None, finite)
        with torch.no_grad():
            conditional = replace(denoiser, guidance_scale=1.0)(z, level)  # [B, C, H, W]
            size = micro_batch or denoiser.at_a_time or len(z)
            objective = among(
                torch.cat([see(decode(some)) for some in torch.split(conditional, size)])
            )
        found: list[Gradient] = []
        first = 0
        for one, some in denoiser.split(z):
            its_own = gradient_of(
                decode, _from(first, objective), one, jacobian=jacobian, micro_batch=micro_batch
            )
            found.append(its_own(some, level))
            first += len(some)
        return Gradient(
            z0=torch.cat([each.z0 for each in found]),
            grad=torch.cat([each.grad for each in found if each.grad is not None]),
            values=torch.cat([each.values for each in found if each.values is not None]),
            finite=torch.cat([each.finite for each in found]),
        )

    return gradient_at


def values_together(see: See, among: Among, x: Tensor, size: int) -> Tensor:
    """Values finished images together.

    Args:
        see: Finds features of images.
        among: Values images among others.
        x: The images, [B, 3, H, W].
        size: Images at a time.

    Returns:
        One value per image, [B].
    """
    some = torch.split(x, size)
    objective = among(torch.cat([see(images) for images in some]))
    places = torch.split(torch.arange(len(x)), size)
    return torch.cat([objective(*each) for each in zip(some, places, strict=True)])


def _from(first: int, objective: Objective) -> Objective:
    """The objective for some images of the batch, of which the first has this place."""
    return lambda x, which: objective(x, first + which)
