"""Near to real images of the class, and yet hard for the classifier."""

import math

from torch import Tensor

from fgds_core.feedback.criteria.exemplar import exemplar
from fgds_core.feedback.criteria.loss import loss
from fgds_core.feedback.criterion import Known, Seen
from fgds_core.feedback.exemplars import MIXED

NEEDS = MIXED


def exemplar_loss(seen: Seen, labels: Tensor, known: Known) -> Tensor:
    """`exemplar` and `loss` as one energy, the loss in units of what knowing nothing costs, log K.

    Args:
        seen: The classifier's answer, and how it sees the rest of the part.
        labels: Intended classes, [B].
        known: Has the exemplars, and the weight of the loss.

    Returns:
        One value per image, [B].
    """
    share = known.mix / math.log(max(seen.logits.shape[1], 2))
    return exemplar(seen, labels, known) + share * loss(seen, labels, known)
