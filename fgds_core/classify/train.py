"""Training a classifier: batches, augmentation, one loop, the best checkpoint by validation."""

import copy
import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import BatchSampler, RandomSampler, Sampler, WeightedRandomSampler

from fgds_core.classify.batches import BalancedBatchSampler
from fgds_core.classify.card import CONFIG, read_classifier_config
from fgds_core.classify.checkpoint import Checkpoint
from fgds_core.classify.config import Sampling, TrainBaselineConfig, TrainConfig
from fgds_core.classify.metrics import macro_accuracy
from fgds_core.classify.network import Classifier, create_classifier, predict
from fgds_core.classify.trial import try_training
from fgds_core.errors import InputError
from fgds_core.images.augment import augment
from fgds_core.images.dataset import ImageDataset, gather
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
    device: str | torch.device = "cpu",
    on_epoch: Callable[[dict[str, float]], None] = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
    checkpoint: Checkpoint | None = None,
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
        device: Where to compute.
        on_epoch: Called after each validation with `epoch` (its number, from 1), `step`,
            `train_loss` (nats, mean since the last one), `val_accuracy`, `val_macro_accuracy`
            (fractions) and `learning_rate`.
        advance: Called after each optimiser step with 1, and once with those of an earlier run.
        checkpoint: Where the training stands is kept there now and then, and a training that
            stands there already goes on, to the same weights. `on_epoch` is called again for what
            came before. The caller removes it.

    Returns:
        The classifier in evaluation mode, its temperature fitted on validation.

    Raises:
        InputError: If the sets do not fit together, the model cannot be made or trained (found
            out before training, by a trial), or the loss becomes non-finite.
        ValueError: If synthetic images are not to be drawn class-balanced.
    """
    _check_sets(train, val, synthetic)
    if synthetic is not None and sampling != "class_balanced":
        raise ValueError(f"sampling with synthetic images must be class_balanced, got {sampling}")
    height, width = train.size
    try_training(config, train.class_names, (height, width), device)
    from timm.optim import create_optimizer_v2
    from timm.utils import ModelEmaV3

    generator = torch.Generator().manual_seed(seed)
    classifier = create_classifier(
        config.model,
        config.model_kwargs,
        train.class_names,
        config.input_size,
        seed,
        pretrained=config.pretrained,
    ).to(device)
    optimizer = create_optimizer_v2(
        classifier.network,
        opt=config.optimizer,
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: cosine_with_warmup(step, config.warmup_steps, config.num_steps)
    )
    averaged = ModelEmaV3(classifier, decay=config.ema_decay) if config.ema_decay else None
    batches = _batches(train, synthetic, config, sampling, real_share, generator)

    best_accuracy, best_state = -1.0, classifier.state_dict()
    losses: list[float] = []
    epochs: list[dict[str, float]] = []
    devices = [torch.device(device)] if torch.device(device).type == "cuda" else []

    def standing() -> dict[str, Any]:
        """Where the training stands; batches and augmentation follow from the step."""
        return {
            "step": step,
            "classifier": classifier.state_dict(),
            "averaged": None if averaged is None else averaged.module.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "best_accuracy": best_accuracy,
            "best_state": best_state,
            "losses": losses,
            "epochs": epochs,
            "random": torch.get_rng_state(),
            "random_of_device": [torch.cuda.get_rng_state(d) for d in devices],
        }

    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)  # timm's dropout reads the global generator, forked here
        done = 0
        if checkpoint is not None and (stood := checkpoint.read()) is not None:
            done = stood["step"]
            classifier.load_state_dict(stood["classifier"])
            if averaged is not None:
                averaged.module.load_state_dict(stood["averaged"])
            optimizer.load_state_dict(stood["optimizer"])
            schedule.load_state_dict(stood["schedule"])
            best_accuracy, best_state = stood["best_accuracy"], stood["best_state"]
            losses, epochs = stood["losses"], stood["epochs"]
            torch.set_rng_state(stood["random"])
            for d, state in zip(devices, stood["random_of_device"], strict=True):
                torch.cuda.set_rng_state(state, d)
            logger.info("training goes on after step %d of %d", done, config.num_steps)
            advance(done)
            for values in epochs:
                on_epoch(values)
        for step, batch in enumerate(batches, start=1):
            if step <= done:
                # The chances of what was learnt before pass, their images are not wanted
                augment(torch.zeros(len(batch), 1, 1, 1), config, generator)
                continue

            # Learn
            x, labels = _images_of(batch, train, synthetic)
            x = augment(x, config, generator).to(device)  # [B, C, H, W]
            classifier.train()
            loss = F.cross_entropy(
                classifier(x), labels.to(device), label_smoothing=config.label_smoothing
            )
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise InputError(
                    f"the training loss became {losses[-1]} at step {step} of {config.num_steps}; "
                    f"lower learning_rate ({config.learning_rate:g}) or raise warmup_steps "
                    f"({config.warmup_steps})"
                )
            learning_rate = optimizer.param_groups[0]["lr"]
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            if averaged is not None:
                averaged.update(classifier, step)

            # Validate, keep the best
            if step % config.eval_every == 0 or step == config.num_steps:
                candidate = classifier if averaged is None else averaged.module
                predictions = predict(candidate, gather(val))[0].argmax(dim=-1)  # [N]
                accuracy = macro_accuracy(predictions, val.labels)
                if accuracy > best_accuracy:
                    best_accuracy, best_state = accuracy, copy.deepcopy(candidate.state_dict())
                epochs.append(
                    {
                        "epoch": len(epochs) + 1,
                        "step": step,
                        "train_loss": sum(losses) / len(losses),
                        "val_accuracy": (predictions == val.labels).double().mean().item(),
                        "val_macro_accuracy": accuracy,
                        "learning_rate": learning_rate,
                    }
                )
                losses.clear()
                on_epoch(epochs[-1])
            if checkpoint is not None:
                checkpoint.write(standing)
            advance(1)

    classifier.load_state_dict(best_state)
    logger.info("kept the checkpoint with validation macro accuracy %.4f", best_accuracy)
    classifier.temperature = fit_temperature(predict(classifier, gather(val))[0], val.labels)
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


def real_and_synthetic_batches(
    train: ImageDataset,
    synthetic: ImageDataset | None,
    config: TrainConfig,
    sampling: Sampling,
    real_share: float,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields `config.num_steps` batches of images [B, C, H, W] and labels [B]."""
    for batch in _batches(train, synthetic, config, sampling, real_share, generator):
        yield _images_of(batch, train, synthetic)


