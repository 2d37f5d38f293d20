"""The control: what the final classifier would be without a single synthetic image.

The final classifier differs from the baseline in its recipe (`retrain.training`) and in its
synthetic images. The control has the first alone, so that final minus control is what the images
are worth.
"""

import logging
from pathlib import Path
from typing import Any

from fgds_core.classify.config import TrainConfig
from fgds_core.classify.evaluation import write_evaluation
from fgds_core.classify.run import TrainingRun
from fgds_core.data.splits import read_real
from fgds_core.stages.training import save_trained, train_after_trial

log = logging.getLogger(__name__)


def train_control(
    prepared: Path,
    recipe: TrainConfig,
    baseline: TrainConfig,
    seed: int,
    models: Path,
    reports: Path,
    run: TrainingRun = TrainingRun(),
) -> dict[str, Any]:
    """Trains on real images alone by the final classifier's recipe and writes the result.

    Initial weights, budget, recipe and seed are those of the final classifier, and so are the
    batches, but for the images in them. A baseline of that recipe is this classifier.

    Args:
        prepared: The output of the stage prepare.
        recipe: The final classifier's.
        baseline: The baseline's recipe, to be told apart from.
        seed: Seed of weights, batches and augmentation.
        models: Gets `model.safetensors` and `config.json`.
        reports: Gets `control.json` and the folder `control`, see `write_evaluation`.
        run: Where and how it runs.

    Returns:
        The Metrics JSON on the test images, which are read here once, at the end.
    """
    if recipe == baseline:
        log.warning(
            "the baseline is trained by the final classifier's recipe itself (retrain.training "
            "changes nothing), so the control repeats it, and the table's first two columns are "
            "the same"
        )
    real = read_real(prepared)
    classifier = train_after_trial(real.train, real.val, recipe, seed, run)
    notes = {"training": recipe.model_dump(mode="json"), "seed": seed}
    save_trained(models, classifier, real.meta, notes)
    return write_evaluation(classifier, real, seed, reports, "control", run)
