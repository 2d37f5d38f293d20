"""Solvers of diffusers: made for the schedule a generator was trained with, in its scale."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from fgds_core.diffusion.denoise import PREDICTION_TYPES, NoiseLevel
from fgds_core.diffusion.schedulers import EITHER, FLOW_SCHEDULERS
from fgds_core.errors import InputError

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
        raise unsolved(name, trained, f"{type(error).__name__}: {error}") from error


def unsolved(
    name: str, config: Mapping[str, Any], why: str, num_inference_steps: int | None = None
) -> InputError:
    """What to say of a schedule that a solver does not solve.

    Args:
        name: Name of the solver's class.
        config: The generator's own scheduler configuration.
        why: What it does instead.
        num_inference_steps: Steps of the solver, where they matter.
    """
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


def prediction_type_of(scheduler: Scheduler) -> str:
    """What the network of a scheduler of diffusers predicts, one of `PREDICTION_TYPES`."""
    if type(scheduler).__name__.startswith("FlowMatch"):
        return FLOW
    return str(scheduler.config.get("prediction_type", "epsilon"))


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


def step_arguments(
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
