"""What is recorded of judges is what the guard says of them."""

import json

from benchmarks.judge import RESULT, interval


def test_the_interval_of_agreement_holds_what_it_says():
    recorded = json.loads(RESULT.read_text())["interval"]
    assert recorded["least"] == min(case["held"] for case in recorded["cases"]) >= 0.92
    drawn = interval(40)
    assert len(drawn) == len(recorded["cases"])
    assert sum(case["held"] for case in drawn) / len(drawn) > 0.93


def test_the_recall_of_the_embedded_judge_is_recorded_with_what_it_takes_for_others():
    found = json.loads(RESULT.read_text())["recall"]["trained elsewhere"]
    recalls = [each["recall"] for each in found["classes"].values()]
    assert abs(found["recall"] - sum(recalls) / len(recalls)) < 0.1
    assert found["right_where_sure"] > found["recall"]
