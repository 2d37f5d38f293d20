"""What the three stages that train a classifier have in common."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fgds_core.classify.config import TrainConfig, Treatment
from fgds_core.classify.network import Classifier
from fgds_core.classify.run import TrainingRun
from fgds_core.classify.save import save_classifier
from fgds_core.classify.together import together
from fgds_core.classify.train import train_classifier
from fgds_core.data.meta import Meta
from fgds_core.images.dataset import ImageDataset
from fgds_core.stages.trial import try_training


def train_after_trial(
    train: ImageDataset,
    val: ImageDataset,
    config: TrainConfig,
    seed: int,
    run: TrainingRun,
    *,
    synthetic: ImageDataset | None = None,
    real_share: float = 1.0,
    treatment: Treatment = Treatment(),
) -> Classifier:
    """Trains a classifier after a trial of all that follows; see `train_classifier`.

    Raises:
        InputError: As `try_training` and `train_classifier`.
    """
    try_training(config, train.class_names, train.size, run.device, processes=run.processes)
    training = partial(
        train_classifier,
        train,
        val,
        config,
        seed,
        synthetic=synthetic,
        real_share=real_share,
        treatment=treatment,
    )
    with together(training, run) as run:
        return training(run=run)


def save_trained(
    models: Path, classifier: Classifier, meta: Meta, extra: Mapping[str, Any]
) -> None:
    """Writes a classifier; its bins and counts are those of the real images, always.

    Args:
        models: Gets `model.safetensors` and `config.json`.
        classifier: The classifier.
        meta: Of the prepared data.
        extra: Further entries of `config.json`.
    """
    save_classifier(
        models,
        classifier,
        real_counts=meta.counts["train"],
        bins=meta.bins,
        extra=extra,
    )
