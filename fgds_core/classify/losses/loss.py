"""What a loss is, and what it knows of the training images."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from fgds_core.classify.batches import Batch

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

    @property
    def sizes(self) -> Tensor:
        """The counts as float64, [K]; a class without real images counts as one with a single."""
        return self.counts.clamp(min=1).double()


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
            A scalar, or one value for each image, [B], of which it is the mean.
        """
        raise NotImplementedError


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
