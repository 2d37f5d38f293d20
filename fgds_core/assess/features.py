"""Feature spaces in which sets of images are compared, chosen by name.

B images, C channels, H height, W width, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fgds_core.assess.networks import INCEPTION_FILE, check_inception
from fgds_core.classify.network import Classifier
from fgds_core.errors import InputError
from fgds_core.generators.adapter import tower_folder
from fgds_core.generators.config import GeneratorConfig
from fgds_core.images.pixels import to_uint8
from fgds_core.pretrained.clip import PROCESSOR, TOWER, check_processor
from fgds_core.pretrained.component import check_component, variant_there
from fgds_core.pretrained.folder import Folder
from fgds_core.pretrained.load import fetch, load_network, load_other, weights_of
from fgds_core.pretrained.vision import preprocess

Embed = Callable[[Tensor], Tensor]
"""Images in [-1, 1], [B, 3, H, W] -> features, [B, D]."""


@dataclass(frozen=True)
class Tower:
    """A CLIP vision tower in a local folder or on the hub.

    Attributes:
        path: Folder or hub id.
        revision: Revision of a hub id, or None.
        variant: Variant of the weights' files, or None.
        subfolder: Where the tower lies below it.
        processor: Where its preprocessing lies below it; None is what its image size says.
        key: The parameter that names it.
    """

    path: str
    revision: str | None = None
    variant: str | None = None
    subfolder: str = "image_encoder"
    processor: str | None = "feature_extractor"
    key: str = "generator.path"


def tower_of(generator: GeneratorConfig) -> Tower:
    """The vision tower that a generator was trained with, its adapter or its prior."""
    adapter, prior = generator.adapter, generator.prior
    if prior is not None:
        place = (prior.path, prior.revision, generator.variant)
        return Tower(*place, processor="image_processor", key="generator.prior")
    if adapter is None:
        return Tower(generator.path, generator.revision, generator.variant)
    return Tower(
        adapter.path,
        adapter.revision,
        subfolder=tower_folder(adapter),
        processor=None,
        key="generator.adapter",
    )


@dataclass(frozen=True)
class FeatureSources:
    """Where the networks lie; an extractor needs one of them.

    Attributes:
        tower: The CLIP vision tower that serves `clip`, such as the generator's own.
        inception_weights: The TorchScript file of InceptionV3, or its folder, for `inception`.
        classifier: The one whose penultimate layer serves `classifier`, where it computes.
    """

    tower: Tower | None = None
    inception_weights: Path | None = None
    classifier: Classifier | None = None


@dataclass(frozen=True)
class Extractor:
    """Turns images into the features of one named space.

    Attributes:
        name: Of the space.
        embed: What does it.
        device: Where it computes.
        classifier: The network, where it is a classifier.
    """

    name: str
    embed: Embed
    device: str
    classifier: Classifier | None = None


def load_extractor(name: str, sources: FeatureSources, *, device: str = "cpu") -> Extractor:
    """Loads the extractor called `name`, one of `EXTRACTORS`.

    Raises:
        InputError: If its network is not named in `sources` or cannot be read.
    """
    if name not in EXTRACTORS:
        raise InputError(f"features must be one of {sorted(EXTRACTORS)}, got {name!r}")
    embed = EXTRACTORS[name](sources, device)
    return Extractor(name, embed, device, sources.classifier if name == "classifier" else None)


def clip(sources: FeatureSources, device: str) -> Embed:
    """Image embeddings of the generator's own CLIP vision tower, D its projection size.

    Only the tower and its preprocessing are loaded. The preprocessing (shorter side resized,
    centre cropped, normalised) is done as tensor operations.
    """
    place = sources.tower
    if place is None:
        raise InputError("features clip needs the generator that holds the CLIP vision tower")
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    key = place.key
    files = weights_of("model", place.subfolder)
    if place.variant is not None:
        files += weights_of("model", place.subfolder, place.variant)
    if place.processor is not None:
        files.append(f"{place.processor}/*.json")
    root = Folder(fetch(place.path, place.revision, files, key), key)
    folders = [name for name in (place.subfolder, place.processor) if name is not None]
    if missing := [name for name in folders if not (root / name).path.is_dir()]:
        raise InputError(
            f"{key}: {place.path} has no CLIP vision tower ({', '.join(missing)}); give a"
            " generator that has one, or choose other assess.features"
        )
    variant = variant_there(root / place.subfolder, place.variant)
    config = check_component(root / place.subfolder, TOWER, variant)
    # Whatever the weights are stored in: one feature space
    tower = load_network(
        CLIPVisionModelWithProjection.from_pretrained,
        root / place.subfolder,
        torch.float32,
        variant,
    )
    if place.processor is None:
        side = tower.config.image_size
        processor = CLIPImageProcessor(size={"shortest_edge": side}, crop_size=side)
    else:
        stated = root / place.processor
        check_processor(stated, check_component(stated, PROCESSOR), config)
        processor = load_other(CLIPImageProcessor.from_pretrained, stated)
    tower.to(device).eval()
    prepared = preprocess(processor, device)

    def embed(x: Tensor) -> Tensor:
        features: Tensor = tower(prepared(x)).image_embeds  # [B, D]
        return features

    return embed


def inception(sources: FeatureSources, device: str) -> Embed:
    """The 2048 pooled features of InceptionV3, with clean-fid's weights and resizing."""
    where = f"set assess.inception_weights to a local copy of {INCEPTION_FILE}"
    if sources.inception_weights is None:
        raise InputError(f"features inception needs weights: {where}, or choose other features")
    path = check_inception(sources.inception_weights)
    from cleanfid.inception_torchscript import InceptionV3W
    from cleanfid.resize import build_resizer

    try:
        network = InceptionV3W(str(path.parent), download=False).to(device).eval()
    except RuntimeError as error:
        raise InputError(f"{path} is no TorchScript file: {error}; {where}") from error
    resize = build_resizer("clean")

    def embed(x: Tensor) -> Tensor:
        pixels = to_uint8(x).permute(0, 2, 3, 1).cpu().numpy()  # [B, H, W, 3]
        resized = np.stack([resize(image) for image in pixels])  # [B, 299, 299, 3] in [0, 255]
        features: Tensor = network(torch.from_numpy(resized).permute(0, 3, 1, 2).to(device))
        return features  # [B, 2048]

    return embed


def classifier(sources: FeatureSources, device: str) -> Embed:
    """Penultimate features of a classifier, with the preprocessing it was trained with."""
    if sources.classifier is None:
        raise InputError("features classifier needs a trained classifier")
    return sources.classifier.features


EXTRACTORS: dict[str, Callable[[FeatureSources, str], Embed]] = {
    "clip": clip,
    "inception": inception,
    "classifier": classifier,
}
