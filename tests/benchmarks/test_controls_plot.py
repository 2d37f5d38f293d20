"""The picture of the comparison: which arms are a curve, and which column they are judged by."""

import pytest
from PIL import Image

from benchmarks.controls.arms import CEILING, CONTROL
from benchmarks.controls_plot import curves, draw, family_of, rare_column


def arm(mean, worst_tenth=None):
    value = {"mean": mean, "low": mean - 0.02, "high": mean + 0.02, "seeds": 3}
    columns = dict.fromkeys(("overall", "few"), value)
    return {
        **columns,
        "worst_tenth": None if worst_tenth is None else {**value, "mean": worst_tenth},
    }


ARMS = {
    CONTROL: arm(0.5),
    CEILING: arm(0.9),
    "feedback: loss": arm(0.7),
    "feedback: loss, n=800": arm(0.75),
    "feedback: loss, n=100": arm(0.6),
    "unguided: n=100": arm(0.55),
}


def test_arms_that_differ_in_their_number_of_images_are_a_curve():
    found = curves(ARMS, "few", 200)
    assert list(found) == ["feedback: loss"]  # of one number there is no curve
    assert [(many, value["mean"]) for many, value in found["feedback: loss"]] == [
        (100, 0.6),
        (200, 0.7),  # the arm that says no number
        (800, 0.75),
    ]


def test_with_groups_the_worst_tenth_counts():
    assert rare_column(ARMS) == "few"
    assert rare_column({**ARMS, "more": arm(0.5, worst_tenth=0.1)}) == "worst_tenth"


def test_an_arms_kind_is_what_its_name_begins_with():
    assert family_of("feedback: loss, n=100") == "feedback"
    assert family_of(CEILING) == CEILING


@pytest.mark.parametrize("split", ["test", "validation"])
def test_the_picture_is_drawn_of_test_images_where_there_are_some(tmp_path, split):
    results = {"arms": ARMS if split == "test" else {}, "validation": {"arms": ARMS}}
    draw(results, "data", 200, tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        assert len(picture.convert("RGB").getcolors(2**20)) > 10
