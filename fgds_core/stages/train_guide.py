"""The classifier between two rounds: it has learnt from the one and guides the other."""

from pathlib import Path

from fgds_core.classify.config import RetrainConfig, TrainConfig
from fgds_core.classify.predict import predict_logits
from fgds_core.classify.run import TrainingRun
from fgds_core.data.splits import read_real
from fgds_core.images.dataset import ImageDataset
from fgds_core.stages.guide import save_guide
from fgds_core.stages.training import train_after_trial
from fgds_core.synthesis.guides import write_record
from fgds_core.synthesis.rounds import Counts, Errors, error_rates


def train_guide(
    prepared: Path,
    synthetic: ImageDataset,
    quotas: Counts,
    recipe: TrainConfig,
    config: RetrainConfig,
    seed: int,
    fingerprint: str,
    models: Path,
    run: TrainingRun = TrainingRun(),
) -> Errors:
    """Trains the classifier that guides the next round, as the final one is trained.

    Args:
        prepared: The output of the stage prepare.
        synthetic: The images of the rounds so far.
        quotas: What the set draws, which the errors are told for.
        recipe: The final classifier's.
        config: How it learns from synthetic images.
        seed: Seed of weights, batches and augmentation.
        fingerprint: Of everything that decides it, for its record.
        models: Gets what `save_guide` and `write_record` write.
        run: Where and how it runs.

    Returns:
        How often it is wrong on real validation images, by class and group.
    """
    real = read_real(prepared)
    classifier = train_after_trial(
        real.train,
        real.val,
        recipe,
        seed,
        run,
        synthetic=synthetic,
        real_share=config.real_share,
        treatment=config.treatment,
    )
    save_guide(models, classifier, real, recipe, seed, run)
    logits = predict_logits(classifier, real.val, workers=run.loader_workers)  # [N, K]
    right = (logits.argmax(dim=1) == real.val.labels).tolist()
    errors = error_rates(right, real.val.labels.tolist(), real.val.groups, quotas)
    write_record(models, fingerprint, errors)
    return errors
