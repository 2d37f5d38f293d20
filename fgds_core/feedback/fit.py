"""Fits the Gaussians of the classes to features of real images.

N images, B of them in a block, D features, K classes.
"""

import errno
import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fgds_core.classify.network import Classifier
from fgds_core.classify.predict import predictions
from fgds_core.errors import InputError
from fgds_core.feedback.gaussians import ClassGaussians
from fgds_core.images.dataset import ImageDataset

BLOCK_ROWS = 8192
"""Images whose features are in memory together."""


def class_gaussians(
    classifier: Classifier, images: ImageDataset, *, workers: int = 0
) -> ClassGaussians:
    """The Gaussians of a classifier's features of real training images.

    The features wait in a temporary file, for they are gone through twice.

    Args:
        classifier: The baseline.
        images: The real training images.
        workers: Processes that read images ahead.

    Raises:
        InputError: There is no room for the file.
    """
    try:
        with tempfile.TemporaryFile() as file:
            num_features = 0
            for _, features in predictions(classifier, images, workers=workers):
                num_features = features.shape[1]
                file.write(features.float().numpy().tobytes())
            file.flush()
            blocks = _Blocks(file, num_features)
            return fit_class_gaussians(blocks, images.labels, len(images.class_names))
    except OSError as error:
        if error.errno not in _OF_A_DISK:
            raise
        raise InputError(
            f"cannot keep features in {tempfile.gettempdir()} ({error.strerror}); make room "
            "there, or set TMPDIR to a folder on a larger disk"
        ) from error


_OF_A_DISK = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.ENOENT,
    errno.EIO,
)
"""How a disk refuses a temporary file; other errors come from the processes that read images."""


class _Blocks:
    """The features in a file of float32, [BLOCK_ROWS, D] at a time, as often as wanted."""

    def __init__(self, file: BinaryIO, num_features: int) -> None:
        self._file = file
        self._num_features = num_features

    def __iter__(self) -> Iterator[Tensor]:
        self._file.seek(0)
        while data := self._file.read(4 * self._num_features * BLOCK_ROWS):
            yield torch.frombuffer(bytearray(data), dtype=torch.float32).view(
                -1, self._num_features
            )


def fit_class_gaussians(
    blocks: Iterable[Tensor], labels: Tensor, num_classes: int
) -> ClassGaussians:
    """Fits the class means and one shared covariance, shrunk after Ledoit and Wolf.

    A rare class has fewer images than there are feature dimensions, so a covariance of its own
    would be singular; the shared, shrunk one has an inverse with three images a class as well.

    Args:
        blocks: Penultimate features of real training images, [B, D] at a time; gone through twice.
        labels: The classes of all of them, [N].
        num_classes: K; a class without images gets the mean of all features.

    Returns:
        The statistics in float32.

    Source: Ledoit and Wolf (2004), https://doi.org/10.1016/S0047-259X(03)00096-4
    """
    counts = torch.bincount(labels, minlength=num_classes)  # [K]
    sums: Tensor | None = None
    for features, of_block in _labelled(blocks, labels):
        if sums is None:
            sums = features.new_zeros(num_classes, features.shape[1])
        sums.index_add_(0, of_block, features)
    assert sums is not None  # a training set has images
    overall = sums.sum(dim=0) / len(labels)  # [D]
    means = torch.where(
        counts[:, None] > 0, sums / counts[:, None].clamp(min=1), overall
    )  # [K, D]

    deviations = ((x - means[y]).numpy() for x, y in _labelled(blocks, labels))
    shrunk, shrinkage = ledoit_wolf(deviations)
    covariance = torch.from_numpy(shrunk)  # [D, D]
    # The floor keeps features without any spread (units that are always 0) invertible.
    floor = 1e-6 * covariance.diagonal().mean().clamp(min=1e-6)
    covariance = covariance + floor * torch.eye(len(covariance), dtype=torch.float64)
    root = torch.linalg.cholesky(covariance)
    return ClassGaussians(
        means=means.float(),
        precision=torch.cholesky_inverse(root).float(),
        log_det=(2 * root.diagonal().log().sum()).float(),
        shrinkage=torch.tensor(shrinkage),
    )


def ledoit_wolf(blocks: Iterable[NDArray[np.float64]]) -> tuple[NDArray[np.float64], float]:
    """The covariance of centred data, shrunk after Ledoit and Wolf, in one pass.

    That of `sklearn.covariance.LedoitWolf(assume_centered=True)`, which takes all data at once.

    Args:
        blocks: The data, [B, D] at a time; at least one.

    Returns:
        The shrunk covariance, [D, D], and the shrinkage in [0, 1].

    Source: Ledoit and Wolf (2004), https://doi.org/10.1016/S0047-259X(03)00096-4, lemmas 3.2-3.5
    """
    count, fourth = 0, 0.0
    products: NDArray[np.float64] | None = None
    for x in blocks:
        products = x.T @ x if products is None else products + x.T @ x  # [D, D]
        fourth += float(((x**2).sum(axis=1) ** 2).sum())  # of the lengths of the rows
        count += len(x)
    assert products is not None
    covariance = products / count
    num_features = len(covariance)
    mean = float(np.trace(covariance)) / num_features  # of the eigenvalues
    squares = float((covariance**2).sum())
    # How far the covariance is from a multiple of the identity, and how uncertain it is
    distance = squares - num_features * mean**2
    uncertainty = min((fourth / count - squares) / count, distance)
    shrinkage = 0.0 if uncertainty == 0 else uncertainty / distance
    covariance *= 1 - shrinkage
    covariance.flat[:: num_features + 1] += shrinkage * mean
    return covariance, shrinkage


def _labelled(blocks: Iterable[Tensor], labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Each block in float64 on the CPU with the classes of its images."""
    labels = labels.cpu()
    start = 0
    for block in blocks:
        yield block.detach().double().cpu(), labels[start : start + len(block)]
        start += len(block)
