"""A judge looks at what was drawn: images that fail are left out, others drawn in their place."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ended import emptied, stopping, times_ended
from micro import contents, set_params

import fgds_core.stages.vet
import flows.synthesize
import tasks.draw
import tasks.synthesize
from fgds_core.judge.record import Recognised, read_record, write_record
from fgds_core.synthesis.excluded import read_excluded
from fgds_core.synthesis.shards import read_index, read_synthetic
from fgds_core.synthesis.vetting import Verdict
from flows.cli.params import read_params
from flows.cli.status import show_status
from flows.exclude import main as exclude
from flows.redraw import main as redraw
from tasks.workspace import FIRST

Run = Callable[..., int]
SET = Path("data/synthetic")
STRICT = {"min_agreement": 0.95, "max_redraws": 2}
AWAY = [*range(0, 12, 3), 12]
"""Owls that the judge takes for something else, until it is content with the third time."""


def sees(label: int, indices: list[int], *others: object) -> Verdict:
    """The judge: of the owls every third is none, and the first of those drawn for them."""
    return Verdict(
        len(indices), {i: "the judge sees cat" for i in indices if label == 2 and i in AWAY}, {}
    )


@pytest.fixture
def vet(ready: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`ready`, with that judge, who knows every real image."""
    record = read_record(FIRST.judge)
    write_record(FIRST.judge, replace(record, validation=(Recognised(6, 6),) * 3))
    monkeypatch.setattr(fgds_core.stages.vet, "judged", sees)
    return ready


def test_what_fails_is_left_out_and_others_are_drawn_more_gently(
    vet: Run, drawn: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert vet("synthesize") == 0
    plain = contents(SET)
    drawn.clear()
    assert vet("synthesize", judge=STRICT) == 0
    said = capsys.readouterr().out
    whole = contents(SET)
    assert drawn == ["02-owl/part-00002.parquet", "02-owl/part-00003.parquet"]
    parts = [name for name in plain if "part-" in name]
    assert {name: whole[name] for name in parts} == {name: plain[name] for name in parts}
    index = read_index(SET)
    assert index.wanted == (0, 4, 17)
    assert index.num_kept == 16
    assert [(each.label, each.index) for each in read_excluded(SET)] == [(2, i) for i in AWAY]
    reasons = {(each.by, each.reason) for each in read_excluded(SET)}
    assert reasons == {("judge", "the judge sees cat")}
    _, rows = read_synthetic(SET, whole=True)
    scales = [r["feedback_scale"] for r in rows.to_pylist() if r["label"] == 2]
    assert scales == [0.05] * 12 + [0.025] * 4 + [0.0125]
    again = index.made_by["vetting"]["again"]
    assert [(each["wanted"], each["feedback_scale"]) for each in again] == [
        ([0, 0, 4], 0.025),
        ([0, 0, 1], 0.0125),
    ]
    assert "check 1: the judge sees too few of owl (8 of 12 images, 0.67" in said
    assert "check 3: the judge agrees" in said
    assert len(list((SET / "_vetting").iterdir())) == 3

    # one of them is made again as any other
    assert redraw(["--class", "owl", "--index", "16", "13", "2"]) == 0
    assert capsys.readouterr().out.count("equal to its row byte for byte") == 3
    # the training sees as many images as before, all of them right
    assert vet("retrain") == 0
    final = json.loads(Path("models/final/config.json").read_text())
    assert final["synthetic_counts"] == [0, 4, 12]
    show_status(read_params(), FIRST)
    said = capsys.readouterr().out
    assert "Checks of the images: 3 so far, none follows." in said
    assert "The set is complete." in said

    # nothing is done twice, and without a check the set is what it was
    drawn.clear()
    assert vet("synthesize") == 0
    assert contents(SET) == whole
    assert drawn == []
    # what a person leaves out may be one of those that took a place
    entry = {"class_name": "owl", "indices": [15, 3]}
    assert vet("synthesize", synthesize={"exclude": [entry]}) == 0
    by = [each.by for each in read_excluded(SET)]
    assert by == ["judge", "person", "judge", "judge", "judge", "person"]
    assert exclude(["--undo", "--later"]) == 0
    assert vet("synthesize", judge={"min_agreement": 0.0}) == 0
    assert contents(SET) == plain
    assert drawn == []


def test_a_run_that_ends_anywhere_comes_to_the_same_bytes(
    vet: Run, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vet("synthesize", judge=STRICT) == 0
    whole, total = emptied(SET), len(drawn)
    drawn.clear()

    # in the first look, before its record is written, in the drawing after it, in the last look,
    # and before the index
    counting = tasks.draw.write_part
    monkeypatch.setattr(fgds_core.stages.vet, "judged", stopping(sees, 2, 9))
    recording = stopping(tasks.synthesize.write_verdicts, 1)
    monkeypatch.setattr(tasks.synthesize, "write_verdicts", recording)
    monkeypatch.setattr(tasks.draw, "write_part", stopping(counting, 4))
    monkeypatch.setattr(flows.synthesize, "_finish", stopping(flows.synthesize._finish, 1))
    assert times_ended(lambda: vet("synthesize"), FIRST.synthetic_index) == 5
    assert contents(SET) == whole
    assert len(drawn) == total  # no part is drawn twice


def test_after_the_stated_number_of_times_the_last_ones_stay_and_the_run_says_so(
    vet: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(label: int, indices: list[int], *others: object) -> Verdict:
        return Verdict(len(indices), dict.fromkeys(indices, "the judge sees cat"), {})

    monkeypatch.setattr(fgds_core.stages.vet, "judged", none)
    once = {"min_agreement": 0.5, "max_redraws": 1}
    assert vet("synthesize", judge=once, synthesize={"rounds": 2, "images_per_part": 6}) == 0
    said = capsys.readouterr().out
    assert "warning: check 2: the judge sees too few of" in said
    assert "they stay" in said
    index = read_index(SET)
    assert index.num_kept == 16 == sum(index.wanted) / 2
    (again,) = index.made_by["vetting"]["again"]
    assert again["guide"] == index.made_by["rounds"][1]["guide"]  # that of the last round


def test_without_a_judge_nothing_is_drawn(
    vet: Run, drawn: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (FIRST.judge / "judge.json").unlink()
    assert vet("synthesize", judge=STRICT) == 2
    assert (
        "models/judge is missing, and judge.min_agreement asks for it" in capsys.readouterr().err
    )
    assert drawn == []
    set_params(Path.cwd(), {"judge": {"min_agreement": 0.0}})
    assert vet("synthesize") == 0