def _batches(
    train: ImageDataset,
    synthetic: ImageDataset | None,
    config: TrainConfig,
    sampling: Sampling,
    real_share: float,
    generator: torch.Generator,
) -> Iterator[list[int]]:
    """Yields the images of each batch by their numbers; synthetic ones come after the real."""
    num_images = config.num_steps * config.batch_size
    batches: Iterable[list[int]]
    if sampling == "class_balanced":
        batches = BalancedBatchSampler(
            train.labels,
            None if synthetic is None else synthetic.labels,
            batch_size=config.batch_size,
            real_share=1.0 if synthetic is None else real_share,
            num_batches=config.num_steps,
            generator=generator,
        )
    else:
        images: Sampler[int]
        if sampling == "instance":  # shuffled passes
            images = RandomSampler(range(len(train)), num_samples=num_images, generator=generator)
        else:  # weight n^-0.5 for an image, so n^0.5 for its class of n images
            weights = train.labels.bincount().double()[train.labels] ** -0.5  # [N]
            images = WeightedRandomSampler(weights.tolist(), num_images, generator=generator)
        batches = BatchSampler(images, config.batch_size, drop_last=False)
    yield from batches


def _images_of(
    batch: list[int], train: ImageDataset, synthetic: ImageDataset | None
) -> tuple[Tensor, Tensor]:
    """Images [B, C, H, W] and labels [B] of a batch."""
    chosen = [
        (train, i) if synthetic is None or i < len(train) else (synthetic, i - len(train))
        for i in batch
    ]
    x = from_uint8(torch.stack([source[i] for source, i in chosen]))  # [B, C, H, W]
    labels = torch.stack([source.labels[i] for source, i in chosen])  # [B]
    return x, labels


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
