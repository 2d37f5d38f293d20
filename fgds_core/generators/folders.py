"""Folders of pre-trained models, checked without loading them: they are input like any other.

Only what is known is let through: the components of a kind of generator, each of the class that
it has there, its configuration, and its weights as safetensors. Nothing that names code, pickles
or an address is passed on to the libraries that load. Reads a few configurations and the headers
of the weights, so it takes a moment however large a model is.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from stat import S_ISREG
from typing import Any

from fgds_core.errors import InputError
from fgds_core.generators.config import AdapterConfig, GeneratorConfig, tower_folder

Config = Mapping[str, Any]
"""A configuration as its JSON file holds it."""


@dataclass(frozen=True)
class Component:
    """What one component of a generator has to be.

    Attributes:
        library: Where its class is, as `model_index.json` says it.
        classes: Names of the classes that it may have.
        config: Name of its configuration.
        weights: How the names of its weights' files begin; None has no weights.
    """

    library: str
    classes: tuple[str, ...]
    config: str = "config.json"
    weights: str | None = None


CONFIG = "config.json"

INCEPTION_FILE = "inception-2015-12-05.pt"

_DIFFUSERS, _TRANSFORMERS = "diffusion_pytorch_model", "model"

TOWER = Component("transformers", ("CLIPVisionModelWithProjection",), weights=_TRANSFORMERS)
TINY_DECODER = Component("diffusers", ("AutoencoderTiny",), weights=_DIFFUSERS)
PROCESSOR = Component(
    "transformers",
    ("CLIPImageProcessor", "CLIPFeatureExtractor", "CLIPImageProcessorFast"),
    "preprocessor_config.json",
)
SCHEDULER = Component("diffusers", (), "scheduler_config.json")  # of any class, see `_check_class`
TOKENIZER = Component(
    "transformers", ("CLIPTokenizer", "CLIPTokenizerFast"), "tokenizer_config.json"
)
TEXT_ENCODER = Component(
    "transformers", ("CLIPTextModel", "CLIPTextModelWithProjection"), weights=_TRANSFORMERS
)
UNET = Component("diffusers", ("UNet2DConditionModel",), weights=_DIFFUSERS)
VAE = Component("diffusers", ("AutoencoderKL",), weights=_DIFFUSERS)

_DIFFUSION = {
    "scheduler": SCHEDULER,
    "text_encoder": TEXT_ENCODER,
    "tokenizer": TOKENIZER,
    "unet": UNET,
    "vae": VAE,
}
_XL = {**_DIFFUSION, "text_encoder_2": TEXT_ENCODER, "tokenizer_2": TOKENIZER}


@dataclass(frozen=True)
class Layout:
    """What a pipeline of diffusers consists of.

    Attributes:
        network: Name of the denoising component.
        components: What has to be there, by name.
        optional: What is used where it is there.
    """

    network: str
    components: Mapping[str, Component]
    optional: Mapping[str, Component] = field(default_factory=dict)


LAYOUTS = {
    "StableDiffusionPipeline": Layout("unet", _DIFFUSION),
    "StableDiffusionXLPipeline": Layout("unet", _XL),
    "StableDiffusion3Pipeline": Layout(
        "transformer",
        {
            "scheduler": SCHEDULER,
            "text_encoder": TEXT_ENCODER,
            "text_encoder_2": TEXT_ENCODER,
            "tokenizer": TOKENIZER,
            "tokenizer_2": TOKENIZER,
            "transformer": Component("diffusers", ("SD3Transformer2DModel",), weights=_DIFFUSERS),
            "vae": VAE,
        },
        {
            "text_encoder_3": Component(
                "transformers", ("T5EncoderModel",), weights=_TRANSFORMERS
            ),
            "tokenizer_3": Component(
                "transformers", ("T5Tokenizer", "T5TokenizerFast"), "tokenizer_config.json"
            ),
        },
    ),
    "StableUnCLIPImg2ImgPipeline": Layout(
        "unet",
        {
            **_DIFFUSION,
            "feature_extractor": PROCESSOR,
            "image_encoder": TOWER,
            "image_noising_scheduler": SCHEDULER,
            "image_normalizer": Component(
                "stable_diffusion", ("StableUnCLIPImageNormalizer",), weights=_DIFFUSERS
            ),
        },
    ),
}
"""By the name of the pipeline."""

PIPELINES = {
    "stable-unclip": ("StableUnCLIPImg2ImgPipeline",),
    "text-to-image": ("StableDiffusionPipeline", "StableDiffusionXLPipeline"),
    "ip-adapter": ("StableDiffusionPipeline", "StableDiffusionXLPipeline"),
    "stable-diffusion-3": ("StableDiffusion3Pipeline",),
}
"""Pipelines of diffusers that are of a kind."""

UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""Components that published pipelines bring along and that are not loaded where no layout has
them: what is drawn are the user's own classes."""

