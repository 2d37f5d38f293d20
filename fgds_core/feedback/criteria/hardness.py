"""How unlikely the features are under the intended class."""

import math
from pathlib import Path

import torch
from torch import Tensor

from fgds_core.errors import InputError
from fgds_core.feedback.criterion import Known, Needs, Parameters, Seen, Sources
from fgds_core.feedback.gaussians import FEATURE_STATISTICS, ClassGaussians
from fgds_core.files import sha256_file


def hardness(seen: Seen, labels: Tensor, known: Known) -> Tensor:
    """Negative log-likelihood of the features under the intended class, in nats.

    Args:
        seen: The classifier's answer.
        labels: Intended classes, [B].
        known: Has the classes' Gaussians over real training features.

    Returns:
        One value per image, [B].
    """
    gaussians = known.gaussians
    assert gaussians is not None  # `NEEDS` has found them
    deviation = seen.features - gaussians.means.to(seen.features)[labels]  # [B, D]
    distance = ((deviation @ gaussians.precision.to(deviation)) * deviation).sum(dim=-1)
    constant = gaussians.log_det.to(deviation) + deviation.shape[1] * math.log(2 * math.pi)
    return 0.5 * (distance + constant)


def _read(config: Parameters, sources: Sources) -> Known:
    """Reads the Gaussians that the baseline's training wrote.

    Raises:
        InputError: The folder lacks them, or they are another classifier's.
    """
    path = sources.folder / FEATURE_STATISTICS
    gaussians = ClassGaussians.load(path).to(sources.device)
    with torch.no_grad():
        probe = torch.zeros(1, 3, 32, 32, device=sources.device)  # of any size: it is resized
        num_features = sources.see(probe).features.shape[1]
    wanted = [len(sources.classifiers[0].class_names), num_features]
    if list(gaussians.means.shape) != wanted:
        raise InputError(
            f"{path} describes {len(gaussians.means)} classes by {gaussians.means.shape[1]}"
            f" features, the classifier has {wanted[0]} and {wanted[1]}; train the baseline"
            " again"
        )
    return Known(gaussians=gaussians)


def _digests(folder: Path, prepared: Path) -> dict[str, str]:
    return {"gaussians": sha256_file(folder / FEATURE_STATISTICS)}


NEEDS = Needs(find=_read, digests=_digests)
