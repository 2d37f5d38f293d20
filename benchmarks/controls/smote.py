"""SMOTE in feature space: the last layer of a classifier refitted on mixtures of real features.

The classifier was trained on real images alone and stays frozen below its last layer. Cells, which
are classes, or classes within groups, are filled up to the largest one.

Source: Chawla et al. (2002), https://arxiv.org/abs/1106.1813. Ours, not imbalanced-learn's, for
    that one wants as many neighbours in every class, and a class here may have a single image.

N images, K classes, D features.
"""

from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray

from fgds_core.classify.calibrate import calibrated
from fgds_core.classify.heads import new_head
from fgds_core.classify.metrics import macro_accuracy
from fgds_core.classify.network import Classifier
from fgds_core.classify.predict import predictions
from fgds_core.classify.refit import cells_of
from fgds_core.classify.run import TrainingRun
from fgds_core.images.dataset import ImageDataset

NEIGHBOURS = 5
"""Of which an image is mixed with one; all others of a cell that has fewer."""

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Inverse strengths of the penalty that are tried on validation images."""

Features = NDArray[np.float64]
Numbers = NDArray[np.int64]


def mixtures(
    features: Features, number: int, rng: np.random.Generator, num_neighbours: int = NEIGHBOURS
) -> Features:
    """New features of one cell, each on the segment between an image and one of its neighbours.

    Args:
        features: Of the real images of the cell, at least one, [n, D].
        number: How many new ones are wanted.
        rng: Draws images, neighbours and places between them.
        num_neighbours: How many nearest ones of an image count as neighbours.

    Returns:
        [number, D]; copies where the cell has a single image.
    """
    from sklearn.neighbors import NearestNeighbors

    chosen = rng.integers(len(features), size=number)
    k = min(num_neighbours, len(features) - 1)
    if k == 0:
        return features[chosen]
    # Asked without a query, scikit-learn leaves each image out of its own neighbours
    neighbours = NearestNeighbors(n_neighbors=k).fit(features).kneighbors(return_distance=False)
    partners = neighbours[chosen, rng.integers(k, size=number)]  # [number]
    share = rng.random((number, 1))
    mixed: Features = features[chosen] + share * (features[partners] - features[chosen])
    return mixed


def balanced(
    features: Features, labels: Numbers, cells: Numbers, seed: int
) -> tuple[Features, Numbers]:
    """Real features and, behind them, as many mixtures as fill every cell up to the largest.

    Args:
        features: Of real images, [N, D].
        labels: Their classes, [N].
        cells: Their cells, each of one class, [N].
        seed: Of the mixtures.

    Returns:
        Features [M, D] and labels [M].
    """
    rng = np.random.default_rng(seed)
    names, counts = np.unique(cells, return_counts=True)
    all_features, all_labels = [features], [labels]
    for name, count in zip(names, counts, strict=True):
        own, missing = cells == name, counts.max() - count
        all_features.append(mixtures(features[own], missing, rng))
        all_labels.append(np.full(missing, labels[own][0]))
    return np.concatenate(all_features), np.concatenate(all_labels)


def refitted(
    classifier: Classifier, train: ImageDataset, val: ImageDataset, seed: int
) -> Classifier:
    """A copy of a classifier whose last layer is a logistic regression of balanced features.

    Args:
        classifier: Trained on real images alone.
        train: These.
        val: Validation images, which choose the strength of the penalty and the temperature.
        seed: Of the mixtures.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    features, to_judge = _features(classifier, train), _features(classifier, val)
    labels, cells = train.labels.numpy(), cells_of(train).numpy()
    x, y = balanced(features, labels, cells, seed)
    scaler = StandardScaler().fit(x)
    regressions = [
        LogisticRegression(C=strength, max_iter=500).fit(scaler.transform(x), y)
        for strength in STRENGTHS
    ]

    def accuracy(regression: LogisticRegression) -> float:
        predicted = regression.predict(scaler.transform(to_judge))
        return macro_accuracy(torch.from_numpy(predicted), val.labels)

    best = max(regressions, key=accuracy)  # of equals the first
    # Fold the standardisation into the layer; a class that is not there stays below all others
    weight = np.zeros((len(train.class_names), x.shape[1]))
    bias = np.full(len(train.class_names), -1e3)
    weight[best.classes_] = best.coef_ / scaler.scale_
    bias[best.classes_] = best.intercept_ - weight[best.classes_] @ scaler.mean_
    copy = deepcopy(classifier)
    layer = new_head(copy.network, "linear", seed)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    copy.posthoc_tau = None
    return calibrated(copy, val, TrainingRun())


def _features(classifier: Classifier, images: ImageDataset) -> Features:
    """Penultimate features, [N, D]."""
    passes = predictions(classifier, images)
    return torch.cat([features for _, features in passes]).double().numpy()
