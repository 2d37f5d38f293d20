"""Folders of generators, checked without loading them: they are input like any other.

Only what is known is let through: the components of a kind of generator, each of the class that
it has there. Nothing that names code is passed on to the libraries that load.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from fgds_core.errors import InputError
from fgds_core.generators.config import GeneratorConfig
from fgds_core.generators.family import Family, load_family
from fgds_core.generators.layout import SCHEDULER, TINY_DECODER, Layout
from fgds_core.pretrained.clip import check_processor, check_tokenizer
from fgds_core.pretrained.component import CODE, Component, check_component, variant_there
from fgds_core.pretrained.folder import (
    REMEDY,
    Config,
    Folder,
    is_number,
    positive,
    read,
    readable,
    short,
)

UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""Components that published pipelines bring along and that are not loaded where no layout has
them: what is drawn are the user's own classes."""

MAX_TRAINING_STEPS = 100_000
"""Of a generator's schedule; published ones have 1,000."""


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
    with readable(place):
        return _check_generator(config, place)


def _check_generator(config: GeneratorConfig, place: Folder) -> tuple[str, dict[str, Config]]:
    family, index = load_family(config.kind), read(place, "model_index.json")
    name = check_index(place, family.layouts, f"generator.kind {config.kind}", index)
    configs = check_parts(place, family.layouts[name], index, config.variant)
    if config.variant is not None and not any(
        variant_there(place / part, config.variant) for part in configs
    ):
        raise InputError(
            f"generator.variant is {config.variant}, but no component of {place.path} has weights"
            " of that variant; set it to null, or to the variant that is there"
        )
    _check_fit(place, family, configs)
    family.fits(place, configs)
    if config.image_size is not None:
        _check_image_size(config.image_size, place, family, configs)
    return name, configs


def check_parts(
    place: Folder, layout: Layout, index: Config, variant: str | None
) -> dict[str, Config]:
    """Checks each component of a pipeline: that it is there, whole, and what goes with it.

    Args:
        place: Folder of the pipeline.
        layout: What it consists of.
        index: Its `model_index.json`, which has been checked.
        variant: Variant of the weights' files that is taken where it is there.

    Returns:
        The configuration of each component.
    """
    parts = parts_of(layout, index)
    if missing := [part for part in parts if not (place / part).path.is_dir()]:
        raise place.wrong(f"lacks {', '.join(missing)}", f"take the whole {index['_class_name']}")
    configs = {
        part: check_component(
            place / part, component, variant_there(place / part, variant), str(index[part][1])
        )
        for part, component in parts.items()
    }
    for part in parts:
        if part in ("tokenizer", "tokenizer_2"):
            encoder = part.replace("tokenizer", "text_encoder")
            check_tokenizer(
                place / part, configs[part], configs[encoder], f"{encoder}/config.json"
            )
    for part in ("scheduler", "image_noising_scheduler"):
        if part in configs:
            _check_scheduler(place / part / SCHEDULER.config, configs[part])
    return configs


def check_index(place: Folder, layouts: Mapping[str, Layout], asked: str, index: Config) -> str:
    """Checks what `model_index.json` says that a pipeline consists of.

    Args:
        place: Its folder.
        layouts: What the pipelines consist of that it may be.
        asked: What needs one of them, for messages.
        index: What the file holds.

    Returns:
        The name of the pipeline.
    """
    name = index.get("_class_name")
    if name not in tuple(layouts):
        raise place.wrong(
            f"holds a {short(name)}, {asked} needs a {' or '.join(layouts)}",
            "correct the one or the other",
        )
    layout = layouts[name]
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
            raise file.wrong(f"says of {part} {short(value)}, not a library and a class")
        if part in known:
            _check_class(file, part, known[part], *value)
        elif part not in UNUSED:
            raise file.wrong(
                f"names a component {short(part)} that a {name} does not have",
                "no code of a model is run: " + REMEDY,
            )
    return str(name)


def parts_of(layout: Layout, index: Config) -> dict[str, Component]:
    """The components that a pipeline has, by name."""
    there = {part: of for part, of in layout.optional.items() if is_there(index, part)}
    return {**layout.components, **there}


def is_there(index: Config, part: str) -> bool:
    """Whether `model_index.json` says that a component is there."""
    return index.get(part) not in (None, [None, None])


