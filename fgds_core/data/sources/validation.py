"""Validation images from among the training images, where the data have no such split."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fgds_core.data.config import DrawnValidation
from fgds_core.data.sources import SourceImage


def validating(name: str, num_images: int, drawn: DrawnValidation) -> list[int]:
    """Draws the validation images of one class, so that another class changes nothing in it.

    A class with two images or more has at least one of each kind; a single one is for training.

    Args:
        name: Name of the class.
        num_images: Its training images, in an order that never changes.
        drawn: Size and seed of the draw.

    Returns:
        Places of the validation images among them, increasing.
    """
    number = min(max(round(drawn.fraction * num_images), 1), max(num_images - 1, 0))
    return sorted(random.Random(f"{drawn.seed}/{name}").sample(range(num_images), number))


def masked(
    rows: Callable[[str], Iterator[SourceImage]], masks: Mapping[str, NDArray[np.bool_]]
) -> Callable[[str], Iterator[SourceImage]]:
    """Shares training images out among splits.

    Args:
        rows: Gives the images of a split.
        masks: Which training images are those of a split, [N]; a split without is as it was.
    """

    def shared(split: str) -> Iterator[SourceImage]:
        if split not in masks:
            yield from rows(split)
            return
        for row, is_chosen in zip(rows("train"), masks[split], strict=True):
            if is_chosen:
                yield row

    return shared


def drawn_validation(
    labels: NDArray[np.int64], names: Sequence[str], drawn: DrawnValidation
) -> tuple[NDArray[np.bool_], str]:
    """Draws the validation images of all classes.

    Args:
        labels: Of the training images, in an order that never changes, [N].
        names: Name of each class, [K].
        drawn: Size and seed of the draw.

    Returns:
        Which training images validate, [N], and one line for the user.
    """
    counts = np.bincount(labels, minlength=len(names))
    order = np.argsort(labels, kind="stable")
    validates = np.zeros(len(labels), dtype=np.bool_)
    for name, rows in zip(names, np.split(order, np.cumsum(counts)[:-1]), strict=True):
        validates[rows[validating(name, len(rows), drawn)]] = True
    alone = int(np.sum(counts == 1))
    none = f"; {alone:,} classes of one training image have none" if alone else ""
    return validates, (
        f"no validation split is published: {int(validates.sum()):,} of {len(labels):,} training "
        f"images, {drawn.fraction:.3g} of each class, validate instead (seed {drawn.seed}){none}"
    )
