"""Cross-entropy whose target is smoothed more for frequent classes."""

import math

from torch import Tensor

from fgds_core.classify.batches import Batch
from fgds_core.classify.losses.loss import Loss, Reduction, check_number, reduced
from fgds_core.classify.priors import Priors


class LabelAwareSmoothing(Loss):
    """Cross-entropy, the share of the target that is spread over all classes rising with n.

    eps = tail + (head - tail) sin(pi/2 (n - n_min) / (n_max - n_min)): `tail` for the rarest
    class, `head` for the most frequent one, and `tail` for all where classes are alike. It is in
    place of `label_smoothing`, which is not looked at; the parameters have to set it to 0.

    Source: Zhong et al. (2021), MiSLAS, https://arxiv.org/abs/2104.00466
    """

    smoothing: Tensor

    def __init__(
        self, priors: Priors, label_smoothing: float, head: float = 0.3, tail: float = 0.0
    ) -> None:
        super().__init__()
        check_number("head", head, 0, 1)
        check_number("tail", tail, 0, 1)
        above = priors.sizes - priors.sizes.min()  # [K]
        place = above / above.max().clamp(min=1)  # [K], from the tail's 0 to the head's 1
        smoothing = tail + (head - tail) * (place * math.pi / 2).sin()
        self.register_buffer("smoothing", smoothing.float(), persistent=False)

    def forward(
        self, logits: Tensor, labels: Tensor, batch: Batch, reduction: Reduction = "mean"
    ) -> Tensor:
        """See `Loss`."""
        log_p = logits.log_softmax(dim=-1)  # [B, K]
        own = log_p.gather(1, labels[:, None]).squeeze(1)  # [B]
        smoothing = self.smoothing[labels]  # [B]
        each = -(1 - smoothing) * own - smoothing * log_p.mean(dim=-1)
        return reduced(each, reduction)
