"""What an image counts by the effective number of images of its class, and focal loss with it."""

import torch
from torch import Tensor
from torch.nn import functional as F

from fgds_core.classify.batches import Batch
from fgds_core.classify.losses.loss import Loss, Reduction, check_number, reduced
from fgds_core.classify.priors import Priors


def class_weights(priors: Priors, beta: float) -> Tensor:
    """(1 - beta) / (1 - beta^n) of each class with n real images, made to average 1, [K].

    Source: Cui et al. (2019), Class-Balanced Loss Based on Effective Number of Samples,
        https://arxiv.org/abs/1901.05555
    """
    check_number("beta", beta, 0)
    if beta >= 1:
        raise ValueError(f"beta must be below 1, got {beta!r}")
    weights = (1 - beta) / (1 - beta**priors.sizes)  # [K]
    return weights / weights.mean()


class ClassBalancedFocal(Loss):
    """Focal loss of one yes-or-no question a class, weighted by `class_weights`.

    With p_k the sigmoid of a logit: the sum over classes of -(1 - p)^gamma log p for the image's
    own, -p^gamma log(1 - p) for all others. Label smoothing makes it the mean of that over labels
    drawn by the smoothed target, as it does with cross-entropy.

    Source: Cui et al. (2019), equation 13, https://arxiv.org/abs/1901.05555
    """

    weights: Tensor

    def __init__(
        self, priors: Priors, label_smoothing: float, beta: float = 0.9999, gamma: float = 1.0
    ) -> None:
        super().__init__()
        check_number("gamma", gamma, 0)
        self.label_smoothing, self.gamma = label_smoothing, gamma
        self.register_buffer("weights", class_weights(priors, beta).float(), persistent=False)

    def forward(
        self, logits: Tensor, labels: Tensor, batch: Batch, reduction: Reduction = "mean"
    ) -> Tensor:
        """See `Loss`."""
        num_classes = logits.shape[1]
        yes, no = F.logsigmoid(logits), F.logsigmoid(-logits)  # log p, log(1 - p), [B, K]
        # As exp(gamma log): the power's own gradient is not finite at 0 with gamma below 1
        own, other = -(self.gamma * no).exp() * yes, -(self.gamma * yes).exp() * no  # [B, K]
        target = F.one_hot(labels, num_classes) * (1 - self.label_smoothing)  # [B, K]
        target = target + self.label_smoothing / num_classes
        each = torch.lerp(other, own, target.to(own)).sum(dim=1)  # [B]
        return reduced(self.weights[labels] * each, reduction)