CODE = (
    "auto_map",  # classes from Python files beside the configuration, or on the hub
    "custom_pipeline",
    "custom_pipelines",
    "trust_remote_code",
    "quantization_config",  # loads by another library
    "transformers_weights",  # weights from another file, a pickle among them
    "attn_implementation",  # may name a kernel on the hub, which is code
    "_attn_implementation",
    "_attn_implementation_internal",
    "experts_implementation",
    "_experts_implementation",
    "_experts_implementation_internal",
)
"""Keys of configurations that make a library run code or open files that are not weights."""

HARMLESS: tuple[object, ...] = (None, "eager", "sdpa", [], {}, False)
"""Values of these keys that ask for nothing but what torch and the libraries have."""

SMALL = 1 << 26
"""Bytes of weights that are looked through for values that are not finite before loading."""

LAYERS = (
    "layers_per_block",
    "num_decoder_layers",
    "num_hidden_layers",
    "num_layers",
    "transformer_layers_per_block",
)
"""Keys of configurations that say how many layers a library makes, before it looks for weights."""

MAX_LAYERS = 1000

MAX_TRAINING_STEPS = 100_000
"""Of a generator's schedule; published ones have 1,000."""

REMEDY = "take a whole copy of the published model"


@dataclass(frozen=True)
class Folder:
    """A folder of a component.

    Attributes:
        path: Where it is.
        key: The parameter that names it or what it lies in.
        remedy: What to do about most that may be wrong with it.
    """

    path: Path
    key: str
    remedy: str = REMEDY

    def __truediv__(self, name: str) -> "Folder":
        return replace(self, path=self.path / name)

    def wrong(self, what: str, remedy: str | None = None) -> InputError:
        """The mistake, where it is, and what to do."""
        return InputError(f"{self.key}: {self.path} {what}; {remedy or self.remedy}")


def check_generator(
    config: GeneratorConfig, folder: Path | None = None
) -> tuple[str, dict[str, Config]]:
    """Checks the folder of a generator: what there is, and whether it fits together.

    Args:
        config: The section `generator`.
        folder: Where a model of the hub lies now; None is `path` itself.

    Returns:
        The name of its pipeline, and the configuration of each component.

    Raises:
        InputError: Something is missing, damaged, unknown or does not fit.
    """
    place = Folder(folder or Path(config.path), "generator.path")
    if folder is None and config.revision is not None:
        raise InputError(
            f"generator.revision is {config.revision}, but {config.path} is a folder, which has"
            " none; set it to null"
        )
    with _readable(place):
        return _check_generator(config, place)


def _check_generator(config: GeneratorConfig, place: Folder) -> tuple[str, dict[str, Config]]:
    name, index = check_index(config, read(place, "model_index.json"))
    layout = LAYOUTS[name]
    parts = dict(layout.components)
    parts |= {part: of for part, of in layout.optional.items() if is_there(index, part)}
    if missing := [part for part in parts if not (place / part).path.is_dir()]:
        raise place.wrong(f"lacks {', '.join(missing)}", f"take the whole {name}")
    variants = {part: variant_there(place / part, config.variant) for part in parts}
    configs = {
        part: check_component(place / part, component, variants[part], str(index[part][1]))
        for part, component in parts.items()
    }
    if config.variant is not None and not any(variants.values()):
        raise InputError(
            f"generator.variant is {config.variant}, but no component of {place.path} has weights"
            " of that variant; set it to null, or to the variant that is there"
        )
    for part in parts:
        if part in ("tokenizer", "tokenizer_2"):
            encoder = part.replace("tokenizer", "text_encoder")
            check_tokenizer(
                place / part, configs[part], configs[encoder], f"{encoder}/config.json"
            )
    for part in ("scheduler", "image_noising_scheduler"):
        if part in configs:
            _check_scheduler(place / part / SCHEDULER.config, configs[part])
    _check_fit(place, name, configs)
    if config.image_size is not None:
        _check_image_size(config.image_size, place, configs)
    return name, configs


