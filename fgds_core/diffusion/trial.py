"""A trial of a solver before anything is drawn: what it cannot solve is refused."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fgds_core.diffusion.denoise import NoiseLevel
from fgds_core.diffusion.guidance.look import GuidedState
from fgds_core.diffusion.noise import randn, stream
from fgds_core.diffusion.sample import sample
from fgds_core.diffusion.solver import make_scheduler, schedule_of, unsolved
from fgds_core.errors import InputError
from fgds_core.pretrained.folder import Folder
from fgds_core.pretrained.load import class_of, load_other

KNOWN = 0.5
"""The clean latent of a trial."""

LEFT_OVER = 0.5
"""Noise left in what a trial draws, as a standard deviation, from which on it is refused: the
latents of a generator are scaled to about 1."""


def check_solver(name: str, config: Mapping[str, Any], num_inference_steps: int) -> None:
    """Refuses a solver that does not end at the clean latent where the network knows it.

    Draws one small latent with a network that always predicts the same clean one: whatever a
    configuration says, either it is solved or it is refused, before anything is trained for it.

    Args:
        name: Name of the solver's class.
        config: The generator's own scheduler configuration, from `schedule_of`.
        num_inference_steps: Steps of the solver.

    Raises:
        InputError: It fails, ends at values that are not finite, or leaves noise behind.
    """
    trained_steps = config.get("num_train_timesteps", 1000)
    if type(trained_steps) is not int or trained_steps < 1:
        raise InputError(
            f"the generator's scheduler says num_train_timesteps {trained_steps!r}, not a whole"
            " number above 0; correct its scheduler_config.json"
        )
    scheduler = make_scheduler(name, config)
    if num_inference_steps > trained_steps:
        raise InputError(
            f"synthesize.num_inference_steps is {num_inference_steps}, but the generator was"
            f" trained with {trained_steps} steps (num_train_timesteps); set it to at most that"
        )
    noise = randn((1, 8, 8), [stream(0, "trial")]).double()
    try:
        z0 = sample(_known, scheduler, noise, num_inference_steps, rngs=[stream(0, "solver")])
    except InputError:
        raise
    except Exception as error:  # whatever a solver of diffusers fails with
        raise unsolved(
            name, config, f"{type(error).__name__}: {error}", num_inference_steps
        ) from error
    told = scheduler.timesteps
    counted = config.get("timestep_type") != "continuous"
    if counted and (float(told.min()) < 0 or float(told.max()) > trained_steps):
        raise unsolved(
            name,
            config,
            f"the network would be told steps from {float(told.min()):g} to {float(told.max()):g},"
            f" but was trained with 0 to {trained_steps} (steps_offset, num_train_timesteps)",
            num_inference_steps,
        )
    left = float((z0 - KNOWN).square().mean().sqrt())
    if not math.isfinite(left):
        raise unsolved(name, config, "values are not finite", num_inference_steps)
    if left > LEFT_OVER:
        raise unsolved(name, config, "it ends at noise instead of an image", num_inference_steps)


def _known(z: Tensor, level: NoiseLevel) -> GuidedState:
    """Always predicts the same clean latent."""
    return GuidedState(z, torch.full_like(z, KNOWN))


def read_schedule(place: Folder, name: str) -> dict[str, Any]:
    """Reads the schedule that a generator was trained with, without the generator.

    Args:
        place: Folder of its scheduler.
        name: Class of it in diffusers.

    Raises:
        InputError: There is no such class, or its configuration cannot be read.
    """
    return schedule_of(load_other(class_of("diffusers", name).from_pretrained, place))
