"""Contracts of the feature extractors, on tiny random networks."""

import numpy as np
import pytest
import tiny
import torch
from cleanfid.resize import build_resizer
from micro import generator_config
from torch import nn
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from fgds_core.assess.features import (
    INCEPTION_FILE,
    FeatureSources,
    Tower,
    load_extractor,
    tower_of,
)
from fgds_core.classify.network import create_classifier
from fgds_core.errors import InputError
from fgds_core.images.pixels import from_uint8


@pytest.fixture
def images():
    """Images as they come from PNG files, [5, 3, 40, 24] in [-1, 1]."""
    pixels = torch.randint(
        0, 256, (5, 3, 40, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return from_uint8(pixels)


@pytest.fixture(scope="module")
def generator_folder(tmp_path_factory):
    """A folder with the two components that the extractor may read, and nothing else."""
    folder = tmp_path_factory.mktemp("generator")
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
        projection_dim=6,
    )
    CLIPVisionModelWithProjection(config).save_pretrained(folder / "image_encoder")
    CLIPImageProcessor(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
    ).save_pretrained(folder / "feature_extractor")
    return folder


def embedded(extract, images):
    with torch.no_grad():
        return extract.embed(images).numpy()


class TinyInception(nn.Module):
    """Has the entry point of clean-fid's file; keeps channel means of what it is given."""

    def __init__(self):
        super().__init__()
        self.layers = ChannelMeans()

    def forward(self, x):
        return self.layers(x)


class ChannelMeans(nn.Module):
    def forward(self, x):
        return x.mean(dim=(2, 3)).repeat(1, 683)[:, :2048]


def test_clip_gives_what_the_pipelines_own_preprocessing_gives(generator_folder, images):
    extract = load_extractor("clip", FeatureSources(tower=Tower(str(generator_folder))))
    processor = CLIPImageProcessor.from_pretrained(generator_folder / "feature_extractor")
    tower = CLIPVisionModelWithProjection.from_pretrained(generator_folder / "image_encoder")
    pixels = processor(images=(images + 1) / 2, do_rescale=False, return_tensors="pt").pixel_values
    with torch.no_grad():
        expected = tower(pixels).image_embeds.numpy()

    features = embedded(extract, images)

    assert extract.name == "clip"
    assert features.shape == (5, 6)
    assert features == pytest.approx(expected, abs=1e-5)


def test_features_do_not_depend_on_the_batch(generator_folder, images):
    sources = FeatureSources(tower=Tower(str(generator_folder)))
    extract = load_extractor("clip", sources)
    in_pairs = np.concatenate([embedded(extract, pair) for pair in images.split(2)])
    assert in_pairs == pytest.approx(embedded(extract, images), abs=1e-5)


def test_inception_sees_cleanly_resized_images(tmp_path, images):
    torch.jit.script(TinyInception()).save(tmp_path / INCEPTION_FILE)
    extract = load_extractor("inception", FeatureSources(inception_weights=tmp_path))
    resize = build_resizer("clean")
    pixels = ((images + 1) * 127.5).round().numpy().astype(np.uint8).transpose(0, 2, 3, 1)
    expected = np.stack([resize(image).mean((0, 1)) for image in pixels])  # [5, 3] in [0, 255]

    features = embedded(extract, images)

    assert features.shape == (5, 2048)
    assert features[:, :3] * 128 + 128 == pytest.approx(expected, abs=1e-2)


def test_classifier_features_are_those_of_the_classifier(images):
    model = create_classifier("test_resnet", {}, ("a", "b"), 32, seed=0).eval()
    extract = load_extractor("classifier", FeatureSources(classifier=model))
    with torch.no_grad():
        assert np.array_equal(embedded(extract, images), model.features(images).numpy())
    assert extract.classifier is model


@pytest.mark.parametrize(
    ("name", "sources", "remedy"),
    [
        ("clip", FeatureSources(), "generator"),
        ("clip", FeatureSources(tower=Tower("no/such/folder")), "no/such/folder"),
        ("inception", FeatureSources(), "assess.inception_weights"),
        ("classifier", FeatureSources(), "trained classifier"),
        ("dino", FeatureSources(), "clip"),
    ],
)
def test_what_is_missing_is_said_with_a_remedy(name, sources, remedy):
    with pytest.raises(InputError, match=remedy):
        load_extractor(name, sources)


def test_absent_or_damaged_inception_weights_say_where_to_put_them(tmp_path):
    sources = FeatureSources(inception_weights=tmp_path / INCEPTION_FILE)
    with pytest.raises(InputError, match=r"assess\.inception_weights"):
        load_extractor("inception", sources)
    (tmp_path / INCEPTION_FILE).write_bytes(b"not a network")
    with pytest.raises(InputError, match="TorchScript"):
        load_extractor("inception", sources)


def test_the_tower_is_read_in_its_variant_and_in_single_precision(tmp_path):
    tower = tiny.image_encoder().half()
    tower.save_pretrained(tmp_path / "image_encoder", variant="fp16")
    tiny.feature_extractor().save_pretrained(tmp_path / "feature_extractor")
    extract = load_extractor("clip", FeatureSources(tower=Tower(str(tmp_path), variant="fp16")))
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    (features,) = [extract.embed(images)]
    assert features.dtype == torch.float32


def test_an_adapter_brings_its_own_tower(tiny_generators):
    settings = tiny_generators["stable-diffusion, ip-adapter"]
    tower = tower_of(generator_config(**settings))
    extract = load_extractor("clip", FeatureSources(tower=tower))
    assert embedded(extract, torch.zeros(2, 3, 16, 16)).shape == (2, tiny.WIDTH)
    assert extract.classifier is None
