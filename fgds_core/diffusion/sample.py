"""The sampling loop around a solver of diffusers."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fgds_core.agreement import EITHER, FLOW_SCHEDULERS
from fgds_core.diffusion.denoise import PREDICTION_TYPES, NoiseLevel
from fgds_core.diffusion.guidance.look import GuidedState, Look
from fgds_core.diffusion.noise import randn, stream
from fgds_core.errors import InputError
from fgds_core.generators.folders import Folder
from fgds_core.generators.pretrained import class_of, load_other

Scheduler = Any
"""A solver of diffusers that works in one call of the network per step."""

FLOW = "flow_prediction"

OWN = (
    "algorithm_type",
    "disable_corrector",
    "euler_at_final",
    "final_sigmas_type",
    "interpolation_type",
    "lambda_min_clipped",
    "lower_order_final",
    "predict_x0",
    "solver_order",
    "solver_p",
    "solver_type",
    "stochastic_sampling",
    "use_lu_lambdas",
    "variance_type",
)
"""What a scheduler's configuration says of that solver alone; another one goes by its own."""

TOLD = (
    "num_train_timesteps",
    "prediction_type",
    "beta_schedule",
    "rescale_betas_zero_snr",
    "timestep_spacing",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    *OWN,
)
"""What a message says of a schedule that is not solved, where it is not the solver's default."""

KNOWN = 0.5
"""The clean latent of a trial."""

LEFT_OVER = 0.5
"""Noise left in what a trial draws, as a standard deviation, from which on it is refused: the
latents of a generator are scaled to about 1."""


def make_scheduler(name: str, config: Mapping[str, Any]) -> Scheduler:
    """Makes a solver for the noise schedule that a generator was trained with.

    Args:
        name: Name of the class, such as `DDIMScheduler`.
        config: The generator's own scheduler configuration, from `schedule_of`.

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
    if trained.get("invert_sigmas"):
        raise InputError(
            "the generator's scheduler counts its noise levels from the clean image on"
            " (invert_sigmas), which is not supported; take a generator that does not"
        )
    own = trained.get("_class_name") == name
    if trained.get("timestep_type") == "continuous" and name != "EulerDiscreteScheduler":
        raise InputError(
            f"synthesize.scheduler {name} counts noise levels in training steps, but the"
            " generator's scheduler does not (timestep_type continuous); choose"
            " EulerDiscreteScheduler"
        )
    if own and str(trained.get("variance_type")).startswith("learned"):
        raise InputError(
            f"synthesize.scheduler {name} takes the variance from the network, as the generator's"
            f" scheduler says (variance_type {trained['variance_type']}), which is not supported;"
            " choose another, such as DDIMScheduler"
        )
    if not flow and not {"beta_start", "trained_betas"} & set(trained):
        raise InputError(
            f"the generator's scheduler {trained.get('_class_name', '')} does not say by betas how"
            " it was trained; take a generator that was trained with a schedule of betas"
        )
    if not own:
        trained = {key: value for key, value in trained.items() if key not in OWN}
    if flow:
        shift = trained.get("shift", trained.get("flow_shift", 1.0))
        trained |= {"use_flow_sigmas": True, "flow_shift": shift, "shift": shift}
    # Latents are not bounded as pixels are; diffusers clips them unless told otherwise
    trained |= {"clip_sample": False, "thresholding": False}
    trained.setdefault("set_alpha_to_one", False)
    solver = getattr(diffusers, name)
    # With what the class of the generator's scheduler filled in, which another one fills in anew
    known = {*inspect.signature(solver.__init__).parameters, "_use_default_values"}
    try:
        return solver.from_config({key: trained[key] for key in trained if key in known})
    except Exception as error:  # of a value that it does not know, or of a wrong type
        raise _unsolved(name, trained, f"{type(error).__name__}: {error}") from error


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
        raise _unsolved(
            name, config, f"{type(error).__name__}: {error}", num_inference_steps
        ) from error
    told = scheduler.timesteps
    counted = config.get("timestep_type") != "continuous"
    if counted and (float(told.min()) < 0 or float(told.max()) > trained_steps):
        raise _unsolved(
            name,
            config,
            f"the network would be told steps from {float(told.min()):g} to {float(told.max()):g},"
            f" but was trained with 0 to {trained_steps} (steps_offset, num_train_timesteps)",
            num_inference_steps,
        )
    left = float((z0 - KNOWN).square().mean().sqrt())
    if not math.isfinite(left):
        raise _unsolved(name, config, "values are not finite", num_inference_steps)
    if left > LEFT_OVER:
        raise _unsolved(name, config, "it ends at noise instead of an image", num_inference_steps)


def _known(z: Tensor, level: NoiseLevel) -> GuidedState:
    """Always predicts the same clean latent."""
    return GuidedState(z, torch.full_like(z, KNOWN))


def _unsolved(
    name: str, config: Mapping[str, Any], why: str, num_inference_steps: int | None = None
) -> InputError:
    import diffusers

    arguments = inspect.signature(getattr(diffusers, name).__init__).parameters
    told = [
        f"{key} {config[key]}"
        for key in TOLD
        if key in arguments and config.get(key, arguments[key].default) != arguments[key].default
    ]
    steps = "" if num_inference_steps is None else f" in {num_inference_steps} steps"
    return InputError(
        f"synthesize.scheduler {name} does not solve the generator's schedule{steps}: {why}"
        f" (its scheduler_config.json: {', '.join(told) or 'defaults'}); choose another solver, or"
        " other synthesize.num_inference_steps"
    )


def schedule_of(scheduler: Scheduler) -> dict[str, Any]:
    """A scheduler's configuration and, as `prediction_type`, what its network predicts."""
    return {
        **scheduler.config,
        "_class_name": type(scheduler).__name__,
        "prediction_type": prediction_type_of(scheduler),
    }


def read_schedule(place: Folder, name: str) -> dict[str, Any]:
    """Reads the schedule that a generator was trained with, without the generator.

    Args:
        place: Folder of its scheduler.
        name: Class of it in diffusers.

    Raises:
        InputError: There is no such class, or its configuration cannot be read.
    """
    return schedule_of(load_other(class_of("diffusers", name).from_pretrained, place))


def prediction_type_of(scheduler: Scheduler) -> str:
    """What the network of a scheduler of diffusers predicts, one of `PREDICTION_TYPES`."""
    if type(scheduler).__name__.startswith("FlowMatch"):
        return FLOW
    return str(scheduler.config.get("prediction_type", "epsilon"))


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
        InputError: If one is not finite, or pure noise, of which a network that predicts noise
            tells nothing.
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
    name = f"synthesize.scheduler {type(scheduler).__name__}"
    if not (sigmas.isfinite().all() and alphas.isfinite().all()):
        raise InputError(
            f"{name} finds noise levels that are not finite in the generator's schedule (its"
            " scheduler_config.json); choose another solver, or other"
            " synthesize.num_inference_steps"
        )
    if prediction_type == "epsilon" and not alphas.all():
        raise InputError(
            f"{name} begins at pure noise with this generator (zero terminal signal); choose"
            " EulerDiscreteScheduler"
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
