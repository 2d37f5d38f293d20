"""What can be said of a synthetic set before a classifier is retrained with it.

`measured` gives a set some thirty numbers: those of the stage assess, and others that have been
proposed as signs of usefulness. `python -m benchmarks.usefulness` asks which of them go with what
the set then adds. They look at real training and validation images; no test image is opened.

N real images, M synthetic images, B of a batch or class, K classes, D features.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from assets.corpus import in_target_look
from benchmarks.controls.probe import probe_auc
from fgds_core.assess.assessment import headline, measure_synthetic
from fgds_core.assess.closest import nearest
from fgds_core.assess.config import AssessConfig
from fgds_core.assess.features import Extractor, FeatureSources, Tower, load_extractor
from fgds_core.assess.measures import MEASURES
from fgds_core.assess.observe import Observed, observe
from fgds_core.classify.network import Classifier, load_classifier
from fgds_core.classify.predict import predictions
from fgds_core.data.meta import Meta, read_meta
from fgds_core.data.splits import read_prepared
from fgds_core.feedback.criterion import NOTHING, Known, Seen
from fgds_core.feedback.gaussians import FEATURE_STATISTICS, ClassGaussians
from fgds_core.feedback.registry import load_criterion
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.pixels import from_uint8
from fgds_core.judge.classifier import load_witness, probabilities_of
from fgds_core.synthesis.columns import COLUMNS

Columns = dict[str, float | None]
Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

IN_ONE_LOOK = 0.9
"""Share of real images in the target look from which on synthetic ones are asked for it."""


@dataclass(frozen=True)
class Yardstick:
    """What sets are measured with; what it reads is kept for the life of the process.

    Attributes:
        prepared: Folder of the prepared data; train and val are read.
        guide: Folder of the classifier that guides, the baseline.
        tower: The CLIP vision tower whose features count; None where the guide's do.
        config: What the stage assess measures, and how.
        judge: Folder of the classifier that judges; None asks none.
        control: Folder of the control, which is asked the same as the guide; None is not.
        seed: Seed of subsets and resamples.
    """

    prepared: Path
    guide: Path
    tower: Tower | None
    config: AssessConfig
    judge: str | None = None
    control: Path | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Critic:
    """A classifier, and what it says of real images.

    Attributes:
        classifier: It, in evaluation mode.
        gaussians: Of its features of real training images; None where its folder has none.
        val: What it says of validation images.
        val_labels: The classes of these, [N].
    """

    classifier: Classifier
    gaussians: ClassGaussians | None
    val: Seen
    val_labels: Tensor

    @cached_property
    def gradients(self) -> Tensor:
        """The mean gradient of its loss on validation images of each class, [K, K, D + 1].

        It is that with respect to the last layer, weights and offset; 0 without images.
        """
        num_classes = self.val.logits.shape[1]
        return class_gradients(self.val, self.val_labels, num_classes)


@dataclass(frozen=True, eq=False)
class Real:
    """The real images, and the networks that have seen them."""

    meta: Meta
    extract: Extractor
    judge: Classifier | None
    critics: dict[str, Critic]
    train: Observed
    val: Observed
    folder: tempfile.TemporaryDirectory[str]


@cache
def real_of(yardstick: Yardstick) -> Real:
    """Shows the real images to the networks, once a process."""
    config, meta = yardstick.config, read_meta(yardstick.prepared)
    train, val = (read_prepared(yardstick.prepared, split) for split in ("train", "val"))
    critics = {"guide": critic(yardstick.guide, val)}
    if yardstick.control is not None:
        critics["control"] = critic(yardstick.control, val)
    guide = critics["guide"].classifier
    extract = load_extractor(config.features, FeatureSources(yardstick.tower, classifier=guide))
    judge = None
    if yardstick.judge is not None:
        judge = load_witness(Path(yardstick.judge), meta.class_names)
    folder = tempfile.TemporaryDirectory(prefix="measures-")
    of_train = observe(train, Path(folder.name) / "train", extract)
    of_val = observe(val, Path(folder.name) / "val", extract, baseline=guide)
    return Real(meta, extract, judge, critics, of_train, of_val, folder)


def critic(folder: Path, val: ImageDataset) -> Critic:
    """Loads a classifier and asks it about the validation images."""
    classifier, statistics = load_classifier(folder), folder / FEATURE_STATISTICS
    gaussians = ClassGaussians.load(statistics) if statistics.exists() else None
    return Critic(classifier, gaussians, seen_by(classifier, val), val.labels)


def seen_by(classifier: Classifier, images: ImageDataset) -> Seen:
    """What a classifier makes of a whole set."""
    logits, features = zip(*predictions(classifier, images), strict=True)
    return Seen(torch.cat(logits).double(), torch.cat(features).double())


def measured(images: ImageDataset, rows: pa.Table | None, yardstick: Yardstick) -> Columns:
    """The numbers of one synthetic set, by name; None where there is none.

    Args:
        images: The set, M images.
        rows: Its table, as `read_synthetic` gives it; None for images of another origin.
        yardstick: What it is measured with.

    Returns:
        `num_images`; each of `fgds_core.assess.measures.MEASURES`, over all images and, with the
        ending `_by_class`, as the mean over classes; what `spread`, `in_look` and `judged` say;
        and, beginning with `guide_` and `control_`, what `criticised` says of that classifier.
    """
    real = real_of(yardstick)
    guide = real.critics["guide"].classifier
    with tempfile.TemporaryDirectory(prefix="measured-") as folder:
        place = Path(folder) / "set"
        judge = None if real.judge is None else partial(probabilities_of, real.judge)
        seen = observe(images, place, real.extract, baseline=guide, judge=judge)
        found = {
            "num_images": float(len(images)),
            **assessed(seen, rows, real, yardstick),
            **spread(seen, real),
            "in_look": in_look(seen, real),
        }
    if real.judge is not None:
        found |= judged(seen_by(real.judge, images), images.labels)
    for name, each in real.critics.items():
        says = criticised(seen_by(each.classifier, images), images.labels, each)
        found |= {f"{name}_{key}": value for key, value in says.items()}
    return {
        name: None if value is None or not np.isfinite(value) else float(f"{value:.6g}")
        for name, value in found.items()
    }


def assessed(seen: Observed, rows: pa.Table | None, real: Real, yardstick: Yardstick) -> Columns:
    """What the stage assess says: over all images, and as means over classes with a value."""
    measures = measure_synthetic(
        seen,
        unnoted(len(seen.images)) if rows is None else rows,
        train=real.train,
        val=real.val,
        feature_space=real.extract.name,
        bins=real.meta.bins,
        config=yardstick.config,
        seed=yardstick.seed,
    ).measures
    found = {name: value for name, value in headline(measures).items() if name in MEASURES}
    for name in MEASURES:
        of_classes = [each[name] for each in measures["per_class"].values()]
        found[f"{name}_by_class"] = _mean(each["value"] for each in of_classes if each is not None)
    return found


def unnoted(num_images: int) -> pa.Table:
    """The columns of a synthetic set of whose drawing nothing was noted."""
    columns = {
        name: pa.nulls(num_images, column.type)
        if column.null is not None
        else pa.array(["none" if column.type == pa.string() else 0] * num_images, column.type)
        for name, column in COLUMNS.items()
    }
    return pa.table({**columns, "index": pa.array(range(num_images), pa.int64())})


def spread(seen: Observed, real: Real) -> Columns:
    """How a set lies in the feature space.

    Returns:
        `variance`: see `relative_variance`; `nearest_train`: distance to the nearest real training
        image of the class, over that of real validation images, mean over classes; `probe_auc`:
        see `probe_auc`, with validation images.
    """
    synthetic, train, val = map(_vectors, (seen, real.train, real.val))  # [_, D]
    distances = []
    for k in _common(seen.labels, real.train.labels, real.val.labels):
        known = train[real.train.labels == k]
        own = nearest(synthetic[seen.labels == k], known, 1)[0].mean()
        distances.append(own / nearest(val[real.val.labels == k], known, 1)[0].mean())
    return {
        "variance": relative_variance(synthetic, seen.labels, val, real.val.labels),
        "nearest_train": _mean(distances),
        "probe_auc": probe_auc(val, real.val.labels, synthetic, seen.labels),
    }


def relative_variance(
    synthetic: Floats, labels: Labels, real: Floats, real_labels: Labels
) -> float | None:
    """Trace of the covariance within a class over that of real images, mean over classes.

    Args:
        synthetic: Features of synthetic images, [M, D].
        labels: Their classes, [M].
        real: Features of real images, [N, D].
        real_labels: Their classes, [N].

    Returns:
        1 for images that are as diverse as real ones; None where no class has two of both.
    """
    ratios = []
    for k in _common(labels, real_labels):
        of_class = synthetic[labels == k], real[real_labels == k]
        if min(map(len, of_class)) > 1:
            ours, theirs = (x.var(axis=0, ddof=1).sum() for x in of_class)
            ratios.append(ours / theirs if theirs else np.inf)
    return _mean(ratios)


def in_look(seen: Observed, real: Real) -> float | None:
    """Share of images that look as the data do, whatever they show.

    Where images have groups, it is those before the ground that they were drawn for, as a linear
    probe sees it that was fitted to the features of validation images; elsewhere those in the
    target look, grey on black, where the real images are in it; else there is none.
    """
    theirs, groups = real.val.images, seen.images.groups
    if theirs.groups is None:
        usual = _target_look(theirs)
        return _target_look(seen.images) if usual >= IN_ONE_LOOK else None
    if groups is None:
        return None
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    probe.fit(_vectors(real.val), theirs.groups)
    return float((probe.predict(_vectors(seen)) == np.array(groups)).mean())


def judged(seen: Seen, labels: Tensor) -> Columns:
    """How sure the judge is.

    Returns:
        `judge_margin`: score of the intended class less that of the best other one, in logits,
        mean; `judge_confidence`: probability of the class it sees, mean.
    """
    intended = F.one_hot(labels, seen.logits.shape[1]).bool()  # [M, K]
    others = seen.logits.masked_fill(intended, -torch.inf).amax(dim=1)  # [M]
    return {
        "judge_margin": (seen.logits[intended] - others).mean().item(),
        "judge_confidence": seen.logits.softmax(dim=1).amax(dim=1).mean().item(),
    }


def criticised(seen: Seen, labels: Tensor, critic: Critic) -> Columns:
    """What a classifier says that was trained on real images alone.

    Args:
        seen: What it makes of the synthetic images.
        labels: Their classes, [M].
        critic: The classifier.

    Returns:
        `loss`, `entropy` and, where it has Gaussians, `hardness`: means over images, in nats;
        `excess_loss`: loss less that on validation images, mean over classes; `variance`: see
        `relative_variance`, in its features; `influence` and `alignment`: see there.
    """
    found: Columns = {}
    for name in ("loss", "entropy", "hardness"):
        applies = name != "hardness" or critic.gaussians is not None
        known = Known(critic.gaussians)
        values = load_criterion(name)(seen, labels, known) if applies else None
        found[name] = None if values is None else values.mean().item()
    loss = load_criterion("loss")
    ours, theirs = loss(seen, labels, NOTHING), loss(critic.val, critic.val_labels, NOTHING)
    found["excess_loss"] = _mean(
        (ours[labels == k].mean() - theirs[critic.val_labels == k].mean()).item()
        for k in _common(labels.numpy(), critic.val_labels.numpy())
    )
    found["variance"] = relative_variance(
        seen.features.numpy(),
        labels.numpy(),
        critic.val.features.numpy(),
        critic.val_labels.numpy(),
    )
    found["influence"] = influence(seen, labels, critic).mean().item()
    found["alignment"] = alignment(seen, labels, critic)
    return found


def last_layer_gradients(seen: Seen, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of the gradient of each image's loss with respect to the last layer.

    Returns:
        p - e_y, [B, K], and the features with a 1 behind them, [B, D + 1]: the gradient of weights
        and offset is their outer product.
    """
    residuals = seen.logits.softmax(dim=1) - F.one_hot(labels, seen.logits.shape[1])  # [B, K]
    return residuals, F.pad(seen.features, (0, 1), value=1.0)


