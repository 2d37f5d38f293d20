"""Training a classifier: one loop over batches, the best checkpoint by validation."""

import copy
import json
import logging
import math
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fgds_core.classify.batches import BATCH_SOURCES, Batch, TrainingImages
from fgds_core.classify.card import CONFIG, read_classifier_config
from fgds_core.classify.config import Sampling, TrainBaselineConfig, TrainConfig
from fgds_core.classify.losses import LOSSES
from fgds_core.classify.metrics import macro_accuracy
from fgds_core.classify.network import Classifier, create_classifier
from fgds_core.classify.predict import predict_logits
from fgds_core.classify.run import TrainingRun
from fgds_core.errors import InputError
from fgds_core.images.augment import Changes, draw_changes, erase_, move
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.loader import load
from fgds_core.images.pixels import from_uint8

logger = logging.getLogger(__name__)

TEMPERATURES = (0.05, 20.0)
"""Range of the fitted temperature; without errors on validation its optimum would be 0."""


def train_classifier(
    train: ImageDataset,
    val: ImageDataset,
    config: TrainConfig,
    seed: int,
    *,
    sampling: Sampling = "class_balanced",
    synthetic: ImageDataset | None = None,
    real_share: float = 1.0,
    run: TrainingRun = TrainingRun(),
) -> Classifier:
    """Trains a classifier and returns its best checkpoint by macro accuracy on validation.

    The same arguments give the same weights, bit for bit on the same machine and a CPU.

    Args:
        train: Real training images.
        val: Real validation images; they choose the checkpoint and the temperature.
        config: Architecture, budget and recipe.
        seed: Seed of the initial weights, the batches and the augmentation.
        sampling: How often real images of a class are drawn; `class_balanced` with `synthetic`.
        synthetic: Synthetic training images, as large as the real ones.
        real_share: Share of real images in a batch when there are synthetic ones.
        run: Where and how it runs.

    Returns:
        The classifier in evaluation mode, its temperature fitted on validation.

    Raises:
        InputError: If the sets do not fit together, the model cannot be made, or the loss becomes
            non-finite.
        ValueError: If synthetic images are not to be drawn class-balanced.
    """
    _check_sets(train, val, synthetic)
    if synthetic is not None and sampling != "class_balanced":
        raise ValueError(f"sampling with synthetic images must be class_balanced, got {sampling}")
    training = TrainingImages(train, synthetic, real_share)
    learner = Learner(train.class_names, config, seed, run)
    devices = [torch.device(run.device)] if torch.device(run.device).type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)  # timm's dropout reads the global generator, forked here
        done = learner.resume(devices)
        rng = torch.Generator().manual_seed(seed)
        batches = training_batches(training, config, sampling, rng, run, skip=done)
        for step, batch in enumerate(batches, start=done + 1):
            learner.learn(step, batch)
            if step % config.eval_every == 0 or step == config.num_steps:
                learner.validate(step, val)
            if run.checkpoint is not None:
                run.checkpoint.write(partial(learner.standing, step, devices))
            run.advance(1)
    return calibrated(learner.best(), val, run)


