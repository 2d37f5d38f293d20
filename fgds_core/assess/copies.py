"""Which synthetic images are near copies of training images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgds_core.assess.vectors import Array

COPY_PERCENTILE = 1


def near_copies(
    to_train: Array,
    labels: NDArray[np.int64],
    val_to_train: Array,
    val_labels: NDArray[np.int64],
    weights: Array,
    min_images: int,
) -> NDArray[np.float64]:
    """Which synthetic images lie nearer to a training image than real images of their class do.

    Nearer means below the first percentile of the distances from validation images of the class to
    their nearest training image, so one in a hundred genuine images would count as a copy. Classes
    with too few validation images for a threshold of their own share that of all weighted ones.

    Args:
        to_train: Distance of each synthetic image to the nearest training image, [M].
        labels: Their classes, [M].
        val_to_train: The same distance of each validation image, [N].
        val_labels: Their classes, [N].
        weights: Of the validation images, in the class proportions of the synthetic ones, [N].
        min_images: Validation images a class needs for a threshold, or all of them together.

    Returns:
        1 for a near copy, 0 for none, NaN where the class has no threshold, [M].
    """
    copies = np.full(len(labels), np.nan)
    weighted = weights > 0  # [N]
    shared: Any = None
    if weighted.sum() >= min_images:
        shared = np.percentile(
            val_to_train[weighted],
            COPY_PERCENTILE,
            weights=weights[weighted],
            method="inverted_cdf",
        )
    for k in np.unique(labels):
        of_class = val_to_train[val_labels == k]
        threshold = shared
        if len(of_class) >= min_images:
            threshold = np.percentile(of_class, COPY_PERCENTILE)
        if threshold is not None:
            copies[labels == k] = to_train[labels == k] < threshold
    return copies
