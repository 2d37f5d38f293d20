"""Small sets of images at rest, made of tensors."""

import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import torch

from fgds_core.images.dataset import ImageDataset, read_images
from fgds_core.images.pixels import from_uint8
from fgds_core.images.table import image_table, write_images

_folder = tempfile.TemporaryDirectory(prefix="sets-")
_numbers = count()


def image_set(
    images: torch.Tensor,
    labels: torch.Tensor | Sequence[int],
    names: Sequence[str],
    groups: Sequence[str] | None = None,
) -> ImageDataset:
    """Writes images in [-1, 1], [N, 3, H, W], and opens them.

    The file is in a folder that goes with the process.
    """
    extra = {} if groups is None else {"group": list(groups)}
    path = Path(_folder.name) / f"{next(_numbers)}.parquet"
    write_images(path, image_table(images, labels, names, extra))
    return read_images(path)


def gather(images: ImageDataset) -> torch.Tensor:
    """All images of a set as floats in [-1, 1], [N, 3, H, W]."""
    return from_uint8(images.__getitems__(range(len(images))))