def create_optimizer(classifier: Classifier, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of a recipe; biases and normalisation are left out of the weight decay."""
    from timm.optim import create_optimizer_v2

    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        classifier.network,
        opt=config.optimizer,
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    return optimizer


class Learner:
    """A classifier that learns, with all that changes while it does."""

    def __init__(
        self, class_names: tuple[str, ...], config: TrainConfig, seed: int, run: TrainingRun
    ) -> None:
        """Creates the classifier and its optimiser.

        Raises:
            InputError: The model cannot be made.
        """
        from timm.utils import ModelEmaV3

        self.config, self.run = config, run
        self.loss = LOSSES[config.loss]
        self.classifier = create_classifier(
            config.model,
            config.model_kwargs,
            class_names,
            config.input_size,
            seed,
            pretrained=config.pretrained,
        ).to(run.device)
        self.optimizer = create_optimizer(self.classifier, config)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: cosine_with_warmup(step, config.warmup_steps, config.num_steps),
        )
        self.averaged = (
            ModelEmaV3(self.classifier, decay=config.ema_decay) if config.ema_decay else None
        )
        self.best_accuracy, self.best_state = -1.0, self.classifier.state_dict()
        self.losses: list[float] = []
        self.epochs: list[dict[str, float]] = []
        self.learning_rate = 0.0

    def learn(self, step: int, batch: Batch) -> None:
        """One optimiser step.

        Raises:
            InputError: The loss is not finite.
        """
        config = self.config
        self.classifier.train()
        loss = self.loss(self.classifier(batch.x), batch, config)
        self.losses.append(loss.item())
        if not math.isfinite(value := self.losses[-1]):
            raise InputError(
                f"the training loss became {value} at step {step} of {config.num_steps}; "
                f"lower learning_rate ({config.learning_rate:g}) or raise warmup_steps "
                f"({config.warmup_steps})"
            )
        self.learning_rate = self.optimizer.param_groups[0]["lr"]
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()
        if self.averaged is not None:
            self.averaged.update(self.classifier, step)

    def validate(self, step: int, val: ImageDataset) -> None:
        """Compares the classifier with the best one so far, and tells how it does."""
        candidate: Any = self.classifier if self.averaged is None else self.averaged.module
        logits = predict_logits(candidate, val, workers=self.run.loader_workers)
        predictions = logits.argmax(dim=-1)  # [N]
        accuracy = macro_accuracy(predictions, val.labels)
        if accuracy > self.best_accuracy:
            self.best_accuracy = accuracy
            self.best_state = copy.deepcopy(candidate.state_dict())
        self.epochs.append(
            {
                "epoch": len(self.epochs) + 1,
                "step": step,
                "train_loss": sum(self.losses) / len(self.losses),
                "val_accuracy": (predictions == val.labels).double().mean().item(),
                "val_macro_accuracy": accuracy,
                "learning_rate": self.learning_rate,
            }
        )
        self.losses.clear()
        self.run.on_epoch(self.epochs[-1])

    def best(self) -> Classifier:
        """The classifier with its best weights."""
        self.classifier.load_state_dict(self.best_state)
        logger.info("kept the checkpoint with validation macro accuracy %.4f", self.best_accuracy)
        return self.classifier

    def standing(self, step: int, devices: list[torch.device]) -> dict[str, Any]:
        """Where the training stands; batches and augmentation follow from the step."""
        return {
            "step": step,
            "classifier": self.classifier.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "best_accuracy": self.best_accuracy,
            "best_state": self.best_state,
            "losses": self.losses,
            "epochs": self.epochs,
            "random": torch.get_rng_state(),
            "random_of_device": [torch.cuda.get_rng_state(d) for d in devices],
        }

    def resume(self, devices: list[torch.device]) -> int:
        """Goes on where the checkpoint says the training stands; returns the steps done."""
        checkpoint = self.run.checkpoint
        if checkpoint is None or (stood := checkpoint.read()) is None:
            return 0
        self.classifier.load_state_dict(stood["classifier"])
        if self.averaged is not None:
            self.averaged.module.load_state_dict(stood["averaged"])
        self.optimizer.load_state_dict(stood["optimizer"])
        self.schedule.load_state_dict(stood["schedule"])
        self.best_accuracy, self.best_state = stood["best_accuracy"], stood["best_state"]
        self.losses, self.epochs = stood["losses"], stood["epochs"]
        torch.set_rng_state(stood["random"])
        for d, state in zip(devices, stood["random_of_device"], strict=True):
            torch.cuda.set_rng_state(state, d)
        done = int(stood["step"])
        logger.info("training goes on after step %d of %d", done, self.config.num_steps)
        self.run.advance(done)
        for values in self.epochs:
            self.run.on_epoch(values)
        return done


def training_batches(
    training: TrainingImages,
    config: TrainConfig,
    sampling: Sampling,
    rng: torch.Generator,
    run: TrainingRun = TrainingRun(),
    *,
    skip: int = 0,
) -> Iterator[Batch]:
    """Yields the batches of a whole training, changed at random, on its device.

    Args:
        training: The images.
        config: The recipe.
        sampling: Which source chooses the images of a batch.
        rng: Draws the batches and what happens to their images, in turn, so that they are the same
            however far ahead the images are read.
        run: Where to, and by how many processes.
        skip: Batches that were learnt from before: they are drawn, their images not read.
    """
    planned: deque[tuple[list[int], Changes]] = deque()

    def plan() -> Iterator[list[int]]:
        for number, rows in enumerate(BATCH_SOURCES[sampling](training, config, rng)):
            changes = draw_changes(len(rows), config, rng)
            if number >= skip:
                planned.append((rows, changes))
                yield rows

    for pixels in load(training.images, plan(), workers=run.loader_workers):
        rows, changes = planned.popleft()
        x = from_uint8(move(pixels, changes).to(run.device))  # [B, C, H, W]
        yield training.batch(rows, erase_(x, changes))


def calibrated(classifier: Classifier, val: ImageDataset, run: TrainingRun) -> Classifier:
    """Fits the temperature on validation images; the classifier in evaluation mode."""
    logits = predict_logits(classifier, val, workers=run.loader_workers)
    classifier.temperature = fit_temperature(logits, val.labels)
    return classifier.eval()


def read_training(folder: Path) -> TrainBaselineConfig:
    """Reads how the classifier in `folder` was trained, entry `training` of its `config.json`.

    Raises:
        InputError: If there is no such entry or it is not valid.
    """
    stored = read_classifier_config(folder).training
    try:
        return TrainBaselineConfig.model_validate_json(json.dumps(stored))
    except ValueError as error:
        raise InputError(
            f"{folder / CONFIG} does not say how the classifier was trained ({error}); train the "
            "baseline again"
        ) from error


def cosine_with_warmup(step: int, warmup_steps: int, num_steps: int) -> float:
    """Factor in (0, 1] on the learning rate at `step` (from 0): linear up, half a cosine down."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / (num_steps - warmup_steps)
    return (1 + math.cos(math.pi * progress)) / 2


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature whose division of the logits minimises the negative log-likelihood.

    Args:
        logits: Class scores on data not trained on, [N, K].
        labels: True classes, [N].

    Returns:
        A value within `TEMPERATURES`; above 1 where the classifier is over-confident.

    Source: Guo et al. (2017), On Calibration of Modern Neural Networks,
        https://arxiv.org/abs/1706.04599
    """
    from scipy.optimize import minimize_scalar

    scores = logits.double()

    def nll(log_temperature: float) -> float:
        return F.cross_entropy(scores / math.exp(log_temperature), labels).item()

    low, high = (math.log(t) for t in TEMPERATURES)
    return math.exp(minimize_scalar(nll, bounds=(low, high), method="bounded").x)


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
