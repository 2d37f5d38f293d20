"""A criterion of a classifier, or of a committee of them, as a function of images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Protocol

import torch
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass as pydantic_dataclass
from torch import Tensor

from fgds_core.feedback.criteria import Criterion, Seen
from fgds_core.feedback.gaussians import ClassGaussians
from fgds_core.images.augment import augment


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
    """A criterion of a classifier, or of a committee of them, as a function of images."""

    criterion: Criterion
    classifiers: tuple[Critic, ...]
    """One, or the M members of a committee, which know the same classes."""
    gaussians: ClassGaussians | None = None
    calibrated: bool = False
    """Whether the logits are divided by their classifier's temperature."""
    augmentation: TrainingAugmentation | None = None
    """What happens to an image before the classifier sees it while it guides; None is nothing."""
    limits: Tensor | None = None
    """Per class the value beyond which an image is pushed no further, [K]; None is without
    limit."""
    prior: Tensor | None = None
    """What is taken from the logits of each classifier, [K]; None is nothing."""

    def __call__(
        self, x: Tensor, labels: Tensor, rngs: Sequence[torch.Generator] | None = None
    ) -> Tensor:
        """Values images, at least in float32 whatever the classifier computes in.

        Args:
            x: Images in [-1, 1], [B, 3, H, W].
            labels: Intended classes, [B].
            rngs: One per image, for the augmentation; None leaves it out.

        Returns:
            One value per image, [B].
        """
        if self.augmentation is not None and rngs is not None:
            change = self.augmentation.at(x.shape[-1])
            x = torch.cat(
                [augment(one[None], change, rng) for one, rng in zip(x, rngs, strict=True)]
            )
        return self.criterion(self.see(x), labels, self.gaussians)

    def see(self, x: Tensor) -> Seen:
        """What the classifiers make of images in [-1, 1], [B, 3, H, W]."""
        views = [self._view(classifier, x) for classifier in self.classifiers]
        if len(views) == 1:
            return views[0]
        members = torch.stack([view.logits.log_softmax(dim=-1) for view in views])  # [M, B, K]
        log_mean = members.logsumexp(dim=0) - math.log(len(members))  # [B, K]
        return Seen(log_mean, torch.cat([view.features for view in views], dim=1), members)

    def _view(self, classifier: Critic, x: Tensor) -> Seen:
        logits, features = classifier.logits_and_features(x)
        dtype = torch.promote_types(logits.dtype, torch.float32)
        logits = logits.to(dtype) / (classifier.temperature if self.calibrated else 1.0)
        if self.prior is not None:
            logits = logits - self.prior.to(logits)
        return Seen(logits, features.to(dtype))
