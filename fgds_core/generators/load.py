"""Loads a generator from a diffusers folder or hub id of the kind that the parameters name."""

import inspect
from pathlib import Path

import torch

from fgds_core.errors import InputError
from fgds_core.generators.config import GeneratorConfig
from fgds_core.generators.family import Component, Pipeline, load_family
from fgds_core.generators.folders import (
    UNUSED,
    check_generator,
    check_index,
    check_latents,
    check_tiny_decoder,
    is_there,
)
from fgds_core.generators.layout import WEIGHTS
from fgds_core.generators.model import Generator
from fgds_core.pretrained.component import variant_there
from fgds_core.pretrained.folder import Folder, check_place, read
from fgds_core.pretrained.load import (
    class_of,
    fetch,
    load_network,
    load_other,
    quiet,
    reason,
    weights_of,
)


def load_generator(
    config: GeneratorConfig,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    *,
    micro_batch: int | None = None,
    channels_last: bool = False,
    compile: bool = False,
    gradient_checkpointing: bool = False,
) -> Generator:
    """Loads a generator from a local folder or the Hugging Face hub; safetensors only.

    Args:
        config: Its kind, and where it is.
        device: Where its networks shall be.
        dtype: What they shall compute in; None takes it from the parameters.
        micro_batch: Images that go through encoders and decoder at a time; None is all of them.
        channels_last: Whether its networks keep images channels last in memory.
        compile: Whether `torch.compile` translates denoising network and decoders.
        gradient_checkpointing: Whether guided steps compute activations twice, to save memory.

    Raises:
        InputError: If there is no such generator, it lacks a component, or is of another kind.
    """
    family = load_family(config.kind)
    dtype = dtype or getattr(torch, config.dtype)
    pipeline = _load_pipeline(config, dtype)
    family.attach(pipeline, config)
    tiny_decoder = None if config.tiny_decoder is None else _load_tiny(config.tiny_decoder, dtype)
    for component in [*pipeline.components.values(), tiny_decoder]:
        if isinstance(component, torch.nn.Module):
            component.requires_grad_(False).eval().to(device)
            if component.dtype != dtype:
                component.to(dtype)
    if dtype == torch.float16 and family.overflows(pipeline):
        pipeline.vae.to(dtype=torch.float32)
    generator = Generator(
        pipeline, family, config.path, config.image_size, micro_batch, tiny_decoder
    )
    family.check(pipeline, config.path)
    if tiny_decoder is not None:
        check_latents(tiny_decoder.config, pipeline.vae.config)
    _check_text(generator, config.prompts[0].replace("{class}", "thing"))
    decoders = [vae.decoder for vae in (pipeline.vae, tiny_decoder) if vae is not None]
    for network in (generator.network, *decoders):
        if channels_last:
            network.to(memory_format=torch.channels_last)
        if compile:
            network.compile()
    if gradient_checkpointing:
        for component in (generator.network, pipeline.vae):
            component.enable_gradient_checkpointing()
    return generator


def _load_pipeline(config: GeneratorConfig, dtype: torch.dtype) -> Pipeline:
    import diffusers

    folder = _folder(config)
    name, _ = check_generator(config, None if str(folder) == config.path else folder)
    place = Folder(folder, "generator.path")
    index = read(place, "model_index.json")
    layout = load_family(config.kind).layouts[name]
    parts = {**layout.components, **layout.optional}
    loaded: dict[str, Component] = dict.fromkeys(UNUSED)
    for part, component in parts.items():
        if not is_there(index, part):
            loaded[part] = None
            continue
        load = class_of(component.library, str(index[part][1])).from_pretrained
        if component.weights is None:
            loaded[part] = load_other(load, place / part)
        else:
            variant = variant_there(place / part, config.variant)
            loaded[part] = load_network(load, place / part, dtype, variant)
    cls = getattr(diffusers, name)
    known = inspect.signature(cls.__init__).parameters
    with quiet():
        try:
            return cls.from_pretrained(
                str(folder),
                local_files_only=True,
                **{part: value for part, value in loaded.items() if part in known},
            )
        except Exception as error:
            raise place.wrong(f"is no whole {name} ({reason(error)})") from error


def _folder(config: GeneratorConfig) -> Path:
    """The folder of the generator; what is on the hub is brought here, without its pickles."""
    if check_place(config.path, "generator.path"):
        return Path(config.path)
    index_file = fetch(config.path, config.revision, ["model_index.json"], "generator.path")
    name, index = check_index(
        config, read(Folder(index_file, "generator.path"), "model_index.json")
    )
    layout = load_family(config.kind).layouts[name]
    parts = {**layout.components, **layout.optional}
    parts = {part: component for part, component in parts.items() if is_there(index, part)}
    stems = {part: of.weights for part, of in parts.items() if of.weights is not None}
    files = ["model_index.json"]
    for part in parts:
        files += [f"{part}/*.json", f"{part}/merges.txt", f"{part}/spiece.model"]
    files += [
        file for part, stem in stems.items() for file in weights_of(stem, part, config.variant)
    ]
    folder = Folder(fetch(config.path, config.revision, files, "generator.path"), "generator.path")
    if config.variant is not None:  # where a component has none, its plain weights are taken
        plain = [part for part in stems if variant_there(folder / part, config.variant) is None]
        files += [file for part in plain for file in weights_of(stems[part], part)]
        fetch(config.path, config.revision, files, "generator.path")
    return folder.path


def _load_tiny(path: str, dtype: torch.dtype) -> Component:
    from diffusers import AutoencoderTiny

    key = "generator.tiny_decoder"
    folder = fetch(path, None, weights_of(WEIGHTS), key)
    check_tiny_decoder(path, folder)
    vae = load_network(AutoencoderTiny.from_pretrained, Folder(folder, key), dtype)
    # Nothing but convolutions: there and back take a quarter less time (32 x 32, one CPU core)
    return vae.to(memory_format=torch.channels_last)


def _check_text(generator: Generator, prompt: str) -> None:
    """Refuses tokenizers and text encoders that do not go together, by one prompt.

    Raises:
        InputError: Tokens without an embedding, or embeddings that are not finite.
    """
    pipeline, key = generator.pipeline, "generator.path"
    for number in ("", "_2", "_3"):
        tokenizer = getattr(pipeline, f"tokenizer{number}", None)
        encoder = getattr(pipeline, f"text_encoder{number}", None)
        if tokenizer is None or encoder is None:
            continue
        place = Folder(Path(generator.name), key) / f"tokenizer{number}"
        if len(tokenizer) > encoder.config.vocab_size:  # a GPU would not say so, but break down
            known = encoder.config.vocab_size
            raise place.wrong(f"knows {len(tokenizer)} tokens, text_encoder{number} {known}")
    try:
        size = generator.latent_shape[1] * generator.latent_scale
        with torch.no_grad(), quiet():
            encoded = generator.family.encode_prompt(pipeline, prompt, size)
    except Exception as error:
        raise InputError(
            f"{key}: tokenizer and text encoder of {generator.name} cannot encode the prompt"
            f" {prompt!r} ({reason(error)}); take a whole copy of the published model"
        ) from error
    if not all(values.isfinite().all() for values in encoded.values()):
        raise InputError(
            f"{key}: the text encoder of {generator.name} gives values that are not finite; set"
            " generator.dtype to bfloat16 or float32"
        )
