"""What a training lowers: a loss of the logits of one batch, by name."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from fgds_core.classify.batches import Batch
from fgds_core.classify.config import TrainConfig

Reduction = Literal["mean", "none"]


@dataclass(frozen=True, eq=False)
class Priors:
    """What is known of the training images before the first step: real ones alone, always.

    Attributes:
        counts: Real training images of each class, int64, [K].
        group_counts: Those of each class in each group, groups numbered as in `Batch.groups`,
            int64, [K, G]; None for images without groups.
    """

    counts: Tensor
    group_counts: Tensor | None


class Loss(nn.Module):
    """A loss in nats; what it remembers from step to step stands in buffers and so is kept."""

    def forward(
        self, logits: Tensor, labels: Tensor, batch: Batch, reduction: Reduction = "mean"
    ) -> Tensor:
        """The loss of a batch.

        Args:
            logits: [B, K].
            labels: Classes that the images are to be told as, [B]: the batch's own, or those of
                the images that are mixed into them.
            batch: What else is known of the images.
            reduction: `mean` over the batch, or `none`.

        Returns:
            A scalar, or one value for each image, [B].
        """
        raise NotImplementedError


class CrossEntropy(Loss):
    """Cross-entropy, its target smoothed by `label_smoothing`."""

    def __init__(self, priors: Priors, label_smoothing: float) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(
        self, logits: Tensor, labels: Tensor, batch: Batch, reduction: Reduction = "mean"
    ) -> Tensor:
        """See `Loss`."""
        return F.cross_entropy(
            logits, labels, label_smoothing=self.label_smoothing, reduction=reduction
        )


LOSSES: dict[str, Callable[..., Loss]] = {"cross_entropy": CrossEntropy}
"""Name -> its class; it is given `priors`, `label_smoothing` and the recipe's `loss_kwargs`."""


def create_loss(config: TrainConfig, priors: Priors) -> Loss:
    """The loss of a recipe.

    Raises:
        ValueError: It takes no such argument, or not such a value; see `check_loss`.
    """
    kind = LOSSES[config.loss]
    return kind(priors=priors, label_smoothing=config.label_smoothing, **config.loss_kwargs)


def check_loss_kwargs(loss: str, kwargs: Mapping[str, Any]) -> None:
    """Tries the names of a loss's further arguments.

    Raises:
        ValueError: The loss takes no argument of that name; names those it takes.
    """
    taken = inspect.signature(LOSSES[loss]).parameters.keys() - {"priors", "label_smoothing"}
    if strangers := sorted(kwargs.keys() - taken):
        known = ", ".join(sorted(taken)) or "no further argument"
        raise ValueError(f"{loss} has no argument {strangers[0]}; it takes {known}")
