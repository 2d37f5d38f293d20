"""The baseline: a classifier of the real, imbalanced images, and what guidance asks of it."""

from pathlib import Path
from typing import Any

from fgds_core.classify.config import TrainConfig
from fgds_core.classify.evaluation import write_evaluation
from fgds_core.classify.network import Classifier
from fgds_core.classify.run import TrainingRun
from fgds_core.data.splits import RealImages, read_real
from fgds_core.stages.guide import save_guide
from fgds_core.stages.training import train_after_trial


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
    real = read_real(prepared)
    classifier = fit_baseline(real, config, seed, models, run)
    return write_evaluation(classifier, real, seed, reports, "baseline", run)


def fit_baseline(
    real: RealImages,
    config: TrainConfig,
    seed: int,
    models: Path,
    run: TrainingRun = TrainingRun(),
) -> Classifier:
    """Trains the classifier that gives feedback, and writes its folder; reads no test image.

    Args:
        real: The images to learn from and to choose by.
        config: Architecture, budget and recipe.
        seed: Seed of weights, batches and augmentation.
        models: See `save_guide`.
        run: Where and how it runs.

    Returns:
        The trained classifier.
    """
    classifier = train_after_trial(real.train, real.val, config, seed, run)
    save_guide(models, classifier, real, config, seed, run)
    return classifier
