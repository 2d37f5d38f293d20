"""Criteria: what a classifier finds useful in an image, one value per image, larger = more wanted.

Source: Askari Hemmat et al. (2024), Feedback-guided Data Synthesis for Imbalanced Classification,
https://arxiv.org/abs/2310.00158, section 3.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol

import torch
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from torch import Tensor, nn

from fgds_core.classify.card import CONFIG, read_classifier_config
from fgds_core.classify.network import read_tensors
from fgds_core.errors import InputError
from fgds_core.files import replacing
from fgds_core.images.augment import augment
from fgds_core.synthesis.config import SynthesizeConfig

FEATURE_STATISTICS = "feature_statistics.safetensors"


class Seen(NamedTuple):
    """What a classifier makes of a batch of images."""

    logits: Tensor
    """Class scores, [B, K]."""
    features: Tensor
    """Penultimate features, [B, D]."""


@dataclass(frozen=True)
class ClassGaussians:
    """A Gaussian per class over the penultimate features, with one covariance for all classes."""

    means: Tensor
    """[K, D]"""
    precision: Tensor
    """Inverse of the shared covariance, [D, D]."""
    log_det: Tensor
    """Logarithm of the determinant of the covariance, scalar."""
    shrinkage: Tensor
    """How far the covariance was pulled towards a multiple of the identity, scalar in [0, 1]."""

    def to(self, device: torch.device | str) -> "ClassGaussians":
        """Moves every tensor to a device."""
        return ClassGaussians(*(t.to(device) for t in self._tensors().values()))

    def save(self, path: Path) -> None:
        """Writes the tensors as safetensors."""
        from safetensors.torch import save

        with replacing(path) as part:
            part.write_bytes(save({name: t.contiguous() for name, t in self._tensors().items()}))

    @classmethod
    def load(cls, path: Path) -> "ClassGaussians":
        """Reads what `save` wrote.

        Raises:
            InputError: If the file is missing or does not hold class Gaussians.
        """
        remedy = "train the baseline again"
        tensors = read_tensors(path, remedy)
        means = tensors.get("means", torch.empty(0))
        width = means.shape[-1] if means.ndim == 2 else 0
        shapes = {
            "means": (len(means), width),
            "precision": (width, width),
            "log_det": (),
            "shrinkage": (),
        }
        given = {name: tuple(t.shape) for name, t in tensors.items()}
        if given != shapes or not all(t.is_floating_point() for t in tensors.values()):
            raise InputError(
                f"{path} holds no feature statistics of a classifier: it has to hold floating "
                f"point tensors of the shapes {shapes}, it holds {given}; {remedy}"
            )
        return cls(**tensors)

    def _tensors(self) -> dict[str, Tensor]:
        return {
            "means": self.means,
            "precision": self.precision,
            "log_det": self.log_det,
            "shrinkage": self.shrinkage,
        }


def fit_class_gaussians(features: Tensor, labels: Tensor, num_classes: int) -> ClassGaussians:
    """Fits the class means and one shared covariance, shrunk after Ledoit and Wolf.

    A rare class has fewer images than there are feature dimensions, so a covariance of its own
    would be singular; the shared, shrunk one has an inverse with three images a class as well.

    Args:
        features: Penultimate features of real training images, [N, D].
        labels: Their classes, [N].
        num_classes: K; a class without images gets the mean of all features.

    Returns:
        The statistics in float32.

    Source: Ledoit and Wolf (2004), https://doi.org/10.1016/S0047-259X(03)00096-4
    """
    from sklearn.covariance import LedoitWolf

    features = features.detach().double().cpu()
    labels = labels.cpu()
    counts = torch.bincount(labels, minlength=num_classes)  # [K]
    sums = features.new_zeros(num_classes, features.shape[1]).index_add_(0, labels, features)
    means = torch.where(
        counts[:, None] > 0, sums / counts[:, None].clamp(min=1), features.mean(dim=0)
    )  # [K, D]

    estimate = LedoitWolf(assume_centered=True).fit((features - means[labels]).numpy())
    covariance = torch.from_numpy(estimate.covariance_)  # [D, D]
    # The floor keeps features without any spread (units that are always 0) invertible.
    floor = 1e-6 * covariance.diagonal().mean().clamp(min=1e-6)
    covariance = covariance + floor * torch.eye(len(covariance), dtype=torch.float64)
    root = torch.linalg.cholesky(covariance)
    return ClassGaussians(
        means=means.float(),
        precision=torch.cholesky_inverse(root).float(),
        log_det=(2 * root.diagonal().log().sum()).float(),
        shrinkage=torch.tensor(float(estimate.shrinkage_)),
    )


Criterion = Callable[[Seen, Tensor, ClassGaussians | None], Tensor]
"""(what the classifier sees, labels [B], class Gaussians) -> one value per image, [B]."""


def loss(seen: Seen, labels: Tensor, gaussians: ClassGaussians | None) -> Tensor:
    """Cross-entropy to the intended class in nats, high where the classifier is wrong.

    Args:
        seen: The classifier's answer.
        labels: Intended classes, [B].
        gaussians: Unused; every criterion has this signature.

    Returns:
        One value per image, [B].
    """
    log_p = seen.logits.log_softmax(dim=-1)  # [B, K]
    return -log_p.gather(1, labels[:, None]).squeeze(1)


def entropy(seen: Seen, labels: Tensor, gaussians: ClassGaussians | None) -> Tensor:
    """Entropy of the prediction in nats, high where the classifier hesitates, at most log K.

    Args:
        seen: The classifier's answer.
        labels: Unused.
        gaussians: Unused.

    Returns:
        One value per image, [B].
    """
    log_p = seen.logits.log_softmax(dim=-1)  # [B, K]
    return -(log_p.exp() * log_p).sum(dim=-1)


def hardness(seen: Seen, labels: Tensor, gaussians: ClassGaussians | None) -> Tensor:
    """Negative log-likelihood of the features under the intended class, in nats.

    Args:
        seen: The classifier's answer.
        labels: Intended classes, [B].
        gaussians: The classes' Gaussians over real training features.

    Returns:
        One value per image, [B].
    """
    assert gaussians is not None  # load_feedback reads them for this criterion
    deviation = seen.features - gaussians.means.to(seen.features)[labels]  # [B, D]
    distance = ((deviation @ gaussians.precision.to(deviation)) * deviation).sum(dim=-1)
    constant = gaussians.log_det.to(deviation) + deviation.shape[1] * math.log(2 * math.pi)
    return 0.5 * (distance + constant)


FEEDBACKS: dict[str, Criterion] = {"loss": loss, "hardness": hardness, "entropy": entropy}


class Critic(Protocol):
    """A classifier, as far as feedback needs it."""

    class_names: tuple[str, ...]
    temperature: float
    """Fitted on validation; divides the logits where calibrated ones are wanted."""

    def logits_and_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images in [-1, 1], [B, 3, H, W] -> logits [B, K] and features [B, D]."""
        ...


