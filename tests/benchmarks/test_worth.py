"""The true worth of a set: where a measured curve of real images has its recall."""

import numpy as np
import pytest

from benchmarks.worth import _crossing
from fgds_core.worth.units import Units

UNITS = Units((("a", None), ("b", None)), ("a", "b"), (4, 12), ("few", "few"))
CURVE = {0: [0.5, 0.7], 8: [0.75], 24: [0.8], 56: [0.8]}  # 8, 16, 32 and 64 images a unit


def crossing(*finals: float) -> float:
    curve = {m: np.array(values) for m, values in CURVE.items()}
    return _crossing(UNITS, [0, 1], curve, np.array(finals))


@pytest.mark.parametrize(("recall", "images"), [(0.6, 0), (0.75, 8), (0.8, 24)])
def test_it_is_where_the_mean_recalls_are_equal(recall: float, images: float) -> None:
    assert crossing(recall - 0.1, recall + 0.1) == pytest.approx(images)


def test_between_two_of_the_grid_it_goes_by_the_logarithm() -> None:
    assert crossing(0.775) == pytest.approx(np.sqrt(16 * 32) - 8)


def test_beyond_the_grid_there_is_none_and_below_the_control_it_is_0() -> None:
    assert crossing(0.81) == np.inf
    assert crossing(0.4) == pytest.approx(0, abs=1e-9)


def test_noise_that_falls_is_levelled() -> None:
    curve = {m: np.array([y]) for m, y in {0: 0.5, 8: 0.7, 24: 0.6, 56: 0.9}.items()}
    found = _crossing(UNITS, [0, 1], curve, np.array([0.65]))
    assert found == pytest.approx(8)  # both are 0.65 in the mean
