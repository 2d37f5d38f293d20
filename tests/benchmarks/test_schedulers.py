"""Every schedule that generators are published with, under every solver that is offered."""

import pytest
import torch
from guide import guide
from micro import ROOT

from benchmarks import schedulers
from benchmarks.schedulers import FORMS, SOLVERS
from fgds_core.diffusion.denoise import ClassifierFree
from fgds_core.diffusion.guidance.look import plain
from fgds_core.diffusion.noise import randn, stream
from fgds_core.diffusion.sample import sample
from fgds_core.diffusion.solver import make_scheduler
from fgds_core.diffusion.trial import check_solver
from fgds_core.errors import InputError

STEPS = 6

pytestmark = pytest.mark.filterwarnings("ignore")  # of diffusers, thousands


def test_the_table_is_what_the_solvers_do() -> None:
    assert (ROOT / "docs" / "schedulers.md").read_text(encoding="utf-8") == schedulers.document()


def network(z: torch.Tensor, timestep: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Predicts something of its input, its time and what it is told."""
    return 0.5 * z + shift.view(-1, 1, 1, 1) * torch.cos(timestep / 1000)


def draw(solver: str, schedule: dict[str, object], guided: bool) -> torch.Tensor:
    told = {"shift": torch.tensor([0.1, -0.2])}
    denoiser = ClassifierFree(
        network,
        str(schedule["prediction_type"]),
        told,
        {"shift": torch.zeros(2)},
        1.5,
    )
    steered = guide(
        denoiser,
        lambda z0: z0,
        lambda x, which: x.flatten(1).mean(dim=1),
        scale=0.02,
        steps=range(0, STEPS, 2),
        num_images=2,
    )
    return sample(
        steered if guided else plain(denoiser),
        make_scheduler(solver, schedule),
        randn((4, 2, 2), [stream(seed, "latents") for seed in range(2)]),
        STEPS,
        rngs=[stream(seed, "solver") for seed in range(2)],
    )


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_published_schedule_draws_finite_latents_or_is_refused(solver: str) -> None:
    drawn, seen = 0, set()
    for form in FORMS:
        schedule = schedulers.load(form)
        try:
            check_solver(solver, schedule, STEPS)
        except InputError:
            continue
        made = str(sorted(make_scheduler(solver, schedule).config.items(), key=str))
        if made not in seen:  # many forms are one to a solver
            seen.add(made)
            assert draw(solver, schedule, guided=False).isfinite().all(), form
            assert draw(solver, schedule, guided=True).isfinite().all(), form
        drawn += 1
    assert drawn >= 10


@pytest.mark.parametrize(
    ("solver", "changes", "steps", "message"),
    [
        ("DDPMScheduler", {"num_train_timesteps": 10}, 20, "num_inference_steps is 20, but"),
        ("DDIMScheduler", {}, 1, "noise instead of an image"),
        ("DDIMScheduler", {"beta_schedule": "sigmoid"}, 5, "beta_schedule sigmoid"),
        ("DDIMScheduler", {"beta_start": "a"}, 5, "does not solve"),
        ("DDIMScheduler", {"beta_end": float("nan")}, 5, "not finite"),
        ("DDIMScheduler", {"beta_end": 1.5}, 5, "begins at pure noise"),
        ("DDIMScheduler", {"trained_betas": "none"}, 5, "does not solve"),
        ("DDIMScheduler", {"timestep_spacing": "random"}, 5, "timestep_spacing random"),
        ("EulerDiscreteScheduler", {"num_train_timesteps": -1}, 5, "num_train_timesteps"),
        ("EulerDiscreteScheduler", {"num_train_timesteps": "many"}, 5, "num_train_timesteps"),
        (
            "UniPCMultistepScheduler",
            {"timestep_spacing": "leading", "steps_offset": 5000},
            5,
            "told steps from",
        ),
        (
            "DPMSolverMultistepScheduler",
            {"use_karras_sigmas": True, "use_beta_sigmas": True},
            5,
            "does not solve",
        ),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused_with_its_keys(
    solver: str, changes: dict[str, object], steps: int, message: str
) -> None:
    schedule = {**schedulers.LATENT, "prediction_type": "epsilon", **changes}
    with pytest.raises(InputError, match=message):
        check_solver(solver, schedule, steps)


def test_what_a_schedule_says_of_its_own_solver_reaches_no_other() -> None:
    own = {"algorithm_type": "sde-dpmsolver++", "solver_order": 3, "solver_type": "heun"}
    name = "DPMSolverMultistepScheduler"
    schedule = {**schedulers.LATENT, **own, "_class_name": name}
    assert make_scheduler(name, schedule).config.algorithm_type == "sde-dpmsolver++"
    assert make_scheduler("DEISMultistepScheduler", schedule).config.algorithm_type == "deis"
    assert make_scheduler("UniPCMultistepScheduler", schedule).config.solver_order == 2


@pytest.mark.parametrize("key", ["shift", "flow_shift"])
@pytest.mark.parametrize(
    "solver", ["FlowMatchEulerDiscreteScheduler", "DPMSolverMultistepScheduler"]
)
def test_a_flow_keeps_its_shift_whatever_its_scheduler_calls_it(solver: str, key: str) -> None:
    made = make_scheduler(solver, {"prediction_type": "flow_prediction", key: 3.0})
    assert made.config.get("shift", made.config.get("flow_shift")) == 3.0
