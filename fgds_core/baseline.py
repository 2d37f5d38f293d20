"""The baseline: a classifier of the real, imbalanced images, and what guidance asks of it."""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from fgds_core.checkpoint import Checkpoint
from fgds_core.classify import Classifier, predict, save_classifier
from fgds_core.config.train_baseline import TrainBaselineConfig
from fgds_core.feedback import FEATURE_STATISTICS, criteria_on_real, fit_class_gaussians
from fgds_core.files import write_json, write_text
from fgds_core.images import ImageSet
from fgds_core.metrics import Evaluation, evaluate
from fgds_core.splits import Meta, read_meta, read_prepared
from fgds_core.train import train_classifier


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
        reports: Gets `baseline.json`, `baseline/validation.json` and `baseline/predictions.csv`.
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
    _, features = predict(classifier, train.images)  # [N, D]
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
            **criteria_on_real(classifier, gaussians, val.images, val.labels, device=device),
        },
    )
    return classifier


def write_evaluation(
    classifier: Classifier, prepared: Path, meta: Meta, seed: int, reports: Path, name: str
) -> dict[str, Any]:
    """Evaluates a finished classifier and writes what the reports need.

    Args:
        classifier: The classifier whose training is over.
        prepared: The output of the stage prepare.
        meta: Its meta data: the bins.
        seed: Recorded in the metrics.
        reports: Gets `<name>.json`, `<name>/validation.json` (for tuning) and
            `<name>/predictions.csv` (actual and predicted class names of the test images).
        name: `baseline` or `final`.

    Returns:
        The Metrics JSON on the test images.
    """
    val = evaluate(classifier, read_prepared(prepared, "val"), meta.bins, seed=seed)
    write_json(reports / name / "validation.json", val.metrics)
    test_images = read_prepared(prepared, "test")
    test = evaluate(classifier, test_images, meta.bins, seed=seed)
    write_text(reports / name / "predictions.csv", predictions_csv(test, test_images))
    write_json(reports / f"{name}.json", test.metrics)
    metrics: Mapping[str, Any] = test.metrics
    return dict(metrics)


def predictions_csv(evaluation: Evaluation, images: ImageSet) -> str:
    """Actual and predicted class name of each image, as CSV with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["actual", "predicted"])
    for actual, predicted in zip(
        images.labels.tolist(), evaluation.predictions.tolist(), strict=True
    ):
        writer.writerow([images.class_names[actual], images.class_names[predicted]])
    return text.getvalue()
