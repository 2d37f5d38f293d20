"""The baseline: a classifier of the real, imbalanced images, and what guidance asks of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fgds_core.classify.checkpoint import Checkpoint
from fgds_core.classify.config import TrainBaselineConfig
from fgds_core.classify.evaluation import write_evaluation
from fgds_core.classify.network import Classifier, predict, save_classifier
from fgds_core.classify.train import train_classifier
from fgds_core.data.meta import read_meta
from fgds_core.data.splits import read_prepared
from fgds_core.feedback.fit import fit_class_gaussians
from fgds_core.feedback.gaussians import FEATURE_STATISTICS
from fgds_core.feedback.targets import criteria_on_real
from fgds_core.images.dataset import gather


def train_baseline(
    prepared: Path,
    config: TrainBaselineConfig,
    seed: int,
    models: Path,
    reports: Path,
    *,
    device: str | torch.device = "cpu",
    on_epoch: Callable[[dict[str, float]], None] = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
    checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:
    """Trains the baseline and writes its folder and its reports.

    Args:
        prepared: The output of the stage prepare.
        config: Architecture, budget, recipe and sampling.
        seed: Seed of weights, batches and augmentation.
        models: See `fit_baseline`.
        reports: Gets `baseline.json` and the folder `baseline`, see `write_evaluation`.
        device: Where to compute.
        on_epoch: See `train_classifier`.
        advance: See `train_classifier`.
        checkpoint: See `train_classifier`.

    Returns:
        The Metrics JSON on the test images, which are read here once, at the end.
    """
    classifier = fit_baseline(
        prepared,
        config,
        seed,
        models,
        device=device,
        on_epoch=on_epoch,
        advance=advance,
        checkpoint=checkpoint,
    )
    return write_evaluation(classifier, prepared, read_meta(prepared), seed, reports, "baseline")


def fit_baseline(
    prepared: Path,
    config: TrainBaselineConfig,
    seed: int,
    models: Path,
    *,
    device: str | torch.device = "cpu",
    on_epoch: Callable[[dict[str, float]], None] = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
    checkpoint: Checkpoint | None = None,
) -> Classifier:
    """Trains the classifier that gives feedback, and writes its folder; reads no test image.

    Args:
        prepared: The output of the stage prepare.
        config: Architecture, budget, recipe and sampling.
        seed: Seed of weights, batches and augmentation.
        models: Gets `model.safetensors`, `config.json` (with the mean of each criterion over
            each class's real validation images) and `feature_statistics.safetensors` (the class
            Gaussians of `hardness`).
        device: Where to compute.
        on_epoch: See `train_classifier`.
        advance: See `train_classifier`.
        checkpoint: See `train_classifier`.

    Returns:
        The trained classifier.
    """
    meta = read_meta(prepared)
    train, val = read_prepared(prepared, "train"), read_prepared(prepared, "val")
    classifier = train_classifier(
        train,
        val,
        config,
        seed,
        sampling=config.sampling,
        device=device,
        on_epoch=on_epoch,
        advance=advance,
        checkpoint=checkpoint,
    )
    _, features = predict(classifier, gather(train))  # [N, D]
    gaussians = fit_class_gaussians(features, train.labels, len(train.class_names))
    gaussians.save(models / FEATURE_STATISTICS)
    save_classifier(
        models,
        classifier,
        real_counts=meta.counts["train"],
        bins=meta.bins,
        extra={
            "training": config.model_dump(mode="json"),
            "image_size": meta.image_size,
            "seed": seed,
            **criteria_on_real(classifier, gaussians, gather(val), val.labels, device=device),
        },
    )
    return classifier
