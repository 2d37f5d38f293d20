"""How far a measured accuracy may be off."""

import numpy as np
import pytest
from scipy.stats import binomtest

from fgds_core.classify import intervals


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_interval_of_many_images_has_the_width_of_the_closed_form():
    found = intervals.of_accuracy(7_000, 10_000, rng())
    assert (found.low + found.high) / 2 == pytest.approx(0.7, abs=0.001)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * np.sqrt(0.21 / 10_000), rel=0.05)


@pytest.mark.parametrize(("share", "total"), [(0.5, 20), (0.9, 40), (0.98, 60), (0.7, 500)])
def test_nineteen_of_twenty_intervals_of_an_accuracy_hold_the_truth(share, total):
    draws = rng(1)
    found = [
        intervals.of_accuracy(int(hits), total, draws)
        for hits in draws.binomial(total, share, 300)
    ]
    assert np.mean([each.low <= share <= each.high for each in found]) >= 0.92


@pytest.mark.parametrize("total", [1, 2, 5, 30])
def test_an_interval_holds_its_accuracy_and_stays_in_range(total):
    for hits in range(total + 1):
        found = intervals.of_accuracy(hits, total, rng())
        assert 0 <= found.low <= hits / total <= found.high <= 1
        assert found.high - found.low > 0.1


@pytest.mark.parametrize("sizes", [[50] * 10, [3] * 60, [200, 40, 20, 10], [1] * 30 + [20] * 5])
def test_nineteen_of_twenty_intervals_of_a_mean_hold_the_truth(sizes):
    """Also where each class has three images, as in iNaturalist, or one."""
    draws = rng(2)
    sizes = np.array(sizes)
    recalls = draws.uniform(0.3, 0.95, len(sizes))
    held = 0
    for _ in range(200):
        found = intervals.of_mean(draws.binomial(sizes, recalls), sizes, draws)
        held += found.low <= recalls.mean() <= found.high
    assert held / 200 >= 0.91


def test_the_interval_of_a_mean_has_the_width_of_the_closed_form():
    sizes, hits = np.array([400, 100]), np.array([200, 80])
    found = intervals.of_mean(hits, sizes, rng(), np.array([3.0, 1.0]))
    sd = np.sqrt(0.75**2 * 0.25 / 400 + 0.25**2 * 0.16 / 100)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * sd, rel=0.06)
    assert (found.low + found.high) / 2 == pytest.approx(0.75 * 0.5 + 0.25 * 0.8, abs=0.005)


def test_a_mean_of_perfect_recalls_has_an_interval_below_one():
    found = intervals.of_mean(np.full(10, 10), np.full(10, 10), rng())
    assert found.high == 1
    assert 0.9 < found.low < 0.99


def test_the_worst_of_four_groups_is_held():
    draws = rng(3)
    sizes, recalls = np.array([400, 300, 150, 60]), np.array([0.95, 0.9, 0.8, 0.6])
    held = 0
    for _ in range(200):
        hits = draws.binomial(sizes, recalls)
        found = intervals.of_lowest(hits, sizes, draws, lambda recall: recall.min(axis=-1))
        held += found.low <= 0.6 <= found.high
    assert held / 200 >= 0.91


def test_exact_intervals_are_those_of_the_binomial_test_and_of_the_tables():
    hits, total = np.array([0, 1, 5, 10, 99]), np.array([10, 10, 10, 10, 100])
    low, high = intervals.exact(hits, total)
    for k in range(len(hits)):
        known = binomtest(int(hits[k]), int(total[k])).proportion_ci(method="exact")
        assert (low[k], high[k]) == pytest.approx((known.low, known.high))
    # Of tables of the binomial distribution: 0 of 10 and 5 of 10
    assert (low[0], high[0]) == pytest.approx((0, 0.3085), abs=5e-5)
    assert (low[2], high[2]) == pytest.approx((0.1871, 0.8129), abs=5e-5)


def test_chunks_change_nothing_but_the_draws(monkeypatch):
    hits, sizes = np.arange(1, 51), np.full(50, 60)
    whole = intervals.of_mean(hits, sizes, rng())
    monkeypatch.setattr(intervals, "CHUNK", 3_000)
    parts = intervals.of_mean(hits, sizes, rng())
    assert (whole.low, whole.high) == (parts.low, parts.high)
