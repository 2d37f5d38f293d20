"""Loading: complete and finite or refused, quiet, and never a pickle, from the hub neither."""

import json
import pickle
import shutil
import socket
from pathlib import Path

import pytest
import torch
from micro import generator_config
from safetensors.torch import load_file, save_file

from fgds_core.assess.features import FeatureSources, Tower, load_extractor, tower_of
from fgds_core.errors import InputError
from fgds_core.generators.load import load_generator
from fgds_core.pretrained import component
from fgds_core.pretrained.load import weights_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PICKLES = (
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
    "model.pt",
    "adapter_model.bin",
    "diffusion_pytorch_model.ckpt",
)


@pytest.fixture
def folder(tiny_unclip: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_unclip, tmp_path / "generator"))


class Bomb:
    """What a pickle does when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def change(path: Path, **tensors: torch.Tensor) -> None:
    save_file({**load_file(path), **tensors}, path)


def remove(path: Path, name: str) -> None:
    save_file({key: t for key, t in load_file(path).items() if key != name}, path)


def test_weights_that_are_missing_are_refused_and_not_drawn_at_random(folder: Path) -> None:
    remove(folder / "unet" / "diffusion_pytorch_model.safetensors", "conv_in.bias")
    with pytest.raises(InputError, match=r"unet lacks the weights conv_in\.bias"):
        load_generator(generator_config(folder))


def test_a_text_encoder_without_a_weight_is_refused(folder: Path) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    name = next(name for name in load_file(path) if "token_embedding" in name)
    remove(path, name)
    with pytest.raises(InputError, match="text_encoder lacks the weights"):
        load_generator(generator_config(folder))


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    change(
        folder / "vae" / "diffusion_pytorch_model.safetensors",
        **{"quant_conv.bias": torch.zeros(3)},
    )
    with pytest.raises(InputError, match=r"vae holds no weights that fit its config\.json"):
        load_generator(generator_config(folder))


def test_weights_that_half_precision_cannot_hold_are_refused(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    change(path, **{"conv_in.bias": torch.full_like(load_file(path)["conv_in.bias"], 1e6)})
    load_generator(generator_config(folder))
    with pytest.raises(InputError, match=r"not finite in torch\.float16: conv_in\.bias.*dtype"):
        load_generator(generator_config(folder, dtype="float16"))


def test_large_weights_are_looked_through_when_they_are_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "image_encoder" / "model.safetensors"
    name = sorted(load_file(path))[0]
    change(path, **{name: torch.full_like(load_file(path)[name], torch.nan)})
    monkeypatch.setattr(component, "_check_finite", lambda file: None)
    with pytest.raises(InputError, match="image_encoder holds weights that are not finite"):
        load_generator(generator_config(folder))
    with pytest.raises(InputError, match="image_encoder holds weights that are not finite"):
        load_extractor("clip", FeatureSources(tower=Tower(str(folder))))


def test_no_route_opens_a_pickle_or_asks_a_network(
    tiny_generators: dict[str, dict],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pickles and code lie beside everything that is loaded."""
    settings = tiny_generators["stable-diffusion, ip-adapter"]
    made = {
        "base": settings["path"],
        "adapters": settings["adapter"]["path"],
        "tiny": Path(settings["path"]).parent / "tiny-decoder",
    }
    base, adapters, tiny = (Path(shutil.copytree(p, tmp_path / n)) for n, p in made.items())
    opened = tmp_path / "opened"
    for place in [p for root in (folder, base, adapters, tiny) for p in [root, *root.rglob("*")]]:
        if place.is_dir():
            for name in PICKLES:
                (place / name).write_bytes(pickle.dumps(Bomb(opened)))
            for name in ("diffusers.py", "transformers.py", "pipeline.py", "modeling.py"):
                (place / name).write_text(f"open({str(opened)!r}, 'w')\n")
    monkeypatch.setattr(socket, "socket", None)
    unclip = generator_config(folder)
    changes = {"path": str(base), "tiny_decoder": str(tiny)}
    adapter = {**settings["adapter"], "path": str(adapters)}
    adapted = generator_config(**{**settings, **changes, "adapter": adapter})
    for config in (unclip, adapted):
        load_generator(config)
        load_extractor("clip", FeatureSources(tower=tower_of(config)))
    assert not opened.exists()


def test_loading_shows_no_bars_and_leaves_those_of_others(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    shown = (of_diffusers.is_progress_bar_enabled(), of_transformers.is_progress_bar_enabled())
    load_generator(generator_config(folder))
    load_extractor("clip", FeatureSources(tower=Tower(str(folder))))
    said = capfd.readouterr()
    assert said.out == said.err == ""
    assert shown == (
        of_diffusers.is_progress_bar_enabled(),
        of_transformers.is_progress_bar_enabled(),
    )


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub that holds the generator as owner/name, without network."""
    from huggingface_hub import constants

    place = tmp_path / "cache" / "models--owner--name"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    shutil.copytree(folder, place / "snapshots" / COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(socket, "socket", None)
    return place / "snapshots" / COMMIT


def test_a_model_of_the_hub_is_checked_like_a_folder(folder: Path, hub: Path) -> None:
    ours = load_generator(generator_config("owner/name"))
    expected = load_generator(generator_config(folder))
    for name, t in expected.network.state_dict().items():
        assert torch.equal(t, ours.network.state_dict()[name])
    load_extractor("clip", FeatureSources(tower=Tower("owner/name")))
    path = hub / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "unet": ["mine", "UNet"]}))
    with pytest.raises(InputError, match=r"mine\.UNet"):
        load_generator(generator_config("owner/name"))


@pytest.mark.usefixtures("hub")
def test_a_model_that_the_hub_does_not_give_is_named() -> None:
    with pytest.raises(InputError, match=r"generator\.path: the model owner/other cannot be"):
        load_generator(generator_config("owner/other"))
    with pytest.raises(InputError, match=r"generator\.tiny_decoder: the model owner/tiny cannot"):
        load_generator(generator_config("owner/name", tiny_decoder="owner/tiny"))


def test_pickles_are_not_even_brought_from_the_hub() -> None:
    for variant in (None, "fp16"):
        for pattern in weights_of("model", "unet", variant):
            assert pattern.endswith((".json", ".safetensors"))
            assert pattern.startswith("unet/")
