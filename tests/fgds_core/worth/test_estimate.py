"""An estimate of worth: what it covers, and what it says where there is nothing to cover."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from fgds_core.worth.curves import FORMS, Fits, power
from fgds_core.worth.estimate import FURTHEST, Interval, crossing, estimate, interval
from fgds_core.worth.resampling import Measured
from fgds_core.worth.subsamples import num_kept, planned

COUNTS = (14, 8, 5)
ERRORS = np.array([0.35, 0.15, 0.12])
NUM_VAL = 100


def errors_of_real(x: np.ndarray, asymptote: float = 0.1, exponent: float = 0.5) -> np.ndarray:
    return np.clip(ERRORS * (asymptote + (1 - asymptote) * x**-exponent), 0, 1)


def simulated(
    seed: int, final: np.ndarray, *, steepness: float = 0.2, noise: float = 0.02
) -> Measured:
    """Trainings whose true errors are known, with noise of their own and of few images."""
    rng = np.random.default_rng(seed)
    unit_of_image = np.repeat(np.arange(len(COUNTS)), NUM_VAL)
    plan, right = planned(0, 3), []
    for each in plan:
        kept = np.array([num_kept(n, each.real) for n in COUNTS]) / np.array(COUNTS)
        errors = final * each.synthetic**-steepness if each.synthetic else errors_of_real(kept)
        errors = errors + noise * rng.standard_normal(len(COUNTS))
        right.append(rng.random(len(unit_of_image)) > errors[unit_of_image])
    return Measured(plan, np.array(right), unit_of_image, COUNTS)


def true_worth(final: np.ndarray) -> float:
    grid = np.linspace(-0.7 * np.mean(COUNTS), 1000, 100_001)
    x = np.maximum(1 + grid[:, None] / np.array(COUNTS), 0.25)
    return float(np.interp(1 - final.mean(), 1 - errors_of_real(x).mean(1), grid))


@pytest.mark.parametrize("ratio", [0.7, 0.9])
def test_the_interval_covers_the_truth(ratio: float) -> None:
    final = ratio * ERRORS
    truth = true_worth(final)
    found = [
        estimate(simulated(seed, final), num_more=1, seed=seed, resamples=200)
        for seed in range(50)
    ]
    assert all(each is not None for each in found)
    covered = [each.worth.covers(truth) for each in found if each is not None]
    assert np.mean(covered) >= 0.9
    # And says something, where there is something to say
    above_0 = [(each.worth.low or 0) > 0 for each in found if each is not None]
    assert np.mean(above_0) >= (0.7 if ratio == 0.7 else 0)


def test_the_further_a_curve_has_to_be_followed_the_wider_the_interval() -> None:
    widths = []
    for ratio in (1.1, 0.95, 0.8):
        found = estimate(simulated(1, ratio * ERRORS, noise=0.005), num_more=1, seed=0)
        assert found is not None
        assert found.worth.low is not None
        high = np.inf if found.worth.high is None else found.worth.high
        widths.append(high - found.worth.low)
    assert widths[0] < widths[1] < widths[2]


def test_the_curve_rises_with_every_image() -> None:
    found = estimate(simulated(1, 0.8 * ERRORS), num_more=1, seed=0)
    assert found is not None
    values = [each.value for each in found.curve.values()]
    assert all(less < more for less, more in pairwise(values) if less and more)
    assert len(set(found.curve)) == len(values) > 3


def test_what_no_number_of_real_images_reaches_is_more_than_a_number() -> None:
    found = estimate(simulated(2, 0.02 * ERRORS), num_more=1, seed=0)
    assert found is not None
    assert found.worth.value is None
    assert found.worth.high is None
    assert found.worth.low is not None
    assert found.worth.low > np.mean(COUNTS)


def test_a_harmful_set_is_worth_less_than_nothing() -> None:
    found = estimate(simulated(3, 1.25 * ERRORS, noise=0.005), num_more=1, seed=0)
    assert found is not None
    assert found.worth.value is not None
    assert found.worth.value < 0
    assert found.worth.high is not None
    assert found.worth.high < 0


def test_more_images_add_nothing_where_their_number_has_changed_nothing() -> None:
    flat = estimate(simulated(4, 0.8 * ERRORS, steepness=0, noise=0), num_more=1, seed=0)
    steep = estimate(simulated(4, 0.8 * ERRORS, steepness=0.5, noise=0), num_more=1, seed=0)
    assert flat is not None
    assert steep is not None
    assert flat.more.low == 0
    assert steep.more.value is None or steep.more.value > (flat.more.value or 0)


def test_recalls_are_those_that_were_measured() -> None:
    measured = simulated(5, 0.8 * ERRORS)
    found = estimate(measured, num_more=1, seed=0)
    assert found is not None
    full = [i for i, s in enumerate(measured.subsamples) if (s.real, s.synthetic) == (1, 0)]
    by_hand = measured.right[full].mean(0).reshape(len(COUNTS), NUM_VAL).mean(1)
    np.testing.assert_allclose(found.recalls, by_hand)
    assert found.recall_real.covers(by_hand.mean())
    assert sum(found.forms.values()) == pytest.approx(1)
    assert all(gain.low is not None and gain.low >= 0 for gain in found.doubling)


def test_the_same_seed_says_the_same_and_few_images_make_it_unsure() -> None:
    measured = simulated(6, 0.8 * ERRORS)
    first, again = (estimate(measured, num_more=1, seed=0, resamples=100) for _ in range(2))
    assert first == again
    few = np.arange(len(measured.unit_of_image)) % NUM_VAL < 10
    fewer = replace(
        measured, right=measured.right[:, few], unit_of_image=measured.unit_of_image[few]
    )
    wide = estimate(fewer, num_more=1, seed=0, resamples=100)
    assert first is not None
    assert wide is not None
    assert wide.recall_real.high - wide.recall_real.low > (
        first.recall_real.high - first.recall_real.low
    )


def test_units_of_one_image_have_no_curve() -> None:
    measured = replace(simulated(7, ERRORS), counts=(1, 1, 1))
    assert estimate(measured, num_more=1, seed=0) is None


def test_a_crossing_is_where_the_curve_has_that_recall() -> None:
    counts = np.array([10.0, 4.0])
    fits = Fits(power(0.2), np.array([0.5, 1.0]), np.array([[0.4, 0.2]] * 2), np.zeros(2))
    for m in (-2.0, 0.0, 3.0, 50.0):
        recall = 1 - fits.at(1 + m / counts).mean(-1)
        np.testing.assert_allclose(crossing(fits, counts, recall), m, atol=1e-4)
    beyond = crossing(fits, counts, np.array([0.95, 0.1]))
    assert beyond.tolist() == [np.inf, -np.inf]
    assert FURTHEST * counts.mean() > 50


def test_an_interval_has_no_number_where_its_resamples_have_none() -> None:
    values = np.concatenate([np.arange(40.0), np.full(60, np.inf)])
    assert interval(values) == Interval(None, 5.0, None)
    assert interval(-values) == Interval(None, None, -2.0)
    assert interval(np.arange(101.0)) == Interval(50.0, 2.0, 98.0)
    assert interval(np.array([])) == Interval(None, None, None)
    assert Interval(None, 5.0, None).covers(1e9)
    assert not Interval(None, 5.0, None).covers(4)
    assert not Interval(6.0, 5.0, 7.0).covers(8)
    assert len(FORMS) > 1
