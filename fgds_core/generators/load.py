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
    check_latents,
    check_tiny_decoder,
)
from fgds_core.generators.known import check_published
from fgds_core.generators.layout import WEIGHTS
from fgds_core.generators.model import Generator
from fgds_core.generators.parts import bring, load_parts
from fgds_core.pretrained.folder import Folder, read
from fgds_core.pretrained.load import fetch, load_network, quiet, reason, weights_of


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
    pipeline = family.attach(pipeline, config)
    tiny_decoder = None if config.tiny_decoder is None else _load_tiny(config.tiny_decoder, dtype)
    for component in [*pipeline.components.values(), tiny_decoder]:
        if isinstance(component, torch.nn.Module):
            component.requires_grad_(False).eval().to(device)
            if component.dtype != dtype:
                component.to(dtype)
    generator = Generator(
        pipeline, family, config.path, config.image_size, micro_batch, tiny_decoder, config.prior
    )
    if dtype == torch.float16 and family.overflows(pipeline):
        generator.decoder.to(dtype=torch.float32)
    family.check(pipeline, config.path)
    if tiny_decoder is not None:
        check_latents(tiny_decoder.config, generator.decoder.config)
    _check_text(generator, config.prompts[0].replace("{class}", "thing"))
    decoders = [vae.decoder for vae in (generator.decoder, tiny_decoder) if vae is not None]
    for network in (generator.network, *decoders):
        if channels_last:
            network.to(memory_format=torch.channels_last)
        if compile:
            network.compile()
    if gradient_checkpointing:
        for component in (generator.network, generator.decoder):
            component.enable_gradient_checkpointing()
    return generator


def _load_pipeline(config: GeneratorConfig, dtype: torch.dtype) -> Pipeline:
    import diffusers

    key, layouts = "generator.path", load_family(config.kind).layouts
    source = (config.path, config.revision, config.variant)
    folder = bring(*source, layouts=layouts, key=key, asked=f"generator.kind {config.kind}")
    name, _ = check_generator(config, None if str(folder) == config.path else folder)
    check_published(config.path, folder, key, config.variant)
    place = Folder(folder, key)
    index = read(place, "model_index.json")
    loaded = dict.fromkeys(UNUSED) | load_parts(place, layouts[name], index, config.variant, dtype)
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


def _load_tiny(path: str, dtype: torch.dtype) -> Component:
    from diffusers import AutoencoderTiny

    key = "generator.tiny_decoder"
    folder = fetch(path, None, weights_of(WEIGHTS), key)
    check_tiny_decoder(path, folder)
    check_published(path, folder, key)
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