@pydantic_dataclass(frozen=True, config=ConfigDict(strict=True))
class TrainingAugmentation:
    """The augmentation that a classifier was trained with."""

    shift: NonNegativeInt
    """Pixels, of images of `image_size` a side."""
    horizontal_flip: bool
    erase: Annotated[float, Field(ge=0, lt=1)]
    image_size: PositiveInt

    def at(self, image_size: int) -> "TrainingAugmentation":
        """The same for images of another size."""
        shift = round(self.shift * image_size / self.image_size)
        return replace(self, shift=shift, image_size=image_size)


@dataclass(frozen=True)
class Feedback:
    """A criterion of one classifier, as a function of images."""

    criterion: Criterion
    classifier: Critic
    gaussians: ClassGaussians | None = None
    calibrated: bool = False
    """Whether the logits are divided by the classifier's temperature."""
    augmentation: TrainingAugmentation | None = None
    """What happens to an image before the classifier sees it while it guides; None is nothing."""
    limits: Tensor | None = None
    """Per class the value beyond which an image is pushed no further, [K]; None is without
    limit."""

    def __call__(
        self, x: Tensor, labels: Tensor, generators: Sequence[torch.Generator] | None = None
    ) -> Tensor:
        """Values images, at least in float32 whatever the classifier computes in.

        Args:
            x: Images in [-1, 1], [B, 3, H, W].
            labels: Intended classes, [B].
            generators: One per image, for the augmentation; None leaves it out.

        Returns:
            One value per image, [B].
        """
        if self.augmentation is not None and generators is not None:
            change = self.augmentation.at(x.shape[-1])
            x = torch.cat(
                [augment(one[None], change, g) for one, g in zip(x, generators, strict=True)]
            )
        logits, features = self.classifier.logits_and_features(x)
        dtype = torch.promote_types(logits.dtype, torch.float32)
        temperature = self.classifier.temperature if self.calibrated else 1.0
        seen = Seen(logits.to(dtype) / temperature, features.to(dtype))
        return self.criterion(seen, labels, self.gaussians)


