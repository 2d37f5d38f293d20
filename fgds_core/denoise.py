"""Networks as denoisers, `D(z, level) -> z0`.

A network that predicts noise, velocity or the clean latent is adapted once, here. Every such
network is

    D(z) = c_skip(sigma) z + c_out(sigma) F(z / sqrt(1 + sigma**2), timestep)

with its own `c_skip` and `c_out` (Karras et al. 2022, https://arxiv.org/abs/2206.00364, table 1;
Salimans and Ho 2022, https://arxiv.org/abs/2202.00512, for the velocity), so nothing else asks
what the network predicts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class NoiseLevel(NamedTuple):
    """One level of the noise schedule, in both tongues."""

    sigma: float
    """Standard deviation of the noise in `z = z0 + sigma * noise`."""
    timestep: Tensor
    """The same level as the network was trained to be told it, a scalar on the CPU."""


Denoiser = Callable[[Tensor, NoiseLevel], Tensor]
"""Predicts the clean latent, z [B, C, H, W] with `z = z0 + sigma * noise` -> z0 [B, C, H, W]."""

Network = Callable[..., Tensor]
"""What was trained: (z / sqrt(1 + sigma**2), timestep, **condition) -> its prediction, [B, C, H,
W]."""

Condition = Mapping[str, Tensor]
"""What the network is told about each image, by argument name; the first axis is B."""


class Coefficients(NamedTuple):
    """The line between a network's prediction and the clean latent at one noise level."""

    c_skip: float
    c_out: float

    def to_clean(self, prediction: Tensor, z: Tensor) -> Tensor:
        """Turns the network's prediction into the clean latent."""
        return self.c_skip * z + self.c_out * prediction

    def to_prediction(self, z0: Tensor, z: Tensor) -> Tensor:
        """Turns a clean latent into the prediction that stands for it."""
        return (z0 - self.c_skip * z) / self.c_out


def _epsilon(sigma: float) -> Coefficients:
    return Coefficients(1.0, -sigma)


def _velocity(sigma: float) -> Coefficients:
    return Coefficients(1 / (1 + sigma**2), -sigma / (1 + sigma**2) ** 0.5)


def _sample(sigma: float) -> Coefficients:
    return Coefficients(0.0, 1.0)


PREDICTION_TYPES: dict[str, Callable[[float], Coefficients]] = {
    "epsilon": _epsilon,
    "v_prediction": _velocity,
    "sample": _sample,
}
"""Noise level -> coefficients, by the name diffusers gives to what a network predicts."""


def adapt(network: Network, prediction_type: str, condition: Condition) -> Denoiser:
    """Makes a denoiser of a network and what it is told.

    Args:
        network: The trained network.
        prediction_type: What it predicts, one of `PREDICTION_TYPES`.
        condition: Its arguments for each image of the batch.
    """
    coefficients = PREDICTION_TYPES[prediction_type]

    def denoise(z: Tensor, level: NoiseLevel) -> Tensor:
        prediction = network(z / (1 + level.sigma**2) ** 0.5, level.timestep, **condition)
        return coefficients(level.sigma).to_clean(prediction.to(z.dtype), z)

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

    def __call__(self, z: Tensor, level: NoiseLevel) -> Tensor:
        """Predicts the clean latent, both halves in one forward of twice the batch."""
        if self.guidance_scale == 1:
            return adapt(self.network, self.prediction_type, self.conditional)(z, level)
        both = {
            name: torch.cat([self.unconditional[name], self.conditional[name]])
            for name in self.conditional
        }
        z0 = adapt(self.network, self.prediction_type, both)(torch.cat([z, z]), level)  # [2B, ...]
        unconditional, conditional = z0.chunk(2)
        return self._combine(unconditional, conditional)

    def halves(self, z: Tensor, level: NoiseLevel) -> Halves:
        """Predicts the clean latent and hands out the conditional half with its graph.

        The conditional half is computed once, with a graph back to `z`, and serves twice: for the
        guided latent, and for whoever wants its gradient. The unconditional half keeps no graph.

        Args:
            z: Noisy latents that require a gradient, [B, C, H, W].
            level: Their noise level.
        """
        with torch.enable_grad():
            conditional = adapt(self.network, self.prediction_type, self.conditional)(z, level)
        if self.guidance_scale == 1:
            return Halves(conditional.detach(), conditional)
        with torch.no_grad():
            denoise = adapt(self.network, self.prediction_type, self.unconditional)
            unconditional = denoise(z.detach(), level)
        return Halves(self._combine(unconditional, conditional.detach()), conditional)

    def c_skip(self, sigma: float) -> float:
        """Share of `z` that reaches the clean latent around the network."""
        return PREDICTION_TYPES[self.prediction_type](sigma).c_skip

    def _combine(self, unconditional: Tensor, conditional: Tensor) -> Tensor:
        return unconditional + self.guidance_scale * (conditional - unconditional)
