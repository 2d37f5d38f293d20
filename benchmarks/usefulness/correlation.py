"""Rank correlations of what can be known of a thing before with what it then is worth.

There are few arms with some sets each, which differ in a seed alone. Sets of one arm are alike, so
intervals resample arms, and p values permute them: a number that tells arms apart is what is
looked for, and ten seeds of an arm are no ten arms.

S sets, A arms, P numbers (predictors), G outcomes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

RESAMPLES = 1000
PERMUTATIONS = 9999
FEWEST = 4
"""Arms that a correlation needs."""


@dataclass(frozen=True, eq=False)
class Points:
    """The sets, and what is known of each.

    Attributes:
        predictors: Numbers of each set, [S, P]; NaN where there is none.
        outcomes: What each was worth, [S, G].
        arm: Number of each set's arm, [S].
        stratum: Number of each set's data, within which ranks are taken, [S]; of an arm's sets the
            same.
    """

    predictors: Floats
    outcomes: Floats
    arm: Labels
    stratum: Labels

    def take(self, rows: Labels) -> Points:
        """Some of the sets; one may come more than once."""
        return Points(
            self.predictors[rows], self.outcomes[rows], self.arm[rows], self.stratum[rows]
        )

    def arms(self) -> Points:
        """The means of each arm, a row each, [A, _]."""
        arms, first, place = np.unique(self.arm, return_index=True, return_inverse=True)
        counts = np.bincount(place)[:, None]  # [A, 1]

        def mean(values: Floats) -> Floats:
            sums = np.zeros((len(arms), values.shape[1]))
            np.add.at(sums, place, values)  # a number that one set lacks, its arm lacks
            return sums / counts

        return Points(mean(self.predictors), mean(self.outcomes), arms, self.stratum[first])


def spearman(points: Points) -> Floats:
    """Rank correlation of every predictor with every outcome, [P, G].

    Ranks are taken within each stratum, centred and scaled to its number of sets, and correlated
    over all of them: with one stratum it is Spearman's. NaN where a predictor or an outcome does
    not vary.
    """
    num_predictors, num_outcomes = points.predictors.shape[1], points.outcomes.shape[1]
    found = np.full((num_predictors, num_outcomes), np.nan)
    known = ~np.isnan(points.predictors)  # [S, P]
    patterns, pattern = np.unique(known, axis=1, return_inverse=True)
    for number, rows in enumerate(patterns.T):
        columns = np.flatnonzero(pattern == number)
        if rows.sum() > 1:
            x = _ranked(points.predictors[rows][:, columns], points.stratum[rows])
            y = _ranked(points.outcomes[rows], points.stratum[rows])
            found[columns] = _cosines(x, y)
    return found


def _ranked(values: Floats, stratum: Labels) -> Floats:
    """Ranks within each stratum, in -1/2 to 1/2 about 0, [S, _]."""
    ranks = np.empty(values.shape)
    for each in np.unique(stratum):
        rows = stratum == each
        ranks[rows] = (rankdata(values[rows], axis=0) - (rows.sum() + 1) / 2) / rows.sum()
    return ranks


def _cosines(x: Floats, y: Floats) -> Floats:
    """Cosines between the columns of x, [S, P], and of y, [S, G]: [P, G]."""
    lengths = np.sqrt(np.outer((x**2).sum(axis=0), (y**2).sum(axis=0)))
    products = x.T @ y
    return np.divide(products, lengths, out=np.full_like(products, np.nan), where=lengths > 1e-12)


def bootstrap(points: Points, rng: np.random.Generator, samples: int = RESAMPLES) -> Floats:
    """95 % percentile intervals of `spearman`, [2, P, G], of arms drawn with replacement.

    Each stratum keeps its number of arms, and an arm comes with all its sets.

    Source: Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapters 8 and 13
    """
    sets_of = [
        [
            np.flatnonzero(points.arm == arm)
            for arm in np.unique(points.arm[points.stratum == each])
        ]
        for each in np.unique(points.stratum)
    ]
    drawn = []
    for _ in range(samples):
        chosen = [
            arms[place] for arms in sets_of for place in rng.integers(len(arms), size=len(arms))
        ]
        drawn.append(spearman(points.take(np.concatenate(chosen))))
    return _percentiles(np.array(drawn))


def _percentiles(drawn: Floats) -> Floats:
    """The middle 95 % along the first axis; NaN where nothing could be correlated."""
    found = np.full((2, *drawn.shape[1:]), np.nan)
    for place in np.ndindex(drawn.shape[1:]):
        values = drawn[(slice(None), *place)]
        if (values := values[~np.isnan(values)]).size:
            found[(slice(None), *place)] = np.percentile(values, [2.5, 97.5])
    return found


def permuted(points: Points, rng: np.random.Generator, samples: int = PERMUTATIONS) -> Floats:
    """Two-sided p values of the correlation of the arms' means, [P, G].

    The outcomes of the arms are permuted within each stratum.
    """
    arms = points.arms()
    found = np.abs(spearman(arms))  # [P, G]
    reached = np.zeros(found.shape)
    members = [np.flatnonzero(arms.stratum == each) for each in np.unique(arms.stratum)]
    for _ in range(samples):
        order = np.arange(len(arms.arm))
        for rows in members:
            order[rows] = rng.permutation(rows)
        other = Points(arms.predictors, arms.outcomes[order], arms.arm, arms.stratum)
        reached += np.abs(spearman(other)) >= found - 1e-12
    p: Floats = np.where(np.isnan(found), np.nan, (reached + 1) / (samples + 1))
    return p


def holm(p: Floats) -> Floats:
    """P values corrected for how many there are, of any shape; those that are NaN do not count.

    Source: Holm (1979), https://www.jstor.org/stable/4615733
    """
    found = np.full(p.size, np.nan)
    known = np.flatnonzero(~np.isnan(p.ravel()))
    order = known[np.argsort(p.ravel()[known], kind="stable")]
    steps = np.arange(len(order), 0, -1)
    found[order] = np.minimum(1, np.maximum.accumulate(steps * p.ravel()[order]))
    return found.reshape(p.shape)


@dataclass(frozen=True)
class LeftOut:
    """How well an arm is told from the others by a number that was chosen without it.

    Attributes:
        right: Share of pairs in which the arm with the better number is worth more.
        lost: Mean of what the worse arm is worth less, where it was taken, over all pairs.
        coin: The same of a coin in place of the number.
        chosen: How often each predictor was chosen, [P].
    """

    right: float
    lost: float
    coin: float
    chosen: tuple[int, ...]


def leave_one_arm_out(points: Points, outcome: int) -> LeftOut | None:
    """Chooses the best number without an arm, and tells that arm from each other one by it.

    Args:
        points: Sets of one stratum.
        outcome: Number of the outcome.

    Returns:
        What came of it; None with fewer than `FEWEST` arms and one more.
    """
    arms = points.arms()
    worth, num_arms = arms.outcomes[:, outcome], len(arms.arm)  # [A]
    if num_arms <= FEWEST:
        return None
    usable = ~np.isnan(arms.predictors).any(axis=0)  # [P]
    chosen, right, lost, coin = np.zeros(len(usable), dtype=np.int64), [], [], []
    for left in range(num_arms):
        others = np.delete(np.arange(num_arms), left)
        rho = np.where(usable, spearman(arms.take(others))[:, outcome], np.nan)
        if np.isnan(rho).all():
            continue
        best = int(np.nanargmax(np.abs(rho)))
        chosen[best] += 1
        number = np.sign(rho[best]) * arms.predictors[:, best]  # [A]
        gaps = worth[left] - worth[others]  # [A - 1]
        says = np.sign(number[left] - number[others])
        right += np.where(says == 0, 0.5, says == np.sign(gaps)).tolist()
        lost += (np.abs(gaps) * (1 - says * np.sign(gaps)) / 2).tolist()
        coin += (np.abs(gaps) / 2).tolist()
    if not right:
        return None
    return LeftOut(*(float(np.mean(each)) for each in (right, lost, coin)), tuple(chosen.tolist()))


def picked(predictor: Floats, direction: float, worth: Floats) -> tuple[int, float] | None:
    """The arm with the best number, and what it is worth less than the best arm.

    Args:
        predictor: Of each arm, [A]; NaN where there is none.
        direction: Above 0 if more is better, below 0 if less is.
        worth: Of each arm, [A].
    """
    values = direction * predictor
    if np.isnan(values).all() or direction == 0 or np.isnan(direction):
        return None
    arm = int(np.nanargmax(values))
    return arm, float(worth.max() - worth[arm])
