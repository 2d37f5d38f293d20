"""Has a classifier learned what synthetic images look like, in place of what they show?

Rare classes are filled up with synthetic images, so that whatever tells these from real ones tells
of the class as well. Two traces of that shortcut are looked for: in its features synthetic and
real images of one class lie apart, and it takes real images of frequent classes for what real
images are seldom of. Both stand beside the control, which saw no synthetic image.

N real images, M synthetic images, B of a set, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.controls.probe import probe_auc
from fgds_core.classify.network import Classifier
from fgds_core.classify.predict import predictions
from fgds_core.images.dataset import ImageDataset

Stratum = tuple[int, str]
"""A class before a ground; of data without groups there is one ground."""


def audited(
    classifier: Classifier, train: ImageDataset, synthetic: ImageDataset, val: ImageDataset
) -> dict[str, float | None]:
    """Both traces of one classifier, retrained or the control.

    Args:
        classifier: It, in evaluation mode.
        train: Real training images, N.
        synthetic: The synthetic images that the retrained one saw, M.
        val: Real validation images.

    Returns:
        `probe_auc`: how well a linear probe tells synthetic from real training images of one class
        in its features, see there; `sent_to_synthetic`: see `sent_to_synthetic`.
    """
    (real, _), (drawn, _), (_, predicted) = (
        _answers(classifier, images) for images in (train, synthetic, val)
    )
    return {
        "probe_auc": probe_auc(real, train.labels.numpy(), drawn, synthetic.labels.numpy()),
        "sent_to_synthetic": sent_to_synthetic(predicted, train, synthetic, val),
    }


def sent_to_synthetic(
    predicted: Sequence[int], train: ImageDataset, synthetic: ImageDataset, val: ImageDataset
) -> float | None:
    """Share of real images of mostly real classes that go to mostly synthetic ones.

    A class is mostly real if more real than synthetic images were trained with, and mostly
    synthetic in the opposite case. Where images have groups, this goes by class and ground, and an
    image's ground is known: a class has real images before one and synthetic ones before another.

    Args:
        predicted: The class that each validation image is taken for.
        train: Real training images.
        synthetic: Synthetic ones.
        val: The validation images.

    Returns:
        A fraction of the images of mostly real classes; None where there are none.
    """
    has_groups = train.groups is not None and synthetic.groups is not None
    real, drawn = (
        Counter(_strata(each.labels.tolist(), each, has_groups)) for each in (train, synthetic)
    )
    actual = _strata(val.labels.tolist(), val, has_groups)
    taken_for = _strata(predicted, val, has_groups)
    sent = [
        drawn[its] > real[its]
        for own, its in zip(actual, taken_for, strict=True)
        if real[own] > drawn[own]
    ]
    return float(np.mean(sent)) if sent else None


def _strata(labels: Sequence[int], images: ImageDataset, has_groups: bool) -> list[Stratum]:
    grounds = (images.groups if has_groups else None) or [""] * len(labels)
    return list(zip(labels, grounds, strict=True))


def _answers(
    classifier: Classifier, images: ImageDataset
) -> tuple[NDArray[np.float64], list[int]]:
    """Penultimate features, [B, D], and predicted classes of a set."""
    logits, features = zip(*predictions(classifier, images), strict=True)
    return torch.cat(features).double().numpy(), torch.cat(logits).argmax(dim=1).tolist()
