"""Loads one component of a pre-trained model from a folder, from safetensors only."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from fgds_core.errors import InputError
from fgds_core.pretrained.folder import Folder, check_place

PATTERNS = ("{stem}.safetensors", "{stem}-*-of-*.safetensors")


def fetch(path: str, revision: str | None, files: Sequence[str], key: str) -> Path:
    """Finds the folder of a model; what is on the hub is brought here first.

    Args:
        path: A folder, or an id on the hub.
        revision: Of an id.
        files: Patterns of the files that are wanted of it; never all, pickles among them.
        key: The parameter that names it.

    Raises:
        InputError: It is neither, or the hub does not give it.
    """
    if check_place(path, key):
        return Path(path)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(path, revision=revision, allow_patterns=list(files)))
    except Exception as error:  # of the network, of the hub, or of the disk
        raise not_on_hub(path, key, error) from error


def not_on_hub(path: str, key: str, error: Exception) -> InputError:
    """What to say of a model that the hub does not give."""
    return InputError(
        f"{key}: the model {path} cannot be brought from the hub ({reason(error)}); correct the id"
        " and its revision, ask for access to the model, or give a folder"
    )


def weights_of(stem: str, folder: str = "", variant: str | None = None) -> list[str]:
    """Patterns of the files of a component on the hub: its configuration and its weights."""
    stem = stem if variant is None else f"{stem}.{variant}"
    below = f"{folder}/" if folder else ""
    return [f"{below}*.json", *(f"{below}{pattern.format(stem=stem)}" for pattern in PATTERNS)]


def load_network(
    load: Callable[..., Any], place: Folder, dtype: torch.dtype, variant: str | None = None
) -> Any:  # noqa: ANN401
    """Loads a network of diffusers or transformers, its weights complete and finite.

    Args:
        load: `from_pretrained` of its class.
        place: Its folder, which `check_component` has checked.
        dtype: What its weights become.
        variant: Variant of the weights' files.

    Raises:
        InputError: The weights do not fit its configuration, or are not finite in this type.
    """
    with quiet():
        try:
            network, report = load(
                str(place.path),
                variant=variant,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
        except Exception as error:  # the libraries raise many kinds
            raise place.wrong(
                f"holds no weights that fit its config.json ({reason(error)})"
            ) from error
    if missing := sorted(report["missing_keys"]):
        raise place.wrong(
            f"lacks the weights {', '.join(missing[:3])}{' ...' * (len(missing) > 3)}, which its"
            " config.json calls for"
        )
    check_finite(network, place)
    return network


def check_finite(network: torch.nn.Module, place: Folder) -> None:
    """Refuses weights that are not finite.

    Raises:
        InputError: Names the first of them.
    """
    floats = {name: t for name, t in network.state_dict().items() if t.is_floating_point()}
    if not floats:
        return
    finite = torch.stack([t.isfinite().all() for t in floats.values()]).tolist()
    broken = [name for name, ok in zip(floats, finite, strict=True) if not ok]
    if broken:
        dtype = floats[broken[0]].dtype
        raise place.wrong(
            f"holds weights that are not finite in {dtype}: {', '.join(broken[:3])}",
            "set generator.dtype to bfloat16 or float32 where it is float16, or take a whole copy"
            " of the published model",
        )


def load_other(load: Callable[..., Any], place: Folder) -> Any:  # noqa: ANN401
    """Loads a component without weights: a tokenizer, a scheduler, an image processor.

    Raises:
        InputError: It cannot be made from its files.
    """
    with quiet():
        try:
            return load(str(place.path), local_files_only=True)
        except Exception as error:
            raise place.wrong(f"cannot be loaded ({reason(error)})") from error


def class_of(library: str, name: str) -> Any:  # noqa: ANN401
    """A class that is known, by its library and name in `model_index.json`.

    Raises:
        InputError: Today's library does not have it.
    """
    if library == "stable_diffusion":
        from diffusers.pipelines.stable_diffusion import stable_unclip_image_normalizer

        return getattr(stable_unclip_image_normalizer, name)
    if library == "transformers":  # names of earlier versions for the same things
        name = name.removesuffix("Fast").replace("FeatureExtractor", "ImageProcessor")
    try:
        return getattr(import_module(library), name)
    except AttributeError:
        raise InputError(
            f"generator.path: model_index.json names {name}, which {library} does not have; take"
            " a copy that was saved with a known class"
        ) from None


def reason(error: Exception) -> str:
    """The kind of an error and the beginning of what it says."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


@contextmanager
def quiet() -> Iterator[None]:
    """Without the bars and remarks of the libraries that load.

    What their remarks say of weights that are missing is an error of `load_network`.
    """
    from diffusers.utils import logging as of_diffusers
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging as of_transformers

    libraries = (of_diffusers, of_transformers)
    shown = [library for library in libraries if library.is_progress_bar_enabled()]
    levels = [library.get_verbosity() for library in libraries]
    hub_shown = not are_progress_bars_disabled()
    for library in libraries:
        library.disable_progress_bar()
        library.set_verbosity_error()
    disable_progress_bars()
    try:
        yield
    finally:
        for library, level in zip(libraries, levels, strict=True):
            library.set_verbosity(level)
        for library in shown:
            library.enable_progress_bar()
        if hub_shown:
            enable_progress_bars()
