"""What a classifier is saved with that guides: all that feedback may ask of it."""

from pathlib import Path

from fgds_core.classify.config import TrainConfig
from fgds_core.classify.network import Classifier
from fgds_core.classify.run import TrainingRun
from fgds_core.data.splits import RealImages
from fgds_core.feedback.fit import class_gaussians
from fgds_core.feedback.gaussians import FEATURE_STATISTICS
from fgds_core.feedback.targets import criteria_on_real
from fgds_core.stages.training import save_trained


def save_guide(
    models: Path,
    classifier: Classifier,
    real: RealImages,
    config: TrainConfig,
    seed: int,
    run: TrainingRun = TrainingRun(),
) -> None:
    """Writes the folder of a classifier that gives feedback.

    Args:
        models: Gets `model.safetensors`, `config.json` (with the mean of each criterion over
            each class's real validation images) and `feature_statistics.safetensors` (the class
            Gaussians of `hardness`).
        classifier: The trained classifier.
        real: The real images that it was trained with and chosen by.
        config: How it was trained.
        seed: Seed of its training.
        run: How it ran; says how images are read.
    """
    workers = run.loader_workers
    gaussians = class_gaussians(classifier, real.train, workers=workers)
    gaussians.save(models / FEATURE_STATISTICS)
    criteria = criteria_on_real(classifier, gaussians, real.val, workers=workers)
    notes = {
        "training": config.model_dump(mode="json"),
        "image_size": real.meta.image_size,
        "seed": seed,
        **criteria,
    }
    save_trained(models, classifier, real.meta, notes)