def _check_class(file: Folder, part: str, component: Component, library: str, name: str) -> None:
    classes = component.classes or ("a scheduler",)
    known = name in classes if component.classes else bool(re.fullmatch(r"\w+Scheduler", name))
    if library != component.library or not known:
        raise file.wrong(
            f"says that {part} is {short(library)}.{short(name)}; known there is"
            f" {component.library}: {' or '.join(classes)}",
            "no code of a model is run: " + REMEDY,
        )


def _check_scheduler(file: Folder, config: Config) -> None:
    """Refuses a schedule of noise that takes all memory to write down, or is none.

    Args:
        file: The configuration's, for messages.
        config: The scheduler's configuration.
    """
    steps = config.get("num_train_timesteps", 1000)
    if type(steps) is not int or not 1 <= steps <= MAX_TRAINING_STEPS:
        raise file.wrong(
            f"says num_train_timesteps {short(steps)}, not a whole number from 1 to"
            f" {MAX_TRAINING_STEPS}"
        )
    given = config.get("trained_betas")
    betas = {"beta_start": config.get("beta_start", 0), "beta_end": config.get("beta_end", 0)}
    if given is not None:
        if not isinstance(given, list) or len(given) != steps:
            raise file.wrong(f"says trained_betas {short(given)}, not a list of {steps} numbers")
        betas = {f"trained_betas[{i}]": beta for i, beta in enumerate(given)}
    for key, beta in betas.items():
        if not is_number(beta) or not 0 <= beta <= 1:
            raise file.wrong(f"says {key} {short(beta)}, not a number from 0 to 1")


def _check_fit(place: Folder, family: Family, configs: Mapping[str, Config]) -> None:
    """Refuses components that do not belong together, as far as configurations tell.

    Args:
        place: The generator's folder.
        family: Names its denoising component and its decoder.
        configs: Configuration of each component.
    """
    part, decoder = family.network, family.decoder
    network, vae = configs[part], configs[decoder]
    number = partial(positive, place, configs)
    size = network.get("sample_size")
    sides = size if isinstance(size, list) else [size, size]
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise (place / part / "config.json").wrong(f"says sample_size {short(size)}")
    latents = number(decoder, "latent_channels", 4)
    into = number(part, "in_channels", 4 if part == "unet" else 16)
    out = number(part, "out_channels", into)
    if (into, out) != (latents, (1 + family.learned_variance) * latents):
        raise place.wrong(
            f"does not fit: its {part} has {into} latent channels in and {out} out"
            f"{' (mean and variance)' * family.learned_variance}, its {decoder} {latents}",
            "the components are of different models: " + REMEDY,
        )
    if (images := number(decoder, "out_channels", 3)) != 3:
        raise (place / decoder).wrong(
            f"gives images of {images} channels, the classifier takes 3 (RGB)"
        )
    scaling = vae.get("scaling_factor", 0.18215)
    if not is_number(scaling) or scaling <= 0:
        raise (place / decoder / "config.json").wrong(f"says scaling_factor {short(scaling)}")
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
        check_processor(
            place / "feature_extractor", configs["feature_extractor"], configs["image_encoder"]
        )


def _check_image_size(
    size: int, place: Folder, family: Family, configs: Mapping[str, Config]
) -> None:
    blocks = configs[family.decoder].get("block_out_channels", [64])
    if not isinstance(blocks, list) or not 1 <= len(blocks) <= 16:
        file = place / family.decoder / "config.json"
        raise file.wrong(f"says block_out_channels {short(blocks)}")
    step = 2 ** (len(blocks) - 1) * family.multiple(configs)
    if size % step:
        raise InputError(
            f"generator.image_size is {size}; {place.path} draws multiples of {step} pixels"
        )


def check_tiny_decoder(path: str, folder: Path | None = None) -> Config:
    """Checks the folder of an `AutoencoderTiny`; returns its configuration."""
    remedy = "name a folder or hub id of an AutoencoderTiny with safetensors, or set it to null"
    place = Folder(folder or Path(path), "generator.tiny_decoder", remedy)
    with readable(place):
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
            f"generator.tiny_decoder decodes {short(decoded)} latent channels, the generator has"
            f" {given}; give the one made for it"
        )
