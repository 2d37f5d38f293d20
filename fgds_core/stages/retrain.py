"""The final classifier: trained on real and synthetic images, by a recipe of its own."""

from pathlib import Path
from typing import Any

from fgds_core.classify.config import RetrainConfig, final_recipe
from fgds_core.classify.evaluation import write_evaluation
from fgds_core.classify.run import TrainingRun
from fgds_core.classify.train import read_training
from fgds_core.data.splits import read_real
from fgds_core.stages.training import save_trained, train_after_trial
from fgds_core.synthesis.shards import read_synthetic


def retrain(
    prepared: Path,
    synthetic: Path,
    baseline: Path,
    config: RetrainConfig,
    seed: int,
    models: Path,
    reports: Path,
    run: TrainingRun = TrainingRun(),
) -> dict[str, Any]:
    """Trains on real and synthetic images and writes the result.

    Args:
        prepared: The output of the stage prepare.
        synthetic: The output of the stage synthesize.
        baseline: The baseline's folder: the recipe starts from its own.
        config: What differs from the baseline's recipe, and how synthetic images are learnt from.
        seed: Seed of weights, batches and augmentation.
        models: Gets `model.safetensors` and `config.json`.
        reports: Gets `final.json` and the folder `final`, see `write_evaluation`.
        run: Where and how it runs.

    Returns:
        The Metrics JSON on the test images, which are read here once, at the end.
    """
    real = read_real(prepared)
    training = final_recipe(read_training(baseline), config.training)
    images, _ = read_synthetic(synthetic)
    classifier = train_after_trial(
        real.train,
        real.val,
        training,
        seed,
        run,
        synthetic=images,
        real_share=config.real_share,
        treatment=config.treatment,
    )
    notes = {
        "training": training.model_dump(mode="json"),
        "retraining": config.model_dump(mode="json"),
        "synthetic_counts": images.labels.bincount(minlength=len(real.meta.class_names)).tolist(),
        "seed": seed,
    }
    save_trained(models, classifier, real.meta, notes)
    return write_evaluation(classifier, real, seed, reports, "final", run)
