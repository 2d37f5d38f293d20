"""One training of an estimate of worth: on some of the images, answered on validation images."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fgds_core.classify.config import RetrainConfig, TrainConfig
from fgds_core.classify.predict import predictions
from fgds_core.classify.run import TrainingRun
from fgds_core.classify.train import train_classifier
from fgds_core.data.splits import read_real
from fgds_core.images.dataset import ImageDataset
from fgds_core.synthesis.shards import read_synthetic
from fgds_core.worth.subsamples import Subsample, kept_rows
from fgds_core.worth.units import units_of


def train_subsample(
    prepared: Path,
    synthetic: Path,
    recipe: TrainConfig,
    config: RetrainConfig,
    subsample: Subsample,
    run: TrainingRun = TrainingRun(),
) -> NDArray[np.bool_]:
    """Trains by the final recipe on a subsample, as control and final classifier are trained.

    Args:
        prepared: The output of the stage prepare; train and val are read, test is not.
        synthetic: The output of the stage synthesize.
        recipe: The final classifier's.
        config: How synthetic images are learnt from.
        subsample: What it sees.
        run: Where and how it runs.

    Returns:
        Whether it recognises each validation image, [V].
    """
    real = read_real(prepared)
    units = units_of(real.train)
    rows = kept_rows(units.of(real.train), units.rare.tolist(), subsample.real, subsample.seed)
    classifier = train_classifier(
        real.train.select(rows.tolist()),
        real.val,
        recipe,
        subsample.seed,
        synthetic=_thinned(synthetic, subsample),
        real_share=config.real_share,
        treatment=config.treatment,
        run=run,
    )
    scores = predictions(classifier, real.val, workers=run.loader_workers)
    predicted = torch.cat([logits.argmax(dim=-1) for logits, _ in scores])  # [V]
    return np.asarray(predicted == real.val.labels, dtype=bool)


def _thinned(folder: Path, subsample: Subsample) -> ImageDataset | None:
    """A share of the synthetic images of each class."""
    if not subsample.synthetic:
        return None
    images, _ = read_synthetic(folder)
    labels = images.labels.numpy()
    rows = kept_rows(labels, np.unique(labels).tolist(), subsample.synthetic, subsample.seed)
    return images.select(rows.tolist())
