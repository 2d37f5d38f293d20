"""The sampling loop around a solver of diffusers."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fgds_core.denoise import PREDICTION_TYPES, ClassifierFree, NoiseLevel
from fgds_core.errors import InputError
from fgds_core.guidance import Guidance
from fgds_core.noise import sigma_from_alphas_cumprod

Scheduler = Any
"""A solver of diffusers that works in one call of the network per step."""


def make_scheduler(name: str, config: Mapping[str, Any]) -> Scheduler:
    """Makes a solver for the noise schedule that a generator was trained with.

    Args:
        name: Name of the class, such as `DDIMScheduler`.
        config: The generator's own scheduler configuration.

    Raises:
        InputError: If the generator predicts something this sampler does not know.
    """
    import diffusers

    scheduler = getattr(diffusers, name).from_config(dict(config))
    if scheduler.config.prediction_type not in PREDICTION_TYPES:
        raise InputError(
            "the generator's scheduler says prediction_type"
            f" {scheduler.config.prediction_type!r}; supported are {sorted(PREDICTION_TYPES)}"
        )
    return scheduler


def sample(
    denoiser: ClassifierFree,
    scheduler: Scheduler,
    noise: Tensor,
    num_inference_steps: int,
    *,
    guidance: Guidance | None = None,
    eta: float = 0.0,
    generators: Sequence[torch.Generator] = (),
) -> Tensor:
    """Draws latents.

    Args:
        denoiser: The generator under classifier-free guidance.
        scheduler: The solver, from `make_scheduler`.
        noise: Standard normal noise, [B, C, H, W].
        num_inference_steps: Steps of the solver.
        guidance: Feedback guidance; None draws without, and so does a scale of 0.
        eta: Fresh noise per step, for solvers that have it.
        generators: One per image, for solvers that add noise at each step.

    Returns:
        Clean latents, [B, C, H, W].
    """
    scheduler.set_timesteps(num_inference_steps)
    extra = _step_arguments(scheduler, eta, generators)
    coefficients = PREDICTION_TYPES[scheduler.config.prediction_type]
    guided = guidance.steps if guidance is not None and guidance.scale != 0 else frozenset()

    z: Tensor = noise * scheduler.init_noise_sigma
    for index, level in enumerate(noise_levels(scheduler)):
        # The solver's coordinates -> z0 + sigma * noise
        c = _to_exploding(scheduler, level)
        z = z * c

        # Predict the clean latent, and steer
        if guidance is not None and index in guided:
            z, z0 = guidance(denoiser, z, level)
        else:
            with torch.inference_mode():
                z0 = denoiser(z, level)

        # Solve one step, from the network's prediction that stands for this clean latent
        with torch.no_grad():
            prediction = coefficients(level.sigma).to_prediction(z0, z)
            z = scheduler.step(prediction, level.timestep, z / c, **extra, return_dict=False)[0]
            z = z.to(noise.dtype)  # some solvers compute in float32 and answer so
    return z


def noise_levels(scheduler: Scheduler) -> list[NoiseLevel]:
    """Lists the levels a solver will visit, after `set_timesteps`.

    Raises:
        InputError: If one is pure noise, of which nothing can be predicted.
    """
    timesteps = scheduler.timesteps
    if hasattr(scheduler, "sigmas"):
        sigmas = scheduler.sigmas[: len(timesteps)].double()
    else:
        sigmas = sigma_from_alphas_cumprod(scheduler.alphas_cumprod[timesteps.long()])
    if not sigmas.isfinite().all():
        raise InputError(
            f"{type(scheduler).__name__} begins at pure noise with this generator (zero terminal"
            " signal); choose EulerDiscreteScheduler"
        )
    return [NoiseLevel(float(s), t) for s, t in zip(sigmas, timesteps, strict=True)]


def _to_exploding(scheduler: Scheduler, level: NoiseLevel) -> float:
    """Factor from a solver's coordinates to `z0 + sigma * noise`."""
    one = torch.ones((), dtype=torch.float64)
    if scheduler.scale_model_input(one, level.timestep) != 1:
        return 1.0  # variance exploding: it scales what the network sees
    return float((1 + level.sigma**2) ** 0.5)


def _step_arguments(
    scheduler: Scheduler, eta: float, generators: Sequence[torch.Generator]
) -> dict[str, Any]:
    """Picks the arguments of `step` that this solver has."""
    known = inspect.signature(scheduler.step).parameters
    extra: dict[str, Any] = {}
    if "eta" in known:
        extra["eta"] = eta
    if "generator" in known and generators:
        extra["generator"] = list(generators)
    return extra
