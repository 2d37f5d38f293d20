"""The control: what the final classifier would be without a single synthetic image.

The final classifier differs from the baseline in two things, its class-balanced batches and its
synthetic images. The control has the first alone, so that final minus control is what the images
are worth.
"""

import logging
from pathlib import Path
from typing import Any

from fgds_core.classify.config import TrainBaselineConfig
from fgds_core.classify.evaluation import write_evaluation
from fgds_core.classify.run import TrainingRun
from fgds_core.data.meta import read_meta
from fgds_core.data.splits import read_prepared
from fgds_core.stages.training import save_trained, train_after_trial

log = logging.getLogger(__name__)


def train_control(
    prepared: Path,
    config: TrainBaselineConfig,
    seed: int,
    models: Path,
    reports: Path,
    run: TrainingRun = TrainingRun(),
) -> dict[str, Any]:
    """Trains on real images alone in class-balanced batches and writes the result.

    Initial weights, budget, recipe and seed are those of the final classifier, and so are the
    batches, but for the images in them. A baseline that samples class-balanced is this classifier.

    Args:
        prepared: The output of the stage prepare.
        config: Architecture, budget and recipe; its `sampling` is the baseline's alone.
        seed: Seed of weights, batches and augmentation.
        models: Gets `model.safetensors` and `config.json`.
        reports: Gets `control.json` and the folder `control`, see `write_evaluation`.
        run: Where and how it runs.

    Returns:
        The Metrics JSON on the test images, which are read here once, at the end.
    """
    if config.sampling == "class_balanced":
        log.warning(
            "the baseline draws class-balanced batches itself (train_baseline.sampling), so the "
            "control repeats it, and the table's first two columns are the same"
        )
    config = config.model_copy(update={"sampling": "class_balanced"})
    meta = read_meta(prepared)
    train, val = read_prepared(prepared, "train"), read_prepared(prepared, "val")
    classifier = train_after_trial(train, val, config, seed, run)
    notes = {"training": config.model_dump(mode="json"), "seed": seed}
    save_trained(models, classifier, meta, notes)
    return write_evaluation(classifier, prepared, meta, seed, reports, "control", run)
