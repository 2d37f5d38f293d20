"""How wrong the classifier is."""

from torch import Tensor

from fgds_core.feedback.criterion import Known, Seen


def loss(seen: Seen, labels: Tensor, known: Known) -> Tensor:
    """Cross-entropy to the intended class in nats, high where the classifier is wrong.

    Args:
        seen: The classifier's answer.
        labels: Intended classes, [B].
        known: Unused; every criterion has this signature.

    Returns:
        One value per image, [B].
    """
    log_p = seen.logits.log_softmax(dim=-1)  # [B, K]
    return -log_p.gather(1, labels[:, None]).squeeze(1)
