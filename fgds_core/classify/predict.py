"""What a classifier says of many images."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from fgds_core.classify.network import Classifier
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.loader import batches
from fgds_core.images.pixels import from_uint8


def predict(
    classifier: Classifier, images: Tensor, *, batch_size: int = 500
) -> tuple[Tensor, Tensor]:
    """Logits and penultimate features of images in memory, in evaluation mode.

    Args:
        classifier: The classifier, on the device where it shall compute; its mode is kept.
        images: Images in [-1, 1], [N, C, H, W].
        batch_size: Images a pass.

    Returns:
        Logits [N, K] and features [N, D], both on the CPU.
    """
    passes = _passes(classifier, torch.split(images, batch_size))
    logits, features = zip(*passes, strict=True)
    return torch.cat(logits), torch.cat(features)


def predictions(
    classifier: Classifier, images: ImageDataset, *, workers: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and penultimate features of a set, batch by batch, in evaluation mode.

    Args:
        classifier: The classifier, on the device where it shall compute; its mode is kept.
        images: The set.
        workers: Processes that read images ahead.

    Yields:
        Logits [B, K] and features [B, D] of the next images, both on the CPU.
    """
    side = max(*images.size, classifier.contract.input_size)
    batch_size = max(1, min(500, PASS_PIXELS // side**2))
    device = classifier.mean.device
    pixels = batches(images, batch_size, workers=workers)
    return _passes(classifier, (from_uint8(x.to(device)) for x in pixels))


def predict_logits(classifier: Classifier, images: ImageDataset, *, workers: int = 0) -> Tensor:
    """Logits of a set, [N, K] on the CPU; see `predictions`."""
    found, start = torch.empty(len(images), len(classifier.class_names)), 0
    for logits, _ in predictions(classifier, images, workers=workers):
        found = found.to(logits.dtype)
        found[start : start + len(logits)] = logits
        start += len(logits)
    return found


PASS_PIXELS = 2**21
"""Pixels that go through a network together while nothing is learnt: 512 images of 64 x 64."""


@torch.no_grad()
def _passes(classifier: Classifier, images: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    was_training = classifier.training
    try:
        for x in images:
            classifier.eval()
            logits, features = classifier.logits_and_features(x.to(classifier.mean.device))
            yield logits.cpu(), features.cpu()
    finally:
        classifier.train(was_training)
