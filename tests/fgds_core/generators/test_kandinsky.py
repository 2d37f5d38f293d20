"""Kandinsky 2.2 against the two pipelines of diffusers, and what of its folders is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from micro import generator_config, synthesize_config
from pydantic import ValidationError
from tiny import WIDTH

from fgds_core.agreement import disagreements
from fgds_core.diffusion.noise import randn, stream
from fgds_core.diffusion.solver import make_scheduler
from fgds_core.errors import InputError
from fgds_core.generators.config import GeneratorConfig
from fgds_core.generators.load import load_generator
from fgds_core.generators.model import Generator
from fgds_core.images.pixels import to_uint8
from fgds_core.synthesis.draw import draw
from fgds_core.synthesis.request import ImageRequest
from flows.cli.inputs import check_drawing

Settings = dict[str, dict[str, object]]
SIDE = 16


def config(settings: Settings, **changes) -> GeneratorConfig:
    return generator_config(**settings["kandinsky-2.2"] | changes)


def with_prior(settings: Settings, **changes) -> GeneratorConfig:
    return config(settings, prior={**settings["kandinsky-2.2"]["prior"], **changes})


@pytest.fixture(scope="module")
def generator(tiny_generators: Settings) -> Generator:
    return load_generator(config(tiny_generators), dtype=torch.float64)


def requests(prompt: str, number: int = 3) -> list[ImageRequest]:
    return [ImageRequest(0, "cat", i, 100 + i, prompt, None) for i in range(number)]


def embeddings(number: int = 3) -> torch.Tensor:
    return randn((WIDTH,), [stream(i, "embedding") for i in range(number)]).double()


def drawn(generator: Generator, prompt: str, some: torch.Tensor | None, **changes):
    settings = {"feedback": "none", "embedding_dropout": 0.0, **changes}
    return draw(
        generator,
        requests(prompt, 3 if some is None else len(some)),
        some,
        synthesize_config(**settings),
        image_size=SIDE,
    ).images


def as_diffusers_draws(generator: Generator, request: ImageRequest, embedding) -> torch.Tensor:
    """One finished image, by the pipelines that diffusers has."""
    prior, decoder = generator.pipeline.prior_pipe, generator.pipeline.decoder_pipe
    for pipeline in (prior, decoder):
        pipeline.set_progress_bar_config(disable=True)
    rng = stream(request.seed, "prior")
    first = randn((WIDTH,), [rng]).double()
    told = prior(
        request.prompt or "x",
        num_inference_steps=3,
        guidance_scale=2.0,
        generator=[rng],
        latents=first,
    )
    embeds = told.image_embeds if embedding is None else embedding[None]
    decoder.scheduler = make_scheduler("DDIMScheduler", generator.scheduler_config)
    latents = randn(generator.latent_shape, [stream(request.seed, "latents")]).double()
    return decoder(
        image_embeds=embeds,
        negative_image_embeds=told.negative_image_embeds,
        height=SIDE,
        width=SIDE,
        guidance_scale=2.0,
        num_inference_steps=3,
        latents=latents,
        output_type="pt",
    ).images.clamp(-1, 1)


@pytest.mark.parametrize("conditioning", ["text", "image"])
def test_finished_images_are_those_of_the_two_pipelines(generator, conditioning):
    prompt, some = ("a cat", None) if conditioning == "text" else ("", embeddings())
    ours = drawn(generator, prompt, some)
    expected = [
        as_diffusers_draws(generator, request, None if some is None else some[i])
        for i, request in enumerate(requests(prompt))
    ]
    torch.testing.assert_close(ours, torch.cat(expected).float(), rtol=0, atol=1e-5)


def test_images_are_embedded_by_the_tower_of_the_prior(generator):
    images = torch.rand(2, 3, 20, 24, generator=stream(0, "images")) * 2 - 1
    prior = generator.pipeline.prior_pipe
    pixels = prior.image_processor(list(to_uint8(images)), return_tensors="pt").pixel_values
    with torch.no_grad():
        expected = prior.image_encoder(pixels.double()).image_embeds
    torch.testing.assert_close(generator.embed_images(images), expected)


def told(generator: Generator, seeds: list[int], prompt: str = "a cat") -> torch.Tensor:
    """The embeddings that texts become."""
    denoiser = generator.denoiser([prompt] * len(seeds), None, 2.0, seeds)
    return denoiser.conditional["image_embeds"]


def test_a_text_becomes_another_embedding_with_each_seed_whatever_the_batch(generator):
    together, alone = told(generator, [1, 2, 3]), told(generator, [2])
    torch.testing.assert_close(alone, together[1:2], rtol=0, atol=1e-12)
    assert len(torch.unique(together.round(decimals=6), dim=0)) == 3
    assert not torch.allclose(together, told(generator, [1, 2, 3], "a dog"))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_dual_tells_the_weighted_mean_of_both_embeddings(tiny_generators, share):
    generator = load_generator(with_prior(tiny_generators, text_share=share), dtype=torch.float64)
    some, seeds = embeddings(), [5, 6, 7]
    image = generator.condition_on(some, 0, torch.zeros_like(some))
    both = generator.denoiser(["a cat"] * 3, image, 2.0, seeds).conditional["image_embeds"]
    torch.testing.assert_close(both, (1 - share) * some + share * told(generator, seeds))


def test_holes_in_the_embedding_of_an_image_are_what_the_network_is_told(generator, monkeypatch):
    seen = []
    monkeypatch.setattr(
        type(generator),
        "condition_on",
        lambda self, some, level, noise: (
            seen.append(some) or self.family.image.condition(self.pipeline, some, level, noise)
        ),
    )
    drawn(generator, "", embeddings(), embedding_dropout=0.5)
    (holed,) = seen
    assert 0.2 < float((holed == 0).double().mean()) < 0.8
    torch.testing.assert_close(holed[holed != 0], embeddings()[holed != 0])


def test_the_gradient_through_the_decoder_is_that_of_finite_differences(generator):
    z, direction = (
        randn(generator.latent_shape, [stream(i, "latents")]).double() for i in range(2)
    )

    def mean_of(z: torch.Tensor) -> torch.Tensor:
        return (generator.decode(z) * torch.linspace(-1, 1, SIDE).double()).mean()

    (gradient,) = torch.autograd.grad(mean_of(z.requires_grad_()), z)
    step = 1e-5
    with torch.no_grad():
        rise = (mean_of(z + step * direction) - mean_of(z - step * direction)) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), rise, rtol=1e-6, atol=1e-12)
    assert gradient.abs().sum() > 0


def test_its_decoder_has_all_ways_of_saving(tiny_generators, tmp_path):
    path = tiny.save(tiny.tiny_decoder, tmp_path / "tiny")
    saving = load_generator(
        config(tiny_generators, tiny_decoder=str(path)),
        dtype=torch.float64,
        gradient_checkpointing=True,
    )
    z = randn(saving.latent_shape, [stream(0, "latents")]).double()
    assert saving.decode_half(z).shape == (1, 3, SIDE // 2, SIDE // 2)
    assert saving.decode_tiny(z).shape == saving.decode(z).shape == (1, 3, SIDE, SIDE)
    assert saving.pipeline.movq.decoder.gradient_checkpointing
    assert saving.network.is_gradient_checkpointing


def checked(config: GeneratorConfig) -> None:
    """As a flow does before anything is loaded."""
    check_drawing(config, synthesize_config(), dry=True)


REFUSED = {
    "a prior in the place of the decoder": (
        lambda s: config(s, path=s["kandinsky-2.2"]["prior"]["path"]),
        r"generator\.path: .* holds a KandinskyV22PriorPipeline, generator\.kind kandinsky-2\.2"
        " needs a KandinskyV22Pipeline",
    ),
    "a decoder in the place of the prior": (
        lambda s: with_prior(s, path=s["kandinsky-2.2"]["path"]),
        r"generator\.prior: .* holds a KandinskyV22Pipeline, generator\.prior needs a"
        " KandinskyV22PriorPipeline",
    ),
    "no prior there": (
        lambda s: with_prior(s, path="no/such/place"),
        r"generator\.prior[.a-z]*: there is no folder no/such/place",
    ),
    "a revision of a folder": (
        lambda s: with_prior(s, revision="main"),
        r"generator\.prior\.revision is main, but .* is a folder",
    ),
    "more steps than it was trained with": (
        lambda s: with_prior(s, num_inference_steps=1000),
        r"num_inference_steps is 1000, but .* was trained with 100",
    ),
    "a side its UNet cannot halve": (
        lambda s: config(s, image_size=18),
        r"generator\.image_size is 18; .* draws multiples of 4 pixels",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("check", [load_generator, checked])
def test_what_does_not_go_together_is_refused_with_one_message(
    tiny_generators, tmp_path, name, check
):
    settings, (change, message) = tiny_generators, REFUSED[name]
    if "trained" in name:
        settings = copied(tiny_generators, tmp_path)
        edit(tmp_path / "prior" / "scheduler/scheduler_config.json", num_train_timesteps=100)
    with pytest.raises(InputError, match=message) as refused:
        check(change(settings))
    assert "\n" not in str(refused.value)


def copied(settings: Settings, folder: Path) -> Settings:
    """The settings of a copy of both folders, to be changed."""
    own = settings["kandinsky-2.2"]
    shutil.copytree(own["path"], folder / "decoder")
    shutil.copytree(own["prior"]["path"], folder / "prior")
    prior = {**own["prior"], "path": str(folder / "prior")}
    return {"kandinsky-2.2": {**own, "path": str(folder / "decoder"), "prior": prior}}


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def another_unet(folder: Path) -> None:
    tiny.save(lambda: tiny.kandinsky(encoder_hid_dim=24).unet, folder / "decoder" / "unet")


def no_variance(folder: Path) -> None:
    tiny.save(lambda: tiny.kandinsky(out_channels=4).unet, folder / "decoder" / "unet")


def wider(folder: Path) -> None:
    tiny.save(lambda: tiny.image_encoder(24), folder / "prior" / "image_encoder")


def codes(folder: Path) -> None:
    tiny.save(lambda: tiny.movq(vq_embed_dim=8), folder / "decoder" / "movq")


UNFIT: dict[str, tuple[Callable[[Path], None], str]] = {
    "a UNet of other embeddings": (
        another_unet,
        r"generator\.prior: .* does not fit the generator: it draws embeddings of 16 numbers, the"
        r" unet of generator\.path takes 24; give the prior that was trained with it",
    ),
    "a UNet without the variance": (
        no_variance,
        r"its unet has 4 latent channels in and 4 out \(mean and variance\), its movq 4",
    ),
    "a UNet with a hint": (
        lambda f: edit(f / "decoder/unet/config.json", addition_embed_type="image_hint"),
        "says addition_embed_type image_hint, not image; give the decoder of Kandinsky 2.2 for",
    ),
    "a tower of other embeddings": (
        wider,
        "its image_encoder gives embeddings of 24 numbers, its prior draws 16",
    ),
    "a text encoder of other embeddings": (
        lambda f: edit(f / "prior/text_encoder/config.json", hidden_size=8),
        "its text_encoder gives 8 numbers, its prior takes 16",
    ),
    "a prior of more tokens": (
        lambda f: edit(f / "prior/prior/config.json", num_embeddings=77),
        "its tokenizer gives 32 tokens, its prior takes 77",
    ),
    "a decoder of other latents": (codes, "unet draws latents of 4 channels, its movq decodes 8"),
    "a decoder of codes": (
        lambda f: edit(f / "decoder/movq/config.json", lookup_from_codebook=True),
        "lookup_from_codebook true: it decodes codes, not latents",
    ),
    "a prior that lacks its tower": (
        lambda f: shutil.rmtree(f / "prior" / "image_encoder"),
        r"generator\.prior: .* lacks image_encoder; take the whole KandinskyV22PriorPipeline",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_parts_of_different_models_are_refused_before_they_are_loaded(
    tiny_generators, tmp_path, name
):
    settings, (change, message) = copied(tiny_generators, tmp_path), UNFIT[name]
    change(tmp_path)
    with pytest.raises(InputError, match=message):
        checked(config(settings))


def test_its_own_solver_of_a_learned_variance_is_refused_for_one_that_leaves_it(tiny_generators):
    with pytest.raises(InputError, match=r"variance_type learned_range.* such as DDIMScheduler"):
        check_drawing(config(tiny_generators), synthesize_config(scheduler="DDPMScheduler"))
    check_drawing(config(tiny_generators), synthesize_config())


def test_a_prior_goes_with_its_kind_only(tiny_generators):
    prior = tiny_generators["kandinsky-2.2"]["prior"]
    for changes in ({"kind": "stable-unclip", "prior": prior}, {"prior": None}):
        with pytest.raises(ValidationError, match=r"prior must be given with kind kandinsky-2\.2"):
            config(tiny_generators, **changes)


def test_it_knows_no_noise_on_embeddings(tiny_generators, generator):
    from fgds_core.assess.config import AssessConfig

    assess = AssessConfig.model_construct(features="clip")
    (said,) = disagreements(config(tiny_generators), synthesize_config(noise_level=7), assess)
    assert "Kandinsky 2.2 is not trained with noised image embeddings; set it to 0" in said
    with pytest.raises(InputError, match="noise_level is 7"):
        generator.condition_on(embeddings(), 7, embeddings())
