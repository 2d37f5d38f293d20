"""The folder of an IP-Adapter and of its image encoder, checked without loading it."""

from pathlib import Path

from fgds_core.errors import InputError
from fgds_core.generators.config import AdapterConfig
from fgds_core.pretrained.clip import TOWER
from fgds_core.pretrained.component import check_component, tensors
from fgds_core.pretrained.folder import Config, Folder, inner, readable, short


def tower_folder(adapter: AdapterConfig) -> str:
    """Where an adapter's vision tower lies below its path."""
    folder = adapter.image_encoder
    return folder if "/" in folder else f"{adapter.subfolder}/{folder}"


def adapter_weights(adapter: AdapterConfig) -> tuple[str, str]:
    """The files of its weights and of its tower's, below its path."""
    return (
        f"{adapter.subfolder}/{adapter.weight_name}",
        f"{tower_folder(adapter)}/model.safetensors",
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
    with readable(place):
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
    config = inner(config, "vision_config")
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
            f" the image encoder beside it gives {short(given)}; name the encoder it was trained"
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
