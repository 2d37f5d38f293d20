"""Places a synthetic set on the learning curve of the real images, with intervals.

Trainings differ and validation images are few, which `resampling` draws again; and no form of a
curve is sure, the less so the further it is followed: each resample has one form, as often as the
form is plausible. All an estimate sees are answers on validation images.
"""

from dataclasses import dataclass

import numpy as np

from fgds_core.worth.curves import FORMS, Fits, Floats, fit, plausibility
from fgds_core.worth.resampling import Errors, Measured, resampled_errors
from fgds_core.worth.subsamples import SHARES, num_kept

RESAMPLES = 1000
FURTHEST = 100.0
"""A curve is followed to so many times the present images; what lies beyond has no number."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval; None of a side that nothing bounds.

    Attributes:
        value: The median over resamples; None where it is further than a curve is followed.
        low: 2.5 % of the resamples are below; 5 % where there is no value ("more than low").
        high: 2.5 % are above.
    """

    value: float | None
    low: float | None
    high: float | None

    def covers(self, truth: float) -> bool:
        """Whether a value lies within; a side without a bound holds all that is there."""
        above = self.low is None or truth >= self.low
        return above and (self.high is None or truth <= self.high)


@dataclass(frozen=True)
class BinWorth:
    """What the synthetic set is worth to one bin.

    Attributes:
        recall_real: Mean recall of the units, trained on real images alone.
        recall_synthetic: The same with the synthetic set.
        worth: Real images a unit that would do as much, of all units of all rare bins at once.
        more: What `num_more` further synthetic images would add to that.
        recalls: Recall of each unit, trained on all real images alone, [U].
        doubling: Gain in recall of each unit from twice its real images, [U].
        curve: Mean recall by real images a unit beside the present ones.
        forms: How plausible each form of a curve is.
    """

    recall_real: Interval
    recall_synthetic: Interval
    worth: Interval
    more: Interval
    recalls: tuple[float, ...]
    doubling: tuple[Interval, ...]
    curve: dict[int, Interval]
    forms: dict[str, float]


def estimate(
    measured: Measured, *, num_more: float, seed: int, resamples: int = RESAMPLES
) -> BinWorth | None:
    """What the synthetic set is worth to the units of a bin.

    Args:
        measured: Of two seeds or more.
        num_more: Further synthetic images, as a share of those that are there.
        seed: Of the resamples.
        resamples: B.

    Returns:
        None where there is no curve: no unit has two different numbers of images.
    """
    counts = np.array(measured.counts, dtype=np.float64)  # [U]
    x = np.array([[num_kept(n, share) / n for n in measured.counts] for share in SHARES])  # [J, U]
    if (x == 1).all():
        return None
    rng = np.random.default_rng(seed)
    real, synthetic = resampled_errors(measured, resamples, rng)
    now = 1 - synthetic.resampled[:, -1].mean(-1)  # [B]
    later = _recall_with_more(synthetic, num_more, rng)  # [B]
    weights = _plausibility(real, x)
    worth, more = np.empty(resamples), np.empty(resamples)
    doubling = np.empty((resamples, len(counts)))
    curve = {m: np.empty(resamples) for m in _marks(counts)}
    chosen = rng.choice(len(FORMS), size=resamples, p=weights)
    for place in np.unique(chosen):
        rows = chosen == place
        fits = fit(FORMS[place], real.resampled[rows], x, 1 / real.variances)
        worth[rows] = crossing(fits, counts, now[rows])
        with np.errstate(invalid="ignore"):  # what is beyond before is beyond after
            more[rows] = crossing(fits, counts, later[rows]) - worth[rows]
        doubling[rows] = fits.errors - fits.at(np.full(len(counts), 2.0))
        for m, values in curve.items():
            values[rows] = 1 - fits.at(1 + m / counts).mean(-1)
    return BinWorth(
        recall_real=interval(1 - real.resampled[:, -1].mean(-1)),
        recall_synthetic=interval(now),
        worth=interval(worth),
        more=interval(more[~np.isnan(more)]),
        recalls=tuple((1 - real.measured[-1]).tolist()),
        doubling=tuple(interval(column) for column in doubling.T),
        curve={m: interval(values) for m, values in curve.items()},
        forms={form.name: float(w) for form, w in zip(FORMS, weights, strict=True)},
    )


def crossing(fits: Fits, counts: Floats, recall: Floats) -> Floats:
    """Real images a unit, beside the present ones, at which a curve has a mean recall.

    Args:
        fits: B curves of U units.
        counts: Present images of each unit, [U].
        recall: What is looked for, [B].

    Returns:
        [B]; below 0 where fewer images would do, inf or -inf beyond what is followed: `FURTHEST`
        times the present images, and the fewest that were trained on.
    """
    unit = counts.mean()

    def at(log_x: Floats) -> Floats:
        m = unit * np.expm1(log_x)[:, None]  # [B, 1]
        return np.asarray(1 - fits.at(np.maximum(1 + m / counts, SHARES[0])).mean(-1))

    low = np.full(len(recall), np.log(SHARES[0]))
    high = np.full(len(recall), np.log(FURTHEST))
    below, above = recall < at(low), recall > at(high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        short = at(middle) < recall
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    found = unit * np.expm1((low + high) / 2)
    return np.where(above, np.inf, np.where(below, -np.inf, found))


_HALVINGS = 30


def interval(values: Floats) -> Interval:
    """Median and 95 % interval of resamples, which may be infinite."""
    if not len(values):
        return Interval(None, None, None)
    ordered = np.sort(values)

    def quantile(share: float) -> float | None:
        found = float(ordered[round(share * (len(ordered) - 1))])
        return found if np.isfinite(found) else None

    value = quantile(0.5)
    return Interval(value, quantile(0.05 if value is None else 0.025), quantile(0.975))


def _recall_with_more(synthetic: Errors, num_more: float, rng: np.random.Generator) -> Floats:
    """Mean recall with further synthetic images of every class alike, [B].

    What is measured with all of them is followed by the shape of the curve over their shares.
    """
    num_units = synthetic.measured.shape[1]
    x = np.repeat(np.array(SHARES)[:, None], num_units, axis=1)  # [J, U]
    chosen = rng.choice(len(FORMS), size=len(synthetic.resampled), p=_plausibility(synthetic, x))
    later = np.empty(len(chosen))
    for place in np.unique(chosen):
        rows = chosen == place
        fits = fit(FORMS[place], synthetic.resampled[rows], x, 1 / synthetic.variances)
        falls = fits.form.shape(np.array(1 + num_more), fits.parameters)  # [b]
        later[rows] = 1 - synthetic.resampled[rows, -1].mean(-1) * falls
    return later


def _plausibility(errors: Errors, x: Floats) -> Floats:
    measured, weights = errors.measured[None], 1 / errors.variances
    return plausibility(np.array([fit(f, measured, x, weights).misfit[0] for f in FORMS]))


def _marks(counts: Floats) -> list[int]:
    """Numbers of further images at which the curve is told: up to 8 times the present ones."""
    return sorted({0, *(round(counts.mean() * times) for times in (0.5, 1, 2, 4, 8))})
