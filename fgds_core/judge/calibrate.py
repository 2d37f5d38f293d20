"""How far a judge can be believed: what it sees in real images, whose classes are known.

N images, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fgds_core.files import listed
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.reading import IN_THIS_PROCESS, Reading
from fgds_core.judge.judge import Judge
from fgds_core.judge.record import JudgeRecord, Recognised

FEW = 10
"""Real images of a class below which its recall is hardly known."""

Z_CHANCE = 1.645  # normal quantile of a one-sided 95 % test


def calibrated(
    judge: Judge,
    val: ImageDataset,
    *,
    folds: Tensor | None = None,
    reading: Reading = IN_THIS_PROCESS,
) -> JudgeRecord:
    """Asks a judge about real images and writes into its record what it recognised.

    Args:
        judge: The judge.
        val: Real images that it has not learnt from.
        folds: Of training images, the fold that each is in, [N]: each is shown to the classifier
            that was trained without it.
        reading: How they are read.
    """
    seen = torch.empty(len(val), dtype=torch.int64)
    for rows, found in judge.passes(val, folds=folds, reading=reading):
        seen[rows] = found.argmax(dim=-1)
    validation = recognised(seen, val.labels, len(judge.class_names))
    remarks = tuple(_remarks(judge.class_names, validation, seen, val.labels))
    return replace(judge.record, validation=validation, remarks=remarks)


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
