"""Whether a classifier's confidence is what it is worth: accuracy over confidence.

N images, M bins of confidence.

Source: Guo et al. (2017), On Calibration of Modern Neural Networks,
    https://arxiv.org/abs/1706.04599
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fgds_core.classify.intervals import Bools, Floats, Labels

ECE_BINS = 15


def bin_of(confidence: Floats) -> Labels:
    """The bin of each image: equally wide ones over [0, 1], the upper edge within, [N]."""
    found: Labels = np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64), 1, ECE_BINS) - 1
    return found


def reliability(confidence: Floats, right: Bools) -> list[dict[str, Any]]:
    """`low`, `high`, `confidence`, `accuracy` and `num_images` of each bin, M of them.

    Mean confidence and accuracy are None in a bin without images.

    Args:
        confidence: Probability of each image's most probable class, [N].
        right: Whether it is the true one, [N].
    """
    place = bin_of(confidence)
    num_images = np.bincount(place, minlength=ECE_BINS)  # [M]
    sure = np.bincount(place, weights=confidence, minlength=ECE_BINS)  # [M], sums
    hits = np.bincount(place, weights=right, minlength=ECE_BINS)  # [M]
    return [
        {
            "low": k / ECE_BINS,
            "high": (k + 1) / ECE_BINS,
            "confidence": float(sure[k] / num) if num else None,
            "accuracy": float(hits[k] / num) if num else None,
            "num_images": int(num),
        }
        for k, num in enumerate(num_images)
    ]
