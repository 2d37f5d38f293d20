"""A classifier that learns: one step after another, the best weights by validation."""

import copy
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fgds_core.classify.batches import Batch
from fgds_core.classify.config import TrainConfig, Treatment
from fgds_core.classify.losses import Priors
from fgds_core.classify.metrics import macro_accuracy
from fgds_core.classify.network import Classifier
from fgds_core.classify.norms import SyntheticNorms
from fgds_core.classify.objective import Objective
from fgds_core.classify.predict import predict_logits
from fgds_core.classify.run import TrainingRun
from fgds_core.errors import InputError
from fgds_core.images.dataset import ImageDataset

logger = logging.getLogger(__name__)


class Learner:
    """A classifier that learns, with all that changes while it does."""

    def __init__(
        self,
        classifier: Classifier,
        config: TrainConfig,
        priors: Priors,
        run: TrainingRun,
        epochs: Sequence[dict[str, float]] = (),
        treatment: Treatment = Treatment(),
    ) -> None:
        """Creates the loss and the optimiser.

        Args:
            classifier: Learns what of it is not frozen; on its device.
            config: The recipe of this stage.
            priors: Of the training images.
            run: Where and how it runs.
            epochs: What was told of the stages before.
            treatment: What is done with synthetic images.
        """
        from timm.utils import ModelEmaV3

        self.classifier, self.config, self.run = classifier, config, run
        self.loss = Objective(config, priors, treatment).to(run.device)
        self.optimizer = create_optimizer(self.classifier, config)
        self.norms: SyntheticNorms | None = None
        if treatment.split_batch_norm:
            self.norms = SyntheticNorms(self.classifier).to(run.device)
            self.optimizer.add_param_group({"params": self.norms.parameters(), "weight_decay": 0})
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: cosine_with_warmup(step, config.warmup_steps, config.num_steps),
        )
        self.averaged = (
            ModelEmaV3(self.classifier, decay=config.ema_decay) if config.ema_decay else None
        )
        self.best_accuracy, self.best_state = -1.0, self.classifier.state_dict()
        self.losses: list[float] = []
        self.epochs = list(epochs)
        self.learning_rate = 0.0

    def learn(self, step: int, batch: Batch) -> None:
        """One optimiser step.

        Raises:
            InputError: The loss is not finite.
        """
        config = self.config
        self.classifier.train()
        loss = self.loss(self._logits(batch), batch)
        self.losses.append(loss.item())
        if not math.isfinite(value := self.losses[-1]):
            raise InputError(
                f"the training loss became {value} at step {step} of {config.num_steps}; "
                f"lower learning_rate ({config.learning_rate:g}) or raise warmup_steps "
                f"({config.warmup_steps})"
            )
        self.learning_rate = self.optimizer.param_groups[0]["lr"]
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        if self.averaged is not None:
            self.averaged.update(self.classifier, step)

    def _logits(self, batch: Batch) -> Tensor:
        """Of the images of a batch, [B, K]."""
        if self.norms is None:
            return self.classifier(batch.x)  # type: ignore[no-any-return]
        return self.norms(self.classifier, batch.x, batch.synthetic)  # type: ignore[no-any-return]

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

    def keep_best(self) -> None:
        """Leaves the classifier with its best weights."""
        self.classifier.load_state_dict(self.best_state)
        logger.info("kept the checkpoint with validation macro accuracy %.4f", self.best_accuracy)

    def standing(self, step: int, devices: list[torch.device]) -> dict[str, Any]:
        """Where the training stands; batches and augmentation follow from the step."""
        return {
            "step": step,
            "classifier": self.classifier.state_dict(),
            "loss": self.loss.state_dict(),
            "norms": None if self.norms is None else self.norms.state_dict(),
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

    def resume(self, stood: Mapping[str, Any], devices: list[torch.device]) -> int:
        """Goes on where a checkpoint says the stage stood; returns the steps done."""
        self.classifier.load_state_dict(stood["classifier"])
        self.loss.load_state_dict(stood["loss"])
        if self.norms is not None:
            self.norms.load_state_dict(stood["norms"])
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
        for values in self.epochs:
            self.run.on_epoch(values)
        return done


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


def cosine_with_warmup(step: int, warmup_steps: int, num_steps: int) -> float:
    """Factor in (0, 1] on the learning rate at `step` (from 0): linear up, half a cosine down."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / (num_steps - warmup_steps)
    return (1 + math.cos(math.pi * progress)) / 2
