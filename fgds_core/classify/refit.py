"""Deep feature reweighting: the last layer of a network as a logistic regression of its features.

N images, K classes, D features. A cell is a class within a group, or a class where there are no
groups.

Source: Kirichenko et al. (2023), https://arxiv.org/abs/2204.02937
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fgds_core.classify.batches import group_numbers
from fgds_core.errors import InputError
from fgds_core.images.dataset import ImageDataset

STRENGTHS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
"""Inverse strengths of the penalty that are tried, those of the paper."""

REFITS = 10
"""Regressions that are averaged, each of another balanced choice of images."""

_MAX_PASSES = 300


@dataclass(frozen=True, eq=False)
class Examples:
    """Images as the last layer sees them.

    Attributes:
        features: [N, D].
        labels: Classes, [N].
        cells: Number of each image's cell, [N].
        by_worst: Whether a regression is as good as its worst cell, as where there are groups, or
            as the mean of its cells.
    """

    features: Tensor
    labels: Tensor
    cells: Tensor
    by_worst: bool = False


def cells_of(images: ImageDataset) -> Tensor:
    """The number of each image's cell, [N]."""
    groups = group_numbers(images)
    if groups is None:
        return images.labels
    return images.labels * (int(groups.max()) + 1) + groups


def halves(images: ImageDataset, seed: int) -> tuple[ImageDataset, ImageDataset]:
    """Halves a set at random, each class and each cell of it as evenly as can be.

    Of a class with an odd number of images, the first half has one more.

    Raises:
        InputError: A class has no two images.
    """
    counts = images.labels.bincount(minlength=len(images.class_names)).tolist()
    for name, count in zip(images.class_names, counts, strict=True):
        if count < 2:
            raise InputError(
                "second_stage: dfr halves the validation images of each class, and class "
                f"{name} has {count}; prepare data with 2 or more of each, or choose another"
            )
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    order = order[cells_of(images)[order].argsort(stable=True)]  # [N], cell by cell
    of_classes = [order[images.labels[order] == label] for label in range(len(counts))]
    first, second = (
        torch.cat([rows[start::2] for rows in of_classes]).sort().values for start in (0, 1)
    )
    return images.select(first.tolist()), images.select(second.tolist())


def refitted(
    fit: Examples, choose: Examples, num_classes: int, seed: int
) -> tuple[Tensor, Tensor]:
    """The mean of `REFITS` L1 logistic regressions, each of a cell-balanced choice of images.

    Features are standardised by those to fit on. The strength of the penalty is the one of
    `STRENGTHS` with the best accuracy on the examples to choose by, of equals the first.

    Args:
        fit: Examples to fit on, some of every class.
        choose: Examples to choose the strength by.
        num_classes: K.
        seed: Seed of the balanced choices.

    Returns:
        Weight [K, D] and bias [K] of a linear layer on features that are not standardised.
    """
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(fit.features.double().numpy())
    x, to_judge = (scaler.transform(e.features.double().numpy()) for e in (fit, choose))
    labels, cells, judged_cells = (t.numpy() for t in (fit.labels, fit.cells, choose.cells))
    rng = np.random.default_rng(seed)

    first = balanced_rows(cells, rng)

    def accuracy(strength: float) -> float:
        weight, bias = _regression(x[first], labels[first], strength, num_classes, seed)
        right = (to_judge @ weight.T + bias).argmax(axis=1) == choose.labels.numpy()  # [N]
        of_cells = [right[judged_cells == cell].mean() for cell in np.unique(judged_cells)]
        return float(min(of_cells) if choose.by_worst else np.mean(of_cells))

    strength = max(STRENGTHS, key=accuracy)
    weights, biases = [], []
    for _ in range(REFITS):
        rows = balanced_rows(cells, rng)
        weight, bias = _regression(x[rows], labels[rows], strength, num_classes, seed)
        weights.append(weight)
        biases.append(bias)
    # Fold the standardisation into the layer
    weight = np.mean(weights, axis=0) / scaler.scale_  # [K, D]
    bias = np.mean(biases, axis=0) - weight @ scaler.mean_  # [K]
    return torch.from_numpy(weight), torch.from_numpy(bias)


def balanced_rows(cells: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """As many images of each cell as the smallest one has, at random."""
    numbers, counts = np.unique(cells, return_counts=True)
    chosen = [rng.choice(np.flatnonzero(cells == n), counts.min(), replace=False) for n in numbers]
    return np.concatenate(chosen)


def _regression(
    x: NDArray[np.float64],
    labels: NDArray[np.int64],
    strength: float,
    num_classes: int,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight [K, D] and bias [K] of one L1 logistic regression."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        l1_ratio=1, C=strength, solver="saga", max_iter=_MAX_PASSES, tol=1e-3, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the mean of ten is taken as it is
        model.fit(x, labels)
    weight, bias = np.zeros((num_classes, x.shape[1])), np.zeros(num_classes)
    known = model.classes_ if len(model.coef_) > 1 else model.classes_[1:]  # the second of two
    weight[known], bias[known] = model.coef_, model.intercept_
    return weight, bias
