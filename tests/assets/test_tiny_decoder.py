"""The tiny decoder fits the embedded generator, and shows what its own decoder shows."""

import json

import datasets
import pytest
import torch
from micro import generator_config
from torchvision.transforms.functional import pil_to_tensor, resize

from assets.fashion_lt import FOLDER as FASHION_LT
from assets.tiny_decoder import FOLDER
from assets.tiny_unclip import FOLDER as GENERATOR
from fgds_core.generators.load import load_generator


@pytest.fixture(scope="module")
def generator():
    return load_generator(generator_config(GENERATOR, tiny_decoder=str(FOLDER)))


@pytest.fixture(scope="module")
def z(generator, tmp_path_factory):
    """Latents of real images, none of which it was distilled on."""
    rows = datasets.load_dataset(
        "parquet",
        data_files=str(FASHION_LT / "test.parquet"),
        split="train[:64]",
        cache_dir=str(tmp_path_factory.mktemp("datasets")),
    )
    pixels = torch.stack([resize(pil_to_tensor(row["image"].convert("RGB")), 32) for row in rows])
    vae = generator.pipeline.vae
    with torch.no_grad():
        latents = vae.encode(pixels / 127.5 - 1).latent_dist.mode()
    return latents * vae.config.scaling_factor


@torch.no_grad()
def test_it_shows_what_the_decoder_shows(generator, z):
    card = json.loads((FOLDER / "card.json").read_text())
    shown, exact = generator.decode_tiny(z), generator.decode(z)
    assert shown.shape == exact.shape
    assert (shown - exact).abs().mean() / 2 < 2 * card["mean_absolute_error"]
    shifted = (shown.roll(1, 0) - exact).abs().mean()
    assert (shown - exact).abs().mean() < 0.2 * shifted


def test_its_gradient_points_where_the_decoders_points(generator, z):
    def pull(decode):
        start = z.clone().requires_grad_()
        (grad,) = torch.autograd.grad(decode(start).mean(), start)
        return grad.flatten(1)

    alike = torch.cosine_similarity(pull(generator.decode_tiny), pull(generator.decode))
    assert alike.mean() > 0.5


def test_it_is_a_tenth_of_the_decoder(generator):
    weights = [
        sum(p.numel() for p in decoder.parameters())
        for decoder in (generator.tiny_decoder.decoder, generator.pipeline.vae.decoder)
    ]
    assert weights[0] < weights[1] / 10
    assert {file.suffix for file in FOLDER.iterdir()} == {".json", ".safetensors", ".md"}
