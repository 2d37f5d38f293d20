"""Our loader and our training loop beside timm's, on the same images: for `benchmarks.data`.

timm's `train.py` is in its repository and not in its package; `timm_training` is written here in
its manner from the pieces that the script itself uses (`create_dataset`, `create_loader`,
`create_model`, `create_optimizer_v2`, `create_scheduler_v2`), with its defaults where nothing is
said. Validation is in neither.

Both sides read the same encoded images, ours from Parquet, timm from class folders, at the size at
which they are stored and the network takes them. The only change is a horizontal flip of half of
the images, in training.
"""

import itertools
import os
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fgds_core.classify.config import final_recipe
from fgds_core.classify.run import TrainingRun
from fgds_core.classify.train import train_classifier
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.loader import load
from fgds_core.images.pixels import from_uint8
from flows.cli.params import read_params

ROOT = Path(__file__).resolve().parent.parent

BATCH_SIZE = 64
WARM = 5
"""Batches or steps that are not counted: the loaders' processes start, their queues fill."""

NETWORK = "resnet10t"
NETWORK_KWARGS: dict[str, Any] = {"stem_width": 8, "channels": [8, 16, 32, 64]}

MEAN = STD = (0.5, 0.5, 0.5)
"""What maps bytes to [-1, 1], as `from_uint8` does."""


def export(images: ImageDataset, folder: Path) -> Path:
    """Writes the encoded images as they are stored into class folders, once.

    Args:
        images: A prepared split.
        folder: Gets a folder for each class.
    """
    for row, label in enumerate(images.labels.tolist()):
        file = folder / images.class_names[label] / f"{row:06d}.jpg"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(".part")
            part.write_bytes(images.file(row))
            os.replace(part, file)
    return folder


def timm_loader(
    folder: Path, size: int, workers: int, *, flip: bool
) -> Collection[tuple[Tensor, Tensor]]:
    """The loader of class folders as timm's script makes it: floats [B, 3, H, W], labels [B]."""
    from timm.data import create_dataset, create_loader
    from timm.data.transforms import MaybePILToTensor
    from torchvision.transforms import Compose, RandomHorizontalFlip

    loader = create_loader(
        create_dataset("", root=str(folder)),
        input_size=(3, size, size),
        batch_size=BATCH_SIZE,
        is_training=True,
        no_aug=True,
        mean=MEAN,
        std=STD,
        num_workers=workers,
        device=torch.device("cpu"),
    )
    flips = [RandomHorizontalFlip()] if flip else []
    loader.dataset.transform = Compose([*flips, MaybePILToTensor()])
    made: Collection[tuple[Tensor, Tensor]] = loader
    return made


def our_batches(images: ImageDataset, workers: int) -> Iterator[Tensor]:
    """Shuffled batches as training reads them, as floats in [-1, 1]."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).tolist()
    whole = len(order) - len(order) % BATCH_SIZE
    rows = (order[first : first + BATCH_SIZE] for first in range(0, whole, BATCH_SIZE))
    return map(from_uint8, load(images, rows, workers=workers))


def images_per_second(batches: Iterator[Tensor], num_images: int) -> float:
    """Images a second once the first batches are there."""
    batches = iter(batches)
    for _ in range(WARM):
        next(batches)
    started, counted = time.perf_counter(), 0
    for batch in itertools.islice(batches, num_images // BATCH_SIZE):
        counted += len(batch)
    return counted / (time.perf_counter() - started)


def timm_training(
    folder: Path, size: int, workers: int, num_steps: int, num_classes: int
) -> float:
    """Images a second of a training loop in the manner of timm's script."""
    from timm import create_model
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2
    from timm.utils import AverageMeter

    torch.manual_seed(0)
    model = create_model(NETWORK, num_classes=num_classes, **NETWORK_KWARGS)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05)
    loader = timm_loader(folder, size, workers, flip=True)
    scheduler, num_epochs = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=max(1, -(-num_steps // len(loader))),
        warmup_epochs=0,
        step_on_epochs=False,
        updates_per_epoch=len(loader),
    )
    loss_fn = torch.nn.CrossEntropyLoss()
    losses, ends = AverageMeter(), [time.perf_counter()]
    for _ in range(num_epochs):
        model.train()
        optimizer.zero_grad()
        for x, labels in loader:
            loss = loss_fn(model(x), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.update(loss.item(), len(x))
            scheduler.step_update(num_updates=len(ends), metric=losses.avg)
            ends.append(time.perf_counter())
            if len(ends) > num_steps:
                return rate(ends)
    raise AssertionError("the epochs are too few for the steps")


def our_training(
    train: ImageDataset, val: ImageDataset, size: int, workers: int, num_steps: int
) -> float:
    """Images a second of `train_classifier` before its validation, which is its last step's."""
    config = final_recipe(
        read_params(ROOT / "params.yaml")["train_baseline"],
        {
            "model": NETWORK,
            "model_kwargs": NETWORK_KWARGS,
            "input_size": size,
            "num_steps": num_steps,
            "batch_size": BATCH_SIZE,
            "learning_rate": 1e-3,
            "warmup_steps": 0,
            "label_smoothing": 0.0,
            "ema_decay": 0.0,
            "shift": 0,
            "erase": 0.0,
            "eval_every": num_steps,
        },
    )
    ends: list[float] = []
    train_classifier(
        train,
        val,
        config,
        seed=0,
        run=TrainingRun(
            loader_workers=workers, advance=lambda steps: ends.append(time.perf_counter())
        ),
    )
    return rate(ends[:-1])


def rate(ends: Sequence[float]) -> float:
    """Images a second from the times at which steps ended, the first ones left out."""
    counted = ends[WARM:]
    return BATCH_SIZE * (len(counted) - 1) / (counted[-1] - counted[0])


@dataclass(frozen=True)
class Contest:
    """Speeds of contestants that took turns.

    Attributes:
        per_second: Of each contestant, one speed a round.
    """

    per_second: dict[str, list[float]]

    def ratio(self, first: str, second: str) -> float:
        """Median over the rounds of how many times faster the first one was."""
        pairs = zip(self.per_second[first], self.per_second[second], strict=True)
        return statistics.median(a / b for a, b in pairs)

    def summary(self) -> dict[str, Any]:
        """What is kept of it: the median of each contestant, and all speeds."""
        medians = {name: statistics.median(values) for name, values in self.per_second.items()}
        return {
            "images_per_second": {name: round(value, 1) for name, value in medians.items()},
            "rounds": {
                name: [round(value, 1) for value in values]
                for name, values in self.per_second.items()
            },
        }


def take_turns(
    contestants: Mapping[str, Callable[[], float]], rounds: int, *, warm: bool = True
) -> Contest:
    """Lets contestants measure their speeds in turn, in the opposite order every other round.

    Args:
        contestants: What each does; returns its speed.
        rounds: How often.
        warm: Whether a first round is not counted.
    """
    per_second: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + warm):
        names = list(contestants)
        for name in names if number % 2 == 0 else names[::-1]:
            speed = contestants[name]()
            if number >= warm:
                per_second[name].append(speed)
    return Contest(per_second)
