"""The embedded generator loads unchanged, draws, and its card's gates hold."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from assets.fashion_lt import CLASS_NAMES
from assets.tiny_unclip import (
    EMBED_DIM,
    FOLDER,
    JUDGE,
    MAX_TOKENS,
    drop_conditions,
    fold_latents,
    learning_rate,
    make_tokenizer,
    make_vae,
    nearer_to_own,
    sample,
    soft_cross_entropy,
    tokenize,
)
from fgds_core.classify.network import load_classifier

MAX_BYTES = 12_000_000
OWN_PARTS = ("text_encoder", "image_encoder", "vae", "unet")


@pytest.fixture(scope="module")
def pipeline():
    from diffusers import StableUnCLIPImg2ImgPipeline

    pipeline = StableUnCLIPImg2ImgPipeline.from_pretrained(FOLDER)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def card():
    return json.loads((FOLDER / "card.json").read_text())


def test_folder_is_small_and_holds_safetensors_only():
    files = [p for p in FOLDER.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= MAX_BYTES
    assert {p.suffix for p in files} <= {".json", ".safetensors", ".md"}


def test_pipeline_draws_from_text_and_image(pipeline):
    picture = Image.fromarray(np.zeros((32, 32, 3), dtype=np.uint8))
    drawn = [
        pipeline(
            image=picture,
            prompt="a photo of a coat",
            num_inference_steps=2,
            guidance_scale=2.0,
            generator=torch.Generator().manual_seed(0),
            output_type="np",
        ).images
        for _ in range(2)
    ]
    assert drawn[0].shape == (1, 32, 32, 3)
    assert np.isfinite(drawn[0]).all()
    assert np.array_equal(drawn[0], drawn[1])


def test_the_gates_samples_are_the_pipelines_own(pipeline):
    embeds = torch.randn(2, EMBED_DIM, generator=torch.Generator().manual_seed(1))
    prompts = ["a photo of a coat", "a photo of a ankle boot"]
    theirs = pipeline(
        image_embeds=embeds,
        prompt=prompts,
        num_inference_steps=4,
        guidance_scale=2.0,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
    ).images
    ours = sample(pipeline, prompts, embeds, 0, 2.0, num_inference_steps=4)
    assert torch.allclose((ours + 1) / 2, theirs, atol=1e-3)


def test_networks_are_in_single_precision(pipeline):
    for name in OWN_PARTS:
        assert {p.dtype for p in getattr(pipeline, name).parameters()} == {torch.float32}


def test_text_and_image_share_one_space(pipeline):
    tokens = tokenize(pipeline.tokenizer, [f"a photo of a {name}" for name in CLASS_NAMES])
    text = pipeline.text_encoder(input_ids=tokens).pooler_output
    image = pipeline.image_encoder(pixel_values=torch.zeros(1, 3, 32, 32)).image_embeds
    assert text.shape == (10, EMBED_DIM)
    assert image.shape == (1, EMBED_DIM)


def test_saved_tokenizer_is_the_trained_one(pipeline):
    captions = ["", "a photo of a t-shirt", "a red striped ankle boot on a green background"]
    made = tokenize(make_tokenizer(), captions)
    assert torch.equal(made, tokenize(pipeline.tokenizer, captions))
    assert made.shape == (3, MAX_TOKENS)


def test_gates_of_the_card_hold(card):
    for name, gate in card["gates"].items():
        assert gate["value"] >= gate["at_least"], name
    ratios = [a / r for a, r in zip(card["dual_agreement"], card["judge_recall"], strict=True)]
    assert np.mean(ratios) == pytest.approx(card["gates"]["mean_agreement_ratio"]["value"])
    assert min(ratios) == pytest.approx(card["gates"]["lowest_agreement_ratio"]["value"])
    assert card["num_images_per_class"] >= 200


def test_card_states_licence_and_disjointness():
    text = (FOLDER / "README.md").read_text()
    for needed in ("Apache-2.0", "MIT", "in no split of", "Measured"):
        assert needed in text


def test_judge_loads_and_knows_the_classes(card):
    judge = load_classifier(JUDGE)
    assert tuple(judge.class_names) == CLASS_NAMES
    assert judge(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    config = json.loads((JUDGE / "config.json").read_text())
    assert config["held_out_accuracy"] == card["judge_held_out_accuracy"]


@torch.no_grad()
def test_folding_centres_the_latents_and_changes_no_picture():
    torch.manual_seed(0)
    vae, x = make_vae().eval(), torch.rand(4, 3, 32, 32) * 2 - 1
    z = vae.encode(x).latent_dist.mode()
    picture = vae.decode(z).sample
    mean, std = z.mean(dim=(0, 2, 3)), z.std(dim=(0, 2, 3))
    folded = fold_latents(vae, mean, std)
    posterior = folded.encode(x).latent_dist
    scaled = posterior.mode() * folded.config.scaling_factor
    assert torch.allclose(scaled.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(scaled.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-3)
    assert torch.allclose(folded.decode(posterior.mode()).sample, picture, atol=1e-4)


def test_lost_images_are_all_zeros_and_both_kinds_are_kept():
    rng = np.random.default_rng(0)
    levels = torch.zeros(2000, dtype=torch.long)
    vectors, with_text = drop_conditions(torch.ones(2000, EMBED_DIM), levels, rng)
    assert vectors.shape == (2000, 2 * EMBED_DIM)
    with_image = vectors.abs().sum(dim=1) > 0
    told = vectors[:, EMBED_DIM:].abs().sum(dim=1) > 0
    assert torch.equal(with_image, told)
    assert 0.65 < with_image.float().mean() < 0.75
    assert 0.8 < with_text.float().mean() < 0.9


def test_identical_captions_are_all_positives():
    logits = torch.tensor([[5.0, 5.0, -5.0]])
    both = soft_cross_entropy(logits, torch.tensor([[1.0, 1.0, 0.0]]))
    assert both == pytest.approx(np.log(2), abs=1e-3)


def test_learning_rate_warms_up_holds_and_decays():
    rates = [learning_rate(step, 1000, 1.0) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[100] == rates[499] == 1.0
    assert 0 < rates[-1] < 0.01


def test_nearer_to_own_is_half_for_unrelated_samples_and_one_for_copies():
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(2000, 8, generator=generator)
    labels = torch.arange(2000) % 10
    unrelated = torch.randn(2000, 8, generator=generator)
    assert np.mean(nearer_to_own(unrelated, real, labels)) == pytest.approx(0.5, abs=0.05)
    assert nearer_to_own(real, real, labels) == [1.0] * 10
