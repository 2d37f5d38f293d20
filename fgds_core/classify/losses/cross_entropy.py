"""Cross-entropy, as it is."""

from torch import Tensor
from torch.nn import functional as F

from fgds_core.classify.batches import Batch
from fgds_core.classify.losses.loss import Loss, Reduction
from fgds_core.classify.priors import Priors


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
