"""What a training lowers: a loss of the logits of one batch, by name."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from fgds_core.classify.batches import Batch
from fgds_core.classify.config import TrainConfig

Loss = Callable[[Tensor, Batch, TrainConfig], Tensor]
"""(logits [B, K], the batch they are of, the recipe) -> scalar."""


def cross_entropy(logits: Tensor, batch: Batch, config: TrainConfig) -> Tensor:
    """Mean cross-entropy in nats, its target smoothed by `label_smoothing`."""
    return F.cross_entropy(logits, batch.labels, label_smoothing=config.label_smoothing)


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy}
