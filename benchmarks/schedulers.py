"""Which solver draws from which published schedule: the table of docs/schedulers.md.

    python -m benchmarks.schedulers           # seconds
    python -m benchmarks.schedulers --write   # writes docs/schedulers.md

Every configuration is loaded by its own class, as a generator's is, and tried with every solver at
several numbers of steps; see `fgds_core.diffusion.sample.check_solver`.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from fgds_core.diffusion.solver import make_scheduler, schedule_of
from fgds_core.diffusion.trial import check_solver
from fgds_core.errors import InputError
from fgds_core.synthesis.config import SynthesizeConfig

DOCUMENT = Path("docs/schedulers.md")

SOLVERS: tuple[str, ...] = get_args(SynthesizeConfig.model_fields["scheduler"].annotation)

STEPS = (1, 2, 5, 50)

LATENT = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "clip_sample": False,
}
"""The noise schedule of Stable Diffusion, 1.x to XL."""

V, TRAILING, ZERO = (
    {"prediction_type": "v_prediction"},
    {"timestep_spacing": "trailing"},
    {"rescale_betas_zero_snr": True},
)
FLOW = {"num_train_timesteps": 1000, "shift": 3.0}

Form = tuple[str, str, Mapping[str, Any]]
"""What it is, the class of its scheduler, and its configuration."""


def _published() -> list[Form]:
    pndm, ddim, euler = "PNDMScheduler", "DDIMScheduler", "EulerDiscreteScheduler"
    dpm, unipc, flow = (
        "DPMSolverMultistepScheduler",
        "UniPCMultistepScheduler",
        "FlowMatchEulerDiscreteScheduler",
    )
    return [
        ("Stable Diffusion 1.x", pndm, {**LATENT, "skip_prk_steps": True}),
        (
            "Stable Diffusion 2 base",
            pndm,
            {**LATENT, "skip_prk_steps": True, "trained_betas": None},
        ),
        ("Stable Diffusion 2.x, velocity", ddim, {**LATENT, **V}),
        ("Stable unCLIP 2.1", ddim, {**LATENT, **V, "steps_offset": 1}),
        (
            "Stable Diffusion XL",
            euler,
            {**LATENT, "timestep_spacing": "leading", "interpolation_type": "linear"},
        ),
        ("SD and SDXL Turbo", "EulerAncestralDiscreteScheduler", {**LATENT, **TRAILING}),
        ("SDXL Lightning", euler, {**LATENT, **TRAILING}),
        (
            "LCM",
            "LCMScheduler",
            {**LATENT, "original_inference_steps": 50, "timestep_spacing": "leading"},
        ),
        ("TCD, Hyper-SD", "TCDScheduler", LATENT),
        ("Playground 2", euler, {**LATENT, "timestep_spacing": "leading"}),
        (
            "Playground 2.5",
            "EDMDPMSolverMultistepScheduler",
            {"sigma_data": 0.5, "sigma_max": 80.0, "sigma_min": 0.002, "rho": 7.0},
        ),
        (
            "CosXL",
            "EDMEulerScheduler",
            {"sigma_max": 120.0, "sigma_min": 0.002, "prediction_type": "v_prediction"},
        ),
        (
            "Kandinsky 2.x",
            "DDPMScheduler",
            {
                "beta_schedule": "linear",
                "beta_start": 0.00085,
                "beta_end": 0.012,
                "variance_type": "learned_range",
                "clip_sample": False,
            },
        ),
        (
            "Karlo",
            "UnCLIPScheduler",
            {"prediction_type": "sample", "variance_type": "fixed_small_log"},
        ),
        (
            "PixArt, DPM-Solver++",
            dpm,
            {
                **LATENT,
                "beta_schedule": "linear",
                "beta_start": 0.0001,
                "beta_end": 0.02,
                "algorithm_type": "dpmsolver++",
                "solver_order": 2,
                "variance_type": None,
            },
        ),
        (
            "DiT, variance learned",
            dpm,
            {
                **LATENT,
                "beta_schedule": "linear",
                "beta_start": 0.0001,
                "beta_end": 0.02,
                "variance_type": "learned_range",
            },
        ),
        ("zero terminal SNR, trailing", ddim, {**LATENT, **V, **ZERO, **TRAILING}),
        ("zero terminal SNR, leading", ddim, {**LATENT, **V, **ZERO}),
        ("zero terminal SNR, Euler", euler, {**LATENT, **V, **ZERO, **TRAILING}),
        ("zero terminal SNR, epsilon", euler, {**LATENT, **ZERO, **TRAILING}),
        ("Stable Diffusion 3", flow, FLOW),
        ("FLUX.1 schnell", flow, {**FLOW, "shift": 1.0, "base_shift": 0.5, "max_shift": 1.15}),
        ("FLUX.1 dev", flow, {**FLOW, "use_dynamic_shifting": True}),
        ("Mochi", flow, {**FLOW, "invert_sigmas": True}),
        ("LTX", flow, {**FLOW, "shift_terminal": 0.1}),
        ("a flow, Heun", "FlowMatchHeunDiscreteScheduler", FLOW),
        ("a flow, LCM", "FlowMatchLCMScheduler", FLOW),
        (
            "Wan",
            unipc,
            {
                **LATENT,
                "prediction_type": "flow_prediction",
                "use_flow_sigmas": True,
                "flow_shift": 3.0,
            },
        ),
        (
            "Sana",
            dpm,
            {
                **LATENT,
                "prediction_type": "flow_prediction",
                "use_flow_sigmas": True,
                "flow_shift": 3.0,
            },
        ),
    ]


def _options() -> list[Form]:
    ddim, ddpm, euler = "DDIMScheduler", "DDPMScheduler", "EulerDiscreteScheduler"
    dpm, unipc = "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"
    flow = "FlowMatchEulerDiscreteScheduler"
    least = {"final_sigmas_type": "sigma_min"}
    forms: list[Form] = [
        (f"{spacing}, steps_offset {offset}", ddim, {**LATENT, **spacing_of(spacing, offset)})
        for spacing in ("leading", "trailing", "linspace")
        for offset in (0, 1)
    ]
    for kind in ("karras", "exponential", "beta"):
        key = f"use_{kind}_sigmas"
        forms.append((key, dpm, {**LATENT, key: True}))
        forms.append((f"{key}, velocity", euler, {**LATENT, **V, key: True}))
        forms.append((f"{key}, a flow", flow, {**FLOW, key: True}))
    forms += [
        (f"prediction_type {p}", ddim, {**LATENT, "prediction_type": p}) for p in ("sample",)
    ]
    forms += [
        (f"algorithm_type {name}", dpm, {**LATENT, **least, "algorithm_type": name})
        for name in ("dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++")
    ]
    forms += [
        (f"solver_type {name}", of, {**LATENT, "solver_type": name})
        for of, names in ((dpm, ("midpoint", "heun")), (unipc, ("bh1", "bh2")))
        for name in names
    ]
    forms += [(f"solver_order {n}", dpm, {**LATENT, "solver_order": n}) for n in (1, 2, 3)]
    forms += [
        (f"variance_type {name}", ddpm, {**LATENT, "variance_type": name})
        for name in (
            "fixed_small",
            "fixed_small_log",
            "fixed_large",
            "fixed_large_log",
            "learned",
            "learned_range",
        )
    ]
    forms += [
        (f"beta_schedule {name}", ddpm, {**LATENT, "beta_schedule": name})
        for name in ("linear", "squaredcos_cap_v2", "sigmoid", "laplace")
    ]
    return [
        *forms,
        ("final_sigmas_type sigma_min", dpm, {**LATENT, **least}),
        ("use_lu_lambdas", dpm, {**LATENT, "use_lu_lambdas": True}),
        ("euler_at_final", dpm, {**LATENT, "euler_at_final": True}),
        ("interpolation_type log_linear", euler, {**LATENT, "interpolation_type": "log_linear"}),
        ("timestep_type continuous", euler, {**LATENT, **V, **continuous()}),
        ("clip_sample, thresholding", ddim, {**LATENT, "clip_sample": True, "thresholding": True}),
        ("DEIS", "DEISMultistepScheduler", {**LATENT, "solver_type": "logrho"}),
        ("Heun", "HeunDiscreteScheduler", LATENT),
        ("LMS", "LMSDiscreteScheduler", LATENT),
        ("trained_betas", ddpm, {"trained_betas": betas(100), "num_train_timesteps": 100}),
        ("num_train_timesteps 10", ddpm, {**LATENT, "num_train_timesteps": 10}),
        ("a flow, stochastic_sampling", flow, {**FLOW, "stochastic_sampling": True}),
    ]


def spacing_of(spacing: str, offset: int) -> dict[str, Any]:
    """How timesteps are spaced."""
    return {"timestep_spacing": spacing, "steps_offset": offset}


def continuous() -> dict[str, Any]:
    """Noise levels that are told to the network by their logarithm."""
    return {
        "timestep_type": "continuous",
        "use_karras_sigmas": True,
        "sigma_min": 0.002,
        "sigma_max": 700.0,
    }


def betas(count: int) -> list[float]:
    """A schedule of betas that is written out."""
    return [0.0002 + 0.0002 * i for i in range(count)]


FORMS = (*_published(), *_options())


def load(form: Form) -> dict[str, Any]:
    """The schedule of a form, loaded by its own class as a generator's is."""
    import diffusers

    _, name, config = form
    return schedule_of(getattr(diffusers, name).from_config({"_class_name": name, **config}))


