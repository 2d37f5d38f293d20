from pathlib import Path
from typing import get_args

import diffusers
import pytest
import torch
from guide import Steps, guide
from micro import generator_config
from tiny import WIDTH

from fgds_core.diffusion.denoise import ClassifierFree, Condition
from fgds_core.diffusion.guidance.look import plain
from fgds_core.diffusion.guidance.rules import RULES
from fgds_core.diffusion.noise import randn, stream
from fgds_core.diffusion.sample import sample
from fgds_core.diffusion.schedule import guided_steps
from fgds_core.diffusion.schedulers import FLOW_SCHEDULERS
from fgds_core.diffusion.solver import make_scheduler, noise_levels
from fgds_core.errors import InputError
from fgds_core.feedback.criteria.entropy import entropy
from fgds_core.feedback.criterion import NOTHING, Seen
from fgds_core.generators.load import load_generator
from fgds_core.generators.model import Generator
from fgds_core.synthesis.config import SynthesizeConfig

OFFERED = get_args(SynthesizeConfig.model_fields["scheduler"].annotation)
SCHEDULERS = [name for name in OFFERED if name not in FLOW_SCHEDULERS]
PROMPTS = ("a cat", "a dog", "an owl")


@pytest.fixture(scope="module")
def generator(tiny_unclip: Path) -> Generator:
    return load_generator(generator_config(tiny_unclip), dtype=torch.float64)


def solvers(seeds=(0, 1, 2)) -> list[torch.Generator]:
    return [stream(seed, "solver") for seed in seeds]


def latents(generator: Generator, seeds=(0, 1, 2)) -> torch.Tensor:
    return randn(generator.latent_shape, [stream(s, "latents") for s in seeds]).double()


def vectors(generator: Generator, seeds=(0, 1, 2)) -> Condition:
    embeddings = randn((WIDTH,), [stream(s, "embedding") for s in seeds])
    embeddings = embeddings.to(generator.dtype)
    return generator.condition_on(embeddings, 5, torch.zeros_like(embeddings))


def criterion(x: torch.Tensor) -> torch.Tensor:
    """A stand-in for a classifier: three scores of an image."""
    return entropy(Seen(4 * x.mean(dim=(2, 3)), x.flatten(1)), torch.zeros(len(x)).long(), NOTHING)


def steer(generator: Generator, denoiser: ClassifierFree, **changes) -> Steps:
    return guide(
        denoiser,
        generator.decode,
        lambda x, which: criterion(x),
        **{"steps": guided_steps(6, 2, 0.0, 1.0), "num_images": 3} | changes,
    )


