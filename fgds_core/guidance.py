"""Feedback guidance: steers sampling up the gradient of a criterion of the predicted clean image.

The criterion looks at the clean image that the conditional half of classifier-free guidance
predicts, so it costs no forward of its own, and its gradient reaches the noisy latent through
decoder and network. All gradients, norms and decisions belong to one image; nothing is shared in a
batch.

Source: Askari Hemmat et al. (2024), https://arxiv.org/abs/2310.00158, section 3.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from fgds_core.denoise import ClassifierFree, NoiseLevel

Decode = Callable[[Tensor], Tensor]
"""Clean latents [b, C, H, W] -> images [b, 3, H', W'], differentiably."""

Objective = Callable[[Tensor, Tensor], Tensor]
"""Values images: (x [b, 3, H, W], which images of the batch they are [b]) -> one value per image,
[b]; larger = more wanted."""

PURE_NOISE = 1e-3
"""Share of signal in a noisy latent, `alpha / hypot(alpha, sigma)`, below which nothing can be
predicted."""


class Steered(NamedTuple):
    """Where guidance leaves a sampler: a noisy latent and the clean one predicted for it."""

    z: Tensor
    z0: Tensor


def relative(
    z: Tensor, z0: Tensor, grad: Tensor, level: NoiseLevel, c_skip: float, scale: float
) -> Steered:
    """Moves the noisy latent by a share of its own norm and leaves the network's answer as it is.

    `z + scale * ||z|| * grad / ||grad||`, norms per image. The solver then takes its step from the
    moved latent with the network's prediction (noise, velocity, ...) for the old one, so the clean
    latent shifts by `c_skip` of the move. This is the rule of the authors' released script. It is
    the same whatever scale the solver keeps `z` in.
    """
    norm = torch.linalg.vector_norm(z, dim=(1, 2, 3), keepdim=True)
    grad_norm = torch.linalg.vector_norm(grad, dim=(1, 2, 3), keepdim=True)  # [B, 1, 1, 1]
    move = torch.where(grad_norm > 0, scale * norm * grad / grad_norm, 0.0)
    return Steered(z + move, z0 + c_skip * move)


def score(
    z: Tensor, z0: Tensor, grad: Tensor, level: NoiseLevel, c_skip: float, scale: float
) -> Steered:
    """Adds `scale` times the gradient to the score of the generator.

    By Tweedie's formula `alpha * D(z) = z + sigma**2 * score(z)`, so the clean latent gains
    `scale * sigma**2 / alpha * grad`. With the log-likelihood of an observation as criterion and
    scale 1 it samples the posterior.
    """
    return Steered(z, z0 + scale * level.sigma**2 / level.alpha * grad)


Rule = Callable[[Tensor, Tensor, Tensor, NoiseLevel, float, float], Steered]
RULES: dict[str, Rule] = {"relative": relative, "score": score}


@dataclass
class Account:
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
    def empty(cls, num_images: int) -> "Account":
        """Opens an account in which nothing has happened."""
        return cls(*(torch.zeros(num_images, dtype=torch.int64) for _ in range(3)))

    def of(self, which: Tensor) -> "Account":
        """The account of some images of the batch; a mask [B]."""
        first = None if self.first is None else self.first[which]
        last = None if self.last is None else self.last[which]
        return Account(
            self.guided[which], self.skipped[which], self.non_finite[which], first, last
        )


@dataclass
class Held:
    """The gradient that pushes a batch until the next one is computed."""

    looks: int = 0
    """Guided steps so far."""
    grad: Tensor | None = None
    """The last gradient with respect to `z / alpha`, which is the same in whatever scale the
    solver keeps `z`; zero for images that were left alone, [B, C, H, W]."""


@dataclass(frozen=True)
class Guidance:
    """Guides a batch: which criterion, by which rule, how far, when."""

    decode: Decode
    objective: Objective
    rule: Rule
    scale: float
    steps: frozenset[int]
    """Indices of the guided steps."""
    account: Account
    """Filled in along the way."""
    limits: Tensor | None = None
    """Criterion at which an image is pushed no further, [B]; None is without limit."""
    micro_batch: int | None = None
    """Images decoded and classified at a time; None is all of them."""
    jacobian: bool = True
    """Whether the gradient goes back through the network; without, it is taken at the clean
    latent and costs no backward there."""
    refresh: int = 1
    """Guided steps from one new gradient to the next; in between, the last one pushes again."""
    held: Held = field(default_factory=Held)
    """Filled in along the way."""

    def __call__(self, denoiser: ClassifierFree, z: Tensor, level: NoiseLevel) -> Steered:
        """Takes one guided look: predicts the clean latent and steers.

        Of pure noise nothing can be predicted: there, every image is left alone.

        Args:
            denoiser: The generator under classifier-free guidance.
            z: Noisy latents, [B, C, H, W].
            level: Their noise level.
        """
        if level.alpha <= PURE_NOISE * math.hypot(level.alpha, level.sigma):
            self.account.skipped += 1
            with torch.inference_mode():
                return Steered(z, denoiser(z, level))
        self.held.looks += 1
        if self.held.grad is not None and (self.held.looks - 1) % self.refresh:
            return self._push_again(denoiser, z, level, self.held.grad / level.alpha)
        z = z.detach().requires_grad_(self.jacobian)
        z0, conditional = denoiser.halves(z, level)
        values, pull = climb(self.decode, self.objective, conditional, self.micro_batch)
        # Without the Jacobian: as if z0 were z without its noise
        grad = pull_back(conditional, z, pull) if self.jacobian else pull / level.alpha
        push = self._decide(values, grad)
        grad = torch.where(push[:, None, None, None], grad, 0.0)
        self.held.grad = level.alpha * grad
        return self.rule(z.detach(), z0, grad, level, denoiser.c_skip(level), self.scale)

    def _push_again(
        self, denoiser: ClassifierFree, z: Tensor, level: NoiseLevel, grad: Tensor
    ) -> Steered:
        """Steers by a gradient that is known already; images that were left alone stay so."""
        push = grad.flatten(1).any(dim=1).cpu()
        self.account.guided += push
        self.account.skipped += ~push
        with torch.inference_mode():
            z0 = denoiser(z, level)
        return self.rule(z, z0, grad, level, denoiser.c_skip(level), self.scale)

    def _decide(self, values: Tensor, grad: Tensor) -> Tensor:
        """Decides which images are pushed, [B], and keeps account of it."""
        finite = grad.flatten(1).isfinite().all(dim=1) & values.isfinite()
        push: Tensor = finite & (torch.linalg.vector_norm(grad, dim=(1, 2, 3)) > 0)
        if self.limits is not None:
            push &= values < self.limits
        account = self.account
        account.guided += push.cpu()
        account.skipped += (finite & ~push).cpu()
        account.non_finite += (~finite).cpu()
        account.last = values.cpu()
        account.first = account.last if account.first is None else account.first
        return push


def climb(
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
