"""What the measures are compared with prdc on, and that the comparison holds."""

import json

import numpy as np
import pytest

from benchmarks.metrics import KINDS, RESULT, WIDTH, ours


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