@pytest.mark.parametrize("name", SCHEDULERS)
def test_without_feedback_latents_are_those_of_the_diffusers_pipeline(generator, name):
    pipeline = diffusers.StableUnCLIPImg2ImgPipeline(
        **generator.pipeline.components | {"scheduler": scheduler(generator, name)}
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler.set_timesteps(6)
    embeddings = randn((WIDTH,), [stream(s, "embedding") for s in range(3)])
    zeros = torch.zeros_like(embeddings)
    pipeline.noise_image_embeddings = lambda image_embeds, noise_level, generator: type(
        pipeline
    ).noise_image_embeddings(pipeline, image_embeds, noise_level, noise=zeros.double())
    expected = pipeline(
        prompt=list(PROMPTS),
        image_embeds=embeddings.double(),
        noise_level=5,
        guidance_scale=2.5,
        num_inference_steps=6,
        latents=latents(generator) * pipeline.scheduler.init_noise_sigma,
        generator=solvers(),
        output_type="latent",
    ).images
    ours = sample(
        plain(generator.denoiser(PROMPTS, vectors(generator), 2.5)),
        scheduler(generator, name),
        latents(generator),
        6,
        rngs=solvers(),
    )
    torch.testing.assert_close(ours, expected.double(), rtol=0, atol=1e-5)


def scheduler(generator: Generator, name: str = "DDIMScheduler"):
    return make_scheduler(name, generator.scheduler_config)


def denoiser_of(generator: Generator, seeds=(0, 1, 2)) -> ClassifierFree:
    return generator.denoiser([PROMPTS[i] for i in seeds], vectors(generator, seeds), 2.5)


def draw(generator, look=None, name="DDIMScheduler", seeds=(0, 1, 2), **changes):
    return sample(
        look or plain(denoiser_of(generator, seeds)),
        scheduler(generator, name),
        latents(generator, seeds),
        6,
        **{"rngs": solvers(seeds)} | changes,
    )


def draw_steered(generator, seeds=(0, 1, 2), eta=0.0, **changes):
    steps = steer(generator, denoiser_of(generator, seeds), num_images=len(seeds), **changes)
    return draw(generator, steps, seeds=seeds, eta=eta)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_scale_of_zero_is_unguided_bit_for_bit_and_asks_no_classifier(generator, rule):
    def refuse(x, which):
        raise AssertionError

    off = guide(denoiser_of(generator), generator.decode, refuse, rule=rule, scale=0.0)
    assert torch.equal(draw(generator, off), draw(generator))


@pytest.mark.parametrize("eta", [0.0, 0.7])
@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_batch_equals_its_images_one_by_one(generator, rule, eta):
    together = draw_steered(generator, rule=rule, eta=eta)
    for i in range(3):
        alone = draw_steered(generator, [i], rule=rule, eta=eta)
        torch.testing.assert_close(alone, together[i : i + 1], rtol=0, atol=1e-10)


def test_the_relative_rule_is_the_released_one(generator):
    """The oracle: one image at a time, a forward of its own for the gradient, as in the method."""
    ours = draw_steered(generator)
    unet, vae = generator.pipeline.unet, generator.pipeline.vae
    for i, prompt in enumerate(PROMPTS):
        text = generator.encode_prompts([prompt])["encoder_hidden_states"]
        empty = generator.encode_prompts([None])["encoder_hidden_states"]
        image = vectors(generator, [i])["class_labels"]
        solver = scheduler(generator)
        solver.set_timesteps(6)
        z = latents(generator, [i])
        for step, t in enumerate(solver.timesteps):
            with torch.no_grad():
                both = unet(
                    torch.cat([z, z]),
                    t,
                    encoder_hidden_states=torch.cat([empty, text]),
                    class_labels=torch.cat([torch.zeros_like(image), image]),
                ).sample
            unconditional, conditional = both.chunk(2)
            prediction = unconditional + 2.5 * (conditional - unconditional)
            if step % 2 == 0:
                a = solver.alphas_cumprod[t].double()
                z = z.requires_grad_()
                v = unet(z, t, encoder_hidden_states=text, class_labels=image).sample
                z0 = a.sqrt() * z - (1 - a).sqrt() * v
                x0 = vae.decode(z0 / vae.config.scaling_factor).sample
                (g,) = torch.autograd.grad(criterion(x0).sum(), z)
                z = (z + 0.05 * z.norm() * g / g.norm()).detach()
            z = solver.step(prediction, t, z).prev_sample
        torch.testing.assert_close(ours[i : i + 1], z, rtol=0, atol=1e-10)


def test_guidance_raises_the_criterion(generator):
    def of(z0):
        with torch.no_grad():
            return criterion(generator.decode(z0))

    assert (of(draw_steered(generator)) > of(draw(generator))).all()


def test_half_precision_networks_leave_latents_and_criteria_in_float32(tiny_unclip):
    half = load_generator(generator_config(tiny_unclip, dtype="bfloat16"))
    steps = steer(half, denoiser_of(half))
    z0 = sample(steps, scheduler(half), latents(half).float(), 6)
    assert z0.dtype == steps.stats.last.dtype == torch.float32
    assert z0.isfinite().all()
    assert steps.stats.guided.tolist() == [3] * 3


def test_six_guided_of_thirty_steps_cost_sixty_forwards_and_six_backwards_an_image(generator):
    forwards, backwards = [], []
    unet = generator.pipeline.unet

    def count(module, args, kwargs, output):
        forwards.append(len(args[0]))
        if output[0].requires_grad:
            output[0].register_hook(lambda grad: backwards.append(len(grad)))

    handle = unet.register_forward_hook(count, with_kwargs=True)
    steps = steer(generator, denoiser_of(generator), steps=guided_steps(30, 5, 0.0, 1.0))
    sample(steps, scheduler(generator), latents(generator), 30)
    handle.remove()
    assert sum(forwards) == 60 * 3
    assert sum(backwards) == 6 * 3
    assert steps.stats.guided.tolist() == [6] * 3


TRAINED = {
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "prediction_type": "epsilon",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "timestep_spacing": "leading",
}


class Analytic:
    """A network that knows the exact denoiser D(z, sigma) of its data; it predicts the noise."""

    def __init__(self, exact):
        self.exact = exact
        self.sigma = 0.0
        betas = torch.linspace(0.0001, 0.02, 1000)
        self.alphas_cumprod = (1 - betas).cumprod(0).double()

    def __call__(self, z, timestep):
        a = self.alphas_cumprod[timestep.long()]
        self.sigma = float(((1 - a) / a).sqrt())
        z = z * (1 + self.sigma**2) ** 0.5
        return (z - self.exact(z, self.sigma)) / self.sigma


def analytic(exact) -> ClassifierFree:
    return ClassifierFree(Analytic(exact), "epsilon", {}, {}, 1.0)


PRIOR_MEAN, PRIOR_STD, OBSERVED, OBSERVATION_STD = 0.5, 0.8, -0.6, 0.5


def normal_denoiser(z, sigma):
    s2 = PRIOR_STD**2
    return (s2 * z + sigma**2 * PRIOR_MEAN) / (s2 + sigma**2)


def observe(denoiser: ClassifierFree) -> Steps:
    """Guidance by the exact likelihood of an observation given the noisy latent."""

    def likelihood(z0, which):
        sigma, s2 = denoiser.network.sigma, PRIOR_STD**2
        variance = OBSERVATION_STD**2 + s2 * sigma**2 / (s2 + sigma**2)
        return -0.5 * ((OBSERVED - z0) ** 2 / variance).flatten(1).sum(dim=1)

    return guide(denoiser, lambda z0: z0, likelihood, rule="score", scale=1.0, num_images=2)


# Everything is linear here, so two starting points give the mean and the spread exactly.
STARTS = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)]).double()


