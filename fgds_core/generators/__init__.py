"""Pre-trained generators: one module for each kind, one interface for all.

`load_generator` reads a diffusers folder or hub id of the kind that the parameters name.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from fgds_core.config.generator import AdapterConfig, GeneratorConfig, tower_folder
from fgds_core.errors import InputError
from fgds_core.generators import ip_adapter, stable_diffusion_3, stable_unclip, text_to_image
from fgds_core.generators.generator import Component, Family, Generator, Pipeline
from fgds_core.generators.text_to_image import is_xl

KINDS: dict[str, Family] = {
    "stable-unclip": stable_unclip.FAMILY,
    "text-to-image": text_to_image.FAMILY,
    "ip-adapter": ip_adapter.FAMILY,
    "stable-diffusion-3": stable_diffusion_3.FAMILY,
}


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
    family = KINDS[config.kind]
    dtype = dtype or getattr(torch, config.dtype)
    pipeline = _load_pipeline(config, family, dtype)
    if config.adapter is not None:
        _load_adapter(pipeline, config.adapter)
    tiny_decoder = None if config.tiny_decoder is None else _load_tiny(config.tiny_decoder, dtype)
    for component in [*pipeline.components.values(), tiny_decoder]:
        if isinstance(component, torch.nn.Module):
            component.requires_grad_(False).eval().to(device)
            if component.dtype != dtype:
                component.to(dtype)
    if dtype == torch.float16 and _overflows(pipeline):
        pipeline.vae.to(dtype=torch.float32)
    generator = Generator(
        pipeline, family, config.path, config.image_size, micro_batch, tiny_decoder
    )
    _check_fit(generator)
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


def _load_pipeline(config: GeneratorConfig, family: Family, dtype: torch.dtype) -> Pipeline:
    import diffusers

    folder = Path(config.path)
    local = folder.is_dir()
    if not local and not is_hub_id(config.path):
        raise InputError(
            f"generator.path: there is no folder {config.path}; give a folder of diffusers or a"
            " hub id owner/name"
        )
    if local and config.revision is not None:
        raise InputError(
            f"generator.revision is {config.revision}, but {config.path} is a folder, which has"
            " none; set it to null"
        )
    kinds = " or ".join(family.pipelines)
    place = f"the folder {config.path}" if local else f"the model {config.path} on the hub"
    index = _read_index(config, local, kinds)
    if (name := index.get("_class_name")) not in family.pipelines:
        raise InputError(
            f"generator.path: {config.path} holds a {name}, generator.kind {config.kind} needs a"
            f" {kinds}"
        )
    missing = [
        part
        for part in family.components
        if not _is_there(index, part) or (local and not (folder / part).is_dir())
    ]
    if missing:
        raise InputError(
            f"generator.path: {config.path} lacks {', '.join(missing)}; take the whole {name}"
        )
    options = dict.fromkeys(part for part in family.optional if not _is_there(index, part))
    if "safety_checker" in index:
        options["safety_checker"] = None  # images of the user's own classes
    with _quiet():
        try:
            return getattr(diffusers, str(name)).from_pretrained(
                config.path,
                revision=config.revision,
                variant=config.variant,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=local,
                low_cpu_mem_usage=False,
                **options,
            )
        except Exception as error:  # the libraries raise many kinds for damaged or absent files
            raise InputError(
                f"generator.path: {place} holds no {name} that can be loaded with safetensors"
                f" weights ({_brief(error)}); correct generator.path, generator.revision or"
                " generator.variant, or ask for access to the model"
            ) from error


def _is_there(index: Mapping[str, Any], part: str) -> bool:
    return index.get(part) not in (None, [None, None])


def _read_index(config: GeneratorConfig, local: bool, kinds: str) -> dict[str, Any]:
    """Reads `model_index.json`: which pipeline it is and what it consists of."""
    from diffusers import DiffusionPipeline

    try:
        if local:
            parts = json.loads(Path(config.path, "model_index.json").read_text(encoding="utf-8"))
        else:
            parts = DiffusionPipeline.load_config(config.path, revision=config.revision)
        return dict(parts)
    except Exception as error:
        why = f"model_index.json cannot be read ({_brief(error)})"
        raise InputError(
            f"generator.path: {config.path} is not a generator here or on the hub, {why}; give a"
            f" folder or hub id of a {kinds}, and ask for access where the model is gated"
        ) from error


def _load_adapter(pipeline: Pipeline, adapter: AdapterConfig) -> None:
    if not Path(adapter.path).is_dir() and not is_hub_id(adapter.path):
        raise InputError(
            f"generator.adapter.path: there is no folder {adapter.path}; give a folder or a hub id"
            " owner/name"
        )
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    tower = tower_folder(adapter)
    with _quiet():
        try:
            encoder = CLIPVisionModelWithProjection.from_pretrained(
                adapter.path,
                subfolder=tower,
                revision=adapter.revision,
                dtype=pipeline.dtype,
                use_safetensors=True,
                local_files_only=Path(adapter.path).is_dir(),
            )
            side = encoder.config.image_size
            pipeline.register_modules(
                image_encoder=encoder,
                feature_extractor=CLIPImageProcessor(size={"shortest_edge": side}, crop_size=side),
            )
            pipeline.load_ip_adapter(
                adapter.path,
                subfolder=adapter.subfolder,
                weight_name=adapter.weight_name,
                image_encoder_folder=None,
                revision=adapter.revision,
                local_files_only=Path(adapter.path).is_dir(),
                low_cpu_mem_usage=False,
            )
        except Exception as error:
            raise InputError(
                f"generator.adapter: {adapter.path} holds no IP-Adapter"
                f" {adapter.subfolder}/{adapter.weight_name} with the image encoder {tower} that"
                f" fits the generator ({_brief(error)})"
            ) from error
    pipeline.set_ip_adapter_scale(adapter.scale)


def _load_tiny(path: str, dtype: torch.dtype) -> Component:
    from diffusers import AutoencoderTiny

    with _quiet():
        try:
            vae = AutoencoderTiny.from_pretrained(path, dtype=dtype, use_safetensors=True)
        except Exception as error:
            raise InputError(
                f"generator.tiny_decoder: {path} is no folder or hub id of an AutoencoderTiny with"
                f" safetensors weights ({_brief(error)}); correct it, or set it to null"
            ) from error
    # Nothing but convolutions: there and back take a quarter less time (32 x 32, one CPU core)
    return vae.to(memory_format=torch.channels_last)


def _overflows(pipeline: Pipeline) -> bool:
    """Whether the decoder overflows in half precision: that of Stable Diffusion XL."""
    return is_xl(pipeline) and bool(pipeline.vae.config.force_upcast)


def is_hub_id(path: str) -> bool:
    """Whether a path has the form `owner/name` of a model on the hub."""
    return path.count("/") == 1 and not path.startswith((".", "/", "~"))


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip()[:300]}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars that the libraries draw while they load."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = [
        library
        for library in (diffusers_logging, transformers_logging)
        if library.is_progress_bar_enabled()
    ]
    for library in libraries:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in libraries:
            library.enable_progress_bar()


def _check_fit(generator: Generator) -> None:
    """Refuses components that do not belong together."""
    network, vae, name = generator.network.config, generator.pipeline.vae.config, generator.name
    part = generator.family.network
    generator.family.check(generator.pipeline, name)
    if network.in_channels != vae.latent_channels or network.out_channels != vae.latent_channels:
        raise InputError(
            f"generator.path: the {part} of {name} has {network.in_channels} latent channels in"
            f" and {network.out_channels} out, its vae {vae.latent_channels}; the components are"
            " of different models"
        )
    if vae.out_channels != 3:
        raise InputError(
            f"generator.path: the vae of {name} gives images of {vae.out_channels} channels, the"
            " classifier takes 3 (RGB)"
        )
    tiny = generator.tiny_decoder
    if tiny is not None and tiny.config.latent_channels != vae.latent_channels:
        raise InputError(
            f"generator.tiny_decoder decodes {tiny.config.latent_channels} latent channels, the"
            f" generator has {vae.latent_channels}; give the one made for {name}"
        )
    step = generator.latent_scale * getattr(network, "patch_size", 1)
    if generator.image_size is not None and generator.image_size % step:
        raise InputError(
            f"generator.image_size is {generator.image_size}; {name} draws multiples of {step}"
            " pixels"
        )
