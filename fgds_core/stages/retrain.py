"""The final classifier: the baseline's architecture and budget, on real and synthetic images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fgds_core.classify.checkpoint import Checkpoint
from fgds_core.classify.config import RetrainConfig
from fgds_core.classify.evaluation import write_evaluation
from fgds_core.classify.network import save_classifier
from fgds_core.classify.train import read_training, train_classifier
from fgds_core.data.meta import read_meta
from fgds_core.data.splits import read_prepared
from fgds_core.synthesis.shards import read_synthetic


def retrain(
    prepared: Path,
    synthetic: Path,
    baseline: Path,
    config: RetrainConfig,
    seed: int,
    models: Path,
    reports: Path,
    *,
    device: str | torch.device = "cpu",
    on_epoch: Callable[[dict[str, float]], None] = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
    checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:
    """Trains on real and synthetic images in class-balanced batches and writes the result.

    Args:
        prepared: The output of the stage prepare.
        synthetic: The output of the stage synthesize.
        baseline: The baseline's folder: architecture, budget and recipe are taken from it.
        config: The share of real images in a batch.
        seed: Seed of weights, batches and augmentation.
        models: Gets `model.safetensors` and `config.json`.
        reports: Gets `final.json` and the folder `final`, see `write_evaluation`.
        device: Where to compute.
        on_epoch: See `train_classifier`.
        advance: See `train_classifier`.
        checkpoint: See `train_classifier`.

    Returns:
        The Metrics JSON on the test images, which are read here once, at the end.
    """
    meta = read_meta(prepared)
    training = read_training(baseline)
    images, _ = read_synthetic(synthetic)
    classifier = train_classifier(
        read_prepared(prepared, "train"),
        read_prepared(prepared, "val"),
        training,
        seed,
        synthetic=images,
        real_share=config.real_share,
        device=device,
        on_epoch=on_epoch,
        advance=advance,
        checkpoint=checkpoint,
    )
    save_classifier(
        models,
        classifier,
        real_counts=meta.counts["train"],  # bins and counts are those of real images, always
        bins=meta.bins,
        extra={
            "training": training.model_dump(mode="json"),
            "retraining": config.model_dump(mode="json"),
            "synthetic_counts": images.labels.bincount(minlength=len(meta.class_names)).tolist(),
            "seed": seed,
        },
    )
    return write_evaluation(classifier, prepared, meta, seed, reports, "final")
