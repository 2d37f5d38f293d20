"""Margins that are larger for rarer classes, and late in the training weights besides."""

from torch import Tensor
from torch.nn import functional as F

from fgds_core.classify.batches import Batch
from fgds_core.classify.heads import COSINE_SCALE
from fgds_core.classify.losses.effective_number import class_weights
from fgds_core.classify.losses.loss import Loss, Reduction, check_number, reduced
from fgds_core.classify.priors import Priors


class LDAM(Loss):
    """Label-distribution-aware margin loss with deferred reweighting.

    CE(30 (cos - m_y)), m_y = n_y^(-1/4), scaled so that the largest margin is `max_margin`: the
    logits are those of the head `cosine`, 30 cos. From `reweight_from` of the training on, images
    count by `class_weights`, and the mean over a batch is the weighted one, as with `weight` of
    `torch.nn.functional.cross_entropy`.

    Source: Cao et al. (2019), https://arxiv.org/abs/1906.07413, and their code,
        https://github.com/kaidic/LDAM-DRW (160 of 200 epochs without weights)
    """

    margins: Tensor
    weights: Tensor

    def __init__(
        self,
        priors: Priors,
        label_smoothing: float,
        max_margin: float = 0.5,
        reweight_from: float = 0.8,
        beta: float = 0.9999,
    ) -> None:
        super().__init__()
        check_number("max_margin", max_margin, 0, 2)
        check_number("reweight_from", reweight_from, 0, 1)
        self.label_smoothing, self.reweight_from = label_smoothing, reweight_from
        margins = priors.sizes**-0.25  # [K]
        margins = margins * (max_margin / margins.max())
        self.register_buffer("margins", margins.float(), persistent=False)
        self.register_buffer("weights", class_weights(priors, beta).float(), persistent=False)

    def forward(
        self, logits: Tensor, labels: Tensor, batch: Batch, reduction: Reduction = "mean"
    ) -> Tensor:
        """See `Loss`."""
        shifts = F.one_hot(labels, logits.shape[1]) * (COSINE_SCALE * self.margins)  # [B, K]
        each = F.cross_entropy(
            logits - shifts, labels, label_smoothing=self.label_smoothing, reduction="none"
        )  # [B]
        if batch.progress >= self.reweight_from:
            weights = self.weights[labels]  # [B]
            each = each * (weights / weights.mean())
        return reduced(each, reduction)
