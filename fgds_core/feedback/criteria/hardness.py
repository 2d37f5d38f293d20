"""How unlikely the features are under the intended class."""

import math

from torch import Tensor

from fgds_core.feedback.criteria import Seen
from fgds_core.feedback.gaussians import ClassGaussians


def hardness(seen: Seen, labels: Tensor, gaussians: ClassGaussians | None) -> Tensor:
    """Negative log-likelihood of the features under the intended class, in nats.

    Args:
        seen: The classifier's answer.
        labels: Intended classes, [B].
        gaussians: The classes' Gaussians over real training features.

    Returns:
        One value per image, [B].
    """
    assert gaussians is not None  # load_feedback reads them for this criterion
    deviation = seen.features - gaussians.means.to(seen.features)[labels]  # [B, D]
    distance = ((deviation @ gaussians.precision.to(deviation)) * deviation).sum(dim=-1)
    constant = gaussians.log_det.to(deviation) + deviation.shape[1] * math.log(2 * math.pi)
    return 0.5 * (distance + constant)
