"""How close synthetic images are to real ones, from two arrays of features.

Every measure is a pure function of real features [N, D] and synthetic features [M, D] and
answers an `Estimate`: value, 95 % interval and sample sizes. A measure that the samples are too
small for has no value and says why: a number without meaning is worse than none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

Z_95 = 1.959963984540054  # normal quantile of a two-sided 95 % interval
CHUNK = 1024  # rows of a distance matrix held at once


@dataclass(frozen=True)
class Estimate:
    """A measure with its 95 % interval; without a value, `reason` says why."""

    value: float | None
    low: float | None
    high: float | None
    num_real: int
    num_synthetic: int
    reason: str | None = None


def fid(
    real: Array, synthetic: Array, *, min_images: int, blocks: int, rng: np.random.Generator
) -> Estimate:
    """Frechet distance between Gaussians fitted to the two sets, lower is closer.

    The estimate is biased upward by small samples, so sets of different sizes do not compare.
    The interval is a delete-one-block jackknife: each set is split at random into `blocks`, and
    block b of both is left out in turn. (A bootstrap would repeat images and add to the bias.)

    Args:
        real: Features, [N, D].
        synthetic: Features, [M, D].
        min_images: Images that each set needs; below, there is no value.
        blocks: Blocks of the jackknife; 0 is no interval.
        rng: Draws the blocks.

    Returns:
        The distance in squared units of the features.

    Source: Heusel et al. (2017), https://arxiv.org/abs/1706.08500
    """
    sizes = (len(real), len(synthetic))
    if min(sizes) < max(min_images, 2):
        return Estimate(None, None, None, *sizes, reason=_too_few(sizes, max(min_images, 2)))
    real, synthetic = real.astype(np.float64), synthetic.astype(np.float64)
    value = frechet(real, synthetic)
    if blocks < 2:
        return Estimate(value, None, None, *sizes)

    block_real = rng.permutation(sizes[0]) % blocks
    block_synthetic = rng.permutation(sizes[1]) % blocks
    left_out = np.array(
        [frechet(real[block_real != b], synthetic[block_synthetic != b]) for b in range(blocks)]
    )
    error = float(np.sqrt((blocks - 1) * left_out.var()))
    return Estimate(value, max(0.0, value - Z_95 * error), value + Z_95 * error, *sizes)


def frechet(real: Array, synthetic: Array) -> float:
    """Frechet distance between the Gaussians fitted to [N, D] and [M, D] float64 features.

    With covariances A'A and B'B, the trace of the square root of their product is the sum of the
    singular values of AB'. So no root of a matrix that may be singular is taken, which is exact
    with fewer images than features too; otherwise it equals clean-fid's number to rounding.
    """
    mean_gap = real.mean(axis=0) - synthetic.mean(axis=0)  # [D]
    a, b = _covariance_root(real), _covariance_root(synthetic)  # [<= D, D] each
    overlap = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    distance = (mean_gap**2).sum() + (a**2).sum() + (b**2).sum() - 2 * overlap
    return max(0.0, float(distance))  # rounding may leave equal sets a little below 0


def _covariance_root(x: Array) -> Array:
    """A triangular R [min(N, D), D] with R'R the sample covariance of x [N, D]."""
    centred = (x - x.mean(axis=0)) / np.sqrt(len(x) - 1)  # [N, D]
    return np.asarray(np.linalg.qr(centred, mode="r"))


