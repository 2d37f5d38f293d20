"""What every kind of generator has to do, on random weights of the very classes people load."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiny
import torch
from guide import Steps, guide
from micro import generator_config
from pydantic import ValidationError
from tiny import WIDTH

from fgds_core.diffusion.denoise import ClassifierFree
from fgds_core.diffusion.guidance.look import plain
from fgds_core.diffusion.guidance.rules import RULES
from fgds_core.diffusion.noise import randn, stream
from fgds_core.diffusion.sample import sample
from fgds_core.diffusion.solver import make_scheduler
from fgds_core.errors import InputError
from fgds_core.feedback.criteria.entropy import entropy
from fgds_core.feedback.criterion import NOTHING, Seen
from fgds_core.generators.config import GeneratorConfig
from fgds_core.generators.load import load_generator
from fgds_core.generators.model import Generator

NAMES = (
    "stable-unclip",
    "stable-diffusion",
    "stable-diffusion-xl",
    "stable-diffusion, ip-adapter",
    "stable-diffusion-xl, ip-adapter",
    "stable-diffusion-3",
    "kandinsky-2.2",
)
PROMPTS = ("a cat", "a dog", "an owl")
STEPS = 4

Settings = dict[str, dict[str, object]]


def config(settings: dict[str, object], **changes) -> GeneratorConfig:
    return generator_config(**settings | changes)


@pytest.fixture(scope="module", params=NAMES)
def generator(request, tiny_generators: Settings) -> Generator:
    return load_generator(config(tiny_generators[request.param]), dtype=torch.float64)


def solver_name(generator: Generator) -> str:
    flow = generator.family.network == "transformer"
    return "FlowMatchEulerDiscreteScheduler" if flow else "DDIMScheduler"


def embeddings(seeds=(0, 1, 2)) -> torch.Tensor:
    return randn((WIDTH,), [stream(seed, "embedding") for seed in seeds]).double()


def latents(generator: Generator, seeds=(0, 1, 2)) -> torch.Tensor:
    return randn(generator.latent_shape, [stream(seed, "latents") for seed in seeds]).double()


def denoiser(generator: Generator, seeds=(0, 1, 2)):
    image = None
    if generator.takes_images:
        some = embeddings(seeds)
        image = generator.condition_on(some, 0, torch.zeros_like(some))
    return generator.denoiser([PROMPTS[seed] for seed in seeds], image, 2.5, seeds)


def draw(generator: Generator, seeds=(0, 1, 2)) -> torch.Tensor:
    return drawn_by(plain(denoiser(generator, seeds)), generator, seeds)


def draw_steered(generator: Generator, seeds=(0, 1, 2), **changes) -> torch.Tensor:
    return drawn_by(steer(generator, denoiser(generator, seeds), **changes), generator, seeds)


def drawn_by(look, generator: Generator, seeds=(0, 1, 2)) -> torch.Tensor:
    solver = make_scheduler(solver_name(generator), generator.scheduler_config)
    return sample(look, solver, latents(generator, seeds), STEPS)


def criterion(x: torch.Tensor) -> torch.Tensor:
    return entropy(Seen(4 * x.mean(dim=(2, 3)), x.flatten(1)), torch.zeros(len(x)).long(), NOTHING)


def steer(generator: Generator, denoiser: ClassifierFree, **changes) -> Steps:
    num_images = len(next(iter(denoiser.conditional.values())))
    return guide(
        denoiser,
        generator.decode,
        lambda x, which: criterion(x),
        num_images=num_images,
        **changes,
    )


def as_the_pipeline_draws(generator: Generator, seed: int) -> torch.Tensor:
    """One image: the pipeline takes one embedding for all prompts of a call."""
    pipeline = generator.pipeline
    some, arguments = embeddings([seed]), {}
    if generator.family.draw_embeddings is not None:
        return as_kandinsky_draws(generator, seed)
    if generator.family.network == "transformer":
        arguments["height"] = arguments["width"] = 16
    elif generator.takes_images and not generator.family.image.noised:
        arguments["ip_adapter_image_embeds"] = [torch.stack([torch.zeros_like(some), some])]
    elif generator.takes_images:
        arguments |= {"image_embeds": some, "noise_level": 0}
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        prompt=PROMPTS[seed],
        guidance_scale=2.5,
        num_inference_steps=STEPS,
        latents=latents(generator, [seed]),
        output_type="latent",
        **arguments,
    ).images


def as_kandinsky_draws(generator: Generator, seed: int) -> torch.Tensor:
    """One image: the pipeline of the prior, then that of the decoder."""
    prior, decoder = generator.pipeline.prior_pipe, generator.pipeline.decoder_pipe
    for pipeline in (prior, decoder):
        pipeline.set_progress_bar_config(disable=True)
    rng = stream(seed, "prior")
    first = randn((WIDTH,), [rng]).double()
    drawn = prior(
        PROMPTS[seed], num_inference_steps=3, guidance_scale=2.0, generator=[rng], latents=first
    )
    decoder.scheduler = make_scheduler(solver_name(generator), generator.scheduler_config)
    return decoder(
        image_embeds=(embeddings([seed]) + drawn.image_embeds) / 2,  # text_share is 0.5
        negative_image_embeds=drawn.negative_image_embeds,
        height=16,
        width=16,
        guidance_scale=2.5,
        num_inference_steps=STEPS,
        latents=latents(generator, [seed]),
        output_type="latent",
    ).images


def test_unguided_latents_are_those_of_the_diffusers_pipeline(generator, monkeypatch):
    pipeline = generator.pipeline
    solver = make_scheduler(solver_name(generator), generator.scheduler_config)
    ours = draw(generator)
    monkeypatch.setattr(pipeline, "scheduler", solver)
    if generator.takes_images and generator.family.image.noised:
        noised = type(pipeline).noise_image_embeddings
        monkeypatch.setattr(
            pipeline,
            "noise_image_embeddings",
            lambda image_embeds, noise_level, generator: noised(
                pipeline, image_embeds, noise_level, noise=torch.zeros_like(image_embeds)
            ),
        )
    expected = torch.cat([as_the_pipeline_draws(generator, seed) for seed in range(3)])
    torch.testing.assert_close(ours, expected.double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_batch_equals_its_images_one_by_one(generator, rule):
    together = draw_steered(generator, rule=rule)
    # The solver of flows computes in float32
    atol = 1e-5 if generator.family.network == "transformer" else 1e-10
    for seed in range(3):
        alone = draw_steered(generator, [seed], rule=rule)
        torch.testing.assert_close(alone, together[seed : seed + 1], rtol=0, atol=atol)


@pytest.mark.parametrize("jacobian", [True, False])
def test_guidance_raises_the_criterion(generator, jacobian):
    guided = draw_steered(generator, jacobian=jacobian)
    with torch.no_grad():
        before, after = (criterion(generator.decode(z)) for z in (draw(generator), guided))
    assert after.mean() > before.mean()


def test_prompts_and_images_are_told_apart(generator):
    drawn = [draw(generator, [0])]
    drawn.append(drawn_by(plain(generator.denoiser(["a dog"], None, 2.5, [0])), generator, [0]))
    assert not torch.allclose(*drawn)


def test_prompts_are_encoded_by_one_thread_at_a_time(tiny_unclip, monkeypatch):
    generator = load_generator(generator_config(tiny_unclip), "cpu")
    encode, inside, most = generator.pipeline.encode_prompt, [], []

    def slowly(*arguments):  # a tokenizer's padding is state, which a second thread would change
        inside.append(None)
        most.append(len(inside))
        time.sleep(0.05)
        encoded = encode(*arguments)
        inside.pop()
        return encoded

    monkeypatch.setattr(generator.pipeline, "encode_prompt", slowly)
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(generator.encode_prompts, [["a dog", None]] * 2)
    assert most == [1, 1]
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_cheap_decoders_show_the_same_image_smaller_or_rougher(tiny_generators):
    decoder = str(Path(str(tiny_generators["stable-diffusion"]["path"])).parent / "tiny-decoder")
    settings = config(tiny_generators["stable-diffusion"], tiny_decoder=decoder)
    generator = load_generator(settings)
    z = torch.zeros(2, *generator.latent_shape)
    assert generator.decode(z).shape == generator.decode_tiny(z).shape == (2, 3, 16, 16)
    assert generator.decode_half(z).shape == (2, 3, 8, 8)
    without = load_generator(config(tiny_generators["stable-diffusion"]))
    with pytest.raises(InputError, match=r"needs generator\.tiny_decoder"):
        without.decode_tiny(z)


@pytest.mark.parametrize("option", ["channels_last", "gradient_checkpointing"])
@pytest.mark.parametrize("name", NAMES)
def test_how_a_network_is_run_changes_no_result(tiny_generators, name, option):
    settings = config(tiny_generators[name])
    as_it_is = load_generator(settings, dtype=torch.float64)
    changed = load_generator(settings, dtype=torch.float64, **{option: True})
    expected, ours = (draw_steered(g) for g in (as_it_is, changed))
    atol = 1e-5 if as_it_is.family.network == "transformer" else 1e-10
    torch.testing.assert_close(ours, expected, rtol=0, atol=atol)


def test_an_image_size_sets_the_latents_and_what_xl_is_told(tiny_generators):
    generator = load_generator(config(tiny_generators["stable-diffusion-xl"], image_size=24))
    assert generator.latent_shape == (4, 12, 12)
    assert generator.encode_prompts(["a cat"])["time_ids"].tolist() == [[24, 24, 0, 0, 24, 24]]
    with pytest.raises(InputError, match=r"image_size is 25; .* multiples of 2"):
        load_generator(config(tiny_generators["stable-diffusion-xl"], image_size=25))


def test_text_alone_refuses_images(tiny_generators):
    generator = load_generator(config(tiny_generators["stable-diffusion"]))
    with pytest.raises(InputError, match="takes text alone"):
        generator.embed_images(torch.zeros(1, 3, 16, 16))


def test_adapters_know_no_noised_embeddings(tiny_generators):
    generator = load_generator(config(tiny_generators["stable-diffusion, ip-adapter"]))
    some = embeddings().float()
    with pytest.raises(InputError, match="noise_level is 7"):
        generator.condition_on(some, 7, some)


def test_an_adapter_embeds_images_with_its_own_tower(tiny_generators):
    generator = load_generator(config(tiny_generators["stable-diffusion, ip-adapter"]))
    images = torch.rand(2, 3, 20, 20, generator=stream(0, "images")) * 2 - 1
    embedded = generator.embed_images(images)
    assert embedded.shape == (2, WIDTH)
    assert not torch.allclose(embedded[0], embedded[1])


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_leaves_latents_in_float32(tiny_generators, name):
    generator = load_generator(config(tiny_generators[name], dtype="bfloat16"))
    some = embeddings().bfloat16()
    image = None
    if generator.takes_images:
        image = generator.condition_on(some, 0, torch.zeros_like(some))
    steps = steer(generator, generator.denoiser(PROMPTS, image, 2.5, range(3)))
    solver = make_scheduler(solver_name(generator), generator.scheduler_config)
    z0 = sample(steps, solver, latents(generator).float(), STEPS)
    assert z0.dtype == steps.stats.last.dtype == torch.float32
    assert z0.isfinite().all()
    assert steps.stats.non_finite.tolist() == [0] * 3


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("stable-diffusion", "stable-unclip", "needs a StableUnCLIPImg2ImgPipeline"),
        ("stable-unclip", "text-to-image", "StableDiffusionPipeline or StableDiffusionXLPipeline"),
        ("stable-diffusion-3", "text-to-image", "holds a StableDiffusion3Pipeline"),
    ],
)
def test_a_folder_of_another_kind_is_refused(tiny_generators, name, kind, message):
    with pytest.raises(InputError, match=message):
        load_generator(config(tiny_generators[name], kind=kind))


def adapter(settings: dict[str, object], **changes) -> dict[str, object]:
    return {"adapter": {**settings["adapter"], **changes}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "nowhere"}, r"generator\.adapter\.path: there is no folder nowhere"),
        ({"weight_name": "other.safetensors"}, r"holds no IP-Adapter .*other\.safetensors"),
        ({"image_encoder": "none"}, "image encoder stable-diffusion/none"),
        ({"subfolder": "stable-diffusion-xl"}, "that fits the generator"),
    ],
)
def test_an_adapter_that_is_not_there_or_does_not_fit_is_refused(
    tiny_generators, changes, message
):
    settings = tiny_generators["stable-diffusion, ip-adapter"]
    with pytest.raises(InputError, match=message):
        load_generator(config(settings, **adapter(settings, **changes)))


def test_an_adapter_with_a_foreign_image_encoder_is_refused(tiny_generators, tmp_path):
    settings = tiny_generators["stable-diffusion, ip-adapter"]
    path = tmp_path / "adapters" / "stable-diffusion"
    shutil.copytree(Path(settings["adapter"]["path"]) / "stable-diffusion", path)
    shutil.rmtree(path / "image_encoder")
    tiny.save(lambda: tiny.image_encoder(projection_dim=24), path / "image_encoder")
    with pytest.raises(InputError, match="takes image embeddings of 16 numbers"):
        load_generator(config(settings, **adapter(settings, path=str(path.parent))))


def test_a_pickled_image_encoder_is_never_loaded(tiny_generators, tmp_path):
    settings = tiny_generators["stable-diffusion, ip-adapter"]
    path = tmp_path / "adapters" / "stable-diffusion"
    shutil.copytree(Path(settings["adapter"]["path"]) / "stable-diffusion", path)
    weights = path / "image_encoder" / "model.safetensors"
    torch.save({}, weights.with_name("pytorch_model.bin"))
    weights.unlink()
    with pytest.raises(InputError, match="as pickles"):
        load_generator(config(settings, **adapter(settings, path=str(path.parent))))


def test_a_revision_belongs_to_the_hub(tiny_generators):
    with pytest.raises(InputError, match=r"generator\.revision is main, but .* is a folder"):
        load_generator(config(tiny_generators["stable-diffusion"], revision="main"))


def test_normalised_latents_are_brought_back_before_decoding(tiny_generators, tmp_path):
    settings = tiny_generators["stable-diffusion-xl"]
    plain = load_generator(config(settings))
    folder = shutil.copytree(str(settings["path"]), tmp_path / "generator")
    path = folder / "vae" / "config.json"
    mean, std = [0.1, -0.2, 0.3, 0.0], [2.0, 1.0, 0.5, 1.5]
    changes = {"latents_mean": mean, "latents_std": std}
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    normalised = load_generator(config(settings, path=str(folder)))
    z = latents(plain).float()
    scaling = plain.pipeline.vae.config.scaling_factor
    raw = z * torch.tensor(std).view(-1, 1, 1) + scaling * torch.tensor(mean).view(-1, 1, 1)
    torch.testing.assert_close(normalised.decode(z), plain.decode(raw))


def test_half_precision_decodes_xl_in_single(tiny_generators):
    xl = load_generator(config(tiny_generators["stable-diffusion-xl"], dtype="float16"))
    plain = load_generator(config(tiny_generators["stable-diffusion"], dtype="float16"))
    assert xl.pipeline.vae.dtype == torch.float32
    assert xl.dtype == plain.pipeline.vae.dtype == torch.float16


def test_an_adapter_is_never_a_pickle(tiny_generators):
    settings = tiny_generators["stable-diffusion, ip-adapter"]
    with pytest.raises(ValidationError, match="weight_name"):
        config(settings, **adapter(settings, weight_name="ip-adapter_sd15.bin"))


def test_an_adapter_goes_with_its_kind_only(tiny_generators):
    settings = tiny_generators["stable-diffusion, ip-adapter"]
    for changes in ({"kind": "text-to-image"}, {"adapter": None}):
        with pytest.raises(ValidationError, match="adapter must be given with kind ip-adapter"):
            config(settings, **changes)


def test_a_tiny_decoder_that_is_none_or_of_other_latents_is_refused(tiny_generators, tmp_path):
    settings = tiny_generators["stable-diffusion"]
    with pytest.raises(
        InputError, match=r"generator\.tiny_decoder: .* cannot be read .* set it to null"
    ):
        load_generator(config(settings, tiny_decoder=str(tmp_path)))
    tiny.save(lambda: tiny.tiny_decoder(latent_channels=16), tmp_path / "sixteen")
    with pytest.raises(InputError, match="decodes 16 latent channels"):
        load_generator(config(settings, tiny_decoder=str(tmp_path / "sixteen")))


def test_an_inpainting_network_is_refused(tiny_generators, tmp_path):
    from diffusers import UNet2DConditionModel

    folder = shutil.copytree(str(tiny_generators["stable-diffusion"]["path"]), tmp_path / "g")
    tiny.save(
        lambda: UNet2DConditionModel(cross_attention_dim=WIDTH, in_channels=9, **tiny.UNET),
        folder / "unet",
    )
    with pytest.raises(InputError, match="9 latent channels in"):
        load_generator(config({"kind": "text-to-image", "path": str(folder)}))
