"""Networks as denoisers, `D(z, level) -> z0`.

A noisy latent is `z = alpha * z0 + sigma * noise`. A network that predicts noise, velocity, the
clean latent or a flow is adapted once, here. Every such network is

    D(z) = c_skip z + c_out F(c_in z, timestep)

with its own coefficients (Karras et al. 2022, https://arxiv.org/abs/2206.00364, table 1; Salimans
and Ho 2022, https://arxiv.org/abs/2202.00512, for the velocity; Lipman et al. 2023,
https://arxiv.org/abs/2210.02747, for the flow), so nothing else asks what the network predicts.
`alpha` and `sigma` may carry a common factor, the solver's own scale; `c_in` takes it out.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


class NoiseLevel(NamedTuple):
    """One level of the noise schedule: `z = alpha * z0 + sigma * noise`."""

    alpha: float
    """What is left of the clean latent: 0 is pure noise."""
    sigma: float
    """Standard deviation of the noise."""
    timestep: Tensor
    """The same level as the network was trained to be told it, a scalar on the CPU."""
    step: int = 0
    """Place among the steps of the solver."""


Denoiser = Callable[[Tensor, NoiseLevel], Tensor]
"""Predicts the clean latent, z [B, C, H, W] -> z0 [B, C, H, W]."""

Network = Callable[..., Tensor]
"""What was trained: (c_in * z, timestep, **condition) -> its prediction, [B, C, H, W]."""

Condition = Mapping[str, Tensor]
"""What the network is told about each image, by argument name; the first axis is B."""


class Coefficients(NamedTuple):
    """The line between a network's prediction and the clean latent at one noise level."""

    c_in: float
    """Scales the noisy latent to what the network was trained on."""
    c_skip: float
    c_out: float

    def to_clean(self, prediction: Tensor, z: Tensor) -> Tensor:
        """Turns the network's prediction into the clean latent."""
        return self.c_skip * z + self.c_out * prediction

    def to_prediction(self, z0: Tensor, z: Tensor) -> Tensor:
        """Turns a clean latent into the prediction that stands for it."""
        return (z0 - self.c_skip * z) / self.c_out


def _epsilon(alpha: float, sigma: float) -> Coefficients:
    return Coefficients(1 / math.hypot(alpha, sigma), 1 / alpha, -sigma / alpha)


def _velocity(alpha: float, sigma: float) -> Coefficients:
    norm = math.hypot(alpha, sigma)
    return Coefficients(1 / norm, alpha / norm**2, -sigma / norm)


def _sample(alpha: float, sigma: float) -> Coefficients:
    return Coefficients(1 / math.hypot(alpha, sigma), 0.0, 1.0)


def _flow(alpha: float, sigma: float) -> Coefficients:
    # Trained on (1 - s) z0 + s noise; predicts noise - z0.
    norm = alpha + sigma
    return Coefficients(1 / norm, 1 / norm, -sigma / norm)


PREDICTION_TYPES: dict[str, Callable[[float, float], Coefficients]] = {
    "epsilon": _epsilon,
    "v_prediction": _velocity,
    "sample": _sample,
    "flow_prediction": _flow,
}
"""(alpha, sigma) -> coefficients, by the name diffusers gives to what a network predicts."""


def adapt(network: Network, prediction_type: str, condition: Condition) -> Denoiser:
    """Makes a denoiser of a network and what it is told.

    Args:
        network: The trained network.
        prediction_type: What it predicts, one of `PREDICTION_TYPES`.
        condition: Its arguments for each image of the batch.
    """
    coefficients = PREDICTION_TYPES[prediction_type]

    def denoise(z: Tensor, level: NoiseLevel) -> Tensor:
        line = coefficients(level.alpha, level.sigma)
        prediction = network(line.c_in * z, level.timestep, **condition)
        return line.to_clean(prediction.to(z.dtype), z)

    return denoise


class Halves(NamedTuple):
    """The guided clean latent, and the conditional half it came from."""

    z0: Tensor
    conditional: Tensor


@dataclass(frozen=True)
class ClassifierFree:
    """Classifier-free guidance, a denoiser made of a conditional and an unconditional one.

    `D = D_0 + w (D_c - D_0)`; w = 1 is the conditional denoiser alone, and asks nothing of the
    other.

    Source: Ho and Salimans (2022), https://arxiv.org/abs/2207.12598
    """

    network: Network
    prediction_type: str
    conditional: Condition
    unconditional: Condition
    guidance_scale: float
    at_a_time: int | None = None
    """Images that the network is asked of together; None is all of the batch."""

    def __call__(self, z: Tensor, level: NoiseLevel) -> Tensor:
        """Predicts the clean latent, both halves in one forward of twice the batch."""
        if self.at_a_time is None or len(z) <= self.at_a_time:
            return self.halves(z, level).z0
        return torch.cat([one.halves(some, level).z0 for one, some in self.split(z)])

    def split(self, z: Tensor) -> Iterator[tuple["ClassifierFree", Tensor]]:
        """The denoisers of `at_a_time` images each, in order, with their noisy latents."""
        size = self.at_a_time or len(z)
        for first in range(0, len(z), size):
            conditional, unconditional = (
                {name: told[first : first + size] for name, told in condition.items()}
                for condition in (self.conditional, self.unconditional)
            )
            one = replace(self, conditional=conditional, unconditional=unconditional)
            yield one, z[first : first + size]

    def halves(self, z: Tensor, level: NoiseLevel) -> Halves:
        """Predicts the clean latent and hands out the conditional half it came from.

        Where `z` requires a gradient, the conditional half is computed once, with a graph back to
        `z`, and serves twice: for the guided latent, and for whoever wants its gradient. The
        unconditional half keeps no graph. Elsewhere both halves are one forward.

        Args:
            z: Noisy latents, [B, C, H, W].
            level: Their noise level.
        """
        if self.guidance_scale == 1:
            conditional = self._adapt(self.conditional)(z, level)
            return Halves(conditional.detach(), conditional)
        if z.requires_grad:
            conditional = self._adapt(self.conditional)(z, level)
            with torch.no_grad():
                unconditional = self._adapt(self.unconditional)(z, level)
        else:
            both = {
                name: torch.cat([self.unconditional[name], self.conditional[name]])
                for name in self.conditional
            }
            z0 = self._adapt(both)(torch.cat([z, z]), level)  # [2B, C, H, W]
            unconditional, conditional = z0.chunk(2)
        guided = unconditional + self.guidance_scale * (conditional.detach() - unconditional)
        return Halves(guided, conditional)

    def c_skip(self, level: NoiseLevel) -> float:
        """Share of `z` that reaches the clean latent around the network."""
        return PREDICTION_TYPES[self.prediction_type](level.alpha, level.sigma).c_skip

    def _adapt(self, condition: Condition) -> Denoiser:
        return adapt(self.network, self.prediction_type, condition)
