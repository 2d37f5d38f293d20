"""How much the classifier hesitates."""

from torch import Tensor

from fgds_core.feedback.criterion import Known, Seen


def entropy(seen: Seen, labels: Tensor, known: Known) -> Tensor:
    """Entropy of the prediction in nats, high where the classifier hesitates, at most log K.

    Args:
        seen: The classifier's answer.
        labels: Unused.
        known: Unused.

    Returns:
        One value per image, [B].
    """
    log_p = seen.logits.log_softmax(dim=-1)  # [B, K]
    return -(log_p.exp() * log_p).sum(dim=-1)