def try_all(form: Form) -> dict[str, dict[int, str | None]]:
    """Solver -> steps -> why it is refused, or None where it draws."""
    schedule = load(form)
    return {solver: _try(solver, schedule) for solver in SOLVERS}


_tried: dict[str, dict[int, str | None]] = {}


def _try(solver: str, schedule: Mapping[str, Any]) -> dict[int, str | None]:
    try:
        made = make_scheduler(solver, schedule).config
    except InputError as error:
        return dict.fromkeys(STEPS, str(error))
    key = f"{solver} {sorted(made.items(), key=str)}"  # many forms are one to a solver
    if key not in _tried:
        _tried[key] = {steps: _refusal(solver, schedule, steps) for steps in STEPS}
    return _tried[key]


def _refusal(solver: str, schedule: Mapping[str, Any], steps: int) -> str | None:
    try:
        check_solver(solver, schedule, steps)
    except InputError as error:
        return str(error)
    return None


REASONS = {
    "other kind": ("does not solve what the generator predicts",),
    "clean latent": ("predicts the clean latent",),
    "variance": ("takes the variance from the network",),
    "size": ("use_dynamic_shifting",),
    "inverted": ("invert_sigmas",),
    "continuous": ("timestep_type continuous",),
    "no betas": ("by betas",),
    "pure noise": ("begins at pure noise",),
    "steps": ("num_train_timesteps)",),
    "noise left": ("it ends at noise",),
    "not finite": ("not finite",),
    "unknown": ("NotImplementedError",),
    "fails": ("IndexError", "AssertionError"),
}
"""Word in the table -> what the message says."""