def class_gradients(seen: Seen, labels: Tensor, num_classes: int) -> Tensor:
    """The mean of these gradients over the images of each class, [K, K, D + 1]; 0 without any."""
    residuals, inputs = last_layer_gradients(seen, labels)
    sums = [residuals[labels == k].T @ inputs[labels == k] for k in range(num_classes)]
    counts = labels.bincount(minlength=num_classes).clamp(min=1)  # [K]
    return torch.stack(sums) / counts[:, None, None]


def influence(seen: Seen, labels: Tensor, critic: Critic) -> Tensor:
    """How much a step on an image would lower the loss of its class more than that of others.

    Returns:
        Inner product of the image's gradient with the validation gradient of its own class, less
        the mean of those with the other classes' gradients, [M].

    Source: Pruthi et al. (2020), https://arxiv.org/abs/2002.08484 (of the last layer alone)
    """
    residuals, inputs = last_layer_gradients(seen, labels)
    theirs = critic.gradients  # [K, K, D + 1]
    products = torch.einsum("bk,cki,bi->bc", residuals, theirs, inputs)  # [M, K]
    own = products.gather(1, labels[:, None])[:, 0]
    return own - (products.sum(dim=1) - own) / (products.shape[1] - 1)


def alignment(seen: Seen, labels: Tensor, critic: Critic) -> float | None:
    """Cosine between the gradients of a set and of validation images, all classes alike.

    Each is the mean over classes of the mean gradient of a class, over the classes that have
    images in both.
    """
    both = _common(labels.numpy(), critic.val_labels.numpy())
    if not len(both):
        return None
    ours = class_gradients(seen, labels, seen.logits.shape[1])[both].mean(dim=0)
    theirs = critic.gradients[both].mean(dim=0)
    return F.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0).item()


def _vectors(seen: Observed) -> Floats:
    """All features, [N, D]: sets of a benchmark are small."""
    return seen.features.array(np.arange(len(seen.images)))


def _target_look(images: ImageDataset) -> float:
    return (
        in_target_look(from_uint8(images.__getitems__(range(len(images))))).double().mean().item()
    )


def _common(labels: Labels, *others: Labels) -> Labels:
    """The classes that have images in each of some sets."""
    for other in others:
        labels = np.intersect1d(labels, other)
    return np.unique(labels)


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are numbers; None without any."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
