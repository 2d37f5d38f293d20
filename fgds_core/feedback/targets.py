"""How useful real images are: what guidance may stop at."""

import torch

from fgds_core.classify.network import Classifier
from fgds_core.classify.predict import predictions
from fgds_core.feedback.criteria.entropy import entropy
from fgds_core.feedback.criteria.hardness import hardness
from fgds_core.feedback.criteria.loss import loss
from fgds_core.feedback.criterion import Criterion, Known, Seen
from fgds_core.feedback.gaussians import ClassGaussians
from fgds_core.images.dataset import ImageDataset

MEASURED: dict[str, Criterion] = {"loss": loss, "hardness": hardness, "entropy": entropy}
"""The criteria that are measured on real images: those by which one image is valued alone, and
that the training knows all about."""


def criteria_on_real(
    classifier: Classifier, gaussians: ClassGaussians, images: ImageDataset, *, workers: int = 0
) -> dict[str, dict[str, list[float | None]]]:
    """Measures how useful real images are by each criterion: how hard "as hard as real" is.

    Args:
        classifier: The baseline, on the device where it shall compute.
        gaussians: Its class Gaussians.
        images: Real validation images.
        workers: Processes that read images ahead.

    Returns:
        Entries for the baseline's `config.json`: under `criterion_on_real` and
        `criterion_on_real_calibrated` the mean of each criterion per class, [K], null for a class
        without images.
    """
    counts = torch.bincount(images.labels, minlength=len(images.class_names))  # [K]
    sums = {
        (key, name): torch.zeros(len(counts), dtype=torch.float64)
        for key in KEYS.values()
        for name in MEASURED
    }
    known, start = Known(gaussians=gaussians), 0
    for logits, features in predictions(classifier, images, workers=workers):
        labels = images.labels[start : start + len(logits)]  # [B]
        start += len(logits)
        for calibrated, key in KEYS.items():
            scores = logits.float() / (classifier.temperature if calibrated else 1.0)
            seen = Seen(scores, features.float())
            for name, criterion in MEASURED.items():
                values = criterion(seen, labels, known)  # [B]
                sums[key, name].index_add_(0, labels, values.double())
    return {
        key: {
            name: [
                float(total / count) if count else None
                for total, count in zip(sums[key, name], counts, strict=True)
            ]
            for name in MEASURED
        }
        for key in KEYS.values()
    }


KEYS = {False: "criterion_on_real", True: "criterion_on_real_calibrated"}
"""Entries of the baseline's `config.json`, by whether the logits are calibrated."""
