import json
import shutil
from pathlib import Path

import pytest
import torch
from micro import generator_config
from PIL import Image
from pydantic import ValidationError

from fgds_core.diffusion.denoise import NoiseLevel
from fgds_core.diffusion.noise import stream
from fgds_core.errors import InputError
from fgds_core.generators.load import load_generator
from fgds_core.generators.model import Generator, drop_coordinates
from fgds_core.images.pixels import to_uint8

LEVEL = NoiseLevel(1.0, 1.0, torch.tensor(400))


@pytest.fixture(scope="module")
def generator(tiny_unclip: Path) -> Generator:
    return load_generator(generator_config(tiny_unclip))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 20, 24, generator=stream(0, "images")) * 2 - 1


def test_weights_are_frozen_and_ready_to_predict(generator):
    for name in ("unet", "vae", "text_encoder", "image_encoder"):
        component = getattr(generator.pipeline, name)
        assert not component.training
        assert not any(p.requires_grad for p in component.parameters())


def test_images_are_embedded_as_the_diffusers_pipeline_does(generator, images):
    pictures = [Image.fromarray(i.permute(1, 2, 0).numpy()) for i in to_uint8(images)]
    pixels = generator.pipeline.feature_extractor(pictures, return_tensors="pt").pixel_values
    with torch.no_grad():
        expected = generator.pipeline.image_encoder(pixels).image_embeds
    torch.testing.assert_close(generator.embed_images(images), expected)


def test_micro_batches_give_the_same_embeddings(tiny_unclip, generator, images):
    split = load_generator(generator_config(tiny_unclip), micro_batch=2)
    torch.testing.assert_close(split.embed_images(images), generator.embed_images(images))


def test_the_text_encoder_sees_each_distinct_prompt_once(tiny_unclip):
    generator = load_generator(generator_config(tiny_unclip))
    seen = []
    generator.pipeline.text_encoder.register_forward_hook(
        lambda module, args, output: seen.append(len(args[0]))
    )
    for _ in range(3):
        encoded = generator.encode_prompts(["a cat", "a dog", "a cat"])
    assert sum(seen) == 2
    embeddings = encoded["encoder_hidden_states"]
    assert torch.equal(embeddings[0], embeddings[2])
    assert not torch.equal(embeddings[0], embeddings[1])


def test_every_way_of_conditioning_differs_and_neither_is_the_unconditional_half(generator):
    z = torch.randn(1, *generator.latent_shape, generator=stream(0, "latents"))
    vector = generator.condition_on(torch.ones(1, 16), 0, torch.zeros(1, 16))
    with torch.no_grad():
        answers = {
            (prompt, image is not None): generator.denoiser([prompt], image, 1.0)(z, LEVEL)
            for prompt in ("", "a cat")
            for image in (None, vector)
        }
        neither = generator.denoiser(["a cat"], vector, 0.0)(z, LEVEL)
    torch.testing.assert_close(answers["", False], neither)
    distinct = list(answers.values())
    for i, one in enumerate(distinct):
        assert not any(torch.allclose(one, other) for other in distinct[i + 1 :])


def test_dropout_hits_the_rate_and_keeps_the_expectation_when_rescaled():
    ones = torch.ones(40, 512)
    streams = [stream(seed, "embedding dropout") for seed in range(40)]
    dropped = drop_coordinates(ones, 0.4, True, streams)
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.02)
    streams = [stream(seed, "embedding dropout") for seed in range(40)]
    plain = drop_coordinates(ones, 0.4, False, streams)
    assert torch.equal(plain > 0, dropped > 0)
    assert set(plain.unique().tolist()) == {0.0, 1.0}


def test_each_embedding_has_its_own_holes_whatever_its_batch():
    ones = torch.ones(3, 64)
    together = drop_coordinates(ones, 0.5, False, [stream(s, "holes") for s in range(3)])
    alone = drop_coordinates(ones[:1], 0.5, False, [stream(2, "holes")])
    assert torch.equal(together[2:], alone)
    assert not torch.equal(together[0], together[1])


def test_a_rate_of_zero_touches_nothing():
    embeddings = torch.randn(2, 8, generator=stream(0, "embeddings"))
    assert torch.equal(drop_coordinates(embeddings, 0.0, True, []), embeddings)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        load_generator(generator_config(tmp_path / "nowhere"))


def test_a_folder_that_is_no_generator_is_named(tmp_path):
    with pytest.raises(InputError, match=r"model_index\.json cannot be read"):
        load_generator(generator_config(tmp_path))


@pytest.fixture
def damaged(tiny_unclip: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_unclip, tmp_path / "generator"))


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_another_kind_of_pipeline_is_refused(damaged):
    edit(damaged / "model_index.json", _class_name="StableDiffusionPipeline")
    with pytest.raises(InputError, match="holds a StableDiffusionPipeline"):
        load_generator(generator_config(damaged))


def test_a_missing_component_is_named(damaged):
    shutil.rmtree(damaged / "image_normalizer")
    with pytest.raises(InputError, match="lacks image_normalizer"):
        load_generator(generator_config(damaged))


def test_pickled_weights_are_never_loaded(damaged):
    weights = damaged / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({}, weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(InputError, match="safetensors"):
        load_generator(generator_config(damaged))


def test_truncated_weights_are_refused(damaged):
    weights = damaged / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="is no safetensors file that can be read"):
        load_generator(generator_config(damaged))


def test_components_of_different_models_are_refused(damaged):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    other = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=8,
            intermediate_size=8,
            projection_dim=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=16,
            patch_size=8,
        )
    )
    other.save_pretrained(damaged / "image_encoder")
    with pytest.raises(InputError, match="takes image vectors of 32 numbers"):
        load_generator(generator_config(damaged))


@pytest.mark.parametrize(
    "prompts",
    [[], ["a photo"], ["a {class} in {place}"], ["a {class"], ["{class:>9}"], ["{class!r}"]],
)
def test_templates_must_name_the_class_and_nothing_else(prompts):
    with pytest.raises(ValidationError, match="prompts"):
        generator_config("somewhere", prompts=prompts)
