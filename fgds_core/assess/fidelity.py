"""How close synthetic images are to real ones, from two sets of features.

Every measure is a pure function of real features [N, D] and synthetic features [M, D] and
answers an `Estimate`: value, 95 % interval and sample sizes. A measure that the samples are too
small for has no value and says why: a number without meaning is worse than none.

Features are read in blocks (`vectors`), and nothing is made for all pairs or all features of all
images: memory holds a few blocks and, for each image, a few numbers.

Real images may have weights [N], such as those that give their classes the proportions of the
synthetic ones. Only ratios count. Equal weights are none, a weight of 0 is an image that is not
there, and a number stands only on weights that leave an effective sample of `MIN_EFFECTIVE`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fgds_core.assess.balls import membership
from fgds_core.assess.distances import Undecided
from fgds_core.assess.estimates import Estimate, spread_interval
from fgds_core.assess.vectors import Array, Features

Z_95 = 1.959963984540054  # normal quantile of a two-sided 95 % interval
MOMENT_ROWS = 4096  # of features whose moments are taken at once, at least
MMD_ROWS = 1024  # of a kernel's matrix held at once
MIN_EFFECTIVE = 5  # real images that weighted ones have to count for


def effective_size(weights: Array) -> float:
    """How many equally weighted images say as much about a mean as these: (sum w)^2 / sum w^2.

    Args:
        weights: Of N images, [N]; 0 for no images.

    Source: Kish (1965), Survey Sampling
    """
    weights = weights.astype(np.float64)
    return float(weights.sum() ** 2 / max((weights**2).sum(), np.finfo(np.float64).tiny))


def fid(
    real: Features | Array,
    synthetic: Features | Array,
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
    real, weights = _with_weight(Features.of(real), weights)
    synthetic = Features.of(synthetic)
    refused, made = _sampled(real, synthetic, weights, max(min_images, 2), is_biased=True)
    if refused is not None:
        return refused
    value = frechet(real, synthetic, weights)
    if blocks < 2:
        return made(value, None, None)

    without_block = zip(
        _without_each(real, weights, rng.permutation(len(real)) % blocks, blocks),
        _without_each(synthetic, None, rng.permutation(len(synthetic)) % blocks, blocks),
        strict=True,
    )
    left_out = np.array([_distance(a, b) for a, b in without_block])
    error = float(np.sqrt((blocks - 1) * left_out.var()))
    return made(value, max(0.0, value - Z_95 * error), value + Z_95 * error)


def frechet(
    real: Features | Array, synthetic: Features | Array, weights: Array | None = None
) -> float:
    """Frechet distance between the Gaussians fitted to [N, D] and [M, D] features.

    With covariances A'A and B'B, the trace of the square root of their product is the sum of the
    singular values of AB'. So no root of a matrix that may be singular is taken, which is exact
    with fewer images than features too; otherwise it equals clean-fid's number to rounding.
    Weights [N] of the real images count in mean and covariance.
    """
    return _distance(_moments(Features.of(real), weights), _moments(Features.of(synthetic)))


@dataclass(frozen=True, eq=False)
class _Moments:
    """Mean and covariance of weighted vectors, in a form that adds up without loss.

    Attributes:
        weight: Sum of the weights.
        weight2: Sum of their squares.
        root: Triangular R with R'R = X'X, where a row of X is (1, vector) times the root of its
            weight, float64 [at most D + 1, D + 1]. Its first row is the mean, and the others are
            what the centred vectors alone would give.
    """

    weight: float
    weight2: float
    root: Tensor

    def __add__(self, other: _Moments) -> _Moments:
        return _Moments(
            self.weight + other.weight,
            self.weight2 + other.weight2,
            _triangular(torch.cat([self.root, other.root])),
        )

    @property
    def mean(self) -> Tensor:
        """Of the vectors, [D]."""
        mean: Tensor = self.root[0, 1:] / self.root[0, 0]
        return mean

    @property
    def covariance_root(self) -> Tensor:
        """A triangular R, [at most D, D], with R'R the unbiased sample covariance."""
        freedom = self.weight - self.weight2 / self.weight  # N - 1 for weights of 1
        root: Tensor = self.root[1:, 1:] / max(freedom, float(np.finfo(np.float64).tiny)) ** 0.5
        return root


def _triangular(x: Tensor) -> Tensor:
    """The R of x [B, D] = QR, [min(B, D), D]."""
    root: Tensor = torch.linalg.qr(x, mode="r").R
    return root


def _moments(features: Features, weights: Array | None = None) -> _Moments:
    w = np.ones(len(features)) if weights is None else weights.astype(np.float64)  # [N]
    root = torch.empty(0, features.width + 1, dtype=torch.float64, device=features.device)
    for place, x in features.blocks(max(MOMENT_ROWS, 2 * features.width)):
        row = torch.cat([x.new_ones(len(x), 1), x], dim=1)  # [B, D + 1]
        root = _triangular(
            torch.cat([root, torch.from_numpy(w[place] ** 0.5).to(x)[:, None] * row])
        )
    return _Moments(float(w.sum()), float((w**2).sum()), root)


