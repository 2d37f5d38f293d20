"""Training a classifier: one loop over batches, the best checkpoint by validation."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fgds_core.classify.batches import TrainingImages
from fgds_core.classify.calibrate import calibrated
from fgds_core.classify.card import CONFIG, read_classifier_config
from fgds_core.classify.config import TrainConfig, Treatment
from fgds_core.classify.learner import Learner
from fgds_core.classify.network import Classifier, create_classifier
from fgds_core.classify.phases import PHASES, Stage, examine, second_recipe
from fgds_core.classify.posthoc import correct
from fgds_core.classify.priors import priors_of
from fgds_core.classify.refit import halves
from fgds_core.classify.run import TrainingRun
from fgds_core.classify.stream import training_batches
from fgds_core.classify.tuning import TUNES
from fgds_core.errors import InputError
from fgds_core.images.dataset import ImageDataset


def train_classifier(
    train: ImageDataset,
    val: ImageDataset,
    config: TrainConfig,
    seed: int,
    *,
    synthetic: ImageDataset | None = None,
    real_share: float = 1.0,
    treatment: Treatment = Treatment(),
    run: TrainingRun = TrainingRun(),
) -> Classifier:
    """Trains a classifier and returns its best checkpoint by macro accuracy on validation.

    The same arguments give the same weights, bit for bit on the same machine and a CPU. A second
    stage goes on from the best checkpoint of the first one and ends with its own best one.

    Args:
        train: Real training images.
        val: Real validation images; they choose the checkpoints, tau and the temperature. Of a
            recipe with the second stage dfr half of them do, and it learns from the others.
        config: Architecture, budget and recipe.
        seed: Seed of the initial weights, the batches and the augmentation.
        synthetic: Synthetic training images, as large as the real ones.
        real_share: Share of real images in a batch when there are synthetic ones.
        treatment: What else is done with synthetic images.
        run: Where and how it runs.

    Returns:
        The classifier in evaluation mode, its temperature fitted on validation.

    Raises:
        InputError: If the sets do not fit together, groups are asked for and there are none, the
            model cannot be made, or the loss becomes non-finite.
    """
    _check_sets(train, val, synthetic)
    phase = PHASES.get(config.second_stage)
    fit = val
    if phase is not None and phase.fits_on_validation:
        fit, val = halves(val, seed)
    training, real = TrainingImages(train, synthetic, real_share, treatment), TrainingImages(train)
    classifier = create_classifier(
        config.model,
        config.model_kwargs,
        train.class_names,
        config.input_size,
        seed,
        pretrained=config.pretrained,
        head=config.head,
    ).to(run.device)
    classifier.network = run.team.sync_batch_norm(classifier.network)

    course = _Course(val, run)
    with TUNES[config.tune](classifier, config, seed):
        course.learn(classifier, training, config, seed)
    if phase is not None and (run.team.leads or not phase.fits_on_validation):
        recipe, seed_of_stage = second_recipe(config), _another(seed)

        def learn(classifier: Classifier, real_alone: bool) -> None:
            images = real if real_alone else training
            course.learn(classifier, images, recipe, seed_of_stage)

        phase.run(classifier, Stage(recipe, seed_of_stage, learn, partial(examine, fit, val, run)))
    if not run.team.leads:
        return classifier  # the rest is done by one process
    if config.posthoc != "none":
        counts = priors_of(real).counts
        correct(classifier, config.posthoc, counts, val, workers=run.loader_workers)
    return calibrated(classifier, val, run)


class _Course:
    """The stages of one training, each of which learns step by step, one after the other."""

    def __init__(self, val: ImageDataset, run: TrainingRun) -> None:
        self.val, self.run = val, run
        self.stood: dict[str, Any] | None = (
            None if run.checkpoint is None else run.checkpoint.read()
        )
        self.stages, self.steps = 0, 0
        self.epochs: list[dict[str, float]] = []

    def learn(
        self, classifier: Classifier, training: TrainingImages, config: TrainConfig, seed: int
    ) -> None:
        """One stage: leaves its best weights by validation, or goes on where it was stopped.

        A stage that was over when the training was stopped is passed by. What it left stands in
        the state of the later one.

        Raises:
            InputError: The loss is not finite.
        """
        run, stage, before = self.run, self.stages, self.steps
        self.stages, self.steps = stage + 1, before + config.num_steps
        if self.stood is not None and stage < self.stood["stage"]:
            return
        priors, treatment = priors_of(training), training.treatment
        learner = Learner(classifier, config, seed, priors, run, self.epochs, treatment)
        devices = [torch.device(run.device)] if torch.device(run.device).type == "cuda" else []

        def standing(step: int) -> dict[str, Any]:
            return {"stage": stage} | learner.standing(step, devices)

        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)  # timm's dropout reads the global generator, forked here
            done = 0
            if self.stood is not None:
                done = learner.resume(self.stood, devices)
                run.advance(before + done)
                self.stood = None
            rng = torch.Generator().manual_seed(seed)
            batches = training_batches(training, config, rng, run, skip=done)
            for step, batch in enumerate(batches, start=done + 1):
                learner.learn(step, batch)
                if step % config.eval_every == 0 or step == config.num_steps:
                    learner.validate(before + step, self.val)
                if run.checkpoint is not None:
                    run.checkpoint.write(partial(standing, step))
                run.advance(1)
        learner.keep_best()
        self.epochs = learner.epochs


def _another(seed: int) -> int:
    """A seed that follows from another one and is unlike those of other runs."""
    return int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])


def read_training(folder: Path) -> TrainConfig:
    """Reads how the classifier in `folder` was trained, entry `training` of its `config.json`.

    Raises:
        InputError: If there is no such entry or it is not valid.
    """
    stored = read_classifier_config(folder).training
    try:
        return TrainConfig.model_validate_json(json.dumps(stored))
    except ValueError as error:
        raise InputError(
            f"{folder / CONFIG} does not say how the classifier was trained ({error}); train the "
            "baseline again"
        ) from error


def _check_sets(train: ImageDataset, val: ImageDataset, synthetic: ImageDataset | None) -> None:
    sets = {"training": train, "validation": val, "synthetic": synthetic}
    for name, images in sets.items():
        if images is None:
            continue
        if not len(images):
            raise InputError(f"the {name} set holds no images; prepare or synthesize it again")
        if images.class_names != train.class_names:
            raise InputError(
                f"the {name} images have the classes {list(images.class_names)}, the training "
                f"images {list(train.class_names)}; make both from the same prepared data"
            )
    if synthetic is not None and synthetic.size != train.size:
        raise InputError(
            f"synthetic images are {list(synthetic.size)}, real ones "
            f"{list(train.size)} (height, width); prepare the data at the "
            "generator's size, so that both went through the same resizing"
        )
