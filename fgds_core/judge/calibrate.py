"""How far a judge can be believed: what it sees in real images, whose classes are known.

N images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fgds_core.files import listed
from fgds_core.images.dataset import ImageDataset
from fgds_core.judge.judge import BATCH_SIZE, Judge
from fgds_core.judge.record import JudgeRecord, Recognised

FEW = 10
"""Real images of a class below which its recall is hardly known."""

Z_CHANCE = 1.645  # normal quantile of a one-sided 95 % test


def calibrated(
    judge: Judge,
    val: ImageDataset,
    *,
    train: ImageDataset | None = None,
    folds: Tensor | None = None,
    batch_size: int = BATCH_SIZE,
    workers: int = 0,
    advance: Callable[[int], None] = lambda num_images: None,
) -> JudgeRecord:
    """Asks a judge about real images and writes into its record what it recognised.

    Args:
        judge: The judge.
        val: Real validation images.
        train: Real training images, where each has a classifier that was trained without it.
        folds: The fold that each of these is in, [N].
        batch_size: Images a pass.
        workers: Processes that read ahead.
        advance: Called after each batch with the number of its images.
    """

    def seen(images: ImageDataset, folds: Tensor | None = None) -> Tensor:
        """The class that the judge sees in each image, [N]."""
        labels = torch.empty(len(images), dtype=torch.int64)
        for rows, found in judge.passes(
            images, folds=folds, batch_size=batch_size, workers=workers
        ):
            labels[rows] = found.argmax(dim=-1)
            advance(len(found))
        return labels

    of_val = seen(val)
    validation = recognised(of_val, val.labels, len(judge.class_names))
    training: tuple[Recognised, ...] = ()
    if train is not None:
        training = recognised(seen(train, folds), train.labels, len(judge.class_names))
    remarks = tuple(_remarks(judge.class_names, validation, of_val, val.labels))
    return replace(judge.record, validation=validation, training=training, remarks=remarks)


def recognised(seen: Tensor, labels: Tensor, num_classes: int) -> tuple[Recognised, ...]:
    """What was recognised of each class, [K].

    Args:
        seen: The class that a judge sees in each image, [N].
        labels: Its own, [N].
        num_classes: Number of classes K.
    """
    there = torch.bincount(labels, minlength=num_classes).tolist()
    right = torch.bincount(labels[seen == labels], minlength=num_classes).tolist()
    return tuple(Recognised(*pair) for pair in zip(there, right, strict=True))


def _remarks(
    class_names: Sequence[str], validation: Sequence[Recognised], seen: Tensor, labels: Tensor
) -> Iterator[str]:
    """What a person has to know before the judge is believed."""
    of = dict(zip(class_names, validation, strict=True))
    if absent := [name for name, each in of.items() if not each.num_images]:
        yield (
            f"there is no real validation image of {listed(absent)}: whether the judge knows such"
            " a class is not known"
        )
    if few := [name for name, each in of.items() if 0 < each.num_images < FEW]:
        yield (
            f"there are fewer than {FEW} real validation images of {listed(few)}: how often the"
            " judge knows such a class is hardly known"
        )
    if blind := [name for name, each in of.items() if each.num_images and not each.num_right]:
        yield (
            f"the judge knows no real validation image of {listed(blind)}: it cannot say whether"
            " synthetic ones are right"
        )
    if guesses(of, seen, labels):
        yield "the judge guesses on real validation images: what it sees means nothing"


def guesses(of: Mapping[str, Recognised], seen: Tensor, labels: Tensor) -> bool:
    """Whether the mean recall is no better than that of guesses as frequent as the answers.

    Args:
        of: What was recognised of each class, [K].
        seen: The class that the judge sees in each image, [N].
        labels: Its own, [N].
    """
    if not len(labels):
        return False
    there = np.array([each.num_images for each in of.values()])  # [K]
    hits = np.array([each.num_right for each in of.values()])  # [K]
    guessed = torch.bincount(seen, minlength=len(there)).numpy() / len(labels)  # [K]
    known = there > 0  # [K]
    variance = (guessed * (1 - guessed))[known] / there[known]
    chance = guessed[known].mean()
    recall = (hits[known] / there[known]).mean()
    return bool(recall <= chance + Z_CHANCE * np.sqrt(variance.sum()) / known.sum())
