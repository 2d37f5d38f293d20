"""Class imbalance: shot bins, the long-tailed profile, quotas.

Bins and quotas come from real training counts only. Counting real and synthetic images together
would turn every class into a frequent one.
"""

import math
from collections.abc import Sequence
from typing import Literal

from fgds_core.errors import InputError

BINS = ("many", "medium", "few")
"""The bins of classes, by their real training images."""

MANY_ABOVE = 100
"""A class with more real training images than this is in the bin "many"."""

FEW_BELOW = 20
"""A class with fewer real training images than this is in the bin "few"."""


def shot_bins(counts: Sequence[int]) -> list[str]:
    """Bin of each class: "many" above 100 images, "few" below 20, else "medium".

    Args:
        counts: Real training images of each class, [K].

    Returns:
        One of "many", "medium", "few" for each class.

    Source: Liu et al. (2019), Large-Scale Long-Tailed Recognition in an Open World,
        https://arxiv.org/abs/1904.05160
    """
    return [
        "many" if count > MANY_ABOVE else "few" if count < FEW_BELOW else "medium"
        for count in counts
    ]


def long_tailed_counts(largest: int, imbalance_factor: float, num_classes: int) -> list[int]:
    """Exponential long-tailed profile: largest * imbalance_factor^(-k / (K - 1)), rounded down.

    Args:
        largest: Images of the most frequent class.
        imbalance_factor: Ratio of the largest to the smallest count, 1 or more; 1 is balanced.
        num_classes: Number of classes K.

    Returns:
        Decreasing counts, each at least 1, [K].

    Source: Cui et al. (2019), Class-Balanced Loss, https://arxiv.org/abs/1901.05555
    """
    if largest < 1 or num_classes < 1 or not 1 <= imbalance_factor < math.inf:
        raise ValueError(
            "largest, num_classes and imbalance_factor must be finite and at least 1, "
            f"got {largest}, {num_classes}, {imbalance_factor}"
        )
    span = max(num_classes - 1, 1)
    # The small addend keeps whole numbers whole: 5000 * 100^-1 must not become 49.
    return [
        max(1, math.floor(largest * imbalance_factor ** (-k / span) + 1e-6))
        for k in range(num_classes)
    ]


def exponential_profile(mean: float, factor: float, num_classes: int) -> list[int]:
    """Long-tailed counts of CIFAR-LT: mean * (1 / factor)^(k / (K - 1)), truncated.

    Args:
        mean: Images of the balanced set by classes, so many the first class keeps.
        factor: Ratio of the largest to the smallest count, 1 or more.
        num_classes: Number of classes K, 2 or more.

    Returns:
        Decreasing counts, the last of which may be 0, [K].

    Source: Cao et al. (2019), Learning Imbalanced Datasets with Label-Distribution-Aware Margin
        Loss, https://arxiv.org/abs/1906.07413, `imbalance_cifar.py` of its code, whose arithmetic
        this is to the last bit; `long_tailed_counts` differs where a count is nearly whole.
    """
    return [int(mean * (1 / factor) ** (k / (num_classes - 1.0))) for k in range(num_classes)]


def step_profile(mean: float, factor: float, num_classes: int) -> list[int]:
    """Counts of CIFAR with a step: the second half of the classes has 1 / factor of the first.

    Args, returns and source: as `exponential_profile`.
    """
    first = num_classes // 2
    return [int(mean)] * first + [int(mean * (1 / factor))] * (num_classes - first)


PROFILES = {"exp": exponential_profile, "step": step_profile}
"""Counts by class of a set that is made imbalanced, by the names that LDAM-DRW gives them."""


def quotas(
    counts: Sequence[int], target_per_class: int | Literal["max"], min_per_class: int = 0
) -> list[int]:
    """Synthetic images each class needs to reach the target, and at least so many.

    Args:
        counts: Real training images of each class, [K].
        target_per_class: Images wanted per class, real and synthetic together; "max" is the
            largest count.
        min_per_class: Synthetic images wanted of each class, also of one that reaches the target.

    Returns:
        max(target - count, min_per_class) for each class, [K].
    """
    target = max(counts, default=0) if target_per_class == "max" else target_per_class
    if target < 0:
        raise ValueError(f'target_per_class must be "max" or at least 0, got {target_per_class}')
    if min_per_class < 0:
        raise ValueError(f"min_per_class must be at least 0, got {min_per_class}")
    return [max(target - count, min_per_class) for count in counts]


def check_target(
    counts: Sequence[int], target_per_class: int | Literal["max"], min_per_class: int = 0
) -> None:
    """Refuses a target that no class is below: there would be nothing to draw.

    Args:
        counts: Real training images of each class, [K].
        target_per_class: As in `quotas`.
        min_per_class: As in `quotas`.

    Raises:
        InputError: No class needs an image; says what to set instead.
    """
    if any(quotas(counts, target_per_class, min_per_class)):
        return
    fewest, most = min(counts, default=0), max(counts, default=0)
    is_level = fewest == most
    if len(counts) == 1:
        have = f"the one class has {most:,} real training images"
    elif is_level:
        have = f"all {len(counts):,} classes have {most:,} real training images"
    else:
        have = f"even the smallest class has {fewest:,} real training images"
    target = "max, the largest class's count" if target_per_class == "max" else target_per_class
    remedy = f"set it to a number above {fewest:,}{'' if is_level else f', or to max ({most:,})'}"
    raise InputError(
        f"synthesize.target_per_class is {target}, and {have}: no class needs a synthetic one; "
        + remedy
    )