def check_index(config: GeneratorConfig, index: Config) -> tuple[str, Config]:
    """Checks what `model_index.json` says that a generator consists of.

    Returns:
        The name of its pipeline, and the index.
    """
    place = Folder(Path(config.path), "generator.path")
    kinds = PIPELINES[config.kind]
    name = index.get("_class_name")
    if name not in kinds:
        raise place.wrong(
            f"holds a {_short(name)}, generator.kind {config.kind} needs a {' or '.join(kinds)}",
            "correct the one or the other",
        )
    layout = LAYOUTS[name]
    known = {**layout.components, **layout.optional}
    if missing := [part for part in layout.components if not is_there(index, part)]:
        raise place.wrong(
            f"lacks {', '.join(missing)} in its model_index.json", f"take the whole {name}"
        )
    file = place / "model_index.json"
    if codes := sorted(set(CODE) & set(index)):
        raise file.wrong(f"names {', '.join(codes)}", "no code of a model is run: " + REMEDY)
    for part, value in index.items():
        if part.startswith("_") or value in (None, [None, None]):
            continue
        if not isinstance(value, list) and part not in known:
            continue  # a setting of the pipeline
        if (
            not isinstance(value, list)
            or len(value) != 2
            or not all(isinstance(word, str) for word in value)
        ):
            raise file.wrong(f"says of {part} {_short(value)}, not a library and a class")
        if part in known:
            _check_class(file, part, known[part], *value)
        elif part not in UNUSED:
            raise file.wrong(
                f"names a component {_short(part)} that a {name} does not have",
                "no code of a model is run: " + REMEDY,
            )
    return str(name), index


def is_there(index: Config, part: str) -> bool:
    """Whether `model_index.json` says that a component is there."""
    return index.get(part) not in (None, [None, None])


def _check_class(file: Folder, part: str, component: Component, library: str, name: str) -> None:
    classes = component.classes or ("a scheduler",)
    known = name in classes if component.classes else bool(re.fullmatch(r"\w+Scheduler", name))
    if library != component.library or not known:
        raise file.wrong(
            f"says that {part} is {_short(library)}.{_short(name)}; known there is"
            f" {component.library}: {' or '.join(classes)}",
            "no code of a model is run: " + REMEDY,
        )


def check_component(
    place: Folder, component: Component, variant: str | None = None, name: str | None = None
) -> Config:
    """Checks the folder of one component: its configuration, and its weights if it has some.

    Args:
        place: The folder.
        component: What it has to be.
        variant: Variant of its weights that is taken where it is there.
        name: Its class; None is the only one it may have.

    Returns:
        Its configuration.
    """
    config = read(place, component.config)
    file = place / component.config
    if codes := sorted(
        {key for key, value in _entries(config) if key in CODE and value not in HARMLESS}
    ):
        raise file.wrong(
            f"names {', '.join(codes)}", "no code of a model is run: take it out, or " + REMEDY
        )
    if (place / "adapter_config.json").path.exists():
        raise place.wrong("holds an adapter_config.json, an adapter on top of another model")
    stated = config.get("_class_name", name)
    if name is not None and component.library != "transformers" and stated != name:
        raise file.wrong(f"says _class_name {_short(stated)}, model_index.json {name}")
    if name is None and component.library == "diffusers" and stated not in component.classes:
        raise file.wrong(
            f"says _class_name {_short(stated)}, not {' or '.join(component.classes)}",
            "name another, or set the key to null",
        )
    if component.weights is not None:
        for key, value in _entries(config):
            if key in LAYERS and any(n > MAX_LAYERS for n in _whole_numbers(value)):
                raise file.wrong(f"says {key} {_short(value)}; at most {MAX_LAYERS} are made")
        check_weights(place, component.weights, variant)
    return config


