"""Synthetic images that copy real ones are left out, and others drawn in their place."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ended import emptied, stopping, times_ended
from micro import contents, set_params

import flows.synthesize
import tasks.draw
import tasks.synthesize
from fgds_core.data.splits import read_prepared
from fgds_core.report.pictures import remarks
from fgds_core.synthesis.excluded import read_excluded
from fgds_core.synthesis.plan import Part
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.resample import write_resampled
from fgds_core.synthesis.shards import read_index, read_synthetic
from flows.cli.params import read_params
from flows.cli.status import show_status
from flows.plan import main as plan
from tasks.cost import ahead_of
from tasks.survey import Survey, survey
from tasks.workspace import FIRST, RUNS

Run = Callable[..., int]
SET = Path("data/synthetic")
REDRAW = {"copies": "redraw"}


@pytest.fixture
def memorised(ready: Run, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """A generator that draws training images again: the parts in which it does."""
    parts = {"02-owl/part-00000.parquet"}
    drawing = tasks.draw.write_part

    def write_part(part: Part, recipe: Any, models: Any, fingerprint: str, out: Path, **how: Any):
        if part.path in parts:
            return write_resampled(part, models.real, recipe.seed, fingerprint, out)
        return drawing(part, recipe, models, fingerprint, out, **how)

    monkeypatch.setattr(tasks.draw, "write_part", write_part)
    return parts


def test_copies_are_left_out_with_what_they_copy_and_others_are_drawn(
    ready: Run, memorised: set[str], drawn: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ready("synthesize") == 0
    plain = contents(SET)
    drawn.clear()
    assert ready("synthesize", synthesize=REDRAW) == 0
    said = capsys.readouterr().out
    assert "check 1: 8 images may be copies of real ones: owl (8); they are left out and" in said
    assert "check 2: no new image is taken for a copy" in said
    whole = contents(SET)
    assert drawn == ["02-owl/part-00002.parquet"]
    parts = [name for name in plain if "part-" in name]
    assert {name: whole[name] for name in parts} == {name: plain[name] for name in parts}

    # which they are, by whom, and of which real image
    away = read_excluded(SET)
    assert [(each.label, each.index, each.by) for each in away] == [
        (2, index, "copies") for index in range(8)
    ]
    images, rows = read_synthetic(SET, whole=True)
    train = read_prepared(FIRST.prepared, "train")
    of_owl = [row for row, label in enumerate(train.labels.tolist()) if label == 2]
    for each in away:
        (row,) = (
            place
            for place, its in enumerate(rows.to_pylist())
            if (its["label"], its["index"]) == (2, each.index)
        )
        source = of_owl[rows["conditioning_id"][row].as_py()]
        assert each.reason.startswith(f"copy of training image {source}, which it was made from (")
        assert (images[row] == train[source]).all()
    index = read_index(SET)
    assert index.num_kept == 16
    vetting = index.made_by["vetting"]
    assert vetting["max_redraws"] == 2
    assert vetting["copies"].keys() == {"train", "val", "test"}
    assert "judge" not in vetting  # nobody asked it
    (again,) = vetting["again"]
    assert again["wanted"] == [0, 0, 8]
    assert again["feedback_scale"] == 0.05  # a copy is no reason to guide less
    assert ready("assess") == 0
    measures = json.loads(Path("reports/assess/measures.json").read_text())
    assert measures["left_out"] == measures["per_class"]["owl"]["left_out"] == {"copies": 8}
    assert not list(remarks(measures))
    capsys.readouterr()
    show_status(read_params(), FIRST)
    assert "Checks of the images: 2 so far, none follows." in capsys.readouterr().out
    assert not (RUNS / "vetting").exists()

    # nothing is done twice, and with copies kept the set is what it was
    drawn.clear()
    assert ready("synthesize") == 0
    assert contents(SET) == whole
    assert ready("synthesize", synthesize={"copies": "keep"}) == 0
    assert contents(SET) == plain
    assert drawn == []


def test_features_decide_too_where_they_are_asked_for(
    ready: Run, memorised: set[str], drawn: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ready("synthesize", synthesize=REDRAW) == 0
    drawn.clear()
    capsys.readouterr()
    assert ready("synthesize", synthesize={"copies_by": ["features"]}) == 0
    said = capsys.readouterr().out
    assert "check 2: no new image is taken for a copy of a real one, by its features" in said
    assert drawn == []  # other checks redraw nothing
    away = [each for each in read_excluded(SET) if each.by == "copies"]
    assert [(each.label, each.index) for each in away] == [(2, index) for index in range(8)]
    assert all("(features: 0.0" in each.reason for each in away)
    vetting = read_index(SET).made_by["vetting"]
    assert vetting["copies_by"] == ["features"]
    assert vetting["features"].keys() >= {"models/baseline"}  # what takes them decides, too
    assert not (RUNS / "vetting").exists()


def test_what_is_a_copy_even_the_last_time_is_left_out_and_said(
    ready: Run, memorised: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    memorised |= {f"02-owl/part-0000{number}.parquet" for number in range(5)}
    assert ready("synthesize", synthesize=REDRAW, judge={"max_redraws": 1}) == 0
    said = capsys.readouterr().out
    assert "warning: check 2: 12 images may be copies of real ones: owl (12)" in said
    assert "judge.max_redraws allows no further drawing" in said
    index = read_index(SET)
    assert index.wanted == (0, 4, 24)
    assert index.num_kept == 4
    _, rows = read_synthetic(SET)
    assert set(rows["label"].to_pylist()) == {1}


def test_a_run_that_ends_in_the_search_or_after_it_comes_to_the_same_bytes(
    ready: Run, memorised: set[str], drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ready("synthesize", synthesize=REDRAW) == 0
    whole, total = emptied(SET), len(drawn)
    drawn.clear()

    import fgds_core.copies.find

    found, recording = fgds_core.copies.find._suspected, tasks.synthesize.write_verdicts
    monkeypatch.setattr(fgds_core.copies.find, "_suspected", stopping(found, 1))
    monkeypatch.setattr(tasks.synthesize, "write_verdicts", stopping(recording, 2))
    monkeypatch.setattr(flows.synthesize, "_finish", stopping(flows.synthesize._finish, 1))
    assert times_ended(lambda: ready("synthesize"), FIRST.synthetic_index) == 3
    assert contents(SET) == whole
    assert len(drawn) == total


def test_real_images_that_fill_a_class_are_no_copies(
    ready: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tasks.round

    monkeypatch.setattr(tasks.round, "resampled", lambda config, workspace: frozenset({"owl"}))
    assert ready("synthesize", synthesize=REDRAW) == 0
    assert "check 1: no new image is taken for a copy" in capsys.readouterr().out
    index = read_index(SET)
    assert index.resampled == ("owl",)
    assert index.num_kept == 16
    assert ready("assess") == 0
    measures = json.loads(Path("reports/assess/measures.json").read_text())
    assert measures["resampled"] == {"owl": 12}
    assert measures["per_class"]["owl"]["resampled"] is True
    assert "resampled" not in measures["per_class"]["dog"]
    assert measures["per_class"]["owl"]["copy_rate"]["value"] is None
    for its in measures["per_class"]["owl"]["copies"].values():
        assert its["num_suspected"] == 0
    suspects = pq.read_table("reports/assess/copies.parquet")
    assert "owl" not in suspects["class"].to_pylist()
    (said,) = remarks(measures)
    assert said.startswith("Real training images, drawn again, fill owl (12 images)")


def test_the_plan_foresees_what_checks_may_have_drawn_again(
    ready: Run, memorised: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan(["--probe", "0"]) == 0
    assert "Redraws" not in capsys.readouterr().out  # copies are kept, no judge is asked
    set_params(Path.cwd(), {"synthesize": REDRAW, "judge": {"max_redraws": 3}})
    assert plan(["--probe", "1"]) == 0
    said = capsys.readouterr().out
    assert "at most 3 times 16 images; how many, nobody knows before a set is measured" in said
    assert "further device-hours, if every image fails" in said

    # what assess says of the last set is what is expected of the next one
    assert ready("synthesize", synthesize={"copies": "keep"}) == 0
    assert ready("assess") == 0
    assert ready("prepare", synthesize=REDRAW | {"feedback_scale": 0.02}) == 0
    assert plan(["--probe", "0"]) == 0
    again = 8 + 4 + 2  # a half of them copies, and of those drawn again a half
    assert f"about {again} are expected, as 50.00% failed so far" in capsys.readouterr().out
    assert ahead_of(found_now(), FIRST).num_images == again

    # and once all is checked nothing is foreseen
    assert ready("synthesize") == 0
    assert plan(["--probe", "0"]) == 0
    said = capsys.readouterr().out
    assert "Redraws" not in said
    assert "Everything is drawn." in said


def found_now() -> Survey:
    params = read_params()
    recipe = Recipe(params["generator"], params["synthesize"], params["seed"])
    return survey(recipe, params["retrain"], params["store"], FIRST, judge=params["judge"])
