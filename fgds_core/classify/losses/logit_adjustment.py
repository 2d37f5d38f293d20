"""Cross-entropy of logits to which the logarithm of each class's frequency is added.

The network need not learn how frequent a class is: without the addition, as it is used
afterwards, it takes all classes for equally frequent.
"""

from torch import Tensor

from fgds_core.classify.batches import Batch
from fgds_core.classify.losses.cross_entropy import CrossEntropy
from fgds_core.classify.losses.loss import Reduction, check_number
from fgds_core.classify.priors import Priors, log_prior


class LogitAdjustment(CrossEntropy):
    """CE(z + tau log pi), pi the share of each class among the real images.

    Source: Menon et al. (2021), https://arxiv.org/abs/2007.07314
    """

    addend: Tensor

    def __init__(self, priors: Priors, label_smoothing: float, tau: float = 1.0) -> None:
        super().__init__(priors, label_smoothing)
        check_number("tau", tau, 0)
        addend = tau * log_prior(priors.counts)  # [K]
        self.register_buffer("addend", addend.float(), persistent=False)

    def forward(
        self, logits: Tensor, labels: Tensor, batch: Batch, reduction: Reduction = "mean"
    ) -> Tensor:
        """See `Loss`."""
        return super().forward(logits + self.addend, labels, batch, reduction)


class BalancedSoftmax(LogitAdjustment):
    """CE(z + log n), n the real images of each class; log pi differs from it by a constant only.

    Source: Ren et al. (2020), https://arxiv.org/abs/2007.10740
    """

    def __init__(self, priors: Priors, label_smoothing: float) -> None:
        super().__init__(priors, label_smoothing, tau=1.0)
