"""Near to real images of the class, and yet such that the classifier hesitates."""

import math

from torch import Tensor

from fgds_core.feedback.criteria.entropy import entropy
from fgds_core.feedback.criteria.exemplar import exemplar
from fgds_core.feedback.criterion import Known, Seen
from fgds_core.feedback.exemplars import MIXED

NEEDS = MIXED


def exemplar_entropy(seen: Seen, labels: Tensor, known: Known) -> Tensor:
    """`exemplar` and `entropy` as one energy, the entropy in units of the largest there is, log K.

    Args:
        seen: The classifier's answer, and how it sees the rest of the part.
        labels: Intended classes, [B].
        known: Has the exemplars, and the weight of the entropy.

    Returns:
        One value per image, [B].
    """
    share = known.mix / math.log(max(seen.logits.shape[1], 2))
    return exemplar(seen, labels, known) + share * entropy(seen, labels, known)
