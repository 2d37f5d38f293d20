"""What is recorded of the search for copies is what the guard promises."""

import json

import numpy as np
import pytest

from benchmarks.copies import EDITS, RESULT, Random
from fgds_core.copies.thumbnails import SIDE


@pytest.fixture(scope="module")
def found():
    return json.loads(RESULT.read_text())


def test_each_kind_of_planted_copy_is_found(found):
    single = [name for name in EDITS if name.count(",") < 2]
    by_all = found["garments"]["with_features"]["found"]
    assert {by_all[name] for name in single} == {found["garments"]["planted"]}
    by_picture = found["garments"]["found"]
    assert sum(by_picture[name] for name in single) >= 60 * len(single) - 1


def test_false_alarms_are_as_many_as_is_said(found):
    for garments in (found["garments"], found["garments"]["with_features"]):
        for split, alarms in garments["false_alarms"].items():
            said = garments["calibration"][split]
            assert said["low"] <= alarms <= said["high"]
            assert alarms <= 0.02 * found["garments"]["real_images"]


def test_what_is_said_of_chance_holds_in_most_random_calibrations(found):
    assert found["chance"]["draws"] >= 40
    assert min(found["chance"]["held"].values()) >= 0.9


def test_the_search_fits_in_memory_and_in_a_night(found):
    on_cpu = found["scale"]["cpu"]
    assert on_cpu["references"] * on_cpu["images"] == pytest.approx(1.2e6 * 115_000 / 100)
    assert on_cpu["peak_gb"] < 4
    assert sum(on_cpu["projected_hours"].values()) < 12


def test_random_thumbnails_follow_from_their_place():
    drawn, again = Random(100, 3), Random(100, 3)
    assert drawn[np.arange(5)].shape == (5, SIDE * SIDE)
    assert np.array_equal(drawn[np.arange(5)], again[np.arange(5)])
