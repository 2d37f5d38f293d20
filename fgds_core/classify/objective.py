"""What a step lowers: the losses of its images, mixed like them and weighted by their source."""

import torch
from torch import Tensor, nn

from fgds_core.classify.batches import Batch
from fgds_core.classify.config import TrainConfig, Treatment
from fgds_core.classify.losses import create_loss
from fgds_core.classify.priors import Priors


class Objective(nn.Module):
    """The mean of the images' losses in nats, each mixed and weighted.

    An image that is mixed of two has the loss of both labels, by their shares; a label of a
    synthetic image has its weight and its label smoothing. The mean is over all images, whatever
    their weights, so that it is the mean of those of two halves of a batch.
    """

    def __init__(
        self, config: TrainConfig, priors: Priors, treatment: Treatment = Treatment()
    ) -> None:
        """Creates the loss of a recipe.

        Args:
            config: The recipe.
            priors: What is known of the real images.
            treatment: What is done with synthetic images.
        """
        super().__init__()
        self.weight = treatment.weight
        self.loss, self.synthetic_loss = create_loss(config, priors), None
        smoothing = treatment.label_smoothing
        if smoothing is not None and smoothing != config.label_smoothing:
            smoothed = config.model_copy(update={"label_smoothing": smoothing})
            self.synthetic_loss = create_loss(smoothed, priors)

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        """The mean over a batch, a scalar.

        Args:
            logits: Of its images, [B, K].
            batch: What is known of them.
        """
        if self.weight == 1 and self.synthetic_loss is None and batch.partner is None:
            mean: Tensor = self.loss(logits, batch.labels, batch)
            return mean
        each = self._losses(logits, batch)  # [B]
        if batch.partner is not None and batch.share is not None:
            partners = self._losses(logits, batch.partner)  # [B]
            each = batch.share * each + (1 - batch.share) * partners
        return each.mean()

    def _losses(self, logits: Tensor, batch: Batch) -> Tensor:
        """The weighted loss of each image for the labels of a batch, [B]."""
        each: Tensor = self.loss(logits, batch.labels, batch, "none")
        if self.synthetic_loss is not None:
            smoothed = self.synthetic_loss(logits, batch.labels, batch, "none")
            each = torch.where(batch.synthetic, smoothed, each)
        return torch.where(batch.synthetic, self.weight * each, each)
