"""The trainings behind an estimate: on which share of the images, planned before any is made."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHARES = (0.25, 0.5, 1.0)
"""Shares of the images of a rare unit, geometric: a learning curve is steep where they are few."""


@dataclass(frozen=True)
class Subsample:
    """What one training sees, and its seed.

    Attributes:
        real: Share of the real images of each rare unit; of other units all are there.
        synthetic: Share of the synthetic images of each class; 0 is none.
        seed: Decides which images those are, and weights, batches and augmentation.
    """

    real: float
    synthetic: float
    seed: int

    @property
    def name(self) -> str:
        """What it is called while it runs."""
        return f"{self.real:g} real, {self.synthetic:g} synthetic, seed {self.seed}"


def planned(seed: int, num_seeds: int) -> tuple[Subsample, ...]:
    """All trainings of an estimate.

    Half of them measure recall over the real images, half over the synthetic ones, those of one
    seed side by side, so that a plan that is stopped early has whole curves.

    Args:
        seed: Of the run.
        num_seeds: Trainings for each share.
    """
    found = []
    for number in range(num_seeds):
        own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        found += [Subsample(share, 0.0, own) for share in SHARES]
        found += [Subsample(1.0, share, own) for share in SHARES]
    return tuple(found)


def kept_rows(
    unit_of_row: NDArray[np.int64], thinned: Sequence[int], share: float, seed: int
) -> NDArray[np.int64]:
    """Rows that a training sees: of the units to be thinned out a share, at least one image.

    A smaller share of the same seed sees some of the images of a larger one and no others.

    Args:
        unit_of_row: [N].
        thinned: Units of which some images are left out.
        share: In (0, 1]; 1 leaves none out.
        seed: Decides which.

    Returns:
        In their order.
    """
    kept = np.ones(len(unit_of_row), dtype=bool)
    for unit in thinned:
        rows = np.flatnonzero(unit_of_row == unit)
        shuffled = np.random.default_rng([seed, unit]).permutation(rows)
        kept[shuffled[num_kept(len(rows), share) :]] = False
    return np.flatnonzero(kept)


def num_kept(count: int, share: float) -> int:
    """How many of some images a share of them is: rounded, but one at least if there are any."""
    return min(count, max(1, round(count * share)))