def _whole_numbers(value: object) -> Iterator[int]:
    """The whole numbers in a value that may be a list of such values."""
    if isinstance(value, list):
        for inner in value:
            yield from _whole_numbers(inner)
    elif type(value) is int:
        yield value


def variant_there(place: Folder, variant: str | None) -> str | None:
    """The variant of the weights' files where a component has it; others lie there plain."""
    pattern = re.compile(rf".+\.{re.escape(variant or '')}([.-].*)?\.(safetensors|json)")
    there = variant is not None and any(pattern.fullmatch(p.name) for p in place.path.iterdir())
    return variant if there else None


def check_weights(place: Folder, stem: str, variant: str | None = None) -> None:
    """Checks the safetensors files of a component: all there, whole, and finite where small.

    Args:
        place: Its folder.
        stem: How the files' names begin.
        variant: Taken where it is there.
    """
    for file in _weights_files(place, stem, variant):
        tensors(file)


def _weights_files(place: Folder, stem: str, variant: str | None) -> Iterator[Folder]:
    """The files of the weights, as the libraries find them."""
    for kind in dict.fromkeys((variant, None)):
        middle = "" if kind is None else f".{kind}"
        whole = place / f"{stem}{middle}.safetensors"
        if whole.path.is_file():
            yield whole
            return
        for name in (
            f"{stem}.safetensors.index{middle}.json",
            f"{stem}{middle}.safetensors.index.json",
        ):
            if (place / name).path.is_file():
                yield from _shards(place, name)
                return
    pattern = re.compile(re.escape(stem) + r"\.(\w+?)(-\d+-of-\d+)?\.safetensors")
    names = sorted(path.name for path in place.path.iterdir())
    variants = sorted({m[1] for name in names if (m := pattern.fullmatch(name))})
    if variants:
        raise place.wrong(
            f"has its weights as the variant {', '.join(variants)} alone",
            f"set generator.variant to {variants[0]}",
        )
    pickles = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl"))]
    if pickles:
        raise place.wrong(
            f"has its weights as pickles ({', '.join(pickles[:3])}), which are never opened",
            f"give a copy with {stem}.safetensors",
        )
    raise place.wrong(f"has no weights: there is no {stem}.safetensors")


def _shards(place: Folder, name: str) -> Iterator[Folder]:
    file = place / name
    index = read(place, name)
    shards = index.get("weight_map")
    if not isinstance(shards, dict) or not shards or not isinstance(index.get("metadata"), dict):
        raise file.wrong("has no weight_map or metadata")
    for shard in sorted(set(map(str, shards.values()))):
        if not re.fullmatch(r"[\w.\-]+\.safetensors", shard):
            raise file.wrong(f"names {_short(shard)}, which is no safetensors file beside it")
        if not (place / shard).path.is_file():
            raise place.wrong(f"lacks {shard}, which {name} names")
        yield place / shard


def tensors(file: Folder) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in a safetensors file, from its header.

    Raises:
        InputError: The file is absent or damaged, or small and holds values that are not finite.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file.path, framework="numpy") as opened:
            shapes = {
                name: tuple(opened.get_slice(name).get_shape())
                for name in opened.keys()  # noqa: SIM118
            }
    except (SafetensorError, OSError) as error:
        raise file.wrong(f"is no safetensors file that can be read ({error})") from error
    if file.path.stat().st_size <= SMALL:
        _check_finite(file)
    return shapes


def _check_finite(file: Folder) -> None:
    import numpy as np

    content = file.path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    for name, entry in json.loads(content[8:start]).items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        data = memoryview(content)[start + first : start + last]
        if entry["dtype"] == "BF16":
            finite = (np.frombuffer(data, "<u2") & 0x7F80) != 0x7F80  # its exponent
        elif entry["dtype"] in ("F16", "F32", "F64"):
            finite = np.isfinite(np.frombuffer(data, f"<f{int(entry['dtype'][1:]) // 8}"))
        else:
            continue
        if not finite.all():
            raise file.wrong(f"holds values that are not finite in {_short(name)}")