@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerDiscreteScheduler"])
def test_gaussian_data_without_feedback_keep_mean_and_spread(name):
    z0 = sample(plain(analytic(normal_denoiser)), make_scheduler(name, TRAINED), STARTS, 500)
    assert z0[0].numpy() == pytest.approx(PRIOR_MEAN, abs=0.01)
    assert (z0[1] - z0[0]).numpy() == pytest.approx(PRIOR_STD, abs=0.01)


@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerDiscreteScheduler"])
def test_score_guidance_by_the_likelihood_samples_the_posterior(name):
    steps = observe(analytic(normal_denoiser))
    z0 = sample(steps, make_scheduler(name, TRAINED), STARTS, 500)
    precision = 1 / PRIOR_STD**2 + 1 / OBSERVATION_STD**2
    mean = (PRIOR_MEAN / PRIOR_STD**2 + OBSERVED / OBSERVATION_STD**2) / precision
    assert z0[0].numpy() == pytest.approx(mean, abs=0.01)
    assert (z0[1] - z0[0]).numpy() == pytest.approx(precision**-0.5, abs=0.01)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_guidance_is_the_same_for_exploding_and_preserving_solvers(generator, rule):
    """Euler's method in sigma is DDIM, so both must end at the same latents."""
    config = generator.scheduler_config | {"set_alpha_to_one": True}
    ends = [
        sample(
            steer(generator, denoiser_of(generator), rule=rule),
            make_scheduler(name, config),
            latents(generator),
            5,
        )
        for name in ("DDIMScheduler", "EulerDiscreteScheduler")
    ]
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-4)


def test_ddim_and_dpm_solver_agree_as_steps_grow():
    def two_modes(z, sigma):
        """Equal parts of N(-1, 0.3^2) and N(1, 0.3^2) in every coordinate."""
        s2 = 0.3**2
        mode = torch.tanh(z / (s2 + sigma**2))
        return (s2 * z + sigma**2 * mode) / (s2 + sigma**2)

    noise = randn((1, 8, 8), [stream(0, "latents")]).double()

    look = plain(analytic(two_modes))

    def apart(num_inference_steps: int) -> float:
        ends = [
            sample(look, make_scheduler(name, TRAINED), noise, num_inference_steps)
            for name in ("DDIMScheduler", "DPMSolverMultistepScheduler")
        ]
        return float((ends[0] - ends[1]).abs().mean())

    few, some, many = apart(10), apart(50), apart(250)
    assert many < some < few
    assert many < 0.02


