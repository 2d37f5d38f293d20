"""The sampling loop around a solver of diffusers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fgds_core.diffusion.denoise import PREDICTION_TYPES
from fgds_core.diffusion.guidance.look import Look
from fgds_core.diffusion.solver import (
    Scheduler,
    noise_levels,
    prediction_type_of,
    step_arguments,
)


def sample(
    look: Look,
    scheduler: Scheduler,
    noise: Tensor,
    num_inference_steps: int,
    *,
    eta: float = 0.0,
    rngs: Sequence[torch.Generator] = (),
) -> Tensor:
    """Draws latents.

    Args:
        look: Predicts the clean latents of noisy ones, and may steer both.
        scheduler: The solver, from `make_scheduler`.
        noise: Standard normal noise, [B, C, H, W].
        num_inference_steps: Steps of the solver.
        eta: Fresh noise per step, for solvers that have it.
        rngs: One per image, for solvers that add noise at each step.

    Returns:
        Clean latents, [B, C, H, W].
    """
    scheduler.set_timesteps(num_inference_steps)
    extra = step_arguments(scheduler, eta, rngs)
    coefficients = PREDICTION_TYPES[prediction_type_of(scheduler)]

    z: Tensor = noise * getattr(scheduler, "init_noise_sigma", 1.0)
    for level in noise_levels(scheduler):
        # Predict the clean latent, and perhaps steer
        z, z0 = look(z, level)

        # Solve one step, from the network's prediction that stands for this clean latent
        with torch.no_grad():
            prediction = coefficients(level.alpha, level.sigma).to_prediction(z0, z)
            z = scheduler.step(prediction, level.timestep, z, **extra, return_dict=False)[0]
            z = z.to(noise.dtype)  # some solvers compute in float32 and answer so
    return z
