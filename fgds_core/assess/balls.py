"""Balls around images that reach to their k-th neighbour, and who lies in them.

Balls are open: what lies exactly at their radius is outside. That is decided without rounding,
so an image of the other set that repeats the k-th neighbour, or is as far by chance, is outside
on every device.

N real images, M synthetic images, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fgds_core.assess.closest import nearest_within, pairs_where, same
from fgds_core.assess.distances import (
    MAX_FRACTIONS,
    Block,
    Side,
    Undecided,
    is_closer,
    lower_bounds,
    pair_bounds,
    sides,
    squared_gaps,
    upper_bounds,
)
from fgds_core.assess.vectors import Features

MAX_OPEN = 1 / 64  # share of a block's pairs that bounds may leave open
MAX_TIES = 64  # distances an image that float64 cannot tell from a radius
MAX_EMPTY = 0.1  # share of real balls without a radius


@dataclass(frozen=True, eq=False)
class Balls:
    """The balls of a set.

    Attributes:
        side: The images that they are around, [N].
        squared: Their squared radii, float64 [N].
        reached: The image of the set that lies on each one's surface, [N].
    """

    side: Side
    squared: Tensor
    reached: Tensor

    @classmethod
    def around(cls, side: Side, k: int) -> Balls:
        """Those that reach to the k-th neighbour."""
        return cls(side, *nearest_within(side, k))

    @property
    def outside(self) -> Tensor:
        """What a squared distance is at least that is surely outside, [N]."""
        return self.squared * (1 + self.side.space.doubt)

    @property
    def inside(self) -> Tensor:
        """What a squared distance is below that is surely inside, [N]."""
        return self.squared * (1 - self.side.space.doubt)

    def hold(self, balls: Tensor, others: Side, images: Tensor) -> Tensor:
        """Whether balls hold images of another set, without rounding.

        Args:
            balls: Which balls, [P].
            others: The other set.
            images: Which of its images, [P].

        Raises:
            Undecided: If there are too many to ask one after the other.
        """
        own = self.side.features
        reached = self.reached[balls]
        held = torch.zeros(len(balls), dtype=torch.bool, device=balls.device)
        differ = ~same(others.features, images, own, reached)
        asked = differ.nonzero()[:, 0]
        if len(asked) > MAX_FRACTIONS:
            raise Undecided(f"{len(asked)} distances equal a neighbour's to rounding")
        for pair in asked.tolist():
            x, b = own.array(torch.stack([balls[pair], reached[pair]]).cpu().numpy())
            a = others.features.array(images[pair : pair + 1].cpu().numpy())[0]
            held[pair] = is_closer(x, a, b)
        return held


@dataclass(frozen=True, eq=False)
class Membership:
    """Who lies in whose balls.

    Attributes:
        around: Real balls around each synthetic image, [M].
        covered: Whether each real ball holds a synthetic image, [N].
        recalled: Whether each real image lies in a synthetic ball, [N].
    """

    around: Tensor
    covered: Tensor
    recalled: Tensor


@dataclass(frozen=True, eq=False)
class _Near:
    """Pairs of a real and a synthetic image that may lie in each other's balls, [P] each.

    Attributes:
        real: Places of the real images.
        synthetic: Places of the synthetic ones.
        lower: What their squared distances are at least.
        upper: What they are at most.
    """

    real: Tensor
    synthetic: Tensor
    lower: Tensor
    upper: Tensor

    def inside(self, balls: Balls, centres: Tensor) -> tuple[Tensor, Tensor]:
        """Which pairs are surely inside the balls around one of the two, and which may be, [P]."""
        sure = self.upper < balls.inside[centres]
        return sure, (self.lower < balls.outside[centres]) & ~sure


def membership(real: Features, synthetic: Features, k: int) -> Membership:
    """Who lies in whose balls, of real and synthetic images.

    Args:
        real: Features, [N, D].
        synthetic: Features, [M, D].
        k: The neighbour that a ball reaches to, in its own set; both have more images than that.

    Raises:
        Undecided: If no number can be given, and why.
    """
    one, other = sides(real, synthetic)
    balls, others = Balls.around(one, k), Balls.around(other, k)
    empty = int((balls.squared == 0).sum())
    if empty > MAX_EMPTY * len(one):
        raise Undecided(
            f"{empty} of {len(one)} real images are there more than {k} times (assess.nearest_k),"
            " so nothing is nearer to them than their neighbours; drop repeated images, or choose"
            " features that tell them apart"
        )
    device = one.squares.device
    found = Membership(
        torch.zeros(len(other), dtype=torch.int64, device=device),
        torch.zeros(len(one), dtype=torch.bool, device=device),
        torch.zeros(len(one), dtype=torch.bool, device=device),
    )
    ties = [
        _count(balls, others, _measured(balls, rows, columns, near, others, found.recalled), found)
        for rows, columns, near in _near_pairs(balls, others)
    ]
    real_ties, synthetic_ties = (
        tuple(torch.cat(places) for places in zip(*pairs, strict=True))
        for pairs in zip(*ties, strict=True)
    )
    i, j = real_ties
    held = balls.hold(i, other, j)
    found.around.index_add_(0, j[held], torch.ones_like(j[held]))
    found.covered[i[held]] = True
    i, j = synthetic_ties
    i, j = i[~found.recalled[i]], j[~found.recalled[i]]
    found.recalled[i[others.hold(j, one, i)]] = True
    return found


def _near_pairs(balls: Balls, others: Balls) -> Iterator[tuple[Block, Block, _Near]]:
    """The pairs that may lie in a ball, a block at a time.

    A block of which bounds leave too much open is bounded again with a product of more digits,
    and so are all that follow.
    """
    one, other = balls.side, others.side
    size = one.features.block[0]
    precisions = list(one.precisions)
    for place in one.features.places(size):
        rows = one.block(place, precisions[0])
        for at in other.features.places(size):
            columns = other.block(at, precisions[0])
            near = _bounded(balls, others, rows, columns, precisions[0])
            while len(precisions) > 1 and _is_too_open(balls, others, near, rows, columns):
                precisions.pop(0)
                rows, columns = one.block(place, precisions[0]), other.block(at, precisions[0])
                near = _bounded(balls, others, rows, columns, precisions[0])
            if precisions[0] == torch.bfloat16 and rows.centred.device.type == "cpu":
                near = _bounded_again(balls, others, rows, columns, near)
            yield rows, columns, near


def _bounded(
    balls: Balls, others: Balls, rows: Block, columns: Block, precision: torch.dtype
) -> _Near:
    bounds = lower_bounds(rows, columns)  # [rows, columns]
    near = bounds < _at_least(balls.outside[rows.place], bounds)[:, None]
    near |= bounds < _at_least(others.outside[columns.place], bounds)[None]
    i, j = pairs_where(near)
    lower = bounds[i, j]
    i, j = i + rows.place.start, j + columns.place.start
    own, other = balls.side.squares[i], others.side.squares[j]
    upper = upper_bounds(lower, own, other, balls.side.space, precision)
    return _Near(i, j, lower.double().clamp(min=0), upper)


def _bounded_again(balls: Balls, others: Balls, rows: Block, columns: Block, near: _Near) -> _Near:
    """The pairs with closer bounds of those that are open."""
    _, real = near.inside(balls, near.real)
    _, synthetic = near.inside(others, near.synthetic)
    asked = real | synthetic
    i, j = near.real[asked] - rows.place.start, near.synthetic[asked] - columns.place.start
    bounds = pair_bounds(balls.side, others.side, rows, columns, i, j)
    lower, upper = near.lower.clone(), near.upper.clone()
    lower[asked], upper[asked] = bounds[0].clamp(min=0), bounds[1]
    return _Near(near.real, near.synthetic, lower, upper)


def _at_least(limits: Tensor, like: Tensor) -> Tensor:
    """Float64 numbers in the precision of others, rounded up."""
    rounded = limits.to(like.dtype)
    return torch.where(rounded < limits, rounded.nextafter(rounded.new_tensor(torch.inf)), rounded)


def _is_too_open(balls: Balls, others: Balls, near: _Near, rows: Block, columns: Block) -> bool:
    _, real = near.inside(balls, near.real)
    _, synthetic = near.inside(others, near.synthetic)
    return int((real | synthetic).sum()) > MAX_OPEN * len(rows.squares) * len(columns.squares)


def _measured(
    balls: Balls, rows: Block, columns: Block, near: _Near, others: Balls, recalled: Tensor
) -> _Near:
    """The pairs with what the bounds leave open computed from differences."""
    space = balls.side.space
    _, real = near.inside(balls, near.real)
    sure, synthetic = near.inside(others, near.synthetic)
    known = recalled.clone()
    known[near.real[sure]] = True
    asked = real | (synthetic & ~known[near.real])
    i, j = near.real[asked] - rows.place.start, near.synthetic[asked] - columns.place.start
    squared = squared_gaps(rows.stored, columns.stored, i, j) * space.scale**2
    lower, upper = near.lower.clone(), near.upper.clone()
    lower[asked], upper[asked] = squared * (1 - space.doubt), squared * (1 + space.doubt)
    return _Near(near.real, near.synthetic, lower, upper)


def _count(
    balls: Balls, others: Balls, near: _Near, found: Membership
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Counts the pairs that are inside; answers those that differences do not tell.

    Returns:
        Real and synthetic images of which the second may lie in the ball of the first, and of
        which the first may lie in the ball of the second.
    """
    sure, real = near.inside(balls, near.real)
    found.around.index_add_(0, near.synthetic[sure], torch.ones_like(near.synthetic[sure]))
    found.covered[near.real[sure]] = True
    sure, synthetic = near.inside(others, near.synthetic)
    found.recalled[near.real[sure]] = True
    synthetic &= ~found.recalled[near.real]
    most = MAX_TIES * max(len(balls.squared), len(others.squared))
    if max(int(real.sum()), int(synthetic.sum())) > most:
        raise Undecided("nearly all distances are equal to rounding")
    return (near.real[real], near.synthetic[real]), (
        near.real[synthetic],
        near.synthetic[synthetic],
    )
