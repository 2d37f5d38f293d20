"""What a criterion is: what it is told of images, what it may know beside them, and its record.

B images, of which a criterion is told at a time, among P that are drawn together; K classes, D
features, E exemplars.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from fgds_core.feedback.gaussians import ClassGaussians
from fgds_core.images.dataset import ImageDataset


class Together(NamedTuple):
    """All images that are drawn together, as the classifier sees them now."""

    features: Tensor
    """Penultimate features, without a gradient, [P, D]."""
    labels: Tensor
    """Intended classes, [P]."""
    places: Tensor
    """Which of them a criterion is told of, [B]."""


class Seen(NamedTuple):
    """What a classifier, or a committee of M, makes of a batch of images."""

    logits: Tensor
    """Class scores, [B, K]; of a committee the logarithm of its members' mean probability."""
    features: Tensor
    """Penultimate features, [B, D]; of a committee those of its members side by side."""
    members: Tensor | None = None
    """Log-probabilities of each member of a committee, [M, B, K]; None where one classifier
    judges."""
    together: Together | None = None
    """Those they are drawn with, where a criterion values them together; None: these are all."""


@dataclass(frozen=True)
class Known:
    """What a criterion knows of real images; each asks for what it needs, the rest is None."""

    gaussians: ClassGaussians | None = None
    """Of the classes, over the features of real training images."""
    exemplars: Callable[[int], Tensor] | None = None
    """Class -> features of some real training images of it, [E, D]; E is 0 where it has none."""
    gradients: Callable[[int], Tensor] | None = None
    """Class -> the direction in the last layer's weights that an image of it shall push them in,
    [K, D], or [K, D + 1] with those of the offset behind."""
    mix: float = 0.0
    """Weight of a criterion's second term."""


NOTHING = Known()
"""What `loss` and `entropy` know."""

Criterion = Callable[[Seen, Tensor, Known], Tensor]
"""(what the classifier sees, labels [B], what is known of real images) -> one value per image,
[B], larger = more wanted."""


class Critic(Protocol):
    """A classifier, as far as feedback needs it."""

    class_names: tuple[str, ...]
    temperature: float
    """Fitted on validation; divides the logits where calibrated ones are wanted."""

    def logits_and_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images in [-1, 1], [B, 3, H, W] -> logits [B, K] and features [B, D]."""
        ...


class Parameters(Protocol):
    """What the parameters say of a criterion, as in `SynthesizeConfig`."""

    @property
    def feedback(self) -> str:
        """Its name."""
        ...

    @property
    def feedback_exemplars(self) -> int:
        """Real images of a class at most that it is measured against."""
        ...

    @property
    def feedback_mix(self) -> float:
        """Weight of its second term."""
        ...


@dataclass(frozen=True)
class Sources:
    """Where it may be found what a criterion has to know.

    Attributes:
        folder: That of the classifier that guides, of a committee the first one's.
        classifiers: That one, or the members of the committee.
        see: What they make of images in [-1, 1], [B, 3, H, W].
        images: Opens a split of the real images.
        seed: Of the run.
        device: Where to compute.
    """

    folder: Path
    classifiers: tuple[Critic, ...]
    see: Callable[[Tensor], Seen]
    images: Callable[[str], ImageDataset]
    seed: int
    device: torch.device | str


@dataclass(frozen=True)
class Needs:
    """What a criterion needs beside what the classifier sees, and what follows from that.

    Attributes:
        find: Finds it, before anything is drawn.
        digests: What decides it, as JSON values for a fingerprint: of the classifier's folder
            and that of the prepared data. What `real` says is not among them.
        together: Whether it values images by those they are drawn with: then these are the images
            of a part, whose size decides what they show.
        real: Whether it knows the real training images of a class.
        parameters: Those of the section `synthesize` that it reads, of those that not all do.
    """

    find: Callable[[Parameters, Sources], Known] = lambda config, sources: NOTHING
    digests: Callable[[Path, Path], dict[str, Any]] = lambda folder, prepared: {}
    together: bool = False
    real: bool = False
    parameters: frozenset[str] = frozenset()
