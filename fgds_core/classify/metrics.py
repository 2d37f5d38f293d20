"""How good a classifier is: overall, by shot bin, by class and in the worst group."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fgds_core.classify import groups as of_groups
from fgds_core.classify import intervals
from fgds_core.classify.groups import Groups, TrainCounts, grouped
from fgds_core.classify.intervals import RESAMPLING_SEED, Bools, Interval
from fgds_core.classify.network import Classifier
from fgds_core.classify.predict import predictions
from fgds_core.classify.reliability import ECE_BINS
from fgds_core.data.imbalance import BINS
from fgds_core.images.dataset import ImageDataset

Names = NDArray[np.str_]


@dataclass(frozen=True)
class Evaluation:
    """What a classifier says about a set of images.

    Attributes:
        metrics: The Metrics JSON, see `measure`.
        per_class: `class`, `recall` (None without images) and `num_images` of each class.
        per_group: See `groups.rows`; None for data without groups.
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
    train_counts: TrainCounts | None = None,
    on_logits: Callable[[Tensor], None] = lambda _: None,
) -> Evaluation:
    """Evaluates a classifier on labelled images.

    Args:
        classifier: The classifier, on the device where it shall compute.
        images: The images, their labels and, where there are some, groups.
        bins: Shot bin of each class name, from real training counts.
        seed: The seed the classifier was trained with; recorded only.
        workers: Processes that read images ahead.
        train_counts: Real training images of each (class, group); None where they are not known.
        on_logits: Called with the logits of each batch, [B, K], in the order of the images.
    """
    confidence = torch.empty(len(images))  # [N]
    predicted = torch.empty(len(images), dtype=torch.int64)  # [N]
    start = 0
    for logits, _ in predictions(classifier, images, workers=workers):
        on_logits(logits)
        end = start + len(logits)
        probabilities = logits.softmax(dim=-1)  # [B, K]
        predicted[start:end] = probabilities.argmax(dim=-1)
        confidence[start:end] = probabilities.amax(dim=-1)
        start = end
    labels, names, groups = images.labels, images.class_names, None
    if images.groups is not None:
        groups = grouped(labels.tolist(), images.groups, names, train_counts or {})
    right = (predicted == labels).numpy()  # [N]
    return Evaluation(
        measure(confidence, predicted, labels, names, bins, groups, seed=seed),
        recall_per_class(predicted, labels, names),
        None if groups is None else of_groups.rows(groups.hits(right), groups),
        predicted,
        confidence,
    )


def measure(
    confidence: Tensor,
    predictions: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    bins: Mapping[str, str],
    groups: Groups | None = None,
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
        groups: The groups of the images, or None for data without groups.
        seed: Recorded only.

    Returns:
        Fractions in [0, 1], None where no image tells: `overall` accuracy; `many`, `medium`,
        `few`: accuracy over all images of the classes in that bin, as in ImageNet-LT;
        `macro_accuracy`: mean over the classes with images of their recall; `macro_f1` over all
        classes; `ece`: the expected calibration error of these probabilities; and each of
        `groups.MEASURES`. `intervals` has the 95 % interval of each accuracy, [low, high]. `worst`
        is the group behind `worst_group`: `class`, `group`, `num_images`, `low` and `high` (its
        exact 95 % interval). Then `num_images` and `seed`.

    Raises:
        ValueError: If there are no images.

    Source: Liu et al. (2019), https://arxiv.org/abs/1904.05160 (bins); Yang et al. (2023),
        https://arxiv.org/abs/2302.12254 (worst group)
    """
    from sklearn.metrics import f1_score  # Late: importing scikit-learn takes a second

    if not len(labels):
        raise ValueError("there are no images to evaluate on")
    actual, predicted = labels.cpu().numpy(), predictions.cpu().numpy()  # [N], [N]
    right = predicted == actual  # [N]
    bin_of_image = np.array([bins[name] for name in class_names])[actual]  # [N]
    counts = np.bincount(actual, minlength=len(class_names))  # [K]
    hits = np.bincount(actual[right], minlength=len(class_names))  # [K]
    present = counts > 0
    found: dict[str, float | None] = accuracies(right, bin_of_image)
    found["macro_accuracy"] = float((hits[present] / counts[present]).mean())
    within = {key: _interval(right[chosen]) for key, chosen in _sets(bin_of_image).items()}
    rng = np.random.default_rng(RESAMPLING_SEED)
    within["macro_accuracy"] = intervals.of_mean(hits[present], counts[present], rng)
    found |= dict.fromkeys(of_groups.MEASURES)
    within |= dict.fromkeys(of_groups.MEASURES)
    worst = None
    if groups is not None:
        of_group = groups.hits(right)  # [C]
        for name in of_groups.MEASURES:
            rng = np.random.default_rng(RESAMPLING_SEED)
            found[name] = of_groups.measured(name, of_group, groups)
            within[name] = of_groups.interval(name, of_group, groups, rng)
        row = of_groups.rows(of_group, groups)[0]
        worst = {key: row[key] for key in ("class", "group", "num_images", "low", "high")}
    return {
        **found,
        "intervals": {
            key: None if each is None else [each.low, each.high] for key, each in within.items()
        },
        "worst": worst,
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


def accuracies(right: Bools, bin_of_image: Names) -> dict[str, float | None]:
    """Accuracy `overall` and of each shot bin, fractions; None of a bin without images.

    Args:
        right: Whether each image is recognised, [N].
        bin_of_image: Name of the bin of each image's class, [N].
    """
    sets = _sets(bin_of_image)
    return {
        key: float(right[chosen].mean()) if chosen.any() else None for key, chosen in sets.items()
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


def _sets(bin_of_image: Names) -> dict[str, Bools]:
    """The images that `overall` and each shot bin are measured on, [N] each."""
    everything = np.ones(len(bin_of_image), dtype=bool)
    return {"overall": everything, **{name: bin_of_image == name for name in BINS}}


def _interval(right: Bools) -> Interval | None:
    if not len(right):
        return None
    rng = np.random.default_rng(RESAMPLING_SEED)
    return intervals.of_accuracy(int(right.sum()), len(right), rng)