def load_feedback(
    config: SynthesizeConfig, folder: Path, classifier: Critic, device: torch.device | str = "cpu"
) -> Feedback | None:
    """Builds the feedback that the parameters ask for.

    Args:
        config: The parameters.
        folder: The classifier's folder, with its feature statistics and its criteria on real
            validation images.
        classifier: The classifier of that folder.
        device: Where the statistics shall lie.

    Returns:
        The feedback, or None where it is off.

    Raises:
        InputError: If the folder lacks the statistics that the criterion needs.
    """
    if config.feedback == "none" or config.feedback_scale == 0:
        return None
    gaussians = None
    if config.feedback == "hardness":
        path = folder / FEATURE_STATISTICS
        gaussians = ClassGaussians.load(path).to(device)
        wanted = [len(classifier.class_names), _num_features(classifier, device)]
        if list(gaussians.means.shape) != wanted:
            raise InputError(
                f"{path} describes {len(gaussians.means)} classes by {gaussians.means.shape[1]}"
                f" features, the classifier has {wanted[0]} and {wanted[1]}; train the baseline"
                " again"
            )
    limits = None
    if config.feedback_target == "real":
        limits = _read_limits(folder, config).to(device)
    augmentation = _read_augmentation(folder) if config.feedback_augment else None
    return Feedback(
        FEEDBACKS[config.feedback],
        classifier,
        gaussians,
        config.feedback_calibrated,
        augmentation,
        limits,
    )


@torch.no_grad()
def _num_features(classifier: Critic, device: torch.device | str) -> int:
    """D, the width of a classifier's features."""
    weights = classifier.parameters() if isinstance(classifier, nn.Module) else iter(())
    dtype = next((weight.dtype for weight in weights), torch.float32)
    x = torch.zeros(1, 3, 32, 32, dtype=dtype, device=device)  # of any size: it is resized
    return classifier.logits_and_features(x)[1].shape[1]


@torch.no_grad()
def criteria_on_real(
    classifier: Critic,
    gaussians: ClassGaussians,
    images: Tensor,
    labels: Tensor,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
) -> dict[str, dict[str, list[float | None]]]:
    """Measures how useful real images are by each criterion: how hard "as hard as real" is.

    Args:
        classifier: The baseline in evaluation mode.
        gaussians: Its class Gaussians.
        images: Real validation images in [-1, 1], [N, 3, H, W].
        labels: Their classes, [N].
        batch_size: Images at a time.
        device: Where the classifier computes.

    Returns:
        Entries for the baseline's `config.json`: under `criterion_on_real` and
        `criterion_on_real_calibrated` the mean of each criterion per class, [K], null for a class
        without images.
    """
    counts = torch.bincount(labels, minlength=len(classifier.class_names))  # [K]
    entries: dict[str, dict[str, list[float | None]]] = {_LIMITS: {}, _LIMITS_CALIBRATED: {}}
    for key, calibrated in ((_LIMITS, False), (_LIMITS_CALIBRATED, True)):
        for name, criterion in FEEDBACKS.items():
            feedback = Feedback(criterion, classifier, gaussians, calibrated)
            batches = zip(
                torch.split(images, batch_size), torch.split(labels, batch_size), strict=True
            )
            values = torch.cat(
                [feedback(x.to(device), y.to(device)).cpu() for x, y in batches]
            ).double()  # [N], at rest like the labels
            sums = values.new_zeros(len(counts)).index_add_(0, labels, values)
            entries[key][name] = [
                float(total / count) if count else None
                for total, count in zip(sums, counts, strict=True)
            ]
    return entries


_LIMITS = "criterion_on_real"
_LIMITS_CALIBRATED = "criterion_on_real_calibrated"


def _read_limits(folder: Path, config: SynthesizeConfig) -> Tensor:
    """Reads the mean criterion of each class on real images, [K]; infinite where there is none."""
    stored = read_classifier_config(folder)
    key = _LIMITS_CALIBRATED if config.feedback_calibrated else _LIMITS
    values = (getattr(stored, key) or {}).get(config.feedback)
    if values is None:
        raise InputError(
            f"synthesize.feedback_target real needs {key}.{config.feedback} in {folder / CONFIG};"
            " train the baseline again, or set feedback_target to none"
        )
    return torch.tensor([math.inf if value is None else value for value in values])


def _read_augmentation(folder: Path) -> TrainingAugmentation:
    """Reads how the classifier's training images were changed."""
    stored = read_classifier_config(folder)
    try:
        changes: dict[str, Any] = {k: (stored.training or {}).get(k) for k in _AUGMENTATIONS}
        changes["image_size"] = stored.image_size
        return TrainingAugmentation(**changes)
    except ValidationError as error:
        raise InputError(
            f"synthesize.feedback_augment needs the entries training and image_size in"
            f" {folder / CONFIG}, as the baseline's training writes them"
            f" ({error.errors()[0]['msg']}); train the baseline again, or set feedback_augment to"
            " false"
        ) from error


_AUGMENTATIONS = ("shift", "horizontal_flip", "erase")
