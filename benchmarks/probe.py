"""Can a classifier tell how an image was encoded? For `benchmarks.data`.

Real photographs go two ways: half of them as the stage prepare has stored them, the other half as
synthetic images are stored: from the same pixels before any encoding, as floats, through `encode`.
A probe learns to tell the two apart from what encodings leave behind, the histograms of the DCT
coefficients of 8 x 8 blocks. If real and synthetic images have one last encoding step, it stays
at chance, and so does every other classifier that would go by the encoding.

That the probe sees encodings at all is shown beside: real images as stored against the same
way stored otherwise (PNG).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fgds_core.data.meta import Meta, read_meta
from fgds_core.data.splits import read_prepared
from fgds_core.images.formats import decode_picture
from fgds_core.images.pixels import encode, from_uint8

LOW_FREQUENCIES = 28
"""Coefficients of a block that are looked at, in order of their frequency."""

EDGE = 8
"""Histograms count values of -8 to 8 in steps of one half; the rest goes to their ends."""

FOLDS = 10
NUM_IMAGES = 4000

YCC = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
"""Luma and the two chromas of JPEG, from red, green and blue."""


def traces(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What an encoding leaves in an image: histograms of its blocks' DCT coefficients.

    Args:
        pixels: [H, W, 3]; H and W are multiples of 8.

    Returns:
        Shares, [3 x LOW_FREQUENCIES x bins].
    """
    planes = np.moveaxis(pixels.astype(np.float32) @ YCC.T.astype(np.float32), -1, 0)  # [3, H, W]
    _, height, width = planes.shape
    blocks = planes.reshape(3, height // 8, 8, width // 8, 8).transpose(0, 1, 3, 2, 4)
    coefficients = scipy.fft.dctn(blocks, axes=(-2, -1), norm="ortho")  # [3, h, w, 8, 8]
    u, v = np.divmod(np.arange(64), 8)
    chosen = np.argsort(u + v, kind="stable")[1 : LOW_FREQUENCIES + 1]
    flat = coefficients.reshape(3, -1, 64)  # [3, blocks, 64]
    values = flat[:, :, chosen].transpose(0, 2, 1)  # [3, LOW_FREQUENCIES, blocks]
    bins = np.rint(2 * values).clip(-2 * EDGE, 2 * EDGE).astype(np.int64) + 2 * EDGE
    num_bins = 4 * EDGE + 1
    rows = bins.reshape(-1, bins.shape[-1])
    rows = rows + num_bins * np.arange(len(rows))[:, None]
    counts = np.bincount(rows.ravel(), minlength=num_bins * len(rows))
    shares: NDArray[np.float32] = (counts / bins.shape[-1]).astype(np.float32)
    return shares


def probe(
    first: Sequence[NDArray[np.float32]], second: Sequence[NDArray[np.float32]]
) -> dict[str, Any]:
    """How often a classifier tells two kinds of images apart, on images it has not seen.

    Args:
        first: Traces of the images of one kind.
        second: Of the other, of other images.

    Returns:
        Accuracy with its 95 % interval (Wilson), and the number of images.
    """
    x = np.stack([*first, *second])
    y = np.repeat([0, 1], [len(first), len(second)])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    hits = int((cross_val_predict(classifier, x, y, cv=FOLDS) == y).sum())
    interval = binomtest(hits, len(y)).proportion_ci(0.95, "wilson")
    return {
        "accuracy": hits / len(y),
        "low": float(interval.low),
        "high": float(interval.high),
        "num_images": len(y),
    }


def two_ways(prepared: Path, source: Path, num_images: int = NUM_IMAGES) -> dict[str, Any]:
    """Probes real images as stored against others that were stored as synthetic ones are.

    Args:
        prepared: Prepared data.
        source: Folder of class folders of the files that they were prepared from.
        num_images: Of both kinds together, at most.

    Returns:
        `as_synthetic` from the probe, and `as_png` where the second kind is stored without loss.
    """
    meta, images = read_meta(prepared), read_prepared(prepared, "train")
    order = np.random.default_rng(0).permutation(len(images))[:num_images].tolist()
    half = len(order) // 2
    stored = [traces(pixels(images.file(row))) for row in order[:half]]
    paths = sorted(path for path in source.rglob("*.jpg"))
    files = [paths[row].read_bytes() for row in order[half:]]
    synthetic = [traces(pixels(as_synthetic(data, meta))) for data in files]
    lossless = [traces(pixels(data)) for data in files]
    return {"as_synthetic": probe(stored, synthetic), "as_png": probe(stored, lossless)}


def pixels(data: bytes) -> NDArray[np.uint8]:
    """The pixels of an image file, [H, W, 3]."""
    return np.asarray(decode_picture(data).convert("RGB"))


def as_synthetic(data: bytes, meta: Meta) -> bytes:
    """An image file as a synthetic image with its pixels would be stored."""
    x = from_uint8(torch.from_numpy(pixels(data).copy()).permute(2, 0, 1)[None])  # [1, 3, H, W]
    (encoded,) = encode(x, meta.encoding)
    return encoded
