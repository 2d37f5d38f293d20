"""Agreement as a share of a judge's own recall: what it is, and how far it may be off."""

import numpy as np
import pytest
from scipy.stats import binomtest

from fgds_core.judge.agreement import LEAST, share_of_recall
from fgds_core.judge.record import Recognised


def test_it_is_agreement_over_recall() -> None:
    found = share_of_recall([Recognised(40, 30)], [Recognised(20, 16)])
    assert found.value == pytest.approx((30 / 40) / (16 / 20))
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < found.value < found.high


def test_over_classes_it_is_over_what_real_images_in_the_same_numbers_would_have() -> None:
    synthetic = [Recognised(10, 5), Recognised(30, 30), Recognised(7, 7), Recognised(0, 0)]
    real = [Recognised(20, 10), Recognised(5, 4), Recognised(0, 0), Recognised(9, 9)]
    expected = 10 * 0.5 + 30 * 0.8  # of the first two; the third has no real image to compare
    assert share_of_recall(synthetic, real).value == pytest.approx(35 / expected)


def test_with_a_recall_that_is_known_the_interval_is_that_of_the_agreement() -> None:
    found = share_of_recall([Recognised(50, 20)], [Recognised(10**9, 10**9 // 2)])
    exact = binomtest(20, 50).proportion_ci(method="exact")
    assert found.low == pytest.approx(exact.low / 0.5, rel=1e-3)
    assert found.high == pytest.approx(exact.high / 0.5, rel=1e-3)


@pytest.mark.parametrize(("agreement", "recall"), [(0.9, 0.9), (0.3, 0.7), (0.95, 0.5)])
def test_the_interval_holds_the_share_as_often_as_it_says(agreement: float, recall: float) -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        synthetic = Recognised(25, int(rng.binomial(25, agreement)))
        real = Recognised(30, int(rng.binomial(30, recall)))
        found = share_of_recall([synthetic], [real])
        assert found.low is not None
        held += found.low <= agreement / recall <= (found.high or np.inf)
    assert held / 400 >= 0.94


@pytest.mark.parametrize("right", [0, 25])
def test_none_or_all_have_an_interval_too(right: int) -> None:
    found = share_of_recall([Recognised(25, right)], [Recognised(12, 12)])
    assert found.value == right / 25
    assert found.low is not None
    assert found.high is not None
    assert found.high > found.low
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize(
    ("synthetic", "real", "reason"),
    [
        (Recognised(0, 0), Recognised(20, 20), "no synthetic image"),
        (Recognised(9, 9), Recognised(0, 0), "no real image to compare"),
        (Recognised(9, 9), Recognised(30, 0), "recognises 0 of 30 real images, too few"),
        (Recognised(9, 9), Recognised(30, LEAST - 1), "too few to divide by"),
    ],
)
def test_nothing_is_divided_by_nothing(
    synthetic: Recognised, real: Recognised, reason: str
) -> None:
    found = share_of_recall([synthetic], [real])
    assert (found.value, found.low, found.high) == (None, None, None)
    assert reason in str(found.entry()["reason"])
