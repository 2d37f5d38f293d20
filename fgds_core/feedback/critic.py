"""A criterion of a classifier, or of a committee of them, as a function of images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass as pydantic_dataclass
from torch import Tensor

from fgds_core.feedback.criterion import NOTHING, Criterion, Critic, Known, Seen, Together
from fgds_core.images.augment import augment


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
    known: Known = NOTHING
    """What the criterion knows of real images."""
    calibrated: bool = False
    """Whether the logits are divided by their classifier's temperature."""
    augmentation: TrainingAugmentation | None = None
    """What happens to an image before the classifier sees it while it guides; None is nothing."""
    limits: Tensor | None = None
    """Per class the value beyond which an image is pushed no further, [K]; None is without
    limit."""
    prior: Tensor | None = None
    """What is taken from the logits of each classifier, [K]; None is nothing."""
    together: bool = False
    """Whether the criterion values images by those they are drawn with."""

    def __call__(
        self,
        x: Tensor,
        labels: Tensor,
        rngs: Sequence[torch.Generator] | None = None,
        together: Together | None = None,
    ) -> Tensor:
        """Values images, at least in float32 whatever the classifier computes in.

        Args:
            x: Images in [-1, 1], [B, 3, H, W].
            labels: Intended classes, [B].
            rngs: One per image, for the augmentation; None leaves it out.
            together: Those they are drawn with; None: these are all.

        Returns:
            One value per image, [B].
        """
        if self.augmentation is not None and rngs is not None:
            change = self.augmentation.at(x.shape[-1])
            x = torch.cat(
                [augment(one[None], change, rng) for one, rng in zip(x, rngs, strict=True)]
            )
        seen = self.see(x)
        if together is not None:
            seen = seen._replace(together=together)
        return self.criterion(seen, labels, self.known)

    def see(self, x: Tensor) -> Seen:
        """What the classifiers make of images in [-1, 1], [B, 3, H, W], at least in float32."""
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
