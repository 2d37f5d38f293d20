"""The worst group counts most."""

import torch
from torch import Tensor
from torch.nn import functional as F

from fgds_core.classify.batches import Batch
from fgds_core.classify.losses.loss import Loss, Reduction, check_number, reduced
from fgds_core.classify.priors import Priors
from fgds_core.errors import InputError


class GroupDRO(Loss):
    """The mean cross-entropy of each class x group, by weights that follow the worst.

    At each step q_g *= exp(eta L_g), normalised; then the loss is the sum of q_g L_g, and a group
    without an image in the batch adds nothing. Groups are the cells of class and group that have
    real images; synthetic images belong to their cells as real ones do, and one of any other cell
    takes no part. Strong weight decay belongs to it.

    Source: Sagawa et al. (2020), https://arxiv.org/abs/1911.08731, and their code,
        https://github.com/kohpangwei/group_DRO
    """

    log_q: Tensor

    def __init__(self, priors: Priors, label_smoothing: float, eta: float = 0.01) -> None:
        """Starts with all groups alike.

        Raises:
            InputError: The images have no groups.
        """
        super().__init__()
        check_number("eta", eta, 0)
        if priors.group_counts is None:
            raise InputError(
                "loss: got group_dro, but the training images have no groups, or the synthetic "
                "ones not; name their column or folders in data, or choose another loss"
            )
        self.label_smoothing, self.eta = label_smoothing, eta
        self.num_groups = priors.group_counts.shape[1]
        has_images = (priors.group_counts > 0).flatten().double()  # [K * G]
        self.register_buffer("log_q", (has_images / has_images.sum()).log().float())

    def forward(
        self, logits: Tensor, labels: Tensor, batch: Batch, reduction: Reduction = "mean"
    ) -> Tensor:
        """See `Loss`; each call is a step of the weights."""
        assert batch.groups is not None
        each = F.cross_entropy(
            logits, labels, label_smoothing=self.label_smoothing, reduction="none"
        )  # [B]
        cells = labels * self.num_groups + batch.groups  # [B]
        num_images = cells.bincount(minlength=len(self.log_q))  # [K * G]
        with torch.no_grad():
            losses = self.log_q.new_zeros(len(self.log_q)).index_add(0, cells, each.to(self.log_q))
            losses = losses / num_images.clamp(min=1)  # [K * G]
            self.log_q.copy_((self.log_q + self.eta * losses).log_softmax(dim=0))
            weights = self.log_q[cells].exp() / num_images[cells]  # [B], of a sum
        return reduced(each * weights * len(each), reduction)
