"""What a difference between two classifiers rests on."""

import numpy as np
import pytest
from scipy import stats

from fgds_core.classify import intervals
from fgds_core.report import paired


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_interval_of_many_images_has_the_width_of_the_closed_form():
    """Var = (b + c - (b - c)^2 / N) / N^2 for b and c discordant images."""
    won, lost, total = 700, 400, 10_000
    found = paired.accuracy(won, lost, total, rng())
    sd = np.sqrt(won + lost - (won - lost) ** 2 / total) / total
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * sd, rel=0.05)
    assert (found.high + found.low) / 2 == pytest.approx(0.03, abs=0.001)


def test_an_interval_narrows_with_the_root_of_the_images():
    wide, narrow = (paired.accuracy(6 * n, 4 * n, 50 * n, rng()) for n in (5, 500))
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("won", [0, 1, 2])
def test_two_images_say_next_to_nothing(won):
    found = paired.accuracy(won, 0, 2, rng())
    assert found.covers_zero
    assert found.high - found.low >= 1


@pytest.mark.parametrize("total", [1, 2, 5, 20, 1000])
def test_the_interval_holds_the_difference_and_stays_in_range(total):
    for won in range(0, total + 1, max(1, total // 7)):
        for lost in range(0, total - won + 1, max(1, total // 7)):
            found = paired.accuracy(won, lost, total, rng())
            assert -1 <= found.low <= (won - lost) / total <= found.high <= 1


def test_swapping_the_classifiers_mirrors_the_interval():
    one, other = paired.accuracy(30, 10, 100, rng()), paired.accuracy(10, 30, 100, rng(1))
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=0.03)


@pytest.mark.parametrize(
    ("win", "lose", "total"), [(0.2, 0.2, 25), (0.3, 0.05, 60), (0.02, 0, 40)]
)
def test_nineteen_of_twenty_intervals_hold_the_truth(win, lose, total):
    draws = rng(3)
    held = 0
    for won, lost, _ in draws.multinomial(total, [win, lose, 1 - win - lose], 300):
        found = paired.accuracy(int(won), int(lost), total, draws)
        held += found.low <= win - lose <= found.high
    assert held / 300 >= 0.92


def answers(total=600, num_classes=4, skill=(0.5, 0.7), seed=1):
    """True classes and the answers of two classifiers of these accuracies."""
    draws = rng(seed)
    actual = draws.integers(num_classes, size=total)
    guesses = [
        np.where(draws.random(total) < s, actual, draws.integers(num_classes, size=total))
        for s in skill
    ]
    return actual, *guesses


def test_macro_f1_holds_its_difference_and_nothing_without_one():
    from sklearn.metrics import f1_score

    actual, first, second = answers()
    difference = f1_score(actual, second, average="macro") - f1_score(
        actual, first, average="macro"
    )
    found = paired.macro_f1(actual, first, second, 4, rng())
    assert found.low < difference < found.high
    assert found.high - found.low < 0.12
    assert not found.covers_zero

    same = paired.macro_f1(actual, first, first, 4, rng())
    assert same.covers_zero
    assert same.high - same.low < 0.02


def test_macro_f1_of_two_images_says_nothing():
    actual = np.array([0, 1])
    assert paired.macro_f1(actual, 1 - actual, actual, 2, rng()).covers_zero


def test_chunks_change_nothing_but_the_draws(monkeypatch):
    actual, first, second = answers()
    whole = paired.macro_f1(actual, first, second, 4, rng())
    monkeypatch.setattr(intervals, "CHUNK", 10_000)
    parts = paired.macro_f1(actual, first, second, 4, rng())
    assert (whole.low, whole.high) == (parts.low, parts.high)


def smallest(recalls):
    return recalls.min(axis=-1)


def test_the_worst_group_is_found_anew_in_each_resample():
    cells = np.repeat([0, 1, 2], 400)
    first = np.tile([True, False], 600)
    second = first.copy()
    second[:400] = True  # group 0 is mended, 1 and 2 are as bad as before
    assert paired.lowest(cells, first, second, rng(), smallest).covers_zero
    second[:] = np.arange(1200) % 10 > 0  # every group rises from 0.5 to 0.9
    found = paired.lowest(cells, first, second, rng(), smallest)
    assert 0.3 < found.low < 0.4 < found.high < 0.5


def test_a_group_of_two_images_says_nothing():
    cells = np.array([0] * 500 + [1] * 2)
    first = np.array([True] * 500 + [False] * 2)
    assert paired.lowest(cells, first, np.ones(502, bool), rng(), smallest).covers_zero


@pytest.mark.parametrize("sizes", [[100] * 6, [3] * 40, [1] * 30 + [40] * 4])
def test_nineteen_of_twenty_intervals_of_a_mean_over_groups_hold_the_truth(sizes):
    draws = rng(4)
    cells = np.repeat(np.arange(len(sizes)), sizes)
    gain, held = draws.uniform(-0.1, 0.3, len(sizes)), 0
    for _ in range(150):
        luck = draws.random(len(cells))
        first, second = luck < 0.5, luck < 0.5 + gain[cells]
        found = paired.group_mean(cells, first, second, draws, np.ones(len(sizes)))
        held += found.low <= gain.mean() <= found.high
    assert held / 150 >= 0.9


def test_calibration_differs_where_one_boasts():
    right = rng().random(2000) < 0.7
    honest, boasts = np.full(2000, 0.7), np.full(2000, 0.99)
    found = paired.calibration_error((honest, right), (boasts, right), rng())
    assert 0.2 < found.low < 0.28 < found.high < 0.32
    same = paired.calibration_error((honest, right), (honest, right), rng())
    assert same.covers_zero
    assert same.high - same.low < 0.01
    two = np.array([0.6, 0.6]), np.array([0.9, 0.9])
    answers = np.array([True, True]), np.array([False, False])
    assert paired.calibration_error((two[0], answers[0]), (two[1], answers[1]), rng()).covers_zero


def test_mcnemar_is_the_binomial_test():
    won, lost = np.array([0, 3, 9, 0, 40]), np.array([0, 1, 0, 2, 20])
    expected = [
        1.0 if w + c == 0 else stats.binomtest(int(w), int(w + c)).pvalue
        for w, c in zip(won, lost, strict=True)
    ]
    assert paired.mcnemar(won, lost) == pytest.approx(expected)


def test_correction_grows_with_the_classes_one_looks_at():
    assert paired.holm(np.array([0.01]))[0] == pytest.approx(0.01)
    assert paired.holm(np.array([0.01] + [1.0] * 99))[0] == pytest.approx(1.0)
    assert len(paired.holm(np.array([]))) == 0


@pytest.mark.parametrize("seed", range(5))
def test_guesses_and_constant_answers_are_chance_and_skill_is_not(seed):
    actual, skilled, _ = answers(skill=(0.4, 0.4), seed=seed)
    assert paired.chance(actual, skilled, rng()) < 0.01
    assert paired.chance(actual, np.zeros_like(actual), rng()) > 0.9
    assert paired.chance(np.array([0, 1]), np.array([0, 1]), rng()) > 0.3  # a matter of luck


def test_the_same_seed_gives_the_same_interval():
    assert paired.accuracy(9, 4, 50, rng(5)) == paired.accuracy(9, 4, 50, rng(5))
