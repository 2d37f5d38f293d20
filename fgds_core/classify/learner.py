"""A classifier that learns: one step after another, the best weights by validation."""

import copy
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fgds_core.classify.batches import Batch
from fgds_core.classify.config import TrainConfig, Treatment
from fgds_core.classify.forward import Forward
from fgds_core.classify.metrics import macro_accuracy
from fgds_core.classify.network import Classifier
from fgds_core.classify.norms import SyntheticNorms
from fgds_core.classify.objective import Objective
from fgds_core.classify.predict import predict_logits
from fgds_core.classify.priors import Priors
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
        seed: int,
        priors: Priors,
        run: TrainingRun,
        epochs: Sequence[dict[str, float]] = (),
        treatment: Treatment = Treatment(),
    ) -> None:
        """Creates the loss and the optimiser.

        Args:
            classifier: Learns what of it is not frozen; on its device.
            config: The recipe of this stage.
            seed: Seed of this stage.
            priors: Of the training images.
            run: Where and how it runs.
            epochs: What was told of the stages before.
            treatment: What is done with synthetic images.
        """
        from timm.utils import ModelEmaV3

        self.classifier, self.config, self.seed, self.run = classifier, config, seed, run
        self.loss = Objective(config, priors, treatment).to(run.device)
        self.forward = Forward(classifier, config.precision, run)
        self.optimizer = create_optimizer(self.classifier, config)
        self.norms: SyntheticNorms | None = None
        if treatment.split_batch_norm:
            if run.team.size > 1:
                raise InputError(
                    "retrain.split_batch_norm needs the whole batch in one process; set "
                    "compute.training_processes to 1"
                )
            self.norms = SyntheticNorms(self.classifier).to(run.device)
            self.optimizer.add_param_group({"params": self.norms.parameters(), "weight_decay": 0})
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: cosine_with_warmup(step, config.warmup_steps, config.num_steps),
        )
        # Off but for float16, whose small gradients would be 0. It grows from a scale that seldom
        # overflows: trainings may have few steps
        self.scaler = torch.amp.GradScaler(
            torch.device(run.device).type,
            init_scale=2.0**10,
            enabled=config.precision == "float16",
        )
        if self.scaler.is_enabled():
            self.optimizer.zero_grad()
            self.optimizer.step()  # of nothing: now the first may be left out, unwarned of
        self.averaged = (
            ModelEmaV3(self.classifier, decay=config.ema_decay) if config.ema_decay else None
        )
        self.best_accuracy, self.best_state = -1.0, self.classifier.state_dict()
        self.losses: list[float] = []
        self.epochs = list(epochs)
        self.learning_rate = 0.0

    def learn(self, step: int, batch: Batch) -> None:
        """One optimiser step, from one micro-batch after another.

        Raises:
            InputError: The loss is not finite.
        """
        config, team = self.config, self.run.team
        team.reseed(self.seed, step)
        self.classifier.train()
        self.optimizer.zero_grad()
        value = 0.0
        for micro in micro_batches(batch, config.micro_batch_size):
            share = len(micro.x) / len(batch.x)
            own = micro.select(team.part(len(micro.x)))
            loss = share * self.loss(team.whole(self._logits(own), len(micro.x)), micro)
            value += loss.item()
            self.scaler.scale(loss).backward()
        self.losses.append(value)
        if not math.isfinite(value):
            raise InputError(
                f"the training loss became {value} at step {step} of {config.num_steps}; "
                f"lower learning_rate ({config.learning_rate:g}) or raise warmup_steps "
                f"({config.warmup_steps})"
            )
        self.learning_rate = self.optimizer.param_groups[0]["lr"]
        team.add_gradients(self.classifier)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        if self.averaged is not None:
            self.averaged.update(self.classifier, step)

    def _logits(self, batch: Batch) -> Tensor:
        """Of the images of a batch, [B, K]."""
        if self.norms is None:
            return self.forward(batch.x)
        apart = partial(self.norms, self.classifier, synthetic=batch.synthetic)
        return self.forward.through(apart, batch.x)

    def validate(self, step: int, val: ImageDataset) -> None:
        """Compares the classifier with the best one so far, and tells how it does."""
        candidate: Any = self.classifier if self.averaged is None else self.averaged.module
        overall = accuracy = 0.0
        if self.run.team.leads:
            logits = predict_logits(candidate, val, workers=self.run.loader_workers)
            predictions = logits.argmax(dim=-1)  # [N]
            overall = (predictions == val.labels).double().mean().item()
            accuracy = macro_accuracy(predictions, val.labels)
        overall, accuracy = self.run.team.tell((overall, accuracy))
        if accuracy > self.best_accuracy:
            self.best_accuracy = accuracy
            self.best_state = copy.deepcopy(candidate.state_dict())
        self.epochs.append(
            {
                "epoch": len(self.epochs) + 1,
                "step": step,
                "train_loss": sum(self.losses) / len(self.losses),
                "val_accuracy": overall,
                "val_macro_accuracy": accuracy,
                "learning_rate": self.learning_rate,
            }
        )
        self.losses.clear()
        self.run.on_epoch(self.epochs[-1])

    def keep_best(self) -> None:
        """Leaves the classifier with its best weights.

        Raises:
            InputError: They are not finite: the last step broke them, or no loss showed it.
        """
        if not all(t.isfinite().all() for t in self.best_state.values()):
            raise InputError(
                "the weights that training ended with are not finite; lower learning_rate "
                f"({self.config.learning_rate:g}), raise warmup_steps "
                f"({self.config.warmup_steps}) or set precision to float32"
            )
        self.classifier.load_state_dict(self.best_state)
        self.run.team.align(self.classifier)
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
            "scaler": self.scaler.state_dict(),
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
        self.scaler.load_state_dict(stood["scaler"])
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


def micro_batches(batch: Batch, size: int) -> Iterator[Batch]:
    """A batch in parts of `size` images; the last may be smaller."""
    for start in range(0, len(batch.x), size):
        yield batch.select(slice(start, start + size))


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
