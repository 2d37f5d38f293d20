"""The nearest images of each image, by Euclidean distance between features.

For each image some more candidates are kept than are wanted, those of the smallest lower bounds.
A distance that no bound decides is computed from differences, and an image whose candidates may
have missed a neighbour is asked for again with a product of more digits.

N, M images, D features, k neighbours, L candidates, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fgds_core.assess.distances import (
    MAX_FRACTIONS,
    Side,
    Undecided,
    is_closer,
    lower_bounds,
    sides,
    sums_of,
    upper_bounds,
)
from fgds_core.assess.vectors import Array, Features


@dataclass(frozen=True, eq=False)
class Candidates:
    """The references of the smallest lower bounds so far, for each query.

    Attributes:
        lower: Their lower bounds, in no order, [N, L]; infinite for none.
        index: Which references they are, [N, L].
    """

    lower: Tensor
    index: Tensor

    @classmethod
    def none(cls, queries: Side, count: int, precision: torch.dtype) -> Candidates:
        """No candidates yet."""
        shape, device = (len(queries), count), queries.squares.device
        return cls(
            torch.full(shape, torch.inf, dtype=sums_of(precision), device=device),
            torch.zeros(shape, dtype=torch.int64, device=device),
        )

    @property
    def worst(self) -> Tensor:
        """What the lower bound of another candidate has to be below, [N]."""
        return self.lower.amax(dim=1)

    def add_block(self, rows: slice, columns: slice, bounds: Tensor) -> None:
        """Takes in what may be near, of all references of a block.

        Args:
            rows: The queries.
            columns: The references.
            bounds: Lower bounds of their squared distances, [rows, columns].
        """
        count = min(self.lower.shape[1], bounds.shape[1])
        lower, index = bounds.topk(count, dim=1, largest=False, sorted=False)
        self._merge(slice(rows.start, rows.stop), lower, index + columns.start)

    def add_pairs(self, rows: Tensor, columns: Tensor, bounds: Tensor) -> None:
        """Takes in pairs, in the order of their queries: query, reference, lower bound, [P]."""
        if not len(rows):
            return
        queries, counts = torch.unique_consecutive(rows, return_counts=True)  # [Q]
        starts = counts.cumsum(0) - counts
        place = torch.arange(len(rows), device=rows.device) - starts.repeat_interleave(counts)
        which = torch.arange(len(queries), device=rows.device).repeat_interleave(counts)
        shape = len(queries), int(counts.amax())
        lower = torch.full(shape, torch.inf, dtype=bounds.dtype, device=bounds.device)
        index = torch.zeros(shape, dtype=torch.int64, device=bounds.device)
        lower[which, place], index[which, place] = bounds, columns
        self._merge(queries, lower, index)

    def _merge(self, rows: slice | Tensor, lower: Tensor, index: Tensor) -> None:
        lower = torch.cat([self.lower[rows], lower], dim=1)
        index = torch.cat([self.index[rows], index], dim=1)
        lower, kept = lower.topk(self.lower.shape[1], dim=1, largest=False, sorted=False)
        self.lower[rows], self.index[rows] = lower, index.gather(1, kept)


def pairs_where(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of what is true in mask [N, M], in the order of rows, [P] each."""
    flat = mask.view(-1)
    if mask.device.type == "cpu":  # where NumPy takes a third of the time
        where = torch.from_numpy(np.flatnonzero(flat.numpy()))
    else:
        where = flat.nonzero()[:, 0]
    return where // mask.shape[1], where % mask.shape[1]


def nearest(
    queries: Features | Array, references: Features | Array, k: int
) -> tuple[Array, NDArray[np.int64]]:
    """The k nearest references of each query by Euclidean distance.

    Args:
        queries: Features, [N, D].
        references: Features, [M, D].
        k: Neighbours wanted; at most M are answered.

    Returns:
        Distances, increasing, [N, k], and indices into the references, [N, k]; NaN where a
        feature of any image is not finite.
    """
    queries, references = Features.of(queries), Features.of(references)
    k = min(k, len(references))
    try:
        one, other = sides(queries, references)
    except Undecided:
        return np.full((len(queries), k), np.nan), np.zeros((len(queries), k), dtype=np.int64)
    squared, index = _nearest(one, other, k)
    distances = squared[:, :k].sqrt() / one.space.scale
    return distances.cpu().numpy(), index[:, :k].cpu().numpy()


