"""Rank correlations of what can be known of a thing before with what it then is worth.

There are few arms with some sets each, which differ in a seed alone. Sets of one arm are alike, so
intervals resample arms, and p values permute them: a number that tells arms apart is what is
looked for, and ten seeds of an arm are no ten arms.

S sets, A arms, P numbers (predictors), G outcomes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
        stratum: Number of each set's data, [S]; of an arm's sets the same.
        block: Number of each set's data and seed, within which ranks are taken, [S]: the control's
            luck with a seed is in all gains of that seed.
    """

    predictors: Floats
    outcomes: Floats
    arm: Labels
    stratum: Labels
    block: Labels

    def take(self, rows: Labels) -> Points:
        """Some of the sets; one may come more than once."""
        return Points(*(values[rows] for values in vars(self).values()))

    def arms(self) -> Points:
        """The means of each arm, a row each, [A, _]; ranks are taken within a stratum."""
        arms, first, place = np.unique(self.arm, return_index=True, return_inverse=True)
        stratum = self.stratum[first]
        # A number that one set lacks, its arm lacks
        means = (_means(values, place) for values in (self.predictors, self.outcomes))
        return Points(*means, arms, stratum, stratum)


def spearman(points: Points) -> Floats:
    """Rank correlation of every predictor with every outcome, [P, G].

    Ranks are taken within each block, centred and scaled to its number of sets, and correlated
    over all of them: with one block it is Spearman's. NaN where a predictor or an outcome does not
    vary.
    """
    num_predictors, num_outcomes = points.predictors.shape[1], points.outcomes.shape[1]
    found = np.full((num_predictors, num_outcomes), np.nan)
    known = ~np.isnan(points.predictors)  # [S, P]
    patterns, pattern = np.unique(known, axis=1, return_inverse=True)
    for number, rows in enumerate(patterns.T):
        columns = np.flatnonzero(pattern == number)
        if rows.sum() > 1:
            x = _ranked(points.predictors[rows][:, columns], points.block[rows])
            y = _ranked(points.outcomes[rows], points.block[rows])
            found[columns] = _cosines(x, y)
    return found


def _ranked(values: Floats, block: Labels) -> Floats:
    """Ranks within each block, in -1/2 to 1/2 about 0, [S, _]."""
    ranks = np.empty(values.shape)
    for each in np.unique(block):
        rows = block == each
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
        other = replace(arms, outcomes=arms.outcomes[order])
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


def reliability(points: Points) -> Floats:
    """How much of what sets of a block are worth follows from their arms, [G].

    The intraclass correlation of a one-way analysis of variance of outcomes that are centred
    within their block. Its root is about what a number would correlate by that knew each arm's
    true worth and nothing of its sets.

    Returns:
        From 0 to 1; NaN where no arm has two sets.

    Source: Shrout and Fleiss (1979), https://doi.org/10.1037/0033-2909.86.2.420, ICC(1, 1)
    """
    _, block = np.unique(points.block, return_inverse=True)
    _, arm, counts = np.unique(points.arm, return_inverse=True, return_counts=True)
    num_sets, num_arms = len(arm), len(counts)
    if num_sets == num_arms or num_arms < 2:
        return np.full(points.outcomes.shape[1], np.nan)
    y = points.outcomes - _means(points.outcomes, block)[block]  # [S, G]
    means = _means(y, arm)  # [A, G]
    overall = y.mean(axis=0)
    between = (counts[:, None] * (means - overall) ** 2).sum(axis=0) / (num_arms - 1)
    within = ((y - means[arm]) ** 2).sum(axis=0) / (num_sets - num_arms)
    size = (num_sets - (counts**2).sum() / num_sets) / (num_arms - 1)  # sets of an arm
    total = between + (size - 1) * within
    found = np.divide(between - within, total, out=np.full(total.shape, np.nan), where=total > 0)
    return np.clip(found, 0, 1)


def _means(values: Floats, group: Labels) -> Floats:
    """Mean of each group, numbered from 0: [S, _] to [groups, _]; NaN if one value is."""
    sums = np.zeros((group.max() + 1, values.shape[1]))
    np.add.at(sums, group, values)
    return sums / np.bincount(group)[:, None]


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