def check_tokenizer(place: Folder, config: Config, encoder: Config, encoder_file: str) -> None:
    """Checks that a CLIP tokenizer and a text encoder belong together.

    Args:
        place: The tokenizer's folder.
        config: Its configuration.
        encoder: The text encoder's configuration.
        encoder_file: Where that is, for messages.
    """
    file = place / TOKENIZER.config
    encoder = _inner(encoder, "text_config")
    positions = encoder.get("max_position_embeddings", 77)
    length = config.get("model_max_length")
    if type(length) is not int or type(positions) is not int or not 3 <= length <= positions:
        raise file.wrong(
            f"says model_max_length {_short(length)}, {encoder_file} max_position_embeddings"
            f" {_short(positions)}",
            f"write the number of tokens of the text encoder, such as {_short(positions)}, there",
        )
    stated = config.get("tokenizer_class")
    if stated is not None and stated not in TOKENIZER.classes:
        raise file.wrong(
            f"says tokenizer_class {_short(stated)}, not {' or '.join(TOKENIZER.classes)}"
        )
    size = encoder.get("vocab_size", 49408)
    known = _vocabulary(place)
    largest = max(known.values(), default=-1)
    if type(size) is not int or largest >= size:
        raise place.wrong(
            f"knows tokens up to number {largest}, {encoder_file} says vocab_size {_short(size)}",
            "the two are of different models: " + REMEDY,
        )
    _check_rules(place)
    special = {**_special(place), **config}
    for role in ("bos_token", "eos_token", "unk_token", "pad_token"):
        token = special.get(role, "")  # the class has one where there is none
        token = token.get("content") if isinstance(token, dict) else token
        if not isinstance(token, str) or (token and token not in known):
            raise file.wrong(
                f"says {role} {_short(token)}, which its vocabulary does not have",
                "name a token that it has, such as <|endoftext|>",
            )


def _vocabulary(place: Folder) -> dict[str, int]:
    """Number of each token of a CLIP tokenizer, added ones too."""
    if (place / "tokenizer.json").path.is_file():
        file = place / "tokenizer.json"
        whole = read(place, "tokenizer.json")
        model = whole.get("model")
        words = model.get("vocab") if isinstance(model, dict) else None
        added = whole.get("added_tokens") or []
        try:
            more = {token["content"]: token["id"] for token in added}
        except (TypeError, KeyError) as error:
            raise file.wrong("has added_tokens without content or id") from error
    else:
        file = place / "vocab.json"
        if not (place / "merges.txt").path.is_file():
            raise place.wrong("lacks merges.txt (and has no tokenizer.json)")
        words, more = read(place, "vocab.json"), {}
    if (place / "added_tokens.json").path.is_file():
        more = {**more, **read(place, "added_tokens.json")}
    if not isinstance(words, dict) or not words:
        raise file.wrong("holds no vocabulary of a CLIP tokenizer")
    known = {**words, **more}
    if not all(type(number) is int and number >= 0 for number in known.values()):
        raise file.wrong("gives tokens numbers that are no whole numbers from 0")
    return known


