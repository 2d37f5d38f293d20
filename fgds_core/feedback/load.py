"""Loads the feedback that the parameters ask for."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from fgds_core.classify.card import CONFIG, read_classifier_config
from fgds_core.classify.network import WEIGHTS
from fgds_core.errors import InputError
from fgds_core.feedback.criterion import Critic, Parameters, Seen, Sources
from fgds_core.feedback.critic import Feedback, TrainingAugmentation
from fgds_core.feedback.registry import load_criterion, needs_of
from fgds_core.files import sha256_file
from fgds_core.images.dataset import ImageDataset


class FeedbackParameters(Parameters, Protocol):
    """What the parameters say of feedback, as in `SynthesizeConfig`; the name none is off."""

    @property
    def feedback_scale(self) -> float:
        """How far guidance moves; 0 is off."""
        ...

    @property
    def feedback_target(self) -> str:
        """Whether an image is pushed no further than the real ones of its class: none or real."""
        ...

    @property
    def feedback_calibrated(self) -> bool:
        """Whether the logits are calibrated."""
        ...

    @property
    def feedback_augment(self) -> bool:
        """Whether the classifier sees the image changed as in its training."""
        ...

    @property
    def feedback_tau(self) -> float:
        """How much of the classes' prior is taken from the logits; 0 is nothing."""
        ...


def load_feedback(
    config: FeedbackParameters,
    folders: Sequence[Path],
    classifiers: Sequence[Critic],
    real_counts: Sequence[int],
    device: torch.device | str = "cpu",
    *,
    images: Callable[[str], ImageDataset] | None = None,
    seed: int = 0,
) -> Feedback | None:
    """Builds the feedback that the parameters ask for.

    Args:
        config: The parameters.
        folders: The folders of the classifiers. What is read beside their networks - feature
            statistics, criteria on real validation images, augmentation - is the first one's, the
            baseline's.
        classifiers: The classifier of each folder; several are a committee.
        real_counts: Real training images of each class, [K].
        device: Where the statistics shall lie.
        images: Opens a split of the real images; None for criteria that know none of them.
        seed: Of the run.

    Returns:
        The feedback, or None where it is off.

    Raises:
        InputError: If the folder or the real images lack what the criterion needs.
    """
    if config.feedback == "none" or config.feedback_scale == 0:
        return None
    folder = folders[0]
    limits = None
    if config.feedback_target == "real":
        targets = _read_targets(folder, config)
        limits = torch.tensor([math.inf if t is None else t for t in targets], device=device)
    prior = None
    if config.feedback_tau:
        prior = prior_of(real_counts, config.feedback_tau).to(device)
    needs = needs_of(config.feedback)
    feedback = Feedback(
        load_criterion(config.feedback),
        tuple(classifiers),
        calibrated=config.feedback_calibrated,
        augmentation=_read_augmentation(folder) if config.feedback_augment else None,
        limits=limits,
        prior=prior,
        together=needs.together,
    )
    first = classifiers[0]
    weights = first.parameters() if isinstance(first, nn.Module) else iter(())
    dtype = next((weight.dtype for weight in weights), torch.float32)

    def see(x: Tensor) -> Seen:
        return feedback.see(x.to(device, dtype))

    sources = Sources(folder, tuple(classifiers), see, images or _no_images, seed, device)
    return replace(feedback, known=needs.find(config, sources))


def _no_images(split: str) -> ImageDataset:
    raise ValueError("load_feedback was told of no real images, which the criterion needs")


def prior_of(real_counts: Sequence[int], tau: float) -> Tensor:
    """What is taken from logits to take the classes' prior out of them.

    That is tau log pi, pi a class's share of the real training images. The same for all classes
    changes no probability, so it is counted from the largest class: where all are equally large,
    the logits stay as they are, bit for bit. A class without images counts as one with a single.

    Args:
        real_counts: Real training images of each class, [K].
        tau: 1 takes the whole prior out, 0 nothing.

    Returns:
        At most 0, [K].

    Source: Menon et al. (2021), https://arxiv.org/abs/2007.07314, section 4.1
    """
    n = torch.tensor(real_counts).clamp(min=1).double()  # [K]
    return (tau * (n / n.max()).log()).float()


def read_by(config: FeedbackParameters, folder: Path, prepared: Path) -> dict[str, Any]:
    """What decides a classifier's feedback, as JSON values, for a fingerprint.

    What else lies in its folder, such as the values of other criteria, changes no image.

    Args:
        config: The parameters; with feedback.
        folder: The classifier's.
        prepared: That of the prepared data.

    Raises:
        InputError: A file is absent or damaged.
    """
    stored = read_classifier_config(folder)
    read: dict[str, Any] = {
        "network": stored.model_dump(mode="json", include=NETWORK),
        "weights": sha256_file(folder / WEIGHTS),
    }
    read |= needs_of(config.feedback).digests(folder, prepared)
    if config.feedback_calibrated:
        read["temperature"] = stored.temperature
    if config.feedback_target == "real":
        read["targets"] = _read_targets(folder, config)
    if config.feedback_augment:
        read["augmentation"] = asdict(_read_augmentation(folder))
    return read


NETWORK = {
    "model",
    "model_kwargs",
    "class_names",
    "input_size",
    "mean",
    "std",
    "interpolation",
}
"""Entries of a classifier's configuration that make the network."""


def _read_targets(folder: Path, config: FeedbackParameters) -> list[float | None]:
    """Reads the mean criterion of each class on real images, [K]; None where there is none."""
    stored = read_classifier_config(folder)
    key = "criterion_on_real_calibrated" if config.feedback_calibrated else "criterion_on_real"
    values = (getattr(stored, key) or {}).get(config.feedback)
    if values is None:
        raise InputError(
            f"synthesize.feedback_target real needs {key}.{config.feedback} in {folder / CONFIG};"
            " train the baseline again, or set feedback_target to none"
        )
    return list(values)


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
