"""A criterion of one classifier, as a function of images."""

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
        logits, features = self.classifier.logits_and_features(x)
        dtype = torch.promote_types(logits.dtype, torch.float32)
        temperature = self.classifier.temperature if self.calibrated else 1.0
        seen = Seen(logits.to(dtype) / temperature, features.to(dtype))
        return self.criterion(seen, labels, self.gaussians)
