"""Which way real validation images would push the last layer: what `influence` compares with.

The gradient of an image's cross-entropy with respect to the last layer is (p - e_y) h^T, with the
probabilities p [K], the label's unit vector e_y and the features h [D]; with a 1 behind h where
the layer has an offset.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fgds_core.classify.heads import last_layer
from fgds_core.data.meta import read_meta
from fgds_core.errors import InputError
from fgds_core.feedback.criterion import Known, Needs, Parameters, Seen, Sources
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.pixels import from_uint8

FULL_WEIGHT = 10
"""Validation images of a class whose gradient counts half: n of them count n / (n + 10)."""

BLOCK = 64
"""Images that are looked at together; no parameter, for it may change the last bits."""

KEPT = 16
"""Classes whose direction is kept, those of the last ones: it is as large as the last layer."""


def factors(seen: Seen, labels: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The two factors of each image's gradient, p - e_y [B, K] and h [B, width]."""
    residuals = seen.logits.softmax(dim=-1) - F.one_hot(labels, seen.logits.shape[1])
    return residuals, F.pad(seen.features, (0, width - seen.features.shape[1]), value=1.0)


def _measure(config: Parameters, sources: Sources) -> Known:
    """The directions of the classes; one pass over the validation images, of which none is kept.

    Raises:
        InputError: There is no validation image, or the network has no linear last layer.
    """
    val = sources.images("val")
    if not len(val):
        raise InputError(
            "synthesize.feedback: got influence, but there are no validation images to measure it"
            " by; set data to have some, or choose another criterion"
        )
    width = _width(sources, val)
    counts = torch.bincount(val.labels, minlength=len(val.class_names))  # [K]
    num_classes = int((counts > 0).sum())
    mean = _total(sources, val, width, 1 / (num_classes * counts.double()))  # [K, width]

    @lru_cache(KEPT)
    def gradients(label: int) -> Tensor:
        """Its own less the mean of the other classes', shrunk; 0 without images, [K, width]."""
        n = int(counts[label])
        if not n or num_classes < 2:
            return torch.zeros_like(mean).float().to(sources.device)
        own = _total(sources, val.of_class(label), width, 1 / counts.double())
        others = (num_classes * mean - own) / (num_classes - 1)
        return (n / (n + FULL_WEIGHT) * (own - others)).float().to(sources.device)

    return Known(gradients=gradients)


@torch.no_grad()
def _total(sources: Sources, images: ImageDataset, width: int, weights: Tensor) -> Tensor:
    """The sum of the images' gradients, each times the weight of its class [K]; [K, width]."""
    total = torch.zeros(len(images.class_names), width, dtype=torch.float64)
    for x, labels in _blocks(images):
        seen = sources.see(x)
        residuals, h = factors(seen, labels.to(seen.logits.device), width)
        total += (weights[labels, None] * residuals.cpu().double()).T @ h.cpu().double()
    return total


def _blocks(images: ImageDataset) -> Iterator[tuple[Tensor, Tensor]]:
    """Images in [-1, 1], [B, 3, H, W], and their labels, [B]."""
    for rows in torch.split(torch.arange(len(images)), BLOCK):
        yield from_uint8(images.__getitems__(rows.tolist())), images.labels[rows]


@torch.no_grad()
def _width(sources: Sources, images: ImageDataset) -> int:
    """The features, and one more where the last layer has an offset.

    Raises:
        InputError: The scores are no linear function of the features.
    """
    (classifier,) = sources.classifiers  # `agreement` refuses a committee
    network = getattr(classifier, "network", None)
    refusal = InputError(
        "synthesize.feedback: got influence, which compares gradients of a linear last layer, but"
        f" the network in {sources.folder} has none that makes its scores of its features; choose"
        " another criterion, or another train_baseline.model, with head linear"
    )
    try:
        layer = last_layer(network) if isinstance(network, nn.Module) else None
    except InputError as error:
        raise refusal from error
    if not isinstance(layer, nn.Linear):
        raise refusal
    x, _ = next(_blocks(images))
    logits, features = classifier.logits_and_features(x[:4].to(layer.weight))
    if features.shape[1] != layer.in_features or not torch.allclose(
        layer(features), logits, rtol=1e-2, atol=1e-3
    ):
        raise refusal
    return layer.in_features + (layer.bias is not None)


def _digests(folder: Path, prepared: Path) -> dict[str, Any]:
    return {"validation": read_meta(prepared).content_sha256["val"]}


VALIDATION = Needs(find=_measure, digests=_digests)
"""What `influence` needs."""
