"""What may lie in a generator's folder: every damage is one message, without loading."""

import json
import os
import shutil
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from micro import generator_config
from safetensors.torch import load_file, save_file

from fgds_core.assess.networks import INCEPTION_FILE, check_inception, check_tower
from fgds_core.errors import InputError
from fgds_core.generators.adapter import check_adapter
from fgds_core.generators.folders import check_generator, check_latents, check_tiny_decoder
from fgds_core.pretrained import clip, component
from fgds_core.pretrained.folder import check_place, is_hub_id

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tiny_unclip: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_unclip, tmp_path / "generator"))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def drop(path: Path, key: str) -> None:
    path.write_text(
        json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != key})
    )


def index(folder: Path, **changes: object) -> None:
    edit(folder / "model_index.json", **changes)


def tokenizer(folder: Path, **changes: object) -> None:
    edit(folder / "tokenizer" / "tokenizer_config.json", **changes)


def rules(folder: Path, **changes: object) -> None:
    edit(folder / "tokenizer" / "tokenizer.json", **changes)


def part(folder: Path, name: str, **changes: object) -> None:
    edit(folder / name / "config.json", **changes)


def processor(folder: Path, **changes: object) -> None:
    edit(folder / "feature_extractor" / "preprocessor_config.json", **changes)


def scheduler(folder: Path, of: str = "scheduler", **changes: object) -> None:
    edit(folder / of / "scheduler_config.json", **changes)


def rename(folder: Path, name: str, other: str) -> None:
    (folder / name).rename((folder / name).with_name(other))


def shard(folder: Path, kept: bool, names: str = "") -> None:
    """Weights in two files and an index, the second there or not."""
    path = folder / UNET
    tensors = load_file(path)
    half = len(tensors) // 2
    where = {}
    for number, some in enumerate((list(tensors)[:half], list(tensors)[half:]), start=1):
        name = f"diffusion_pytorch_model-0000{number}-of-00002.safetensors"
        if number == 1 or kept:
            save_file({key: tensors[key] for key in some}, path.with_name(name))
        where |= dict.fromkeys(some, names or name)
    path.with_name("diffusion_pytorch_model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": where})
    )
    path.unlink()


def spoil(folder: Path, value: float, dtype: torch.dtype = torch.float32) -> None:
    """One weight that is no number."""
    tensors = {key: t.to(dtype) for key, t in load_file(folder / UNET).items()}
    tensors["conv_in.bias"][0] = value
    save_file(tensors, folder / UNET)


Damage = Callable[[Path], object]

