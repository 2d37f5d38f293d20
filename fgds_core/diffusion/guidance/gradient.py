"""The gradient that guidance steers by.

The criterion looks at the clean image that the conditional half of classifier-free guidance
predicts, so it costs no forward of its own, and its gradient reaches the noisy latent through
decoder and network.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fgds_core.diffusion.denoise import ClassifierFree, NoiseLevel

Decode = Callable[[Tensor], Tensor]
"""Clean latents [b, C, H, W] -> images [b, 3, H', W'], differentiably."""

Objective = Callable[[Tensor, Tensor], Tensor]
"""Values images: (x [b, 3, H, W], which images of the batch they are [b]) -> one value per image,
[b]; larger = more wanted."""

PURE_NOISE = 1e-3
"""Share of signal in a noisy latent, `alpha / hypot(alpha, sigma)`, below which nothing can be
predicted."""


class Gradient(NamedTuple):
    """What a batch is steered by at one noise level."""

    z0: Tensor
    """Clean latents under classifier-free guidance, [B, C, H, W]."""
    grad: Tensor | None
    """Gradient of the criterion with respect to the noisy latents, [B, C, H, W]; zero for an image
    that is to be left alone, None where nothing can be predicted."""
    values: Tensor | None
    """The criterion, [B]; None where it was not computed."""
    finite: Tensor
    """Whether criterion and gradient were finite; where not, `grad` is zero, [B]."""


GradientAt = Callable[[Tensor, NoiseLevel], Gradient]
"""(noisy latents [B, C, H, W], their noise level) -> what to steer by."""


def predictable(level: NoiseLevel) -> bool:
    """Whether a noisy latent holds any signal; of pure noise nothing can be predicted."""
    return level.alpha > PURE_NOISE * math.hypot(level.alpha, level.sigma)


def gradient_of(
    decode: Decode,
    objective: Objective,
    denoiser: ClassifierFree,
    *,
    jacobian: bool = True,
    micro_batch: int | None = None,
) -> GradientAt:
    """Finds the gradient of an objective of the predicted clean image.

    Args:
        decode: Makes images of latents.
        objective: Values images.
        denoiser: The generator under classifier-free guidance.
        jacobian: Whether the gradient goes back through the network; without, it is taken at the
            clean latent and costs no backward there.
        micro_batch: Images decoded and classified at a time; None is all of them.
    """

    def gradient_at(z: Tensor, level: NoiseLevel) -> Gradient:
        if not predictable(level):
            with torch.inference_mode():
                return Gradient(
                    denoiser(z, level), None, None, torch.ones(len(z), dtype=torch.bool)
                )
        z = z.detach().requires_grad_(jacobian)
        z0, conditional = denoiser.halves(z, level)
        values, grad = value_and_grad(decode, objective, conditional, micro_batch)
        # Without the Jacobian: as if z0 were z without its noise
        grad = pull_back(conditional, z, grad) if jacobian else grad / level.alpha
        finite = grad.flatten(1).isfinite().all(dim=1) & values.isfinite()  # [B]
        usable = finite & (torch.linalg.vector_norm(grad, dim=(1, 2, 3)) > 0)
        return Gradient(z0, torch.where(usable[:, None, None, None], grad, 0.0), values, finite)

    return gradient_at


def value_and_grad(
    decode: Decode, objective: Objective, z0: Tensor, micro_batch: int | None = None
) -> tuple[Tensor, Tensor]:
    """Values clean latents and finds the direction in which each one's value grows.

    The graph is cut at the clean latent, so decoder and classifier may go through it a few images
    at a time while the network behind it runs once for the whole batch.

    Args:
        decode: Makes images of latents.
        objective: Values images.
        z0: Clean latents, [B, C, H, W].
        micro_batch: Images at a time; None is all of them.

    Returns:
        The values [B] and their gradients with respect to `z0`, [B, C, H, W].
    """
    size = micro_batch or len(z0)
    values, grads = [], []
    with torch.enable_grad():
        for first in range(0, len(z0), size):
            which = torch.arange(first, min(first + size, len(z0)))
            some = z0.detach()[which].requires_grad_()
            x = decode(some)  # [b, 3, H', W']
            seen = x.detach().requires_grad_()
            value = objective(seen, which)  # [b]
            (grad,) = torch.autograd.grad(value.sum(), seen)  # images are independent
            values.append(value.detach())
            grads.append(pull_back(x, some, grad))
    return torch.cat(values), torch.cat(grads)


def pull_back(output: Tensor, input: Tensor, grad: Tensor) -> Tensor:
    """Carries a gradient back through a network that may compute in half precision.

    The gradient of a confident classifier is so small that half precision would flush it to zero,
    in silence. Each image's is brought to about unit size before and back to its own after, by a
    power of two, which changes no other digit.

    Args:
        output: What the network gave, [B, ...].
        input: What it was given, [B, ...].
        grad: Gradient of something with respect to `output`.

    Returns:
        Its gradient with respect to `input`.
    """
    largest = grad.flatten(1).abs().amax(dim=1)  # [B]
    exponent = torch.frexp(largest).exponent
    exponent = torch.where(largest.isfinite() & (largest > 0), exponent, 0)
    exponent = exponent.clamp(-126, 126)  # both powers are normal numbers of float32
    power = torch.ldexp(torch.ones_like(largest), exponent).view(-1, *[1] * (grad.dim() - 1))
    (back,) = torch.autograd.grad(output, input, grad / power)
    return back * power
