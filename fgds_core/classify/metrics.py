"""How good a classifier is: overall, by shot bin, by class and in the worst group."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fgds_core.classify.network import Classifier
from fgds_core.classify.predict import predictions
from fgds_core.data.imbalance import BINS
from fgds_core.images.dataset import ImageDataset

ECE_BINS = 15


@dataclass(frozen=True)
class Evaluation:
    """What a classifier says about a set of images.

    Attributes:
        metrics: The Metrics JSON, see `measure`.
        per_class: `class`, `recall` (None without images) and `num_images` of each class.
        per_group: `class`, `group`, `recall` and `num_images` of each class x group that has
            images, the worst first; None for data without groups.
        predictions: Most probable class of each image, [N].
        confidence: Its probability, without temperature, [N].
    """

    metrics: dict[str, Any]
    per_class: list[dict[str, Any]]
    per_group: list[dict[str, Any]] | None
    predictions: Tensor
    confidence: Tensor


def evaluate(
    classifier: Classifier,
    images: ImageDataset,
    bins: Mapping[str, str],
    *,
    seed: int,
    workers: int = 0,
) -> Evaluation:
    """Evaluates a classifier on labelled images.

    Args:
        classifier: The classifier, on the device where it shall compute.
        images: The images, their labels and, where there are some, groups.
        bins: Shot bin of each class name, from real training counts.
        seed: The seed the classifier was trained with; recorded only.
        workers: Processes that read images ahead.
    """
    confidence = torch.empty(len(images))  # [N]
    predicted = torch.empty(len(images), dtype=torch.int64)  # [N]
    start = 0
    for logits, _ in predictions(classifier, images, workers=workers):
        end = start + len(logits)
        probabilities = logits.softmax(dim=-1)  # [B, K]
        predicted[start:end] = probabilities.argmax(dim=-1)
        confidence[start:end] = probabilities.amax(dim=-1)
        start = end
    labels, names, groups = images.labels, images.class_names, images.groups
    return Evaluation(
        measure(confidence, predicted, labels, names, bins, groups, seed=seed),
        recall_per_class(predicted, labels, names),
        None if groups is None else recall_per_group(predicted, labels, names, groups),
        predicted,
        confidence,
    )


def measure(
    confidence: Tensor,
    predictions: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    bins: Mapping[str, str],
    groups: Sequence[str] | None = None,
    *,
    seed: int,
) -> dict[str, Any]:
    """The Metrics JSON of what a classifier predicted.

    Args:
        confidence: Probability of each image's most probable class, [N].
        predictions: That class, [N].
        labels: True classes, [N].
        class_names: Name of each class, K of them.
        bins: Shot bin (many, medium, few) of each class name.
        groups: Group of each image, or None for data without groups.
        seed: Recorded only.

    Returns:
        Fractions in [0, 1]: `overall` accuracy; `many`, `medium`, `few`: accuracy over all images
        of the classes in that bin, as in ImageNet-LT (None without such images); `worst_group`:
        the lowest accuracy of any class x group that has images (None without groups); `macro_f1`
        over all classes; `ece`: the expected calibration error of these probabilities. Then
        `num_images` and `seed`.

    Raises:
        ValueError: If there are no images.

    Source: Liu et al. (2019), https://arxiv.org/abs/1904.05160 (bins); Yang et al. (2023),
        https://arxiv.org/abs/2302.12254 (worst group)
    """
    from sklearn.metrics import f1_score  # Late: importing scikit-learn takes a second

    if not len(labels):
        raise ValueError("there are no images to evaluate on")
    actual, predicted = labels.cpu().numpy(), predictions.cpu().numpy()  # [N], [N]
    correct = predicted == actual  # [N]
    bin_of_image = np.array([bins[name] for name in class_names])[actual]  # [N]
    worst_first = (
        None if groups is None else recall_per_group(predictions, labels, class_names, groups)
    )
    return {
        "overall": float(correct.mean()),
        **{name: _accuracy(correct, bin_of_image == name) for name in BINS},
        "worst_group": None if worst_first is None else worst_first[0]["recall"],
        "macro_f1": float(
            f1_score(
                actual,
                predicted,
                labels=range(len(class_names)),
                average="macro",
                zero_division=0.0,
            )
        ),
        "ece": expected_calibration_error(confidence, predictions, labels),
        "num_images": len(actual),
        "seed": seed,
    }


def recall_per_class(
    predictions: Tensor, labels: Tensor, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """`class`, `recall` (None without images) and `num_images` of each class.

    Args:
        predictions: Predicted classes, [N].
        labels: True classes, [N].
        class_names: Name of each class, K of them.
    """
    num_images = labels.bincount(minlength=len(class_names)).tolist()  # [K]
    hits = labels[predictions == labels].bincount(minlength=len(class_names)).tolist()  # [K]
    return [
        {"class": name, "recall": hit / count if count else None, "num_images": count}
        for name, hit, count in zip(class_names, hits, num_images, strict=True)
    ]


def recall_per_group(
    predictions: Tensor, labels: Tensor, class_names: Sequence[str], groups: Sequence[str]
) -> list[dict[str, Any]]:
    """`class`, `group`, `recall` and `num_images` of each class x group with images, worst first.

    Of equally bad ones the larger comes first, as the more certain.

    Args:
        predictions: Predicted classes, [N].
        labels: True classes, [N].
        class_names: Name of each class.
        groups: Group of each image, N of them.
    """
    cells = list(zip(labels.tolist(), groups, strict=True))
    num_images = Counter(cells)
    hits = Counter(
        cell for cell, hit in zip(cells, (predictions == labels).tolist(), strict=True) if hit
    )
    rows = [
        {
            "class": class_names[label],
            "group": group,
            "recall": hits[label, group] / count,
            "num_images": count,
        }
        for (label, group), count in sorted(num_images.items())
    ]
    return sorted(rows, key=lambda row: (row["recall"], -row["num_images"]))


def macro_accuracy(predictions: Tensor, labels: Tensor) -> float:
    """Mean over the classes that occur in `labels` of their accuracy, a fraction in [0, 1].

    Args:
        predictions: Predicted classes, [N].
        labels: True classes, [N].
    """
    from sklearn.metrics import recall_score

    present = np.unique(labels.cpu()).tolist()
    return float(recall_score(labels.cpu(), predictions.cpu(), labels=present, average="macro"))


def expected_calibration_error(
    confidence: Tensor, predictions: Tensor, labels: Tensor, num_bins: int = ECE_BINS
) -> float:
    """Mean gap between confidence and accuracy over equally wide bins of confidence, in [0, 1].

    Args:
        confidence: Probability of each image's most probable class, [N].
        predictions: That class, [N].
        labels: True classes, [N].
        num_bins: Number of bins over [0, 1]; the upper edge belongs to a bin.

    Source: Guo et al. (2017), On Calibration of Modern Neural Networks,
        https://arxiv.org/abs/1706.04599
    """
    confidence = confidence.double()
    index = (confidence * num_bins).ceil().long().clamp(1, num_bins) - 1  # [N]
    gap = (predictions == labels).double() - confidence  # [N]
    per_bin = gap.new_zeros(num_bins).index_add(0, index, gap)  # [num_bins], sums of gaps
    return float(per_bin.abs().sum() / len(labels))


def interval(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean over seeds and its two-sided 95 % Student-t interval.

    Args:
        values: One value per seed.

    Returns:
        `mean`, `low`, `high` (None for a single seed, which has no spread) and `seeds`, how many.

    Raises:
        ValueError: If there are no values.
    """
    from scipy import stats

    if not values:
        raise ValueError("an interval needs at least one value")
    mean = float(np.mean(values))
    if len(values) == 1:
        return {"mean": mean, "low": None, "high": None, "seeds": 1}
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return {"mean": mean, "low": mean - half, "high": mean + half, "seeds": len(values)}


def _accuracy(correct: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> float | None:
    return float(correct[chosen].mean()) if chosen.any() else None