def _distance(a: _Moments, b: _Moments) -> float:
    """The Frechet distance between two Gaussians."""
    mean_gap = a.mean - b.mean  # [D]
    root_a, root_b = a.covariance_root, b.covariance_root  # [<= D, D] each
    overlap = torch.linalg.svdvals(root_a @ root_b.T).sum()
    distance = (mean_gap**2).sum() + (root_a**2).sum() + (root_b**2).sum() - 2 * overlap
    return max(0.0, float(distance))  # rounding may leave equal sets a little below 0


def _without_each(
    features: Features, weights: Array | None, block: NDArray[np.int64], num_blocks: int
) -> Iterator[_Moments]:
    """The moments without each of the blocks, in order.

    Halves what is left out until one block is: the features are read as often as the number of
    blocks can be halved, and as many moments are held.

    Args:
        features: The vectors, [N, D].
        weights: Their weights, [N]; None is equal ones.
        block: The block of each, [N].
        num_blocks: Number of blocks, 2 or more.
    """

    def within(first: int, last: int) -> _Moments:
        which = (block >= first) & (block < last)  # [N]
        return _moments(features.take(which), None if weights is None else weights[which])

    def without(first: int, last: int, others: _Moments | None) -> Iterator[_Moments]:
        if last - first == 1:
            assert others is not None
            yield others
            return
        middle = (first + last) // 2
        for left_out, added in (
            ((first, middle), (middle, last)),
            ((middle, last), (first, middle)),
        ):
            beside = within(*added)
            yield from without(*left_out, beside if others is None else others + beside)

    return without(0, num_blocks, None)


