"""One classifier of a cross-fitted judge: it is trained without a fold of the training images."""

from pathlib import Path

import numpy as np

from fgds_core.classify.config import TrainConfig
from fgds_core.classify.phases import PHASES
from fgds_core.classify.run import TrainingRun
from fgds_core.data.meta import read_meta
from fgds_core.data.splits import read_prepared
from fgds_core.errors import InputError
from fgds_core.judge.cross_fitted import folds_of, write_fold
from fgds_core.stages.training import save_trained, train_after_trial


def train_fold(
    prepared: Path,
    fold: int,
    num_folds: int,
    recipe: TrainConfig,
    seed: int,
    fingerprint: str,
    models: Path,
    run: TrainingRun = TrainingRun(),
) -> None:
    """Trains without a fold, which chooses the checkpoint and the temperature.

    Neither validation nor test images are read, and the initial weights and the batches are those
    of no other classifier of the run.

    Args:
        prepared: The output of the stage prepare.
        fold: The fold that is left out, from 0.
        num_folds: How many there are.
        recipe: See `recipe_of_folds`.
        seed: Seed of the run.
        fingerprint: Of everything that decides the classifier, for its record.
        models: Gets `model.safetensors`, `config.json` and `fold.json`.
        run: Where and how it runs.

    Raises:
        InputError: There are fewer training images than folds.
    """
    train = read_prepared(prepared, "train")
    if len(train) < num_folds:
        raise InputError(
            f"judge.folds: got {num_folds}, but there are {len(train)} training images; lower it"
        )
    held_out = folds_of(train.labels, num_folds, seed) == fold  # [N]
    rest = train.select((~held_out).nonzero().flatten().tolist())
    chooses = train.select(held_out.nonzero().flatten().tolist())
    its_own = _seed_of(fold, seed)
    classifier = train_after_trial(rest, chooses, recipe, its_own, run)
    notes = {"training": recipe.model_dump(mode="json"), "seed": its_own}
    save_trained(models, classifier, read_meta(prepared), notes)
    write_fold(models, fingerprint)


def recipe_of_folds(control: TrainConfig) -> TrainConfig:
    """The control's recipe, without a second stage that would learn from the fold left out."""
    phase = PHASES.get(control.second_stage)
    if phase is None or not phase.fits_on_validation:
        return control
    return control.model_copy(update={"second_stage": "none"})


def _seed_of(fold: int, seed: int) -> int:
    """A seed that follows from the run's and is unlike those of its other classifiers."""
    entropy = [seed, fold, *b"judge"]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
