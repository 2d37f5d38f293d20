"""The verdict: words for how sure a change is, warnings, and what to do next."""

import json
import re

import numpy as np
import pytest
from reported import CONFIG, GARMENTS, PARAMS, make_workspace

from fgds_core.files import write_json
from fgds_core.report import numbers
from fgds_core.report.accuracy import class_lines
from fgds_core.report.advice import steps
from fgds_core.report.cautions import cautions
from fgds_core.report.compare import Change
from fgds_core.report.gains import STAGES, Answers
from fgds_core.report.inputs import read_inputs
from fgds_core.report.page import find, write_report
from fgds_core.report.shortcut import sent_to_synthetic
from fgds_core.report.verdict import claim, headline


def change(name="few", n=100, won=0, lost=0, p=1.0, low=-0.1, high=0.1):
    return Change("control", "final", "bin", name, n, n // 2, won, lost, low, high, p, p)


@pytest.mark.parametrize(
    ("found", "sure", "words"),
    [
        (change(won=30, p=1e-9, low=0.2, high=0.4), "certain", "certain: p < 0.001, n = 100"),
        (change(lost=9, p=0.03, low=-0.2, high=-0.01), "likely", "likely: p = 0.030, n = 100"),
        (change(n=2, won=1, p=1.0), "undecided", "not distinguishable from none: n = 2"),
        # One of the two says that it may be chance, which is enough
        (change(won=9, p=0.2, low=0.01, high=0.2), "undecided", None),
        (change(won=9, p=0.01, low=0.0, high=0.2), "undecided", None),
        (change(), "undecided", "no answer differs: n = 100"),
        (Change("a", "b", "bin", "few", 0, 0, 0, 0), "unmeasured", "not measured: no test images"),
    ],
)
def test_a_change_is_called_what_it_is(found, sure, words):
    said = claim(found)
    assert said.sure == sure
    assert words in (None, said.words)
    assert (said.meaning == "same") == (sure in ("undecided", "unmeasured"))


def test_no_gain_survives_a_classifier_that_guesses_and_a_loss_does():
    won, lost = (
        change(won=30, p=1e-9, low=0.2, high=0.4),
        change(lost=30, p=1e-9, low=-0.4, high=-0.2),
    )
    assert claim(won, guesses=True).meaning == "same"
    assert claim(lost, guesses=True).meaning == "loss"


def test_one_sentence_says_who_gained_and_who_paid():
    same = claim(change("overall"))
    won = claim(change("few", won=30, p=1e-9, low=0.2, high=0.4))
    lost = claim(change("many", lost=10, p=1e-3, low=-0.2, high=-0.05))
    traded, stance = headline([same, lost, won], guesses=False)
    assert stance == "traded"
    assert traded == (
        "Synthetic images helped few-shot classes (+30.0 points) and many-shot classes "
        "(-10.0 points) paid for it; overall no difference can be told."
    )
    assert headline([same, won], guesses=False) == (
        "Synthetic images helped few-shot classes (+30.0 points), and no shot bin paid for it.",
        "helped",
    )
    below = claim(change("medium", lost=9, p=0.2, low=-0.2, high=-0.01))
    assert below.meaning == "same"
    assert headline([same, below, won], guesses=False) == (
        "Synthetic images helped few-shot classes (+30.0 points); whether medium-shot classes "
        "(-9.0 points) paid for it is not certain.",
        "helped",
    )
    assert headline([same, lost], guesses=False)[1] == "harmed"
    assert headline([same], guesses=False) == (
        "No effect of the synthetic images can be told from chance on 100 test images.",
        "undecided",
    )
    assert headline([same, won], guesses=True)[1] == "undecided"


def test_the_sentence_names_classes_that_lost_though_no_bin_did():
    won = claim(change("few", won=30, p=1e-9, low=0.2, high=0.4))
    same = claim(change("overall"))
    lost = [Change("control", "final", "class", n, 50, 40, 0, 9) for n in ("a", "b", "c", "d")]
    some, _ = headline([same, won], lost[:2], guesses=False)
    assert some.endswith("and no shot bin paid for it, but a and b lost.")
    many, _ = headline([same, won], lost, guesses=False)
    assert many.endswith("and no shot bin paid for it, but 4 classes lost.")
    none, stance = headline([same], lost[:1], guesses=False)
    assert none.endswith("can be told from chance on 100 test images, but a lost.")
    assert stance == "undecided"


def test_a_helpful_run_names_its_losers_and_feeds_those_that_got_little(inputs_with):
    lost = [
        Change("control", "final", "class", name, 50, 40, 0, 9, p=0.004, p_holm=0.01)
        for name in GARMENTS[:3]
    ]
    inputs = inputs_with()
    drawn = inputs.synthetic_counts
    told = {each.do: each for each in steps(inputs, "helped", lost, [])}
    use = told["Use the final classifier, models/final"]
    assert f"but {numbers.names(list(GARMENTS[:3]))} lost" in use.because
    least = max(10, max(drawn.values()) // 4)
    few = [name for name in GARMENTS[:3] if drawn[name] < least]
    assert 0 < len(few) < 3  # others have as many as this would give them
    more = told[f"Raise the target for {numbers.names(few)}, too"]
    assert more.command == f"dvc exp run -S synthesize.min_per_class={least}"


def shortcut(final):
    """40 frequent images, 40 of a rare class that is mostly synthetic; the control has half."""
    actual = np.repeat([0, 1], 40)
    control = actual.copy()
    control[40:60] = 0
    predicted = {"baseline": control, "control": control, "final": final}
    answers = Answers(("cat", "emu"), actual, predicted)
    return sent_to_synthetic(answers, {"cat": 500, "emu": 5}, {"cat": 0, "emu": 200})


def test_a_shortcut_is_more_false_alarms_than_recall():
    actual = np.repeat([0, 1], 40)
    sent = actual.copy()
    sent[40:60] = 0  # no emu more than the control
    sent[:20] = 1
    found = shortcut(sent)
    assert (found.num_images, found.control, found.final, found.recall_gain) == (40, 0, 20, 0.0)
    assert found.is_suspicious
    learned = sent.copy()
    learned[40:] = 1  # all emus: as much recall as false alarms
    assert not shortcut(learned).is_suspicious
    assert not shortcut(actual).is_suspicious
    answers = Answers(("cat", "emu"), actual, dict.fromkeys(STAGES, actual))
    assert sent_to_synthetic(answers, {"cat": 9, "emu": 9}, {"cat": 0, "emu": 0}) is None


@pytest.fixture
def inputs_with(tmp_path):
    """Inputs of which `measures.json` says something else, too."""

    def made(places=None, **changes):
        places = places or make_workspace(tmp_path, GARMENTS[:3], grid=False)
        path = places.reports / "assess" / "measures.json"
        measures = json.loads(path.read_text())
        measures["guidance"] |= changes.pop("guidance", {})
        write_json(path, measures | changes)
        return read_inputs(places, PARAMS)

    return made


def kinds(inputs):
    return {each.kind for each in cautions(inputs)}


def test_each_warning_comes_from_a_measurement(inputs_with, tmp_path):
    copies = {"value": 0.01, "low": 0.004, "high": 0.02}
    assert kinds(inputs_with(copy_rate=copies)) == set()
    assert kinds(inputs_with(copy_rate=copies | {"value": 0.1, "low": 0.05})) == {"copies"}
    assert kinds(inputs_with(copy_rate=copies, warnings=["it is all noise"])) == {"images"}
    idle = {"guided_steps": 0.0}
    found = inputs_with(copy_rate=copies, warnings=[], guidance=idle)
    assert kinds(found) == {"guidance_idle"}
    wild = {"guided_steps": 9.0, "nonfinite_steps": 4}
    assert kinds(inputs_with(copy_rate=copies, guidance=wild)) == {"guidance_wild"}
    warnings = ["guidance did nothing to cats", "the judge sees another class in most"]
    found = inputs_with(copy_rate=copies, warnings=warnings, guidance={"nonfinite_steps": 0})
    assert kinds(found) == {"guidance_idle", "images"}
    tiny = make_workspace(tmp_path / "tiny", GARMENTS[:2], [500, 5], num_test=2, grid=False)
    found = cautions(inputs_with(tiny, copy_rate=copies))
    text = next(each.text for each in found if each.kind == "tiny")
    assert "2 classes of 2 have fewer than 10 test images" in text
    assert "Trouser (2)" in text


LEARNT = {"Trouser": False, "Dress": True}
"""Classes that were doubted, and whether they could be drawn."""


def test_a_class_that_cannot_be_drawn_is_named_with_the_reason(tmp_path):
    places = make_workspace(tmp_path, GARMENTS[:3], grid=False)
    said = {"name": "Trouser", "can_draw": False, "reasons": {"wrong label": "seen as Dress"}}
    able = {"name": "Dress", "can_draw": True, "reasons": {}}
    known = {"check_images": 8, "generator": "mine", "groups": [], "cannot_draw": "keep"}
    ability = known | {"classes": [each | {"remarks": []} for each in (said, able)]}
    write_json(places.reports / "ability.json", ability)
    doubts = [{"name": name, "can_draw": able, "doubtful": True} for name, able in LEARNT.items()]
    before = known | {"classes": doubts}
    write_json(places.reports / "ability_before.json", before)
    page = write_report(places, PARAMS, CONFIG).read_text()
    assert (
        "Before it learnt from your training images it could draw 1 of 2; it learnt the 2" in page
    )
    assert "The generator cannot draw Trouser; Trouser: wrong label (seen as Dress)." in page
    verdict = json.loads((places.reports / "verdict.json").read_text())
    (step,) = [each for each in verdict["next"] if each["because"].startswith("it cannot draw")]
    assert step["command"] == "dvc exp run -S adapt.enabled=true"


def test_a_class_that_cannot_be_drawn_in_one_group_is_named_and_doubts_are_shown(tmp_path):
    places = make_workspace(tmp_path, GARMENTS[:3], grid=False)
    yes = {"can_draw": True, "doubtful": False, "reasons": {}, "remarks": []}
    unsure = {**yes, "doubtful": True, "doubts": ["perhaps far from real: 16 of 20"]}
    no = {"can_draw": False, "doubtful": True, "reasons": {"far from real": "8 of 8"}}
    ability = {
        "check_images": 20,
        "generator": "mine",
        "cannot_draw": "resample",
        "classes": [{**yes, "name": "Dress"}, {**unsure, "name": "Trouser"}],
        "groups": [{**yes, "name": "snow"}],
        "cells": [{**yes, **no, "name": "Dress, snow"}, {**yes, "name": "Trouser, snow"}],
    }
    write_json(places.reports / "ability.json", ability)
    page = write_report(places, PARAMS, CONFIG).read_text()
    assert "mine can draw 2 of 2 classes and 1 of 2 pairs of class and group." in page
    assert "The generator cannot draw Dress, snow; real images fill the classes of these" in page
    table = page.partition('<table id="able">')[2].partition("</table>")[0]
    assert re.findall(r'row">([^<]+)<.*?<td class="\w+">([^<]+)<', table) == [
        ("Trouser", "in doubt"),
        ("Dress", "yes"),
        ("snow", "yes"),
        ("Dress, snow", "no"),
    ]
    assert "perhaps far from real: 16 of 20" in table


def test_what_to_do_next_follows_from_what_was_measured(inputs_with, tmp_path):
    def done(inputs):
        return [each.do for each in find(inputs).judgement.steps]

    helped = done(inputs_with())
    assert "Use the final classifier, models/final" in helped
    assert any(each.startswith("Photograph more of") for each in helped)
    harmed = make_workspace(tmp_path / "b", lifts=(0, 0.5, 0.2), num_test=200, grid=False)
    assert "Stop: use the control, models/control" in done(inputs_with(harmed))
    alike = make_workspace(tmp_path / "c", lifts=(0, 0.3, 0.3), grid=False)
    judgement = find(inputs_with(alike)).judgement
    assert judgement.stance == "undecided"
    assert any("with more test images" in each.do for each in judgement.steps)
    assert any(each.command == "dvc exp run -S seed=1" for each in judgement.steps)
    wild = {"guided_steps": 9.0, "nonfinite_steps": 4}
    steps = find(inputs_with(guidance=wild)).judgement.steps
    commands = [each.command for each in steps if "feedback_scale" in each.do]
    assert commands == ["dvc exp run -S synthesize.feedback_scale=0.01"]  # half of what it was


def test_a_measured_worth_says_what_more_images_would_do(tmp_path):
    places = make_workspace(tmp_path, GARMENTS[:3], grid=False)

    def interval(value, low, high):
        return {"value": value, "low": low, "high": high}

    of_bin = {
        "recall_real": interval(0.3, 0.2, 0.4),
        "recall_synthetic": interval(0.5, 0.4, 0.6),
        "worth": interval(11.0, 8.0, None),
        "more": interval(3.0, 1.0, 5.0),
        "curve": {"0": interval(0.3, 0.2, 0.4), "10": interval(0.5, 0.3, 0.6)},
    }
    unit = {"unit": "Shirt", "bin": "few", "real": 12, "recall": 0.3}
    worth = {
        "bins": {"few": of_bin},
        "unit": "class",
        "num_more": 1000,
        "num_synthetic": 400,
        "units": [unit | {"doubling": interval(0.08, 0.02, 0.12)}],
    }
    write_json(places.reports / "worth.json", worth)
    page = write_report(places, PARAMS, CONFIG).read_text()
    assert "as much as 11 (8.0 or more) further real images a class" in page
    verdict = json.loads((places.reports / "verdict.json").read_text())
    assert verdict["worth"] == {"few": "11 (8.0 or more)"}
    said = {each["do"]: each["because"] for each in verdict["next"]}
    assert said["Photograph more of Shirt"] == (
        "twice its 12 real images would add +8.0 points to Shirt (+2.0 to +12.0)"
    )
    assert "as much as 3.0 (1.0 to 5.0) real ones" in said["Raise the target for few-shot classes"]
    assert '"worth":{' in page  # the chart


def test_classes_that_are_tested_on_nothing_have_no_verdict():
    actual = np.zeros(20, dtype=np.int64)
    answers = Answers(("cat", "emu"), actual, dict.fromkeys(STAGES, actual))
    lines = class_lines(answers, final_guesses=False)
    assert [line.verdict for line in lines] == ["same", "same"]
    assert lines[1].shown["gain"] == "\N{EN DASH}"