def _check_rules(place: Folder) -> None:
    """Refuses rules of a tokenizer that the library that follows them cannot read."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    name = "tokenizer.json" if (place / "tokenizer.json").path.is_file() else "merges.txt"
    file = place / name
    try:
        if name == "tokenizer.json":
            Tokenizer.from_file(str(file.path))
        else:
            BPE.from_file(str((place / "vocab.json").path), str(file.path))
    except Exception as error:  # the library knows no other kind
        raise file.wrong(f"holds no rules of a tokenizer ({_short(error)})") from error


def _special(place: Folder) -> Config:
    name = "special_tokens_map.json"
    return read(place, name) if (place / name).path.is_file() else {}


def check_processor(place: Folder, config: Config, tower: Config) -> None:
    """Checks that an image processor makes what its CLIP tower takes."""
    file = place / PROCESSOR.config
    tower = _inner(tower, "vision_config")
    side = tower.get("image_size", 224)
    crop = config.get("crop_size", 224)
    sides = [crop.get("height"), crop.get("width")] if isinstance(crop, dict) else [crop]
    if type(side) is not int or any(cut != side for cut in sides):
        raise file.wrong(
            f"crops to {_short(crop)}, but the image_encoder takes {_short(side)} pixels a side",
            f"set crop_size to {_short(side)}, or {REMEDY}",
        )
    size = config.get("size", {"shortest_edge": 224})
    shorter = size.get("shortest_edge") if isinstance(size, dict) else size
    if type(shorter) is not int or not side <= shorter <= 100 * side:
        raise file.wrong(f"says size {_short(size)}; needed is a shortest_edge of at least {side}")
    for step in ("do_resize", "do_center_crop", "do_rescale", "do_normalize"):
        if config.get(step, True) is not True:
            raise file.wrong(f"says {step} {_short(config[step])}, which a CLIP tower needs")
    for name, least in (("image_mean", None), ("image_std", 0.0)):
        values = config.get(name, [0.5] * 3)
        if (
            not isinstance(values, list)
            or len(values) != 3
            or not all(_is_number(v) and (least is None or v > least) for v in values)
        ):
            raise file.wrong(f"says {name} {_short(values)}, not three numbers")


def _check_scheduler(file: Folder, config: Config) -> None:
    """Refuses a schedule of noise that takes all memory to write down, or is none.

    Args:
        file: The configuration's, for messages.
        config: The scheduler's configuration.
    """
    steps = config.get("num_train_timesteps", 1000)
    if type(steps) is not int or not 1 <= steps <= MAX_TRAINING_STEPS:
        raise file.wrong(
            f"says num_train_timesteps {_short(steps)}, not a whole number from 1 to"
            f" {MAX_TRAINING_STEPS}"
        )
    given = config.get("trained_betas")
    betas = {"beta_start": config.get("beta_start", 0), "beta_end": config.get("beta_end", 0)}
    if given is not None:
        if not isinstance(given, list) or len(given) != steps:
            raise file.wrong(f"says trained_betas {_short(given)}, not a list of {steps} numbers")
        betas = {f"trained_betas[{i}]": beta for i, beta in enumerate(given)}
    for key, beta in betas.items():
        if not _is_number(beta) or not 0 <= beta <= 1:
            raise file.wrong(f"says {key} {_short(beta)}, not a number from 0 to 1")


def _check_fit(place: Folder, name: str, configs: Mapping[str, Config]) -> None:
    """Refuses components that do not belong together, as far as configurations tell."""
    part = LAYOUTS[name].network
    network, vae = configs[part], configs["vae"]

    def number(of: str, key: str, default: int | None) -> int:
        value = configs[of].get(key, default)
        if type(value) is not int or value < 1:
            raise (place / of / "config.json").wrong(
                f"says {key} {_short(value)}, not a number above 0"
            )
        return value

    size = network.get("sample_size")
    sides = size if isinstance(size, list) else [size, size]
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise (place / part / "config.json").wrong(f"says sample_size {_short(size)}")
    latents = number("vae", "latent_channels", 4)
    into = number(part, "in_channels", 4 if part == "unet" else 16)
    out = number(part, "out_channels", into)
    if {into, out} != {latents}:
        raise place.wrong(
            f"does not fit: its {part} has {into} latent channels in and {out} out, its vae"
            f" {latents}",
            "the components are of different models: " + REMEDY,
        )
    if (images := number("vae", "out_channels", 3)) != 3:
        raise (place / "vae").wrong(
            f"gives images of {images} channels, the classifier takes 3 (RGB)"
        )
    scaling = vae.get("scaling_factor", 0.18215)
    if not _is_number(scaling) or scaling <= 0:
        raise (place / "vae" / "config.json").wrong(f"says scaling_factor {_short(scaling)}")
    width = network.get("cross_attention_dim")
    if part == "unet" and type(width) is int and network.get("encoder_hid_dim") is None:
        given = sum(
            number(text, "hidden_size", 512)
            for text in ("text_encoder", "text_encoder_2")
            if text in configs and "text_config" not in configs[text]
        )
        if given and given != width:
            raise place.wrong(
                f"does not fit: its unet takes text embeddings of {width} numbers, its text"
                f" encoder gives {given}",
                "the components are of different models: " + REMEDY,
            )
    if "image_encoder" in configs:
        given = number("image_encoder", "projection_dim", 512)
        taken = number("unet", "projection_class_embeddings_input_dim", None)
        if taken != 2 * given:
            raise place.wrong(
                f"does not fit: its unet takes image vectors of {taken} numbers, its"
                f" image_encoder gives {2 * given}",
                "the components are of different models: " + REMEDY,
            )
        if (normal := number("image_normalizer", "embedding_dim", 768)) != given:
            raise place.wrong(
                f"does not fit: its image_normalizer takes embeddings of {normal} numbers, its"
                f" image_encoder gives {given}",
                "the components are of different models: " + REMEDY,
            )
        check_processor(
            place / "feature_extractor", configs["feature_extractor"], configs["image_encoder"]
        )


def _check_image_size(size: int, place: Folder, configs: Mapping[str, Config]) -> None:
    blocks = configs["vae"].get("block_out_channels", [64])
    if not isinstance(blocks, list) or not 1 <= len(blocks) <= 16:
        raise (place / "vae" / "config.json").wrong(f"says block_out_channels {_short(blocks)}")
    patch = configs["transformer"].get("patch_size", 2) if "transformer" in configs else 1
    step = 2 ** (len(blocks) - 1) * (patch if type(patch) is int else 1)
    if size % step:
        raise InputError(
            f"generator.image_size is {size}; {place.path} draws multiples of {step} pixels"
        )


def check_adapter(
    adapter: AdapterConfig, unet: Config | None = None, folder: Path | None = None
) -> None:
    """Checks the folder of an IP-Adapter and of its image encoder.

    Args:
        adapter: The section `generator.adapter`.
        unet: Configuration of the generator's UNet; None where it is not known yet.
        folder: Where a model of the hub lies now; None is `path` itself.
    """
    place = Folder(folder or Path(adapter.path), "generator.adapter")
    with _readable(place):
        _check_adapter(adapter, unet, place)


def _check_adapter(adapter: AdapterConfig, unet: Config | None, place: Folder) -> None:
    tower = place / tower_folder(adapter)
    file = place / adapter.subfolder / adapter.weight_name
    if not file.path.is_file():
        raise InputError(
            f"generator.adapter: {adapter.path} holds no IP-Adapter"
            f" {adapter.subfolder}/{adapter.weight_name}; correct path, subfolder or weight_name"
        )
    if not tower.path.is_dir():
        raise InputError(
            f"generator.adapter: {adapter.path} holds no image encoder {tower_folder(adapter)};"
            " correct image_encoder"
        )
    config = check_component(tower, TOWER)
    config = _inner(config, "vision_config")
    shapes = tensors(file)
    projection = shapes.get("image_proj.proj.weight")
    if (
        projection is None
        or len(projection) != 2
        or not any(name.startswith("ip_adapter.") for name in shapes)
    ):
        raise file.wrong(
            "is no IP-Adapter of the pooled CLIP embedding (it lacks image_proj.proj.weight or its"
            " attention layers)",
            "give one that takes it, not a plus or full-face one",
        )
    if (given := config.get("projection_dim", 512)) != projection[1]:
        raise InputError(
            f"generator.adapter: the adapter takes image embeddings of {projection[1]} numbers,"
            f" the image encoder beside it gives {_short(given)}; name the encoder it was trained"
            " with"
        )
    width = None if unet is None else unet.get("cross_attention_dim")
    if type(width) is int and width > 0 and projection[0] % width:
        raise InputError(
            f"generator.adapter: {file.path} gives tokens of other than {width} numbers, which the"
            " generator's unet takes; give the IP-Adapter that fits the generator"
        )
    taken = {shape[-1] for key, shape in shapes.items() if key.endswith("to_k_ip.weight")}
    if type(width) is int and taken != {width}:
        raise InputError(
            f"generator.adapter: {file.path} has attention layers for tokens of {sorted(taken)}"
            f" numbers, the generator's unet takes {width}; give the IP-Adapter that fits the"
            " generator"
        )


def check_tiny_decoder(path: str, folder: Path | None = None) -> Config:
    """Checks the folder of an `AutoencoderTiny`; returns its configuration."""
    remedy = "name a folder or hub id of an AutoencoderTiny with safetensors, or set it to null"
    place = Folder(folder or Path(path), "generator.tiny_decoder", remedy)
    with _readable(place):
        return check_component(place, TINY_DECODER)


def check_latents(tiny: Config, vae: Config) -> None:
    """Refuses a tiny decoder of other latents than the generator's.

    Args:
        tiny: Its configuration.
        vae: That of the generator's own autoencoder.
    """
    decoded, given = tiny.get("latent_channels", 4), vae.get("latent_channels", 4)
    if decoded != given:
        raise InputError(
            f"generator.tiny_decoder decodes {_short(decoded)} latent channels, the generator has"
            f" {given}; give the one made for it"
        )


def check_tower(generator: GeneratorConfig) -> None:
    """Checks the CLIP vision tower of a generator or its adapter, where it lies in a folder."""
    adapter = generator.adapter
    place = Folder(Path(generator.path if adapter is None else adapter.path), "assess.features")
    if not is_folder(place.path):
        return
    part = "image_encoder" if adapter is None else tower_folder(adapter)
    with _readable(place):
        if not (place / part).path.is_dir():
            raise place.wrong(
                f"has no CLIP vision tower ({part})",
                "give a generator that has one, or choose other assess.features",
            )
        variant = variant_there(place / part, generator.variant if adapter is None else None)
        config = check_component(place / part, TOWER, variant)
        if adapter is None:
            processor = place / "feature_extractor"
            check_processor(processor, check_component(processor, PROCESSOR), config)


def check_inception(path: Path | str) -> Path:
    """Finds the weights of InceptionV3, in a folder or as the file itself.

    Raises:
        InputError: They are not there, or under another name.
    """
    file = Path(path) / INCEPTION_FILE if Path(path).is_dir() else Path(path)
    if file.name != INCEPTION_FILE or not file.is_file():
        raise InputError(
            f"there are no InceptionV3 weights at {file}: set assess.inception_weights to a local"
            f" copy of {INCEPTION_FILE} (the TorchScript file that clean-fid and StyleGAN's"
            " metrics use), or choose other features"
        )
    return file


def is_hub_id(path: str) -> bool:
    """Whether a path has the form `owner/name` of a model on the hub."""
    return bool(re.fullmatch(r"\w[\w.\-]*/\w[\w.\-]*", path, re.ASCII)) and ".." not in path


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder that can be reached."""
    try:
        return Path(path).is_dir()
    except OSError:  # of a name that is too long, or of a folder above that may not be entered
        return False


