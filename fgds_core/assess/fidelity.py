"""How close synthetic images are to real ones, from two arrays of features.

Every measure is a pure function of real features [N, D] and synthetic features [M, D] and
answers an `Estimate`: value, 95 % interval and sample sizes. A measure that the samples are too
small for has no value and says why: a number without meaning is worse than none.

Real images may have weights [N], such as those that give their classes the proportions of the
synthetic ones. Only ratios count. Equal weights are none, a weight of 0 is an image that is not
there, and a number stands only on weights that leave an effective sample of `MIN_EFFECTIVE`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

Z_95 = 1.959963984540054  # normal quantile of a two-sided 95 % interval
CHUNK = 1024  # rows of a distance matrix held at once
MIN_EFFECTIVE = 5  # real images that weighted ones have to count for


@dataclass(frozen=True)
class Estimate:
    """A measure with its 95 % interval; without a value, `reason` says why.

    `effective_real` is how many equal images the weighted real ones count for; None if they have
    no weights.
    """

    value: float | None
    low: float | None
    high: float | None
    num_real: int
    num_synthetic: int
    reason: str | None = None
    effective_real: float | None = None


def effective_size(weights: Array) -> float:
    """How many equally weighted images say as much about a mean as these: (sum w)^2 / sum w^2.

    Args:
        weights: Of N images, [N]; 0 for no images.

    Source: Kish (1965), Survey Sampling
    """
    weights = weights.astype(np.float64)
    return float(weights.sum() ** 2 / max((weights**2).sum(), np.finfo(np.float64).tiny))


def fid(
    real: Array,
    synthetic: Array,
    *,
    min_images: int,
    blocks: int,
    rng: np.random.Generator,
    weights: Array | None = None,
) -> Estimate:
    """Frechet distance between Gaussians fitted to the two sets, lower is closer.

    The estimate is biased upward by small samples, so sets of different sizes do not compare.
    The interval is a delete-one-block jackknife: each set is split at random into `blocks`, and
    block b of both is left out in turn. (A bootstrap would repeat images and add to the bias.)

    Args:
        real: Features, [N, D].
        synthetic: Features, [M, D].
        min_images: Images that each set needs, and that weighted ones have to count for, since
            the bias follows that; below, there is no value.
        blocks: Blocks of the jackknife; 0 is no interval.
        rng: Draws the blocks.
        weights: Of the real images, [N]; None is equal ones.

    Returns:
        The distance in squared units of the features.

    Source: Heusel et al. (2017), https://arxiv.org/abs/1706.08500
    """
    real, weights = _with_weight(real, weights)
    refused, made = _sampled(real, synthetic, weights, max(min_images, 2), is_biased=True)
    if refused is not None:
        return refused
    sizes = (len(real), len(synthetic))
    real, synthetic = real.astype(np.float64), synthetic.astype(np.float64)
    value = frechet(real, synthetic, weights)
    if blocks < 2:
        return made(value, None, None)

    block_real = rng.permutation(sizes[0]) % blocks
    block_synthetic = rng.permutation(sizes[1]) % blocks
    left_out = np.array(
        [
            frechet(
                real[block_real != b],
                synthetic[block_synthetic != b],
                None if weights is None else weights[block_real != b],
            )
            for b in range(blocks)
        ]
    )
    error = float(np.sqrt((blocks - 1) * left_out.var()))
    return made(value, max(0.0, value - Z_95 * error), value + Z_95 * error)


def frechet(real: Array, synthetic: Array, weights: Array | None = None) -> float:
    """Frechet distance between the Gaussians fitted to [N, D] and [M, D] float64 features.

    With covariances A'A and B'B, the trace of the square root of their product is the sum of the
    singular values of AB'. So no root of a matrix that may be singular is taken, which is exact
    with fewer images than features too; otherwise it equals clean-fid's number to rounding.
    Weights [N] of the real images count in mean and covariance.
    """
    mean_gap = np.average(real, axis=0, weights=weights) - synthetic.mean(axis=0)  # [D]
    a, b = _covariance_root(real, weights), _covariance_root(synthetic)  # [<= D, D] each
    overlap = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    distance = (mean_gap**2).sum() + (a**2).sum() + (b**2).sum() - 2 * overlap
    return max(0.0, float(distance))  # rounding may leave equal sets a little below 0


def _covariance_root(x: Array, weights: Array | None = None) -> Array:
    """A triangular R [min(N, D), D] with R'R the unbiased sample covariance of x [N, D]."""
    centred = x - np.average(x, axis=0, weights=weights)  # [N, D]
    if weights is None:
        return np.asarray(np.linalg.qr(centred / np.sqrt(len(x) - 1), mode="r"))
    shares = weights / weights.sum()  # [N]
    freedom = max(1 - (shares**2).sum(), np.finfo(np.float64).tiny)  # (N - 1) / N if equal
    return np.asarray(np.linalg.qr(np.sqrt(shares / freedom)[:, None] * centred, mode="r"))


