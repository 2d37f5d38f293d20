import copy
import json
import math

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_transform, resolve_data_config

from fgds_core.classify.card import read_classifier_config
from fgds_core.classify.network import create_classifier, load_classifier, may_be_channels_last
from fgds_core.classify.predict import predict
from fgds_core.classify.save import save_classifier
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
    assert config.real_counts == (200, 30, 5)
    assert config.bins["newt"] == "few"
    assert config.training == {"num_steps": 3}
    assert config.temperature == 1.0
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
        (
            {"class_names": ["cat", "dog"], "real_counts": [1, 2], "bins": {}},
            r"do not fit the model test_resnet .* fc\.\w+ is \[3",
        ),
        ({"model": "test_vit"}, "do not fit the model test_vit"),
        ({"model_kwargs": {"depth": 3}}, "correct them"),
        ({"model_kwargs": {"checkpoint_path": "x.pth"}}, "must not set checkpoint_path"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(folder, change, message):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=message):
        load_classifier(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": 5}, "model: "),
        ({"model": ""}, "model: "),
        ({"model_kwargs": []}, "model_kwargs: "),
        ({"class_names": []}, "class_names: "),
        ({"class_names": ["cat", "dog", "cat"]}, "class_names holds a name twice"),
        ({"class_names": ["cat", "dog", 3]}, r"class_names\.2: "),
        ({"class_names": ["cat", "dog", ""]}, r"class_names\.2: "),
        ({"class_names": "cat"}, "class_names: "),
        ({"input_size": "32"}, "input_size: "),
        ({"input_size": -1}, "input_size: "),
        ({"input_size": 32.5}, "input_size: "),
        ({"input_size": True}, "input_size: "),
        ({"input_size": None}, "input_size: "),
        ({"input_size": 10**30}, "input_size: "),
        ({"mean": [0.5, 0.5]}, r"mean\.2: "),
        ({"mean": [0.5, 0.5, 0.5, 0.5]}, "mean: "),
        ({"mean": 0.5}, "mean: "),
        ({"mean": [0.5, 0.5, math.nan]}, r"mean\.2: "),
        ({"std": [0.5, 0.5, 0]}, r"std\.2: "),
        ({"std": [0.5, 0.5, math.inf]}, r"std\.2: "),
        ({"interpolation": "lanczos"}, "interpolation: "),
        ({"temperature": 0}, "temperature: "),
        ({"temperature": -1.0}, "temperature: "),
        ({"temperature": math.nan}, "temperature: "),
        ({"temperature": math.inf}, "temperature: "),
        ({"temperature": "1"}, "temperature: "),
        ({"real_counts": [1, 2]}, "real_counts has 2 entries for 3 classes"),
        ({"real_counts": [1, 2, -3]}, r"real_counts\.2: "),
        ({"bins": {"cat": "some"}}, r"bins\.cat: "),
        ({"bins": {"fox": "few"}}, "bins names 'fox'"),
        ({"training": []}, "training: "),
        ({"criterion_on_real": {"loss": [1.0]}}, r"criterion_on_real\.loss has 1 entries"),
        ({"criterion_on_real": {"loss": [1.0, None, "x"]}}, r"criterion_on_real\.loss\.2: "),
        ({"criterion_on_real": [1.0]}, "criterion_on_real: "),
    ],
)
def test_an_entry_that_makes_no_sense_is_named_with_the_file(folder, change, message):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    for read in (read_classifier_config, load_classifier):
        with pytest.raises(InputError, match=rf"config\.json makes no sense: {message}"):
            read(folder)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '"x"', "\xff", "[" * 100_000, "{}" * 2])
def test_a_config_that_is_no_object_is_refused(folder, text):
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"config\.json (is not valid JSON|makes no sense)"):
        load_classifier(folder)


def test_notes_of_others_in_a_config_are_no_mistake(folder):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "made by": {"me": [1]}}))
    load_classifier(folder)


def rewritten(folder, change):
    state = load_file(folder / "model.safetensors")
    name = next(name for name, t in state.items() if t.ndim and t.is_floating_point())
    state[name] = change(state[name])
    save_file(state, folder / "model.safetensors")
    return name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t * math.nan, "NaN or infinite"),
        (lambda t: t / 0, "NaN or infinite"),
        (lambda t: t[:1], r"is \[1[,\]]"),
        (lambda t: t.long(), "is of type torch.int64"),
        (lambda t: t.to(torch.complex64), "is of type torch.complex64"),
    ],
)
def test_weights_that_make_no_sense_are_refused(folder, change, message):
    name = rewritten(folder, change)
    with pytest.raises(InputError, match=message) as caught:
        load_classifier(folder)
    assert "model.safetensors" in str(caught.value)
    assert name in str(caught.value)


def test_weights_of_another_precision_are_taken(folder):
    rewritten(folder, lambda t: t.half())
    weight = next(iter(load_classifier(folder).network.parameters()))
    assert weight.dtype == torch.float32