def reason(message: str) -> str:
    """The word of the table for a message."""
    return next(word for word, parts in REASONS.items() if any(p in message for p in parts))


def cell(found: Mapping[int, str | None]) -> str:
    """One solver on one schedule, in a few words."""
    refused: dict[str, list[int]] = {}
    for steps, why in found.items():
        if why is not None:
            refused.setdefault(reason(why), []).append(steps)
    if len(refused) == 1 and list(found) == next(iter(refused.values())):
        return next(iter(refused))
    words = [f"{', '.join(map(str, steps))} {word}" for word, steps in refused.items()]
    return "; ".join(["yes", *words]).replace("yes; ", "yes; not ")


INTRODUCTION = f"""# Schedules and solvers

Made by `python -m benchmarks.schedulers --write`; a test compares it. Each row is a
`scheduler_config.json`, as published or with one option changed, and each column a
`synthesize.scheduler`. Every pair was tried in {", ".join(map(str, STEPS))} steps with a network
that knows the clean latent: *yes* ends there. Everything else is refused before the baseline is
trained; the last table says what the words mean.

What a configuration says of the solver it came with (`algorithm_type`, `solver_order`,
`variance_type`, ...) reaches another solver no more: that one goes by its own defaults.
"""


def document() -> str:
    """docs/schedulers.md."""
    short = [
        name.removesuffix("Scheduler").replace("Discrete", "").replace("Multistep", "")
        for name in SOLVERS
    ]
    lines = [
        INTRODUCTION,
        "| schedule | comes with | " + " | ".join(short) + " |",
        "|---" * (len(short) + 2) + "|",
    ]
    for form in FORMS:
        found = try_all(form)
        cells = [cell(found[solver]) for solver in SOLVERS]
        lines.append(f"| {form[0]} | `{form[1]}` | " + " | ".join(cells) + " |")
    lines += ["", "| word | why it is refused |", "|---|---|"]
    lines += [f"| {word} | {MEANING[word]} |" for word in REASONS]
    return "\n".join(lines) + "\n"


MEANING = {
    "other kind": "a solver of flows and a diffusion model, or the other way round",
    "clean latent": "diffusers' ancestral Euler takes no network that predicts the clean latent",
    "variance": "the solver wants a variance that the network of a latent generator does not give",
    "size": "`use_dynamic_shifting`: noise levels that depend on the size of the image",
    "inverted": "`invert_sigmas`: noise levels counted from the clean image on",
    "continuous": "the network is told logarithms of noise levels: `EulerDiscreteScheduler` alone",
    "no betas": "the schedule is not one of betas (EDM, Karlo)",
    "pure noise": "begins at pure noise, of which a network that predicts noise tells nothing",
    "steps": "more steps than the generator was trained with",
    "noise left": "ends at noise: too few steps, or steps that do not lead from one to the next",
    "not finite": "diffusers' solver divides by zero on this schedule",
    "unknown": "the solver does not know this `beta_schedule`",
    "fails": "noise levels so close that diffusers finds two the same",
}
"""Word in the table -> what it means."""


def main() -> None:
    """Prints or writes the document."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schedulers", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {DOCUMENT}")
    text = document()
    if parser.parse_args().write:
        DOCUMENT.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
