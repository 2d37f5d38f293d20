"""Two classifiers on the same test images."""

import csv

import numpy as np
import pytest
from scipy.stats import binomtest

from fgds_core.report import paired
from fgds_core.report.compare import as_csv, changes
from fgds_core.report.gains import Answers

NAMES = ("cat", "dog", "emu", "owl")
BINS = {"cat": "many", "dog": "many", "emu": "few", "owl": "few"}


def some_answers():
    """The second classifier is far better at emus, a bit worse at dogs; no owl was tested."""
    actual = np.repeat([0, 1, 2], 40)
    first, second = actual.copy(), actual.copy()
    first[80:110] = 0  # 30 emus that it does not know
    second[40:43] = 0  # 3 dogs
    second[80:82] = 1  # of the 30 it gets 28
    return Answers(NAMES, actual, {"baseline": first, "control": second, "final": second})


def of(found, name):
    return next(each for each in found if each.name == name)


def test_what_was_won_and_lost_is_counted_by_class():
    found = changes(some_answers(), BINS, "baseline", "control")
    assert [each.name for each in found] == ["overall", "many", "medium", "few", *NAMES]
    emu, dog = of(found, "emu"), of(found, "dog")
    assert (emu.won, emu.lost, emu.num_images) == (28, 0, 40)
    assert (dog.won, dog.lost, dog.difference) == (0, 3, -3 / 40)
    assert (emu.accuracies, dog.accuracies) == ((10 / 40, 38 / 40), (1.0, 37 / 40))
    assert emu.p == pytest.approx(binomtest(28, 28).pvalue)
    assert dog.p == pytest.approx(binomtest(0, 3).pvalue) == 0.25
    # Three classes were tested: the smallest p counts three times, the next one twice
    assert emu.p_holm == pytest.approx(3 * emu.p)
    assert (dog.p_holm, of(found, "cat").p_holm) == (0.5, 1.0)
    assert [each.name for each in found if each.stands_out] == ["overall", "few", "emu"]


def test_bins_have_intervals_and_what_has_no_images_has_no_number():
    found = changes(some_answers(), BINS, "baseline", "control")
    few, medium, owl = of(found, "few"), of(found, "medium"), of(found, "owl")
    assert 0 < few.low < few.difference < few.high < 1
    assert (medium.difference, medium.low, medium.num_images) == (None, None, 0)
    assert (owl.difference, owl.p, owl.p_holm, owl.stands_out) == (None, None, None, False)


def test_a_classifier_does_not_differ_from_itself():
    found = changes(some_answers(), BINS, "control", "final")
    assert {(each.won, each.lost) for each in found} == {(0, 0)}
    assert not any(each.stands_out for each in found)
    assert all(each.low <= 0 <= each.high for each in found if each.low is not None)


def test_the_file_has_a_row_for_each(tmp_path):
    path = tmp_path / "paired.csv"
    path.write_text(as_csv(changes(some_answers(), BINS, "baseline", "control")))
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["of"] for row in rows] == ["overall", *["bin"] * 3, *["class"] * 4]
    owl, emu = rows[-1], rows[-2]
    assert {owl["difference"], owl["p"], owl["low"]} == {""}
    assert float(emu["difference"]) == 28 / 40
    assert float(emu["p_holm"]) < 1e-6


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.03, 0.5: times 4, 3, 2, 1, and none below the one before."""
    p = np.array([0.03, 0.01, 0.5, 0.02])
    assert paired.holm(p) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert paired.holm(np.array([0.4, 0.9])) == pytest.approx([0.8, 0.9])
    assert paired.holm(np.array([0.7, 0.8, 0.9])) == pytest.approx([1, 1, 1])
