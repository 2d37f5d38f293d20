"""How much a step on the image would lower the loss of its class, on validation."""

from torch import Tensor

from fgds_core.feedback.criterion import Known, Seen
from fgds_core.feedback.validation import VALIDATION, factors

NEEDS = VALIDATION


def influence(seen: Seen, labels: Tensor, known: Known) -> Tensor:
    """Inner product of the image's gradient with that of its class, in the last layer.

    The image's is (p - e_y) h^T; the class's is the mean over its validation images, less the mean
    of the other classes' (see `validation`). A small step of gradient descent on an image of value
    v, at learning rate r, lowers the class's validation loss by r v more than that of the others,
    but for the shrinkage.

    Args:
        seen: The classifier's answer.
        labels: Intended classes, [B].
        known: Has the gradients of the classes.

    Returns:
        One value per image, [B]; 0 for a class without validation images.

    Source: Pruthi et al. (2020), https://arxiv.org/abs/2002.08484, of the last layer alone
    """
    assert known.gradients is not None  # `NEEDS` has found them
    values = 0 * seen.logits.sum(dim=-1)  # [B]
    for label in sorted(set(labels.tolist())):
        wanted, own = known.gradients(label), labels == label  # [K, width], [B]
        residuals, h = factors(seen, labels, wanted.shape[1])
        values[own] = ((residuals @ wanted.to(residuals)) * h).sum(dim=-1)[own]
    return values
