"""Which mistakes the final classifier makes more often, and which less often."""

import numpy as np
import pytest
from scipy.stats import binomtest

from fgds_core.report.confusions import as_csv, changed
from fgds_core.report.gains import Answers

NAMES = ("cat", "dog", "emu")


def some_answers():
    actual = np.repeat([0, 1, 2], 50)
    control, final = actual.copy(), actual.copy()
    control[100:120] = 0  # 20 emus are called cats
    final[118:120] = 0  # of these 2 are left
    final[50:53] = 2  # 3 dogs are called emus now
    control[0], final[0] = 1, 2  # one cat is mistaken otherwise
    control[99], final[99] = 0, 0  # a mistake that stays
    return Answers(NAMES, actual, {"baseline": actual, "control": control, "final": final})


def test_mistakes_that_changed_most_come_first():
    found = changed(some_answers())
    cells = [(each.actual, each.predicted, each.control, each.final) for each in found]
    assert cells[:2] == [("emu", "cat", 20, 2), ("dog", "emu", 0, 3)]
    assert sorted(cells[2:]) == [("cat", "dog", 1, 0), ("cat", "emu", 0, 1)]
    assert found[0].change == pytest.approx(-18 / 50)
    # Five mistakes occur, so the smallest p counts five times
    assert found[0].p_holm == pytest.approx(5 * binomtest(0, 18).pvalue)
    assert [each.stands_out for each in found] == [True, False, False, False]


def test_one_mistake_of_a_class_with_two_images_is_no_large_change():
    actual = np.array([0, 0] + [1] * 50)
    final = actual.copy()
    final[0] = 2  # half of the cats
    final[2:20] = 2  # a third of the dogs
    answers = Answers(NAMES, actual, {"baseline": actual, "control": actual, "final": final})
    assert [each.actual for each in changed(answers)] == ["dog", "cat"]


def test_the_file_has_counts_and_shares_and_a_header_without_any_change():
    header, first, *_ = as_csv(changed(some_answers())).splitlines()
    assert first.startswith("emu,cat,50,20,2,0.4,0.04,-0.36,")
    answers = some_answers()
    same = Answers(NAMES, answers.actual, dict.fromkeys(("control", "final"), answers.actual))
    assert as_csv(changed(same)) == header + "\n"