DAMAGES: dict[str, tuple[Damage, str]] = {
    # model_index.json
    "no index": (lambda f: (f / "model_index.json").unlink(), "model_index.json cannot be read"),
    "no JSON": (lambda f: (f / "model_index.json").write_text("{"), "is no JSON"),
    "a list": (lambda f: (f / "model_index.json").write_text("[]"), "is no JSON object"),
    "deep": (lambda f: (f / "model_index.json").write_text("[" * 99999), "is no JSON"),
    "latin 1": (lambda f: (f / "model_index.json").write_bytes(b'{"\xe9": 1}'), "is no JSON"),
    "a class of no kind": (lambda f: index(f, _class_name="Mine"), "holds a Mine"),
    "a class that is a list": (lambda f: index(f, _class_name=["Mine", "x"]), "holds a"),
    "a class in a file": (lambda f: index(f, unet=["my_unet", "MyUNet"]), r"my_unet\.MyUNet"),
    "an unknown class": (lambda f: index(f, unet=["diffusers", "MyUNet"]), "MyUNet"),
    "another library": (lambda f: index(f, unet=["os", "system"]), r"os\.system"),
    "a scheduler of theirs": (
        lambda f: index(f, scheduler=["mine", "MyScheduler"]),
        r"mine\.MyScheduler",
    ),
    "a text for a class": (lambda f: index(f, unet="UNet"), "not a library and a class"),
    "three words": (lambda f: index(f, unet=["a", "b", "c"]), "not a library and a class"),
    "a further component": (
        lambda f: index(f, extra=["mine", "Extra"]),
        "names a component extra",
    ),
    "a custom pipeline": (lambda f: index(f, custom_pipeline="x/y"), "custom_pipeline"),
    "a component of null": (lambda f: index(f, image_encoder=[None, None]), "lacks image_encoder"),
    # folders
    "no folder": (lambda f: shutil.rmtree(f / "vae"), "lacks vae"),
    "a dangling link": (
        lambda f: (shutil.rmtree(f / "vae"), (f / "vae").symlink_to(f / "nowhere")),
        "lacks vae",
    ),
    "a file for a folder": (
        lambda f: (shutil.rmtree(f / "vae"), (f / "vae").write_text("")),
        "lacks vae",
    ),
    # configurations
    "no config": (lambda f: (f / "vae" / "config.json").unlink(), "config.json cannot be read"),
    "config of another class": (
        lambda f: part(f, "unet", _class_name="UNet3D"),
        "says _class_name UNet3D",
    ),
    "code beside it": (lambda f: part(f, "unet", auto_map={"A": "x.y"}), "names auto_map"),
    "nested code": (
        lambda f: part(f, "text_encoder", text_config={"auto_map": {"A": "x.y"}}),
        "names auto_map",
    ),
    "quantised": (
        lambda f: part(f, "unet", quantization_config={"quant_method": "bitsandbytes"}),
        "names quantization_config",
    ),
    "a kernel of the hub": (
        lambda f: part(f, "text_encoder", attn_implementation="owner/kernel"),
        "names attn_implementation",
    ),
    "weights of another name": (
        lambda f: part(f, "text_encoder", transformers_weights="adapter_model.bin"),
        "names transformers_weights",
    ),
    "an adapter on top": (
        lambda f: (f / "text_encoder" / "adapter_config.json").write_text("{}"),
        "adapter_config.json",
    ),
    "endless layers": (
        lambda f: part(f, "unet", layers_per_block=[1, 10**7]),
        "unet/config.json says layers_per_block",
    ),
    "endless layers of text": (
        lambda f: part(f, "text_encoder", text_config={"num_hidden_layers": 10**7}),
        "says num_hidden_layers 10000000; at most 1000",
    ),
    "latents of another vae": (lambda f: part(f, "vae", latent_channels=16), "its vae 16"),
    "more channels in": (lambda f: part(f, "unet", in_channels=9), "9 latent channels in"),
    "variance channels": (lambda f: part(f, "unet", out_channels=8), "8 out"),
    "grey images": (lambda f: part(f, "vae", out_channels=1), "1 channels"),
    "channels in words": (lambda f: part(f, "unet", in_channels="4"), "says in_channels 4"),
    "sides of a sample in words": (
        lambda f: part(f, "unet", sample_size=["8", 8]),
        "says sample_size",
    ),
    "no side of a sample": (lambda f: part(f, "unet", sample_size=None), "says sample_size None"),
    "a pipe": (
        lambda f: ((f / "vae" / "config.json").unlink(), os.mkfifo(f / "vae" / "config.json")),
        "config.json is no file",
    ),
    "a device": (
        lambda f: (
            (f / "vae" / "config.json").unlink(),
            (f / "vae" / "config.json").symlink_to("/dev/zero"),
        ),
        "config.json is no file",
    ),
    "weights that are a pipe": (
        lambda f: ((f / UNET).unlink(), os.mkfifo(f / UNET)),
        "has no weights",
    ),
    "an integer of 5,001 digits": (
        lambda f: (f / "vae" / "config.json").write_text('{"a": ' + "1" * 5001 + "}"),
        "is no JSON",
    ),
    "a scaling of 0": (lambda f: part(f, "vae", scaling_factor=0), "says scaling_factor 0"),
    "a scaling of NaN": (lambda f: part(f, "vae", scaling_factor=float("nan")), "scaling_factor"),
    "text of another width": (
        lambda f: part(f, "text_encoder", hidden_size=24),
        "text encoder gives 24",
    ),
    "another vision tower": (
        lambda f: part(f, "image_encoder", projection_dim=24),
        "takes image vectors of 32 numbers",
    ),
    "another normaliser": (
        lambda f: part(f, "image_normalizer", embedding_dim=24),
        "image_normalizer takes embeddings of 24",
    ),
    # schedules of noise
    **{
        f"{value} training steps": (
            lambda f, value=value: scheduler(f, num_train_timesteps=value),
            "scheduler/scheduler_config.json says num_train_timesteps",
        )
        for value in (10**9, 10**30, 0, -1, 1e3, "1000", None, True, [1000])
    },
    "training steps of noise on embeddings": (
        lambda f: scheduler(f, "image_noising_scheduler", num_train_timesteps=10**12),
        "image_noising_scheduler/scheduler_config.json says num_train_timesteps 10",
    ),
    **{
        f"a beta of {value}": (
            lambda f, value=value: scheduler(f, beta_end=value),
            "says beta_end",
        )
        for value in (5, -0.1, float("nan"), float("inf"), "0.02", [0.02], None)
    },
    "betas in words": (lambda f: scheduler(f, trained_betas="abc"), "says trained_betas abc"),
    "too few betas": (lambda f: scheduler(f, trained_betas=[0.1]), r"says trained_betas \[0.1\]"),
    "betas in lists": (
        lambda f: scheduler(f, num_train_timesteps=1, trained_betas=[[0.1]]),
        r"says trained_betas\[0\]",
    ),
    # preprocessing
    "another crop": (lambda f: processor(f, crop_size={"height": 8, "width": 8}), "crops to"),
    "a crop in a number": (lambda f: processor(f, crop_size=224), "crops to 224"),
    "a crop that is not square": (
        lambda f: processor(f, crop_size={"height": 16, "width": 8}),
        "crops to",
    ),
    "a size without shorter edge": (
        lambda f: processor(f, size={"height": 16, "width": 16}),
        "shortest_edge",
    ),
    "a size below the crop": (lambda f: processor(f, size={"shortest_edge": 8}), "shortest_edge"),
    "no resizing": (lambda f: processor(f, do_resize=False), "do_resize False"),
    "a std of 0": (lambda f: processor(f, image_std=[0, 1, 1]), "image_std"),
    "a mean of two": (lambda f: processor(f, image_mean=[0.5, 0.5]), "image_mean"),
    "no preprocessing": (
        lambda f: (f / "feature_extractor" / "preprocessor_config.json").unlink(),
        "preprocessor_config.json cannot be read",
    ),
    # tokenizer
    "no length": (
        lambda f: drop(f / "tokenizer" / "tokenizer_config.json", "model_max_length"),
        "says model_max_length None",
    ),
    **{
        f"a length of {value}": (
            lambda f, value=value: tokenizer(f, model_max_length=value),
            "tokenizer_config.json says model_max_length",
        )
        for value in (10**30, 1e30, 0, -1, 2, 77, 32.0, "77", True, [77])
    },
    "a tokenizer in a file": (lambda f: tokenizer(f, tokenizer_class="Mine"), "tokenizer_class"),
    "tokenizer with code": (lambda f: tokenizer(f, auto_map={"AutoTokenizer": "t.T"}), "auto_map"),
    "no pad": (lambda f: tokenizer(f, pad_token=None), "says pad_token None"),
    "an unknown pad": (lambda f: tokenizer(f, pad_token="[PAD]"), r"says pad_token \[PAD\]"),
    "no rules": (
        lambda f: (f / "tokenizer" / "tokenizer.json").unlink(),
        "lacks merges.txt",
    ),
    "rules of nothing": (
        lambda f: (f / "tokenizer" / "tokenizer.json").write_text('{"version": "1.0"}'),
        "holds no vocabulary",
    ),
    "strange rules": (
        lambda f: rules(f, pre_tokenizer={"type": "Mine"}),
        "no rules of a tokenizer",
    ),
    "added tokens of a strange form": (lambda f: rules(f, added_tokens=[1]), "added_tokens"),
    "more tokens than embeddings": (
        lambda f: part(f, "text_encoder", vocab_size=20),
        "says vocab_size 20",
    ),
    "an added token beyond the embeddings": (
        lambda f: (f / "tokenizer" / "added_tokens.json").write_text('{"<new>": 54}'),
        "up to number 54",
    ),
    # weights
    "no weights": (lambda f: (f / UNET).unlink(), "has no weights"),
    **{
        f"weights as {suffix}": (
            lambda f, suffix=suffix: rename(f, UNET, f"diffusion_pytorch_model.{suffix}"),
            "as pickles",
        )
        for suffix in ("bin", "pt", "pth", "ckpt")
    },
    "one variant alone": (
        lambda f: rename(f, UNET, "diffusion_pytorch_model.fp16.safetensors"),
        "set generator.variant to fp16",
    ),
    "half a file": (
        lambda f: (f / UNET).write_bytes((f / UNET).read_bytes()[:-9]),
        "no safetensors file that can be read",
    ),
    "an empty file": (lambda f: (f / UNET).write_bytes(b""), "no safetensors file"),
    "a pickle by another name": (lambda f: torch.save({}, f / UNET), "no safetensors file"),
    "a header of 2^63": (
        lambda f: (f / UNET).write_bytes(struct.pack("<Q", 2**63) + b"{}"),
        "no safetensors file",
    ),
    "a pointer of git LFS": (
        lambda f: (f / UNET).write_text("version https://git-lfs.github.com/spec/v1\n"),
        "no safetensors file",
    ),
    "a shard that is missing": (
        lambda f: shard(f, kept=False),
        "lacks diffusion_pytorch_model-00002",
    ),
    "a shard elsewhere": (lambda f: shard(f, True, "../../x.safetensors"), "no safetensors file"),
    "a shard that is a pickle": (lambda f: shard(f, True, "x.bin"), "which is no safetensors"),
    "NaN": (lambda f: spoil(f, float("nan")), "not finite in conv_in.bias"),
    "infinity in half": (lambda f: spoil(f, float("inf"), torch.float16), "not finite"),
    "NaN in bfloat16": (lambda f: spoil(f, float("nan"), torch.bfloat16), "not finite"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_generator_is_one_message_that_names_file_or_key(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage, message = DAMAGES[name]
    damage(folder)
    monkeypatch.setattr(socket, "socket", None)  # nothing is asked of any network
    with pytest.raises(InputError, match=message) as caught:
        check_generator(generator_config(folder))
    said = str(caught.value)
    assert said.startswith("generator.")
    assert "\n" not in said
    assert ";" in said  # what to do


SOUND: dict[str, Damage] = {
    "as it is": lambda f: None,
    "betas of its own": lambda f: scheduler(f, num_train_timesteps=3, trained_betas=[0, 0.5, 1]),
    "no betas": lambda f: drop(f / "scheduler" / "scheduler_config.json", "beta_start"),
    "shards": lambda f: shard(f, kept=True),
    "linked folders": lambda f: (
        rename(f, "vae", "vae-elsewhere"),
        (f / "vae").symlink_to(f / "vae-elsewhere"),
    ),
    "linked weights": lambda f: (
        shutil.move(f / UNET, f.parent / "w.safetensors"),
        (f / UNET).symlink_to(f.parent / "w.safetensors"),
    ),
    "a safety checker": lambda f: index(f, safety_checker=["stable_diffusion", "Checker"]),
    "names of earlier versions": lambda f: index(
        f, feature_extractor=["transformers", "CLIPFeatureExtractor"]
    ),
    "a fast tokenizer": lambda f: index(f, tokenizer=["transformers", "CLIPTokenizerFast"]),
    "pickles beside": lambda f: torch.save({}, (f / UNET).with_suffix(".bin")),
    "an address as its name": lambda f: part(f, "unet", _name_or_path="https://example.org/x"),
    "torch's own attention": lambda f: part(f, "text_encoder", attn_implementation="sdpa"),
    "a crop in a number": lambda f: processor(f, crop_size=16, size=16),
    "two sides of a sample": lambda f: part(f, "unet", sample_size=[8, 8]),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_is_whole_passes_and_loads(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fgds_core.generators.load import load_generator

    SOUND[name](folder)
    monkeypatch.setattr(socket, "socket", None)
    load_generator(generator_config(folder)).encode_prompts(["a cat"])


def test_a_variant_is_taken_where_it_is_and_refused_where_nothing_has_it(folder: Path) -> None:
    with pytest.raises(InputError, match=r"generator\.variant is fp16, but no component"):
        check_generator(generator_config(folder, variant="fp16"))
    rename(folder, UNET, "diffusion_pytorch_model.fp16.safetensors")
    check_generator(generator_config(folder, variant="fp16"))
    with pytest.raises(InputError, match=r"generator\.variant"):
        check_generator(generator_config(folder))


def test_large_weights_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(folder, float("nan"))
    monkeypatch.setattr(component, "SMALL", 100_000)
    limit = (folder / UNET).stat().st_size
    monkeypatch.setattr(component, "SMALL", limit - 1)
    check_generator(generator_config(folder))  # loading will refuse it


def test_what_may_not_be_read_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    (folder / UNET).unlink()
    with pytest.raises(InputError, match=r"unet cannot be read \(Permission denied\)"):
        check_generator(generator_config(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_name": "other.safetensors"}, "holds no IP-Adapter"),
        ({"image_encoder": "none"}, "no image encoder stable-diffusion/none"),
        ({"subfolder": "stable-diffusion-xl"}, "unet takes 16"),
    ],
)
def test_adapters_are_checked_without_loading(
    tiny_generators: dict[str, dict], changes: dict[str, str], message: str
) -> None:
    settings = tiny_generators["stable-diffusion, ip-adapter"]
    settings = {**settings, "adapter": {**settings["adapter"], **changes}}
    config = generator_config(**settings)
    _, configs = check_generator(config)
    with pytest.raises(InputError, match=message):
        check_adapter(config.adapter, configs["unet"])


def test_an_adapter_of_patches_or_of_nothing_is_refused(
    tiny_generators: dict[str, dict], tmp_path: Path
) -> None:
    settings = tiny_generators["stable-diffusion, ip-adapter"]
    place = Path(shutil.copytree(settings["adapter"]["path"], tmp_path / "adapters"))
    weights = place / "stable-diffusion" / "adapter.safetensors"
    save_file({"image_proj.latents": torch.zeros(1, 4, 8)}, weights)
    config = generator_config(
        **{**settings, "adapter": {**settings["adapter"], "path": str(place)}}
    )
    with pytest.raises(InputError, match="not a plus or full-face one"):
        check_adapter(config.adapter)
    weights.write_bytes(b"PK")
    with pytest.raises(InputError, match="no safetensors file"):
        check_adapter(config.adapter)


def test_a_tiny_decoder_has_its_class_and_latents(tiny_unclip: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="set it to null"):
        check_tiny_decoder(str(tmp_path))
    with pytest.raises(InputError, match="says _class_name AutoencoderKL, not AutoencoderTiny"):
        check_tiny_decoder(str(tiny_unclip / "vae"))
    with pytest.raises(InputError, match="decodes 16 latent channels"):
        check_latents({"latent_channels": 16}, {})


def test_a_tower_is_checked_for_its_features(
    tiny_generators: dict[str, dict], folder: Path
) -> None:
    check_tower(generator_config(folder))
    check_tower(generator_config(**tiny_generators["stable-diffusion, ip-adapter"]))
    with pytest.raises(InputError, match=r"assess\.features: .* no CLIP vision tower"):
        check_tower(generator_config(**tiny_generators["stable-diffusion"]))


def test_inception_is_found_in_its_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"assess\.inception_weights"):
        check_inception(tmp_path)
    file = tmp_path / INCEPTION_FILE
    file.write_bytes(b"")
    assert check_inception(tmp_path) == check_inception(file) == file


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("owner/name", True),
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", True),
        ("owner/name.v2", True),
        *(
            (path, False)
            for path in ("name", "a/b/c", "./a", "~/a", "/a/b", "https://x/y", "a/..")
        ),
        ("a" * 5000, False),
        *(
            (path, False)
            for path in ("..", "", "\0", "a /b", "a/b c", "file://a/b", "s3://a", "a\\b")
        ),
    ],
)
def test_an_id_of_the_hub_has_its_form(path: str, known: bool) -> None:
    assert is_hub_id(path) == known
    if known:
        assert not check_place(path, "generator.path")
    elif path not in ("..", ""):
        with pytest.raises(InputError, match="there is no folder"):
            check_place(path, "generator.path")


@pytest.mark.parametrize("name", ["stable-diffusion", "stable-diffusion-xl", "stable-diffusion-3"])
def test_every_kind_passes(tiny_generators: dict[str, dict], name: str) -> None:
    check_generator(generator_config(**tiny_generators[name]))


STRANGE = (None, "x", -1, 0, 1e308, [], {}, [[]], {"a": []}, True, 2**70, "1" * 5000)


def test_no_value_of_any_key_is_more_than_a_message(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(component, "tensors", lambda file: {})  # what takes the time
    monkeypatch.setattr(clip, "_check_rules", lambda place: None)
    files = sorted(folder.rglob("*.json"))
    assert len(files) >= 10
    refused = []
    for number, file in enumerate(files):
        text = file.read_text()
        whole = json.loads(text)
        for offset, key in enumerate(whole):
            for value in STRANGE[(number + offset) % 3 :: 3]:  # each key with a third of them
                file.write_text(json.dumps({**whole, key: value}))
                try:
                    check_generator(generator_config(folder, image_size=16))
                except InputError as error:
                    refused.append(len(str(error)))
        file.write_text(text)
    check_generator(generator_config(folder, image_size=16))
    assert len(refused) > 50
    assert max(refused) < 1000
