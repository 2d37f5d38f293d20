"""Squared distances between images: bounded by one fast product, decided without rounding.

|x - y|^2 = |x|^2 + |y|^2 - 2 x.y costs one matrix product, but rounding may turn any comparison
of two such numbers. So the product, of centred vectors and in the fastest precision there is,
only says between which bounds a squared distance lies (`lower_bounds`, `upper_bounds`). What the
bounds leave open is computed from differences in float64 (`Side.squared`), and what that leaves
open too is compared in fractions (`is_closer`). No answer depends on the precision of the
product, on the device or on the size of a block.

N, M images, D features, P pairs. Squared distances are those of vectors times `Space.scale`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fgds_core.assess.vectors import Features

PAIRS = {"cpu": 64, "cuda": 16384}
"""Pairs whose differences are held at once on each kind of device."""

UNIT = {torch.bfloat16: 2.0**-8, torch.float32: 2.0**-24, torch.float64: 2.0**-53}
"""Largest relative error of rounding to each precision."""

DIGITS = {torch.float32: 24, torch.float64: 53}
"""Bits that sums of whole numbers may have."""

MAX_FRACTIONS = 1000
"""Comparisons in fractions, some milliseconds each, before it is too many."""


class Undecided(ValueError):
    """Distances that no number can be given for; the message says why."""


@dataclass(frozen=True, eq=False)
class Space:
    """What sets of features are compared in.

    Attributes:
        centre: Taken off every vector, [D], in the precision of the features.
        scale: A power of two; centred vectors times it have norms of at most 1.
        dropped: The largest share of a centred vector that rounding to bfloat16 takes away.
        grid: All of their numbers are multiples of this power of two; 0 if none is coarse
            enough to say something.
    """

    centre: Tensor
    scale: float
    dropped: float
    grid: float

    def centred(self, x: Tensor, precision: torch.dtype) -> Tensor:
        """Vectors without the centre and scaled, [B, D], in float32 or float64."""
        if precision == torch.float64:
            return torch.sub(x.double(), self.centre).mul_(self.scale)
        return torch.sub(x, self.centre).mul_(self.scale).to(precision)

    def is_exact(self, precision: torch.dtype) -> bool:
        """Whether nothing is rounded in this precision: small whole numbers, times the grid."""
        digits = DIGITS.get(precision, 0)
        return self.grid > 0 and 4 / self.grid**2 <= 2.0**digits

    def error(self, precision: torch.dtype) -> float:
        """Largest error of a squared distance by a product, as a share of |x|^2 + |y|^2.

        Rounding x and y takes a share `lost` of each away, and Cauchy-Schwarz bounds what that
        does to x.y. A sum of D products is off by at most D units of the sum of their sizes
        however it is ordered, twice that where units of hardware cut off instead of rounding.
        """
        if self.is_exact(precision):
            return 0.0
        unit = min(UNIT[precision], UNIT[torch.float32])  # of the sums
        lost = self.dropped if precision == torch.bfloat16 else 4 * UNIT[precision]
        if precision == torch.float32 and torch.get_float32_matmul_precision() != "highest":
            lost += UNIT[torch.bfloat16]
        summed = 2 * unit * (len(self.centre) + 16) * (1 + lost) ** 2
        return 1.01 * (2 * lost + lost**2 + 2 * summed + 16 * unit)

    @property
    def doubt(self) -> float:
        """Largest relative error of a squared distance made of differences in float64."""
        return 0.0 if self.is_exact(torch.float64) else 2.0**-51 * (len(self.centre) + 8)


@dataclass(frozen=True, eq=False)
class Block:
    """Some vectors of a side, as a product takes them.

    Attributes:
        place: Which ones.
        stored: As they are stored, [B, D].
        centred: Centred and scaled, in the precision of sums, [B, D].
        factor: The same in the precision of the product, [B, D].
        squares: Their squared norms times 1 minus the error, in the precision of sums, [B].
    """

    place: slice
    stored: Tensor
    centred: Tensor
    factor: Tensor
    squares: Tensor


@dataclass(frozen=True, eq=False)
class Side:
    """One of the sets that are compared.

    Attributes:
        features: Its vectors, [N, D].
        space: What they are compared in.
        squares: Their squared norms when centred and scaled, float64 [N].
    """

    features: Features
    space: Space
    squares: Tensor

    def __len__(self) -> int:
        return len(self.features)

    @property
    def precisions(self) -> tuple[torch.dtype, ...]:
        """Those that products may have here, the fastest first."""
        exact = self.space.is_exact(torch.float32)
        fast = () if exact or not _multiplies_bfloat16(self.features.device) else (torch.bfloat16,)
        return (*fast, torch.float32, torch.float64)

    def take(self, which: NDArray[np.int64]) -> Side:
        """Some of these, by place, in that order."""
        rows = torch.from_numpy(which).to(self.squares.device)
        return Side(self.features.take(which), self.space, self.squares[rows])

    def block(self, place: slice, precision: torch.dtype) -> Block:
        """The vectors at a place."""
        stored = self.features.read(place)  # [B, D]
        centred = self.space.centred(stored, sums_of(precision))
        squares = (1 - self.space.error(precision)) * self.squares[place]
        factor = centred.to(precision)
        return Block(place, stored, centred, factor, squares.to(centred.dtype))

    def blocks(self, precision: torch.dtype, first: int = 0) -> Iterator[Block]:
        """All from a place on, a block of rows at a time."""
        for place in self.features.places(self.features.block[0], first):
            yield self.block(place, precision)

    def squared(self, other: Side, rows: Tensor, columns: Tensor) -> Tensor:
        """Squared distances of pairs by their differences, float64 [P].

        Args:
            other: The side that the second image of each pair is from.
            rows: The first images, [P].
            columns: The second ones, [P].
        """
        found = self.squares.new_empty(len(rows))
        for one, another, pairs in self._tiles(other, rows, columns):
            x, y = self.features.read(one), other.features.read(another)
            gaps = squared_gaps(x, y, rows[pairs] - one.start, columns[pairs] - another.start)
            found[pairs] = gaps * self.space.scale**2
        return found

    def bounds(self, other: Side, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper bounds of squared distances of pairs by sums in float32, [P] each.

        Args: See `squared`; no pair comes twice.
        """
        lower = self.squares.new_empty(len(rows))
        upper = lower.clone()
        x: Block | None = None
        for one, another, pairs in self._tiles(other, rows, columns):
            if x is None or x.place != one:
                x = self.block(one, torch.float32)
            y = other.block(another, torch.float32)
            i, j = rows[pairs] - one.start, columns[pairs] - another.start
            lower[pairs], upper[pairs] = pair_bounds(self, other, x, y, i, j)
        return lower, upper

    def _tiles(
        self, other: Side, rows: Tensor, columns: Tensor
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """Pairs by the blocks that they are in: places of both blocks, and which pairs."""
        size = self.features.block[0]
        count = len(range(0, len(other), size))
        tile = rows // size * count + columns // size  # [P]
        order = tile.argsort(stable=True)
        tiles, counts = torch.unique_consecutive(tile[order], return_counts=True)
        split = torch.split(order, counts.tolist())
        for at, pairs in zip(tiles.tolist(), split, strict=True):
            first, second = at // count * size, at % count * size
            yield slice(first, first + size), slice(second, second + size), pairs


def sides(*sets: Features) -> tuple[Side, ...]:
    """Sets of features in one space.

    Raises:
        Undecided: If a feature is not finite.
    """
    size, width = sets[0].block[0], sets[0].width
    total = torch.zeros(width, dtype=torch.float64, device=sets[0].device)
    largest, grid = 0.0, math.inf
    for features in sets:
        for place in features.places(size):
            x = features.read(place)  # [B, D]
            total += x.mean(dim=0).double() * len(x)
            low, high = x.aminmax()
            largest = max(largest, -float(low), float(high))
            coarse = grid >= largest * 2.0**-22
            grid = min(_grid(x), grid) if coarse and _grid(x[:1]) >= largest * 2.0**-22 else 0.0
    if not bool(total.isfinite().all()) or not math.isfinite(largest):
        raise Undecided("a feature is not finite; choose other assess.features")
    if not 0 < grid < math.inf:
        grid = 0.0
    mean = total / max(1, sum(map(len, sets)))
    centre = (mean / grid).round() * grid if grid else mean
    reach = 2 * largest * math.sqrt(width)  # no centred vector is longer
    scale = 2.0 ** -math.ceil(math.log2(reach)) if reach else 1.0
    space = Space(centre.to(sets[0].read(slice(0, 1)).dtype), scale, 0.0, grid * scale)
    squares, dropped = [], 0.0
    for features in sets:
        own = torch.empty(len(features), dtype=torch.float64, device=features.device)
        for place in features.places(max(1, size // 8)):  # that stay in a cache in float64
            x = features.read(place)
            exact = space.centred(x, torch.float64)  # [B, D]
            own[place] = torch.linalg.vecdot(exact, exact)
            rounded = space.centred(x, torch.float32).to(torch.bfloat16)
            lost = torch.linalg.vector_norm(exact.sub_(rounded), dim=1)
            lost /= own[place].sqrt().clamp(min=2.0**-500)
            dropped = max(dropped, float(lost.amax()))
        squares.append(own)
    space = Space(space.centre, scale, dropped * (1 + 2.0**-20), space.grid)
    return tuple(Side(features, space, own) for features, own in zip(sets, squares, strict=True))


def lower_bounds(rows: Block, columns: Block) -> Tensor:
    """What each squared distance is at least, [rows, columns]; below 0 where little is known."""
    if rows.factor.dtype == torch.bfloat16 and rows.factor.device.type == "cuda":
        product = torch.mm(rows.factor, columns.factor.T, out_dtype=torch.float32)
    else:
        product = torch.mm(rows.factor, columns.factor.T)
    bounds = torch.add(columns.squares, product, alpha=-2)
    if product.dtype == torch.bfloat16:  # which the product was rounded to
        bounds.sub_(product.abs_(), alpha=2 * UNIT[torch.bfloat16])
    return bounds.add_(rows.squares[:, None])


def pair_bounds(
    one: Side, other: Side, rows: Block, columns: Block, i: Tensor, j: Tensor
) -> tuple[Tensor, Tensor]:
    """Bounds of squared distances of pairs of two blocks by sums in float32, float64 [P] each.

    Args:
        one: The side of the first images.
        other: That of the second ones.
        rows: A block of the first.
        columns: A block of the second.
        i: Rows of the first block, [P].
        j: Rows of the second one, [P]; no pair comes twice.
    """
    order = (i * len(columns.centred) + j).argsort()
    ends = torch.bincount(i, minlength=len(rows.centred)).cumsum(0)
    with warnings.catch_warnings(action="ignore"):  # that tensors of this kind are new
        pairs = torch.sparse_csr_tensor(
            torch.cat([ends.new_zeros(1), ends]),
            j[order],
            rows.centred.new_zeros(len(i)),
            (len(rows.centred), len(columns.centred)),
            check_invariants=False,
        )
    product = torch.sparse.sampled_addmm(pairs, rows.centred, columns.centred.T, beta=0.0)
    doubled = torch.empty(len(i), dtype=torch.float64)
    doubled[order] = 2 * product.values().double()
    both = one.squares[rows.place][i] + other.squares[columns.place][j]
    margin = one.space.error(torch.float32) * both
    return both - doubled - margin, both - doubled + margin


def sums_of(precision: torch.dtype) -> torch.dtype:
    """The precision in which products of this one are summed."""
    return torch.float64 if precision == torch.float64 else torch.float32


def upper_bounds(
    lower: Tensor, first: Tensor, second: Tensor, space: Space, precision: torch.dtype
) -> Tensor:
    """What squared distances are at most, float64 [P].

    Args:
        lower: What they are at least, [P].
        first: Squared norms of the first image of each pair, [P].
        second: Those of the second one, [P].
        space: What they are compared in.
        precision: Of the product.
    """
    error, lower, both = space.error(precision), lower.double(), first + second
    upper = lower + 2 * error * both
    if precision == torch.bfloat16:  # twice what `lower_bounds` took off, which is largest here
        unit = UNIT[torch.bfloat16]
        upper += 2 * unit / (1 - unit) * (lower - (1 - error) * both).abs()
    return upper


def squared_gaps(x: Tensor, y: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """|x_i - y_j|^2 of pairs of rows of x [N, D] and y [M, D], float64 [P]."""
    found = torch.empty(len(rows), dtype=torch.float64, device=x.device)
    size = PAIRS.get(x.device.type, PAIRS["cpu"])
    for start in range(0, len(rows), size):
        pairs = slice(start, start + size)
        gap = x[rows[pairs]].double().sub_(y[columns[pairs]])  # [B, D]
        found[pairs] = torch.linalg.vecdot(gap, gap)
    return found


def is_closer(x: NDArray, a: NDArray, b: NDArray) -> bool:  # type: ignore[type-arg]
    """Whether x is closer to a than to b, all [D], without rounding."""
    differ = np.flatnonzero(a != b)
    columns = (map(Fraction, values[differ].tolist()) for values in (x, a, b))
    # |x - a|^2 - |x - b|^2 = (b - a).(2x - a - b)
    return bool(sum((v - u) * (2 * z - u - v) for z, u, v in zip(*columns, strict=True)) < 0)


def _multiplies_bfloat16(device: str) -> bool:
    """Whether products of bfloat16 are fast there, and summed in float32."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    can = torch.cpu.get_capabilities()
    return device == "cpu" and bool(can.get("avx512_bf16") or can.get("amx_bf16"))


def _grid(x: Tensor) -> float:
    """The largest power of two that all numbers are multiples of; infinite for zeros alone."""
    mantissa, exponent = torch.frexp(x.double())
    whole = (mantissa * 2.0**53).long()
    lowest = torch.ldexp((whole & -whole).double(), exponent - 53)
    return float(torch.where(whole == 0, math.inf, lowest).amin())