def kid(
    real: Features | Array,
    synthetic: Features | Array,
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
    real, weights = _with_weight(Features.of(real), weights)
    synthetic = Features.of(synthetic)
    refused, made = _sampled(real, synthetic, weights, max(min_images, 4))
    if refused is not None:
        return refused
    smaller = min(len(real), len(synthetic))
    m = min(subset_size, smaller // 2)

    def one(real: Features, synthetic: Features) -> float:
        rows = rng.choice(len(real), m, replace=False)  # [m]
        own = None if weights is None else weights[rows]
        others = synthetic.take(rng.choice(len(synthetic), m, replace=False))
        every = slice(0, m)
        return mmd2(real.take(rows).read(every), others.read(every), own)

    draws = np.array([one(real, synthetic) for _ in range(subsets)])
    value = float(draws.mean())
    error = float(np.sqrt(draws.var(ddof=1) * m / (smaller - m)))
    return made(value, value - Z_95 * error, value + Z_95 * error)


def mmd2(x: Array | Tensor, y: Array | Tensor, weights: Array | None = None) -> float:
    """Unbiased squared MMD between x [N, D] and y [M, D] with the kernel (x.y / D + 1)^3.

    Products are those of centred vectors in their own precision; what was taken off, the kernel
    and all sums are in float64. Weights [N] of x make its pairs count by their product.
    """
    x, y = (
        torch.from_numpy(np.ascontiguousarray(a)) if isinstance(a, np.ndarray) else a
        for a in (x, y)
    )
    d, centre = x.shape[1], x.mean(dim=0)  # [D]
    w = x.new_ones(len(x), dtype=torch.float64)  # [N]
    if weights is not None:
        w = torch.from_numpy(weights.astype(np.float64)).to(x.device)
    v = y.new_ones(len(y), dtype=torch.float64)  # [M]

    def parts(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Centred vectors; what of a.b is left for each a, [N]; and |a|^2, [N]."""
        exact, off = a.double(), centre.double()
        return a - centre, exact @ off - off @ off / 2, torch.linalg.vecdot(exact, exact)

    def kernel_sum(
        a: tuple[Tensor, Tensor, Tensor], u: Tensor, b: tuple[Tensor, Tensor, Tensor], t: Tensor
    ) -> float:
        """Sum of u_i k(a_i, b_j) t_j over all pairs, a block of rows at a time."""
        total = 0.0
        for start in range(0, len(u), MMD_ROWS):
            rows = slice(start, start + MMD_ROWS)
            products = (a[0][rows] @ b[0].T).double().add_(a[1][rows, None]).add_(b[1])
            kernel = products.div_(d).add_(1).pow_(3)  # [rows, M]
            total += float(u[rows] @ (kernel @ t))
        return total

    def within(a: tuple[Tensor, Tensor, Tensor], u: Tensor) -> float:
        """Mean of k(a_i, a_j) over i != j."""
        themselves = float(u**2 @ (a[2] / d + 1) ** 3)
        pairs = float(u.sum() ** 2 - (u**2).sum())
        return (kernel_sum(a, u, a, u) - themselves) / pairs

    real, synthetic = parts(x), parts(y)
    across = kernel_sum(real, w, synthetic, v) / float(w.sum() * v.sum())
    return within(real, w) + within(synthetic, v) - 2 * across


def prdc(
    real: Features | Array,
    synthetic: Features | Array,
    *,
    nearest_k: int,
    min_images: int,
    has_interval: bool,
    rng: np.random.Generator,
    weights: Array | None = None,
) -> dict[str, Estimate]:
    """Precision, recall, density and coverage, higher is better.

    Around each image lies a ball that reaches to its `nearest_k`-th neighbour in its own set.
    Precision is the share of synthetic images inside some real ball, recall the share of real
    images inside some synthetic ball, density the mean number of real balls around a synthetic
    image over `nearest_k`, coverage the share of real balls that hold a synthetic image.

    Other images would also have made other balls, so the intervals are no bootstrap of the images
    that are counted: all is measured again in random halves of both sets, whose variance tells
    that of the whole (a delete-d jackknife). That of a share is a score interval of as many
    images as this variance leaves of it, which holds at 0 and 1 too.

    Weights count in the means over real images, recall and coverage. They change no ball: a
    weighted image is still one point, and the radius that reaches its `nearest_k`-th neighbour
    follows how densely real images lie around it, so precision and density need no weights.

    Distances are made in blocks, so memory grows with N + M, not N * M.

    Args:
        real: Features, [N, D].
        synthetic: Features, [M, D].
        nearest_k: Neighbour that sets the radius of a ball, 1 or more.
        min_images: Images that each set needs; below, there is no value.
        has_interval: Whether an interval is asked for: five times the work more, and of some
            thousand images hardly any, as halves end at `HALF` images.
        rng: Draws the halves.
        weights: Of the real images, [N]; None is equal ones.

    Returns:
        Estimates named `precision`, `recall`, `density`, `coverage`; without an interval where
        halves are too small for a ball.

    Source: Kynkaanniemi et al. (2019), https://arxiv.org/abs/1904.06991;
        Naeem et al. (2020), https://arxiv.org/abs/2002.09797; Shao and Wu (1989), A General Theory
        for Jackknife Variance Estimation, https://doi.org/10.1214/aos/1176347263
    """
    real, weights = _with_weight(Features.of(real), weights)
    synthetic = Features.of(synthetic)
    refused, made = _sampled(real, synthetic, weights, max(min_images, nearest_k + 1))
    if refused is not None:
        return dict.fromkeys(PRDC, refused)
    try:
        values = _prdc(real, synthetic, weights, nearest_k)
    except Undecided as error:
        return dict.fromkeys(PRDC, made(None, None, None, reason=str(error)))
    variances = _of_halves(real, synthetic, weights, nearest_k, rng) if has_interval else None
    if variances is None:
        return {name: made(value, None, None) for name, value in values.items()}
    num_real = len(real) if weights is None else effective_size(weights)
    counts = dict(zip(PRDC, (len(synthetic), num_real, None, num_real), strict=True))
    return {
        name: made(value, *spread_interval(value, variances[name], HALVES - 1, counts[name]))
        for name, value in values.items()
    }


PRDC = ("precision", "recall", "density", "coverage")

HALVES = 20
"""Halves that are measured for an interval."""

HALF = 1000
"""Images of a set in a half, at most; of two sets their geometric mean. Of more images halves are
smaller parts of both."""


def _prdc(
    real: Features, synthetic: Features, weights: Array | None, nearest_k: int
) -> dict[str, float]:
    """The four measures by name.

    Raises:
        Undecided: No number can be given.
    """
    found = membership(real, synthetic, nearest_k)
    around = found.around.cpu().numpy()  # real balls around a synthetic image, [M]
    covered, recalled = found.covered.cpu().numpy(), found.recalled.cpu().numpy()  # [N] each
    values = (
        (around > 0).mean(),
        np.average(recalled, weights=weights),
        around.mean() / nearest_k,
        np.average(covered, weights=weights),
    )
    return dict(zip(PRDC, map(float, values), strict=True))


def _of_halves(
    real: Features,
    synthetic: Features,
    weights: Array | None,
    nearest_k: int,
    rng: np.random.Generator,
) -> dict[str, float] | None:
    """The variance of the four measures, from random halves; None where these are too small."""
    share = min(0.5, HALF / (len(real) * len(synthetic)) ** 0.5)
    num_real, num_synthetic = (int(share * len(each)) for each in (real, synthetic))
    if min(num_real, num_synthetic) <= nearest_k:
        return None
    found = []
    for _ in range(HALVES):
        rows = np.sort(rng.choice(len(real), num_real, replace=False))
        others = np.sort(rng.choice(len(synthetic), num_synthetic, replace=False))
        own = None if weights is None else weights[rows]
        try:
            found.append(_prdc(real.take(rows), synthetic.take(others), own, nearest_k))
        except Undecided:
            return None
    factor = share / (1 - share)  # m of n images vary by (n - m) / m times the variance of all
    return {name: factor * float(np.var([each[name] for each in found], ddof=1)) for name in PRDC}


def _with_weight(
    real: Features, weights: Array | None
) -> tuple[Features, NDArray[np.float64] | None]:
    """The real images that count, with their weights in float64; None if there are none."""
    if weights is None:
        return real, None
    if weights.shape != (len(real),) or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"weights must be {len(real)} finite numbers of at least 0")
    return real.take(weights > 0), weights[weights > 0].astype(np.float64)


def _sampled(
    real: Features,
    synthetic: Features,
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
