"""`python -m flows.synthesize --status` tells the truth about the set that is asked for."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import tasks.draw
from fgds_core.synthesis.recipe import Recipe
from flows.cli.params import read_params
from flows.cli.status import show_status
from flows.synth_pipeline import stage_flow
from tasks.status import Status, read_status
from tasks.watch.journal import JOURNAL
from tasks.workspace import FIRST

Run = Callable[..., int]


def status(verify: bool = False) -> Status:
    params = read_params()
    recipe = Recipe(params["generator"], params["synthesize"], params["seed"])
    return read_status(recipe, params["retrain"], params["store"], FIRST, verify=verify)


def counts(status: Status) -> list[tuple[int, int, int]]:
    """Wanted, done and failed images of cat, dog and owl."""
    return [(each.wanted, each.done, each.failed) for each in status.classes]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    show_status(read_params(), FIRST)
    return capsys.readouterr().out


def rewrite_journal(change: Callable[[list[dict]], list[dict]]) -> None:
    notes = [json.loads(line) for line in JOURNAL.read_text().splitlines()]
    JOURNAL.write_text("".join(json.dumps(note) + "\n" for note in change(notes)))


def test_before_the_first_run(ready: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert counts(status()) == [(0, 0, 0), (4, 0, 0), (12, 0, 0)]
    assert "nothing draws it. Draw the rest with `dvc repro`" in said(capsys)


def test_a_finished_set(workspace: Path, ready: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert ready("synthesize") == 0
    found = status(verify=True)
    assert counts(found) == [(0, 0, 0), (4, 4, 0), (12, 12, 0)]
    assert found.complete
    assert found.rate is None
    text = said(capsys)
    assert "The set is complete." in text
    assert "is not running: it ended" in text
    assert "cat" not in text  # wants no image

    (workspace / "data" / "synthetic" / "_index.json").unlink()
    assert not status().complete


def test_a_failed_class_is_told_until_it_is_drawn(
    ready: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_part = tasks.draw.write_part

    def failing(part, *arguments, **options):
        if part.class_name == "dog":
            raise FloatingPointError("not finite\nand more")
        return write_part(part, *arguments, **options)

    monkeypatch.setattr(tasks.draw, "write_part", failing)
    assert ready("synthesize") == 1
    assert counts(status()) == [(0, 0, 0), (4, 0, 4), (12, 12, 0)]
    text = said(capsys)
    assert "failed: 01-dog/part-00000.parquet: not finite\n" in text
    assert "The set is not complete" in text

    monkeypatch.setattr(tasks.draw, "write_part", write_part)
    assert ready("synthesize") == 0
    assert counts(status()) == [(0, 0, 0), (4, 4, 0), (12, 12, 0)]
    assert status().failures == {}


def test_a_set_whose_run_was_killed(
    workspace: Path, ready: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ready("synthesize") == 0
    for name in ("02-owl/part-00001.parquet", "_index.json"):
        (workspace / "data" / "synthetic" / name).unlink()
    gone = 2**22 + 1  # above the largest number of a process
    rewrite_journal(lambda notes: [{**notes[0], "pid": gone}])
    assert counts(status()) == [(0, 0, 0), (4, 4, 0), (12, 8, 0)]
    assert status().done_at is None
    assert "is not running: it was stopped before its end" in said(capsys)


def test_the_eta_comes_from_what_this_run_has_drawn(
    workspace: Path, ready: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ready("synthesize") == 0
    out = workspace / "data" / "synthetic"
    (out / "_index.json").unlink()
    (out / "02-owl" / "part-00001.parquet").unlink()
    began = time.time() - 100
    rewrite_journal(lambda notes: [{**notes[0], "at": began}])
    os.utime(out / "01-dog" / ".part-00000.json", (began - 50, began - 50))  # of an earlier run
    os.utime(out / "02-owl" / ".part-00000.json", (began + 16, began + 16))
    running = status()
    assert running.rate == pytest.approx(8 / 16, rel=1e-3)
    assert running.done_at == pytest.approx(began + 16 + 4 / 0.5, abs=0.1)
    text = said(capsys)
    assert "is running." in text
    assert "0.5 images/s, ETA 0:00" in text

    found = {"event": "found", "at": began + 1, "part": "02-owl/part-00000.parquet"}
    rewrite_journal(lambda notes: [*notes, found])
    assert status().rate is None
    assert "No ETA before the first part is drawn." in said(capsys)


def test_parts_of_another_set_do_not_count(ready: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert ready("synthesize") == 0
    assert ready("prepare", synthesize={"feedback_scale": 0.07}) == 0
    assert counts(status()) == [(0, 0, 0), (4, 0, 0), (12, 0, 0)]
    assert "Another set, of other parameters, data or code: The run that began" in said(capsys)


def test_a_part_cut_short_does_not_count_and_a_changed_one_not_when_verified(
    workspace: Path, ready: Run
) -> None:
    assert ready("synthesize") == 0
    part = workspace / "data" / "synthetic" / "02-owl" / "part-00000.parquet"
    whole = part.read_bytes()
    part.write_bytes(whole[:-100])
    assert counts(status())[2] == (12, 4, 0)
    part.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    assert counts(status())[2] == (12, 12, 0)
    assert counts(status(verify=True))[2] == (12, 4, 0)


def test_more_images_wanted_are_not_done(ready: Run) -> None:
    assert ready("synthesize") == 0
    assert ready("prepare", synthesize={"target_per_class": 24}) == 0
    # the last part of each class is longer now, and there is another one
    assert counts(status()) == [(0, 0, 0), (12, 0, 0), (20, 8, 0)]


def test_it_changes_nothing(workspace: Path, ready: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in workspace.rglob("*")}
    status(verify=True)
    assert {path: path.stat().st_mtime_ns for path in workspace.rglob("*")} == before


def test_the_option_is_of_the_stage_alone_and_needs_its_inputs(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.cli.stage import run_stage
    from flows.cli.status import QUESTIONS

    monkeypatch.setattr("sys.argv", ["flows", "--status"])
    with pytest.raises(SystemExit, match="2"):
        run_stage(stage_flow("synthesize"), "", *QUESTIONS)
    assert "data/prepared is missing; make it with `dvc repro prepare`" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run_stage(stage_flow("assess"), "")
    assert "unrecognized arguments: --status" in capsys.readouterr().err
