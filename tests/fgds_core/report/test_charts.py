"""What the charts are made of."""

import json

import numpy as np

from fgds_core.report import charts
from fgds_core.report.gains import STAGES, Answers


def curve(*points):
    return [
        {"tau": str(tau), "overall": "0.5", "many": many, "medium": "", "few": few}
        for tau, many, few in points
    ]


def test_points_that_nobody_wants_are_left_out_and_the_classifier_as_it_is_stays():
    rows = curve(
        (-1, "0.7", "0.1"),  # worse than the next in both
        (-0.5, "0.8", "0.2"),
        (0, "0.6", "0.55"),  # worse than the next, but it is the classifier
        (0.5, "0.65", "0.6"),
        (1, "0.5", "0.7"),
        (2, "0.1", "0.75"),  # too strong
    )
    spec = charts.trade_off({"control": rows})
    assert spec["description"] == "Few-shot over many-shot accuracy"
    points = json.dumps(spec)
    assert [tau for tau in (-1.0, -0.5, 0.0, 0.5, 1.0, 2.0) if f'"tau": {tau}' in points] == [
        -0.5,
        0.0,
        0.5,
        1.0,
    ]
    assert charts.trade_off({"control": [row | {"few": ""} for row in rows]}) is None


def test_of_few_images_there_is_no_dot_and_of_many_classes_no_matrix():
    actual = np.arange(40) % 4
    answers = Answers(
        ("a", "b", "c", "d"),
        actual,
        dict.fromkeys(STAGES, actual),
        {name: np.linspace(0.0, 1.0, 40) for name in STAGES},  # 2 or 3 images a bin
    )
    assert charts.calibration(answers) is None
    assert charts.confusion(answers, [str(k) for k in range(charts.MATRIX + 1)]) is None
    assert charts.confusion(answers, answers.class_names)["description"].startswith("Mistakes")


def test_charts_share_the_colours_of_the_page_and_are_the_same_each_time():
    rows = {name: [(100, 0.5), (200, 0.75)] for name in STAGES}
    spec = charts.learning_curves(rows)
    assert spec == charts.learning_curves(rows)
    text = json.dumps(spec)
    assert "var(--final)" in text
    assert "://" not in text
    assert spec["width"] == "container"
    assert charts.learning_curves(dict.fromkeys(STAGES, ())) is None
