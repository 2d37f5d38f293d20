"""What a loss is."""

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn

from fgds_core.classify.batches import Batch

Reduction = Literal["mean", "none"]


class Loss(nn.Module, ABC):
    """A loss in nats; what it remembers from step to step stands in buffers and so is kept."""

    @abstractmethod
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
            A scalar, or one value for each image, [B], of which it is the mean.
        """


def reduced(each: Tensor, reduction: Reduction) -> Tensor:
    """The mean of what each image has, [B], or all of it."""
    return each.mean() if reduction == "mean" else each


def check_number(name: str, value: object, low: float, high: float | None = None) -> None:
    """Refuses what is no number from `low` to `high`.

    Raises:
        ValueError: It is not; names the argument.
    """
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not fits or not low <= value or (high is not None and value > high):  # type: ignore[operator]
        upper = "of at least {low:g}" if high is None else "from {low:g} to {high:g}"
        wanted = upper.format(low=low, high=high)
        raise ValueError(f"{name} must be a number {wanted}, got {value!r}")