def check_place(path: str, key: str) -> bool:
    """Whether a model lies in a folder; if not, its path has to be an id on the hub.

    Raises:
        InputError: It is neither.
    """
    if is_folder(path):
        return True
    if not is_hub_id(path):
        raise InputError(
            f"{key}: there is no folder {path}; give a folder, or an id owner/name of the hub"
        )
    return False


def read(place: Folder, name: str) -> dict[str, Any]:
    """Reads a configuration.

    Raises:
        InputError: It is absent or no JSON object.
    """
    file = place / name
    try:
        status = file.path.stat()
        if not S_ISREG(status.st_mode):  # a pipe would never end
            raise file.wrong("is no file")
        if status.st_size > SMALL:
            raise file.wrong("is far too large for a configuration")
        value = json.loads(file.path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{file.key}: {file.path} cannot be read ({error.strerror}); {place.remedy}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise file.wrong(f"is no JSON ({error})") from error
    if not isinstance(value, dict):
        raise file.wrong("is no JSON object")
    return value


def _entries(value: object) -> Iterator[tuple[str, object]]:
    """All keys of a configuration with their values, those of nested ones too."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _entries(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _entries(inner)


@contextmanager
def _readable(place: Folder) -> Iterator[None]:
    """Says of what may not be read or lies on a broken disk where it belongs."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{place.key}: {error.filename or place.path} cannot be read ({error.strerror});"
            " correct its permissions"
        ) from error


def _inner(config: Config, key: str) -> Config:
    """One model's part of a configuration that may be of two."""
    inner = config.get(key)
    return inner if isinstance(inner, dict) else config


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and isfinite(value)  # type: ignore[arg-type]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
