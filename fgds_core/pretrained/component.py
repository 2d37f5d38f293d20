"""Components of pre-trained models, checked without loading them.

Each has to be of a class that is known, with its configuration, and its weights as safetensors.
Nothing that names code, pickles or an address is passed on to the libraries that load. Reads a
few configurations and the headers of the weights, so it takes a moment however large a model is.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from fgds_core.pretrained.folder import REMEDY, SMALL, Config, Folder, read, short


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

LAYERS = (
    "layers_per_block",
    "num_decoder_layers",
    "num_hidden_layers",
    "num_layers",
    "transformer_layers_per_block",
)
"""Keys of configurations that say how many layers a library makes, before it looks for weights."""

MAX_LAYERS = 1000


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
        raise file.wrong(f"says _class_name {short(stated)}, model_index.json {name}")
    if name is None and component.library == "diffusers" and stated not in component.classes:
        raise file.wrong(
            f"says _class_name {short(stated)}, not {' or '.join(component.classes)}",
            "name another, or set the key to null",
        )
    if component.weights is not None:
        for key, value in _entries(config):
            if key in LAYERS and any(n > MAX_LAYERS for n in _whole_numbers(value)):
                raise file.wrong(f"says {key} {short(value)}; at most {MAX_LAYERS} are made")
        check_weights(place, component.weights, variant)
    return config


def _entries(value: object) -> Iterator[tuple[str, object]]:
    """All keys of a configuration with their values, those of nested ones too."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _entries(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _entries(inner)


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
            raise file.wrong(f"names {short(shard)}, which is no safetensors file beside it")
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
            raise file.wrong(f"holds values that are not finite in {short(name)}")