def kid(
    real: Array,
    synthetic: Array,
    *,
    min_images: int,
    subsets: int,
    subset_size: int,
    rng: np.random.Generator,
) -> Estimate:
    """Kernel inception distance: unbiased squared MMD with a cubic kernel, lower is closer.

    The value is the mean over random subsets and may be slightly negative. Subsets hold at most
    half of the smaller set, so that their spread says something: the interval is a delete-d
    jackknife, in which the variance between subsets of m out of n images estimates (n - m) / m
    times that of the whole set. It is taken with the smaller n, which errs on the wide side.

    Args:
        real: Features, [N, D].
        synthetic: Features, [M, D].
        min_images: Images that each set needs; below, there is no value.
        subsets: Number of subsets, at least 2.
        subset_size: Most images in a subset.
        rng: Draws the subsets.

    Returns:
        The distance; 0 for equal distributions.

    Source: Binkowski et al. (2018), https://arxiv.org/abs/1801.01401
    """
    sizes = (len(real), len(synthetic))
    smaller = min(sizes)
    if smaller < max(min_images, 4):
        return Estimate(None, None, None, *sizes, reason=_too_few(sizes, max(min_images, 4)))
    real, synthetic = real.astype(np.float64), synthetic.astype(np.float64)
    m = min(subset_size, smaller // 2)
    draws = np.array(
        [
            mmd2(
                real[rng.choice(sizes[0], m, replace=False)],
                synthetic[rng.choice(sizes[1], m, replace=False)],
            )
            for _ in range(subsets)
        ]
    )
    value = float(draws.mean())
    error = float(np.sqrt(draws.var(ddof=1) * m / (smaller - m)))
    return Estimate(value, value - Z_95 * error, value + Z_95 * error, *sizes)


def mmd2(x: Array, y: Array) -> float:
    """Unbiased squared MMD between x [N, D] and y [M, D] with the kernel (x.y / D + 1)^3."""
    n, m, d = len(x), len(y), x.shape[1]
    k_xx = (x @ x.T / d + 1) ** 3  # [N, N]
    k_yy = (y @ y.T / d + 1) ** 3  # [M, M]
    k_xy = (x @ y.T / d + 1) ** 3  # [N, M]
    within_x = (k_xx.sum() - np.trace(k_xx)) / (n * (n - 1))
    within_y = (k_yy.sum() - np.trace(k_yy)) / (m * (m - 1))
    return float(within_x + within_y - 2 * k_xy.mean())


def prdc(
    real: Array,
    synthetic: Array,
    *,
    nearest_k: int,
    min_images: int,
    bootstrap_samples: int,
    rng: np.random.Generator,
) -> dict[str, Estimate]:
    """Precision, recall, density and coverage, higher is better.

    Around each image lies a ball that reaches to its `nearest_k`-th neighbour in its own set.
    Precision is the share of synthetic images inside some real ball, recall the share of real
    images inside some synthetic ball, density the mean number of real balls around a synthetic
    image over `nearest_k`, coverage the share of real balls that hold a synthetic image. Each is
    a mean over images; the interval is a percentile bootstrap of that mean with the balls fixed.

    Distances are made in blocks of rows, so memory grows with N + M, not N * M.

    Args:
        real: Features, [N, D].
        synthetic: Features, [M, D].
        nearest_k: Neighbour that sets the radius of a ball, 1 or more.
        min_images: Images that each set needs; below, there is no value.
        bootstrap_samples: Resamples of the bootstrap; 0 is no interval.
        rng: Draws the resamples.

    Returns:
        Estimates named `precision`, `recall`, `density`, `coverage`.

    Source: Kynkaanniemi et al. (2019), https://arxiv.org/abs/1904.06991;
        Naeem et al. (2020), https://arxiv.org/abs/2002.09797
    """
    sizes = (len(real), len(synthetic))
    least = max(min_images, nearest_k + 1)
    if min(sizes) < least:
        empty = Estimate(None, None, None, *sizes, reason=_too_few(sizes, least))
        return dict.fromkeys(("precision", "recall", "density", "coverage"), empty)

    # Column 0 of the nearest neighbours within a set is the image itself.
    radius_real = nearest(real, real, nearest_k + 1)[0][:, -1]  # [N]
    radius_synthetic = nearest(synthetic, synthetic, nearest_k + 1)[0][:, -1]  # [M]
    balls_around = np.zeros(sizes[1], dtype=np.int64)  # real balls around a synthetic image, [M]
    covered = np.zeros(sizes[0], dtype=bool)  # [N]
    recalled = np.zeros(sizes[0], dtype=bool)  # [N]
    for rows, distances in _distances(real, synthetic):
        inside_real = distances < radius_real[rows, None]  # [rows, M]
        balls_around += inside_real.sum(axis=0)
        covered[rows] = inside_real.any(axis=1)
        recalled[rows] = (distances < radius_synthetic[None, :]).any(axis=1)
    terms = {
        "precision": balls_around > 0,
        "recall": recalled,
        "density": balls_around / nearest_k,
        "coverage": covered,
    }
    return {
        name: Estimate(*mean_interval(term.astype(np.float64), bootstrap_samples, rng), *sizes)
        for name, term in terms.items()
    }


def mean_interval(
    values: Array, samples: int, rng: np.random.Generator
) -> tuple[float, float | None, float | None]:
    """Mean of values [N] and its 95 % percentile bootstrap interval (None with 0 samples)."""
    mean = float(values.mean())
    if samples == 0:
        return mean, None, None
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(samples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return mean, float(low), float(high)


def nearest(queries: Array, references: Array, k: int) -> tuple[Array, NDArray[np.int64]]:
    """The k nearest references of each query by Euclidean distance.

    Args:
        queries: Features, [N, D].
        references: Features, [M, D].
        k: Neighbours wanted; at most M are answered.

    Returns:
        Distances, increasing, [N, k], and indices into the references, [N, k].
    """
    k = min(k, len(references))
    distances = np.empty((len(queries), k))
    indices = np.empty((len(queries), k), dtype=np.int64)
    for rows, block in _distances(queries, references):
        closest, index = torch.from_numpy(block).topk(k, dim=1, largest=False)  # [rows, k]
        distances[rows], indices[rows] = closest.numpy(), index.numpy()
    return distances, indices


def _distances(queries: Array, references: Array) -> Iterator[tuple[slice, Array]]:
    """Euclidean distances in blocks of queries: (rows, [rows, M]).

    In float64, because the matrix product form of a distance loses half of the digits.
    """
    y = torch.from_numpy(np.ascontiguousarray(references, dtype=np.float64))  # [M, D]
    for start in range(0, len(queries), CHUNK):
        rows = slice(start, min(start + CHUNK, len(queries)))
        x = torch.from_numpy(np.ascontiguousarray(queries[rows], dtype=np.float64))  # [rows, D]
        yield rows, torch.cdist(x, y, compute_mode="use_mm_for_euclid_dist").numpy()


def _too_few(sizes: tuple[int, int], least: int) -> str:
    return f"needs {least} real and {least} synthetic images, there are {sizes[0]} and {sizes[1]}"
