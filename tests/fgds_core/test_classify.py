import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_transform, resolve_data_config

from fgds_core.classify import (
    create_classifier,
    load_classifier,
    predict,
    read_classifier_config,
    save_classifier,
)
from fgds_core.errors import InputError

MODEL = "test_resnet"
NAMES = ("cat", "dog", "newt")


@pytest.fixture(scope="module")
def classifier():
    return create_classifier(MODEL, {}, NAMES, 32, seed=0).eval()


@pytest.fixture
def folder(tmp_path, classifier):
    save_classifier(
        tmp_path / "model",
        classifier,
        real_counts=[200, 30, 5],
        bins={"cat": "many", "dog": "medium", "newt": "few"},
        extra={"training": {"num_steps": 3}},
    )
    return tmp_path / "model"


def pixels(size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet"])  # their statistics differ
def test_preprocessing_is_timms_evaluation_transform(tmp_path, model):
    classifier = create_classifier(model, {}, NAMES, 32, seed=0)
    network = timm.create_model(model)
    transform = create_transform(
        **{**resolve_data_config({}, model=network), "input_size": (3, 32, 32), "crop_pct": 1.0}
    )
    picture = pixels(32)[0]
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as image:
        expected = transform(image)
    x = picture[None].float() / 127.5 - 1
    torch.testing.assert_close(classifier.preprocess(x)[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("model", "size"), [("test_resnet", 61), ("test_efficientnet", 17)])
def test_resizing_agrees_with_pil_to_its_rounding(model, size):
    classifier = create_classifier(model, {}, NAMES, 32, seed=0)
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    # Mid-tones, for PIL clips what the filter throws beyond black and white
    picture = pixels(size)[0] // 4 + 96
    image = Image.fromarray(picture.permute(1, 2, 0).numpy())
    image = image.resize((32, 32), filters[classifier.contract.interpolation])
    resized = torch.tensor(np.asarray(image)).permute(2, 0, 1)
    expected = (resized / 255 - classifier.mean) / classifier.std
    actual = classifier.preprocess(picture[None].float() / 127.5 - 1)[0]
    step = 1 / 255 / classifier.std.min().item()  # one grey level of the rounded picture
    assert (actual - expected).abs().max() <= 1.01 * step


def test_preprocessing_is_the_same_in_training_and_under_gradients(classifier):
    x = pixels(28).float() / 127.5 - 1
    plain = classifier.preprocess(x)
    guided = classifier.preprocess(x.clone().requires_grad_())
    classifier.train()
    training = classifier.preprocess(x)
    classifier.eval()
    assert torch.equal(plain, guided)
    assert torch.equal(plain, training)


def test_gradient_reaches_every_pixel_even_beyond_the_range(classifier):
    x = (3 * (pixels(28).float() / 127.5 - 1)).requires_grad_()
    (grad,) = torch.autograd.grad(classifier.preprocess(x).square().sum(), x)
    assert grad.isfinite().all()
    assert (grad != 0).all()


def test_an_image_does_not_depend_on_its_batch(classifier):
    x = pixels(28).float() / 127.5 - 1
    torch.testing.assert_close(classifier(x)[:1], classifier(x[:1]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet", "test_vit"])
def test_features_are_what_the_last_layer_sees(model):
    classifier = create_classifier(model, {}, NAMES, 32, seed=0).eval()
    x = pixels(32).float() / 127.5 - 1
    logits, features = classifier.logits_and_features(x)
    assert torch.equal(features, classifier.features(x))
    torch.testing.assert_close(logits, classifier(x))
    torch.testing.assert_close(classifier.network.get_classifier()(features), logits)


def test_predicting_in_batches_is_one_pass_and_keeps_the_mode(classifier):
    x = torch.cat([pixels(32, seed) for seed in range(3)]).float() / 127.5 - 1
    logits, features = predict(classifier.train(), x, batch_size=4)
    assert classifier.training
    with torch.no_grad():
        expected = classifier.eval().logits_and_features(x)
    torch.testing.assert_close((logits, features), expected, atol=1e-5, rtol=1e-4)


def test_weights_come_from_the_seed_alone():
    state = torch.random.get_rng_state()
    first, again, other = (create_classifier(MODEL, {}, NAMES, 32, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    pairs = list(zip(first.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_a_saved_classifier_comes_back_as_it_was(folder, classifier):
    loaded = load_classifier(folder)
    x = pixels(28).float() / 127.5 - 1
    assert torch.equal(loaded(x), classifier(x))
    assert loaded.contract == classifier.contract
    assert loaded.class_names == NAMES
    assert not loaded.training


def test_the_config_says_all_that_feeding_it_needs(folder):
    config = read_classifier_config(folder)
    assert config["real_counts"] == [200, 30, 5]
    assert config["bins"]["newt"] == "few"
    assert config["training"] == {"num_steps": 3}
    assert config["temperature"] == 1.0
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_saving_twice_gives_the_same_bytes(tmp_path, folder):
    save_classifier(tmp_path / "b", load_classifier(folder), real_counts=[1, 1, 1], bins={})
    assert (tmp_path / "b/model.safetensors").read_bytes() == (
        folder / "model.safetensors"
    ).read_bytes()


def test_loading_feeds_by_the_stored_contract_not_by_timms(folder):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "mean": [0.1, 0.2, 0.3]}))
    loaded = load_classifier(folder)
    assert loaded.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_missing_and_damaged_files_are_named(folder):
    weights, config = folder / "model.safetensors", folder / "config.json"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="no intact safetensors"):
        load_classifier(folder)
    weights.unlink()
    with pytest.raises(InputError, match=r"no weights at .*model\.safetensors"):
        load_classifier(folder)
    config.write_text("{}")
    with pytest.raises(InputError, match="lacks class_names"):
        load_classifier(folder)
    config.write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        load_classifier(folder)
    config.unlink()
    with pytest.raises(InputError, match=r"config\.json is missing"):
        load_classifier(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "test_resnot"}, r"no model 'test_resnot'; did you mean test_resnet"),
        ({"class_names": ["cat", "dog"]}, "do not fit the model test_resnet"),
        ({"model": "test_vit"}, "do not fit the model test_vit"),
        ({"model_kwargs": {"depth": 3}}, "correct or remove them"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(folder, change, message):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=message):
        load_classifier(folder)


def test_arguments_that_the_data_decide_are_refused():
    with pytest.raises(InputError, match="must not set num_classes"):
        create_classifier(MODEL, {"num_classes": 5}, NAMES, 32, seed=0)


def test_pretrained_weights_of_other_classes_give_all_but_the_last_layer(tmp_path):
    network = timm.create_model(MODEL, num_classes=7)
    save_file(network.state_dict(), tmp_path / "seven.safetensors")
    classifier = create_classifier(
        MODEL, {}, NAMES, 32, seed=0, pretrained=str(tmp_path / "seven.safetensors")
    )
    start = create_classifier(MODEL, {}, NAMES, 32, seed=0)
    given = load_file(tmp_path / "seven.safetensors")
    for name, weight in classifier.network.state_dict().items():
        source = start.network.state_dict() if name.startswith("fc.") else given
        assert torch.equal(weight, source[name])


def test_pretrained_weights_of_as_many_classes_are_taken_whole(tmp_path):
    network = timm.create_model(MODEL, num_classes=len(NAMES))
    save_file(network.state_dict(), tmp_path / "three.safetensors")
    classifier = create_classifier(
        MODEL, {}, NAMES, 32, seed=0, pretrained=str(tmp_path / "three.safetensors")
    )
    assert torch.equal(classifier.network.fc.weight, network.fc.weight)


def test_pretrained_weights_of_another_network_are_refused(tmp_path, folder):
    weights = str(folder / "model.safetensors")
    with pytest.raises(InputError, match="do not fit test_vit: they lack"):
        create_classifier("test_vit", {}, NAMES, 32, seed=0, pretrained=weights)
    with pytest.raises(InputError, match="no weights at"):
        create_classifier(
            MODEL, {}, NAMES, 32, seed=0, pretrained=str(tmp_path / "absent.safetensors")
        )