def kid(
    real: Array,
    synthetic: Array,
    *,
    min_images: int,
    subsets: int,
    subset_size: int,
    rng: np.random.Generator,
    weights: Array | None = None,
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
        weights: Of the real images, [N]; None is equal ones.

    Returns:
        The distance; 0 for equal distributions.

    Source: Binkowski et al. (2018), https://arxiv.org/abs/1801.01401
    """
    real, weights = _with_weight(real, weights)
    refused, made = _sampled(real, synthetic, weights, max(min_images, 4))
    if refused is not None:
        return refused
    sizes = (len(real), len(synthetic))
    smaller = min(sizes)
    real, synthetic = real.astype(np.float64), synthetic.astype(np.float64)
    m = min(subset_size, smaller // 2)

    def one() -> float:
        rows = rng.choice(sizes[0], m, replace=False)  # [m]
        own = None if weights is None else weights[rows]
        return mmd2(real[rows], synthetic[rng.choice(sizes[1], m, replace=False)], own)

    draws = np.array([one() for _ in range(subsets)])
    value = float(draws.mean())
    error = float(np.sqrt(draws.var(ddof=1) * m / (smaller - m)))
    return made(value, value - Z_95 * error, value + Z_95 * error)


def mmd2(x: Array, y: Array, weights: Array | None = None) -> float:
    """Unbiased squared MMD between x [N, D] and y [M, D] with the kernel (x.y / D + 1)^3.

    Weights [N] of x make its pairs count by their product.
    """
    n, m, d = len(x), len(y), x.shape[1]
    k_xx = (x @ x.T / d + 1) ** 3  # [N, N]
    k_yy = (y @ y.T / d + 1) ** 3  # [M, M]
    k_xy = (x @ y.T / d + 1) ** 3  # [N, M]
    w = np.ones(n) if weights is None else weights  # [N]
    within_x = (w @ k_xx @ w - w**2 @ k_xx.diagonal()) / (w.sum() ** 2 - (w**2).sum())
    within_y = (k_yy.sum() - np.trace(k_yy)) / (m * (m - 1))
    across = w @ k_xy.mean(axis=1) / w.sum()
    return float(within_x + within_y - 2 * across)


def prdc(
    real: Array,
    synthetic: Array,
    *,
    nearest_k: int,
    min_images: int,
    bootstrap_samples: int,
    rng: np.random.Generator,
    weights: Array | None = None,
) -> dict[str, Estimate]:
    """Precision, recall, density and coverage, higher is better.

    Around each image lies a ball that reaches to its `nearest_k`-th neighbour in its own set.
    Precision is the share of synthetic images inside some real ball, recall the share of real
    images inside some synthetic ball, density the mean number of real balls around a synthetic
    image over `nearest_k`, coverage the share of real balls that hold a synthetic image. Each is
    a mean over images; the interval is a percentile bootstrap of that mean with the balls fixed.

    Weights count in the means over real images, recall and coverage. They change no ball: a
    weighted image is still one point, and the radius that reaches its `nearest_k`-th neighbour
    follows how densely real images lie around it, so precision and density need no weights.

    Distances are made in blocks of rows, so memory grows with N + M, not N * M.

    Args:
        real: Features, [N, D].
        synthetic: Features, [M, D].
        nearest_k: Neighbour that sets the radius of a ball, 1 or more.
        min_images: Images that each set needs; below, there is no value.
        bootstrap_samples: Resamples of the bootstrap; 0 is no interval.
        rng: Draws the resamples.
        weights: Of the real images, [N]; None is equal ones.

    Returns:
        Estimates named `precision`, `recall`, `density`, `coverage`.

    Source: Kynkaanniemi et al. (2019), https://arxiv.org/abs/1904.06991;
        Naeem et al. (2020), https://arxiv.org/abs/2002.09797
    """
    real, weights = _with_weight(real, weights)
    refused, made = _sampled(real, synthetic, weights, max(min_images, nearest_k + 1))
    if refused is not None:
        return dict.fromkeys(("precision", "recall", "density", "coverage"), refused)
    sizes = (len(real), len(synthetic))

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
    terms: dict[str, tuple[Array, Array | None]] = {
        "precision": ((balls_around > 0).astype(np.float64), None),
        "recall": (recalled.astype(np.float64), weights),
        "density": (balls_around / nearest_k, None),
        "coverage": (covered.astype(np.float64), weights),
    }
    return {
        name: made(*mean_interval(term, bootstrap_samples, rng, its_weights))
        for name, (term, its_weights) in terms.items()
    }


def mean_interval(
    values: Array, samples: int, rng: np.random.Generator, weights: Array | None = None
) -> tuple[float, float | None, float | None]:
    """Mean of values [N] and its 95 % percentile bootstrap interval (None with 0 samples).

    With weights [N] images are drawn as before and count by their weights.
    """
    w = np.ones(len(values)) if weights is None else weights  # [N]
    mean = float(np.average(values, weights=w))
    if samples == 0:
        return mean, None, None
    rows = (rng.integers(len(values), size=len(values)) for _ in range(samples))
    means = [np.average(values[chosen], weights=w[chosen]) for chosen in rows]
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


def _with_weight(real: Array, weights: Array | None) -> tuple[Array, Array | None]:
    """The real images that count, with their weights in float64; None if there are none."""
    if weights is None:
        return real, None
    if weights.shape != (len(real),) or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"weights must be {len(real)} finite numbers of at least 0")
    return real[weights > 0], weights[weights > 0].astype(np.float64)


def _sampled(
    real: Array,
    synthetic: Array,
    weights: Array | None,
    least: int,
    *,
    is_biased: bool = False,
) -> tuple[Estimate | None, Callable[..., Estimate]]:
    """An estimate without a value if the samples are too small, and what makes one with a value.

    Args:
        real: What counts of the real images, [N, D].
        synthetic: The synthetic images, [M, D].
        weights: Of the real images, [N]; None is equal ones.
        least: Images that each set needs.
        is_biased: Whether weighted images have to count for as many too.
    """
    effective = None if weights is None else effective_size(weights)
    made = partial(
        Estimate, num_real=len(real), num_synthetic=len(synthetic), effective_real=effective
    )
    reason = None
    if min(len(real), len(synthetic)) < least:
        key = f"assess.min_images{'_fid' * is_biased}"
        reason = (
            f"needs {least} real and {least} synthetic images ({key}), there are {len(real)} and"
            f" {len(synthetic)} of the same classes"
        )
    elif effective is not None and effective < (wanted := least if is_biased else MIN_EFFECTIVE):
        reason = (
            f"the {len(real)} real images count for {effective:.1f} in the class proportions of"
            f" the synthetic ones, {wanted} are needed"
        )
    return (None if reason is None else made(None, None, None, reason=reason)), made
