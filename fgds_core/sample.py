"""The sampling loop around a solver of diffusers."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fgds_core.config.agreement import EITHER, FLOW_SCHEDULERS
from fgds_core.denoise import PREDICTION_TYPES, NoiseLevel
from fgds_core.errors import InputError
from fgds_core.guidance.look import Look

Scheduler = Any
"""A solver of diffusers that works in one call of the network per step."""

FLOW = "flow_prediction"


def make_scheduler(name: str, config: Mapping[str, Any]) -> Scheduler:
    """Makes a solver for the noise schedule that a generator was trained with.

    Args:
        name: Name of the class, such as `DDIMScheduler`.
        config: The generator's own scheduler configuration.

    Raises:
        InputError: If the solver does not fit what the generator predicts.
    """
    import diffusers

    trained = dict(config)
    prediction_type = trained.get("prediction_type", "epsilon")
    if prediction_type not in PREDICTION_TYPES:
        raise InputError(
            f"the generator's scheduler says prediction_type {prediction_type!r}; supported are"
            f" {sorted(PREDICTION_TYPES)}"
        )
    flow = prediction_type == FLOW
    if flow != (name in FLOW_SCHEDULERS) and name not in EITHER:
        fitting = ", ".join((*FLOW_SCHEDULERS, *EITHER)) if flow else "another"
        raise InputError(
            f"synthesize.scheduler {name} does not solve what the generator predicts"
            f" ({prediction_type}); choose {fitting}"
        )
    if prediction_type == "sample" and name == "EulerAncestralDiscreteScheduler":
        raise InputError(
            f"synthesize.scheduler {name} takes no network that predicts the clean latent; choose"
            " another, such as EulerDiscreteScheduler"
        )
    if trained.get("use_dynamic_shifting"):
        raise InputError(
            "the generator's scheduler shifts its noise levels by the size of the image"
            " (use_dynamic_shifting), which is not supported; take a generator with a fixed shift"
        )
    if not flow and not {"beta_start", "trained_betas"} & set(trained):
        raise InputError(
            f"the generator's scheduler {trained.get('_class_name', '')} does not say by betas how"
            " it was trained; take a generator that was trained with a schedule of betas"
        )
    if name in FLOW_SCHEDULERS:
        del trained["prediction_type"]  # it has no such argument
    elif flow:
        trained |= {"use_flow_sigmas": True, "flow_shift": trained.get("shift", 1.0)}
    # Latents are not bounded as pixels are; diffusers clips them unless told otherwise
    trained |= {"clip_sample": False, "thresholding": False}
    trained.setdefault("set_alpha_to_one", False)
    return getattr(diffusers, name).from_config(trained)


def prediction_type_of(scheduler: Scheduler) -> str:
    """What the network of a scheduler of diffusers predicts, one of `PREDICTION_TYPES`."""
    if type(scheduler).__name__.startswith("FlowMatch"):
        return FLOW
    return str(scheduler.config.prediction_type)


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
    extra = _step_arguments(scheduler, eta, rngs)
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


def noise_levels(scheduler: Scheduler) -> list[NoiseLevel]:
    """Lists the levels a solver will visit, in its own scale, after `set_timesteps`.

    Raises:
        InputError: If one is pure noise, of which a network that predicts noise tells nothing.
    """
    timesteps = scheduler.timesteps
    prediction_type = prediction_type_of(scheduler)
    if hasattr(scheduler, "sigmas"):
        sigmas = scheduler.sigmas[: len(timesteps)].double()
        if prediction_type == FLOW:
            alphas = 1 - sigmas
        elif scheduler.scale_model_input(torch.ones(()), timesteps[0]) != 1:
            alphas = torch.ones_like(sigmas)  # variance exploding
        else:
            alphas = 1 / (1 + sigmas**2).sqrt()  # variance preserving
            sigmas = alphas * sigmas
    else:
        a = scheduler.alphas_cumprod[timesteps.long()].double()
        alphas, sigmas = a.sqrt(), (1 - a).sqrt()
    if not sigmas.isfinite().all() or (prediction_type == "epsilon" and not alphas.all()):
        raise InputError(
            f"{type(scheduler).__name__} begins at pure noise with this generator (zero terminal"
            " signal); choose EulerDiscreteScheduler"
        )
    return [
        NoiseLevel(float(alpha), float(sigma), timestep, step)
        for step, (alpha, sigma, timestep) in enumerate(
            zip(alphas, sigmas, timesteps, strict=True)
        )
    ]


def _step_arguments(
    scheduler: Scheduler, eta: float, rngs: Sequence[torch.Generator]
) -> dict[str, Any]:
    """Picks the arguments of `step` that this solver has."""
    known = inspect.signature(scheduler.step).parameters
    extra: dict[str, Any] = {}
    if "eta" in known:
        extra["eta"] = eta
    if "generator" in known and rngs:
        extra["generator"] = list(rngs)
    return extra
