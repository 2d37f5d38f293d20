"""The baseline: a classifier of the real, imbalanced images, and what guidance asks of it."""

from pathlib import Path
from typing import Any

from fgds_core.classify.config import TrainConfig
from fgds_core.classify.evaluation import write_evaluation
from fgds_core.classify.network import Classifier
from fgds_core.classify.run import TrainingRun
from fgds_core.data.meta import read_meta
from fgds_core.data.splits import read_prepared
from fgds_core.feedback.fit import class_gaussians
from fgds_core.feedback.gaussians import FEATURE_STATISTICS
from fgds_core.feedback.targets import criteria_on_real
from fgds_core.stages.training import save_trained, train_after_trial


def train_baseline(
    prepared: Path,
    config: TrainConfig,
    seed: int,
    models: Path,
    reports: Path,
    run: TrainingRun = TrainingRun(),
) -> dict[str, Any]:
    """Trains the baseline and writes its folder and its reports.

    Args:
        prepared: The output of the stage prepare.
        config: Architecture, budget and recipe.
        seed: Seed of weights, batches and augmentation.
        models: See `fit_baseline`.
        reports: Gets `baseline.json` and the folder `baseline`, see `write_evaluation`.
        run: Where and how it runs.

    Returns:
        The Metrics JSON on the test images, which are read here once, at the end.
    """
    classifier = fit_baseline(prepared, config, seed, models, run)
    meta = read_meta(prepared)
    return write_evaluation(classifier, prepared, meta, seed, reports, "baseline", run)


def fit_baseline(
    prepared: Path,
    config: TrainConfig,
    seed: int,
    models: Path,
    run: TrainingRun = TrainingRun(),
) -> Classifier:
    """Trains the classifier that gives feedback, and writes its folder; reads no test image.

    Args:
        prepared: The output of the stage prepare.
        config: Architecture, budget and recipe.
        seed: Seed of weights, batches and augmentation.
        models: Gets `model.safetensors`, `config.json` (with the mean of each criterion over
            each class's real validation images) and `feature_statistics.safetensors` (the class
            Gaussians of `hardness`).
        run: Where and how it runs.

    Returns:
        The trained classifier.
    """
    meta = read_meta(prepared)
    train, val = read_prepared(prepared, "train"), read_prepared(prepared, "val")
    classifier = train_after_trial(train, val, config, seed, run)
    workers = run.loader_workers
    gaussians = class_gaussians(classifier, train, workers=workers)
    gaussians.save(models / FEATURE_STATISTICS)
    real = criteria_on_real(classifier, gaussians, val, workers=workers)
    notes = {
        "training": config.model_dump(mode="json"),
        "image_size": meta.image_size,
        "seed": seed,
        **real,
    }
    save_trained(models, classifier, meta, notes)
    return classifier