def nearest_within(side: Side, k: int) -> tuple[Tensor, Tensor]:
    """Squared distance of each image to its k-th neighbour in its own set, and which that is.

    Args:
        side: The set, more than k images.
        k: Which neighbour, 1 or more; an image is none of its own.

    Returns:
        Squared distances, float64 [N], and places, [N].

    Raises:
        Undecided: If too many neighbours are at equal distances.
    """
    squared, index = _nearest(side, None, k)
    doubt = side.space.doubt
    limit = squared[:, k - 1]
    if doubt:
        tied = (squared - limit[:, None]).abs() <= 2 * doubt * limit[:, None]
        index = _settled(side, index, tied, k)
    return limit, index[:, k - 1]


def _nearest(queries: Side, references: Side | None, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest of each query and what is as near as the last one, by float64.

    Args:
        queries: The queries.
        references: Among which; None is all others of the queries.
        k: Neighbours wanted.

    Returns:
        Squared distances, increasing, [N, at least k], infinite for none; and places. Among
        others of the queries, those surely nearer than the k-th are -1.
    """
    others = len(queries) - 1 if references is None else len(references)
    count = min(others, k + 24 + min(2 * k, 256))
    among = queries if references is None else references
    precisions = queries.precisions
    device = queries.squares.device
    squared = torch.full((len(queries), count), torch.inf, dtype=torch.float64, device=device)
    index = torch.zeros((len(queries), count), dtype=torch.int64, device=device)
    asked = torch.arange(len(queries), device=device)  # places of those still to be answered
    for precision in precisions:
        if not len(asked):
            break
        some = queries.take(asked.cpu().numpy()) if len(asked) < len(queries) else queries
        if references is None and len(some) == len(queries):
            found = _candidates_within(some, count, precision)
        else:
            own = asked if references is None else None
            found = _candidates(some, among, own, count, precision)
        squared[asked], index[asked] = _measured(
            some, among, found, k, precision, only_last=references is None
        )
        is_sure = squared[asked, k - 1] * (1 + among.space.doubt) <= found.worst.clamp(min=0)
        if count == others or precision == precisions[-1]:
            break
        asked = asked[~is_sure]
    return squared, index


def _candidates_within(side: Side, count: int, precision: torch.dtype) -> Candidates:
    """Those of each image in its own set, from half of all pairs."""
    found = Candidates.none(side, count, precision)
    for rows in side.blocks(precision):
        bounds = lower_bounds(rows, rows).fill_diagonal_(torch.inf)
        found.add_block(rows.place, rows.place, bounds)
    for rows in side.blocks(precision):
        for columns in side.blocks(precision, rows.place.stop):
            bounds = lower_bounds(rows, columns)  # [rows, columns]
            worst = found.worst
            i, j = pairs_where(bounds < worst[rows.place][:, None])
            its = bounds[i, j]
            i2, j2 = pairs_where(bounds < worst[columns.place][None])
            order = j2.argsort(stable=True)
            i2, j2 = i2[order], j2[order]
            found.add_pairs(i + rows.place.start, j + columns.place.start, its)
            found.add_pairs(j2 + columns.place.start, i2 + rows.place.start, bounds[i2, j2])
    return found


def _candidates(
    queries: Side, references: Side, own: Tensor | None, count: int, precision: torch.dtype
) -> Candidates:
    """Those of each query in another set; `own` are places of queries that are not looked for."""
    found = Candidates.none(queries, count, precision)
    for rows in queries.blocks(precision):
        for columns in references.blocks(precision):
            bounds = lower_bounds(rows, columns)
            if own is not None:
                here = own[rows.place] - columns.place.start
                inside = (here >= 0) & (here < len(columns.squares))
                bounds[inside.nonzero()[:, 0], here[inside]] = torch.inf
            if columns.place.start == 0:
                found.add_block(rows.place, columns.place, bounds)
                continue
            i, j = pairs_where(bounds < found.worst[rows.place][:, None])
            found.add_pairs(i + rows.place.start, j + columns.place.start, bounds[i, j])
    return found


def _measured(
    queries: Side,
    references: Side,
    found: Candidates,
    k: int,
    precision: torch.dtype,
    *,
    only_last: bool,
) -> tuple[Tensor, Tensor]:
    """Squared distances of what may be among the k nearest, increasing, and places, [N, L].

    With `only_last` those that are surely nearer than the k-th neighbour are -1.
    """
    rows = torch.arange(len(queries), device=found.index.device)[:, None].expand_as(found.index)
    upper = upper_bounds(
        found.lower.flatten(),
        queries.squares[rows.flatten()],
        references.squares[found.index.flatten()],
        queries.space,
        precision,
    ).view_as(found.lower)
    lower = found.lower.double()
    i, j = pairs_where(lower <= upper.kthvalue(k, dim=1).values[:, None])
    if precision == torch.bfloat16 and queries.squares.device.type == "cpu":
        lower, upper = torch.full_like(upper, torch.inf), torch.full_like(upper, torch.inf)
        lower[i, j], upper[i, j] = queries.bounds(references, i, found.index[i, j])
    near = lower <= upper.kthvalue(k, dim=1).values[:, None]  # [N, L]
    squared = torch.full_like(upper, torch.inf)
    if only_last:
        surely = upper < lower.kthvalue(k, dim=1).values[:, None]
        squared[surely] = -1.0
        near &= ~surely
    i, j = pairs_where(near)
    squared[i, j] = queries.squared(references, i, found.index[i, j])
    # Of equal ones the first
    index, order = found.index.sort(dim=1)
    squared, again = squared.gather(1, order).sort(dim=1, stable=True)
    return squared, index.gather(1, again)


def _settled(side: Side, index: Tensor, tied: Tensor, k: int) -> Tensor:
    """Puts the k-th neighbour in its place where float64 does not tell who that is.

    Args:
        side: The set.
        index: Neighbours by float64, [N, L].
        tied: Which of them are as near as the k-th, to rounding, [N, L].
        k: Which neighbour.
    """
    i, j = pairs_where(tied & (tied.sum(dim=1, keepdim=True) > 1))
    own, other = index[i, k - 1], index[i, j]
    is_other = ~same(side.features, own, side.features, other)
    rows = torch.unique(i[is_other])
    if len(rows) > MAX_FRACTIONS:
        raise Undecided(
            f"{len(rows)} images have several neighbours at the same distance, to rounding"
        )
    index = index.clone()
    for row in rows.tolist():
        places = tied[row].nonzero()[:, 0]
        among = index[row, places].tolist()
        index[row, places] = torch.tensor(_ordered(side.features, row, among)).to(index)
    return index


def _ordered(features: Features, row: int, among: list[int]) -> list[int]:
    """Some images in the order of their distances to another one, without rounding."""
    x = features.array(np.array([row]))[0]  # [D]
    ordered: list[int] = []
    for one in among:
        its = features.array(np.array([one]))[0]
        place = len(ordered)
        while place and is_closer(x, its, features.array(np.array([ordered[place - 1]]))[0]):
            place -= 1
        ordered.insert(place, one)
    return ordered


def same(one: Features, rows: Tensor, other: Features, columns: Tensor) -> Tensor:
    """Whether the images of pairs have the same features, [P].

    Args:
        one: Features of the first images.
        rows: Which ones, [P].
        other: Features of the second images.
        columns: Which ones, [P].
    """
    found = np.empty(len(rows), dtype=bool)
    first, second = rows.cpu().numpy(), columns.cpu().numpy()
    for start in range(0, len(found), one.block[0]):
        pairs = slice(start, start + one.block[0])
        x, y = one.array(first[pairs]), other.array(second[pairs])
        found[pairs] = (x == y).all(axis=1)
    return torch.from_numpy(found).to(rows.device)