def test_pure_noise_at_the_start_is_refused():
    solver = make_scheduler(
        "DDIMScheduler", TRAINED | {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    )
    solver.set_timesteps(5)
    with pytest.raises(InputError, match="EulerDiscreteScheduler"):
        noise_levels(solver)


@pytest.mark.parametrize(
    ("name", "prediction_type", "message"),
    [
        ("DPMSolverMultistepScheduler", "flux", "prediction_type 'flux'"),
        ("DDIMScheduler", "flow_prediction", "DDIMScheduler does not solve"),
        ("FlowMatchEulerDiscreteScheduler", "epsilon", "does not solve"),
        ("EulerAncestralDiscreteScheduler", "sample", "predicts the clean latent"),
    ],
)
def test_a_solver_that_does_not_fit_the_prediction_is_refused(name, prediction_type, message):
    with pytest.raises(InputError, match=message):
        make_scheduler(name, TRAINED | {"prediction_type": prediction_type})


FLOW = {"prediction_type": "flow_prediction", "num_train_timesteps": 1000, "shift": 3.0}


def flow(exact) -> ClassifierFree:
    """The exact flow of data with a known denoiser, seen on the line (1 - s) z0 + s noise."""

    def network(z, timestep):
        s = float(timestep) / 1000
        z0 = torch.full_like(z, PRIOR_MEAN) if s == 1 else exact(z / (1 - s), s / (1 - s))
        return (z - z0) / s

    return ClassifierFree(network, "flow_prediction", {}, {}, 1.0)


@pytest.mark.parametrize(
    "name", ["FlowMatchEulerDiscreteScheduler", "DPMSolverMultistepScheduler"]
)
def test_gaussian_data_under_a_flow_keep_mean_and_spread(name):
    z0 = sample(plain(flow(normal_denoiser)), make_scheduler(name, FLOW), STARTS, 400)
    assert z0[0].numpy() == pytest.approx(PRIOR_MEAN, abs=0.01)
    assert (z0[1] - z0[0]).numpy() == pytest.approx(PRIOR_STD, abs=0.01)


def test_a_schedule_that_is_not_known_is_refused():
    with pytest.raises(InputError, match="use_dynamic_shifting"):
        make_scheduler("FlowMatchEulerDiscreteScheduler", FLOW | {"use_dynamic_shifting": True})
    with pytest.raises(InputError, match="does not say by betas"):
        make_scheduler("DDIMScheduler", {"prediction_type": "epsilon", "sigma_max": 80.0})


def test_latents_are_never_clipped_whatever_scheduler_the_generator_came_with():
    euler = diffusers.EulerDiscreteScheduler(beta_start=0.0001, beta_end=0.02)
    solver = make_scheduler("DDIMScheduler", euler.config)
    assert not solver.config.clip_sample
    far = sample(plain(analytic(lambda z, sigma: torch.full_like(z, 7.0))), solver, STARTS, 50)
    torch.testing.assert_close(far, torch.full_like(far, 7.0), rtol=0, atol=0.1)


@pytest.mark.parametrize("name", ["FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"])
@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_flow_is_guided_from_its_second_step_on(rule, name):
    steps = guide(
        flow(normal_denoiser),
        lambda z0: z0,
        lambda z0, which: z0.flatten(1).sum(dim=1),
        rule=rule,
        scale=0.1,
        num_images=2,
    )
    scheduler = make_scheduler(name, FLOW)
    unguided = sample(plain(flow(normal_denoiser)), scheduler, STARTS, 10)
    guided = sample(steps, scheduler, STARTS, 10)
    assert (guided > unguided).all()
    assert steps.stats.guided.tolist() == [9, 9]
    assert steps.stats.skipped.tolist() == [1, 1]
