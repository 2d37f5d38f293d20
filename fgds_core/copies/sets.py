"""Sets of images at rest as a search for copies knows them.

N real training images, M synthetic images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from fgds_core.copies.thumbnails import Pictures, Rows, Vectors, write_thumbnails
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.loader import batches
from fgds_core.images.reading import Reading


def pictures_of(
    images: ImageDataset, path: Path, reading: Reading, features: Vectors | None = None
) -> Pictures:
    """The thumbnails of a set, in a file of their own.

    Args:
        images: The set.
        path: The file.
        reading: How the images are read; they are told of.
        features: Of each image, if a network has seen them.

    Raises:
        InputError: An image is damaged, or the disk has no room.
    """

    def told() -> Iterator[Tensor]:
        for batch in batches(images, reading.batch_size, workers=reading.workers):
            yield batch
            reading.advance(len(batch))

    stored = write_thumbnails(path, told())
    return Pictures(stored, images.labels.numpy(), features)


def conditioning_rows(labels: Rows, places: Sequence[int | None], train_labels: Rows) -> Rows:
    """The training image that each synthetic one was made from.

    Args:
        labels: Classes of the synthetic images, [M].
        places: Place of the conditioning image among the training images of the class, `None` for
            none: the column `conditioning_id`, [M].
        train_labels: Classes of the training images, [N].

    Returns:
        Rows of the training images, -1 for none, [M].
    """
    known = np.array([-1 if place is None else place for place in places], dtype=np.int64)
    found = np.full(len(labels), -1, dtype=np.int64)
    for label in np.unique(labels).tolist():
        of_class = np.flatnonzero(train_labels == label)
        made = (labels == label) & (known >= 0)
        found[made] = of_class[known[made]]
    return found