@pytest.mark.parametrize(
    "head",
    [
        b"",
        (10**18).to_bytes(8, "little"),
        (2).to_bytes(8, "little") + b"[]",
        (60).to_bytes(8, "little")
        + b'{"x": {"dtype": "F32", "shape": [999], "data_offsets": [0,4]}}'.ljust(60),
    ],
)
def test_a_weights_file_whose_head_lies_is_refused(folder, head):
    (folder / "model.safetensors").write_bytes(head + bytes(100))
    with pytest.raises(InputError, match=r"model\.safetensors is no intact safetensors"):
        load_classifier(folder)


@pytest.mark.parametrize(
    "name",
    [
        "num_classes",
        "in_chans",
        "img_size",
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "pretrained_strict",
        "pretrained_filter_fn",
        "checkpoint_path",
        "cache_dir",
        "features_only",
        "out_indices",
        "device",
        "dtype",
        "model_name",
    ],
)
def test_arguments_that_load_something_or_have_keys_of_their_own_are_refused(name):
    with pytest.raises(InputError, match=f"must not set {name}"):
        create_classifier(MODEL, {name: "x"}, NAMES, 32, seed=0)


@pytest.mark.parametrize("model", ["hf-hub:someone/model", "local-dir:somewhere", "../model.pth"])
def test_a_model_is_a_name_of_timm_and_no_place(model):
    with pytest.raises(InputError, match="has no model"):
        create_classifier(model, {}, NAMES, 32, seed=0)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with one repository per folder below the path it gives."""
    from huggingface_hub.errors import EntryNotFoundError

    def download(repository, filename, revision=None):
        path = tmp_path / repository / filename
        asked.append(filename)
        if not path.is_file():
            raise EntryNotFoundError(filename)
        return str(path)

    asked = []
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr("torch.load", lambda *args, **kwargs: pytest.fail("a pickle was opened"))
    monkeypatch.setattr(
        "torch.hub.load_state_dict_from_url", lambda *args, **kwargs: pytest.fail("an address")
    )
    return tmp_path, asked


def publish(folder, name, num_classes):
    folder.mkdir(parents=True)
    network = timm.create_model(MODEL, num_classes=num_classes)
    save_file(network.state_dict(), folder / name)
    return network


@pytest.mark.parametrize("name", ["model.safetensors", "open_clip_model.safetensors"])
def test_pretrained_weights_come_from_the_hub_as_safetensors(hub, name):
    root, _ = hub
    given = publish(root / "some/one", name, num_classes=7).state_dict()
    classifier = create_classifier(MODEL, {}, NAMES, 32, seed=0, pretrained="some/one@main")
    assert torch.equal(classifier.network.conv1[0].weight, given["conv1.0.weight"])


def test_the_weights_that_timm_names_are_taken_as_safetensors_only(hub):
    root, asked = hub
    stated = timm.get_pretrained_cfg(MODEL)
    folder = root / stated.hf_hub_id
    given = publish(folder, "model.safetensors", stated.num_classes)
    classifier = create_classifier(MODEL, {}, NAMES, 32, seed=0, pretrained="default")
    assert torch.equal(classifier.network.conv1[0].weight, given.conv1[0].weight)
    assert classifier.network.fc.out_features == len(NAMES)

    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="as one from the Hugging Face hub"):
        create_classifier(MODEL, {}, NAMES, 32, seed=0, pretrained="default")
    assert "pytorch_model.bin" not in asked


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".safetensors"])
def test_a_pickle_is_no_pretrained_weights_whatever_its_name(hub, tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(b"\x80\x04}.")
    with pytest.raises(InputError, match="no intact safetensors"):
        create_classifier(MODEL, {}, NAMES, 32, seed=0, pretrained=str(path))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (dict(in_channels=3, kernel_size=1, stride=2), False),
        (dict(in_channels=24, kernel_size=1, stride=(1, 2)), False),
        (dict(in_channels=64, kernel_size=1, stride=2), True),
        (dict(in_channels=3, kernel_size=1), True),
        (dict(in_channels=3, kernel_size=3, stride=2), True),
    ],
)
def test_networks_on_which_channels_last_breaks_memory_are_kept_from_it(layer, expected):
    network = torch.nn.Sequential(torch.nn.Conv2d(out_channels=8, **layer))
    assert may_be_channels_last(network) == expected


def test_tied_weights_are_saved_and_loaded(tmp_path, classifier):
    tied = copy.deepcopy(classifier)
    first, second = tied.network.layer1[0], tied.network.layer2[0]
    first.alias = first.bn1
    second.alias = second.bn1
    save_classifier(tmp_path, tied, real_counts=[1, 1, 1], bins={})
    state = load_file(tmp_path / "model.safetensors")
    assert torch.equal(state["layer1.0.alias.weight"], state["layer1.0.bn1.weight"])


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
