"""What the measures are compared with prdc on, and that the comparison holds."""

import json

import numpy as np
import pytest

from benchmarks.metrics import KINDS, PAIRS, RESULT, WIDTH, held, ours
from fgds_core.assess.estimates import Estimate


@pytest.mark.parametrize("kind", KINDS)
def test_features_follow_from_their_seed(kind):
    first, again, other = (np.concatenate(list(KINDS[kind](1_020, seed))) for seed in (1, 1, 2))
    assert first.shape == (1_020, WIDTH)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_sets_of_one_distribution_are_as_dense_as_each_other():
    real, synthetic = (next(KINDS["like_inception"](200, seed)) for seed in (1, 2))
    assert ours(real, synthetic)["density"] == pytest.approx(1, abs=0.3)


def test_the_recorded_comparison_holds():
    found = json.loads(RESULT.read_text())
    assert found["speedup_over_prdc"] >= 5
    assert found["max_abs_difference"] <= 1e-5
    assert found["peak_gb_50k"] < 3


def test_recorded_intervals_hold_what_they_promise_and_are_no_wider_than_that_needs():
    bands = json.loads(RESULT.read_text())["bands"]
    assert set(bands) == {"60", "300", "1000"}
    shares = [
        bands[size][kind][name]["held"]
        for size in bands
        for kind in PAIRS
        for name in ("precision", "recall", "density", "coverage")
    ]
    assert min(shares) >= 0.89  # of 100 draws: 0.95 but for chance
    assert 0.93 <= np.mean(shares) <= 0.98


def test_an_interval_that_holds_the_mean_of_all_is_counted():
    one, other = (Estimate(value, 0.0, 1.5, 9, 9) for value in (1.0, 3.0))
    assert held([one, other]) == {"held": 0.0, "mean": 2.0, "width": 1.5}
    assert held([one, one, other])["held"] == 0
    assert held([one, one])["held"] == 1
