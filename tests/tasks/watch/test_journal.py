"""The journal of a run tells a run that works from one that is gone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from micro import ROOT

from tasks.watch import journal as journals
from tasks.watch.journal import journal, read_run


def notes(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_is_running_until_it_ends(tmp_path: Path) -> None:
    path = tmp_path / ".runs" / "synthesize.jsonl"
    with journal("f", path) as note:
        note("found", part="a/part-00000.parquet")
        note("failed", part="b/part-00000.parquet", error="not finite")
        run = read_run(path)
        assert run is not None
        assert run.is_running
        assert run.fingerprint == "f"
        assert run.found == {"a/part-00000.parquet"}
        assert run.failed == {"b/part-00000.parquet": "not finite"}
    ended = read_run(path)
    assert ended is not None
    assert ended.is_running is False
    assert ended.ended is not None


def test_the_rate_of_a_round_is_from_its_own_beginning(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with journal("f", path) as note:
        first = read_run(path)
        note("round", number=2)
        second = read_run(path)
    assert first is not None
    assert second is not None
    assert first.round_started == first.started == second.started
    assert second.round_started == notes(path)[1]["at"]


def test_an_error_ends_a_run_too(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with pytest.raises(KeyboardInterrupt), journal("f", path):
        raise KeyboardInterrupt
    assert notes(path)[-1]["event"] == "ended"


def test_a_killed_run_is_not_running_and_half_a_line_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    killed = f"""
import os, pathlib
from tasks.watch.journal import journal
with journal("f", pathlib.Path({str(path)!r})) as note:
    note("failed", part="a", error="broken")
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", killed], cwd=ROOT).returncode == 9
    with path.open("a") as file:
        file.write('{"event": "fai')
    run = read_run(path)
    assert run is not None
    assert run.failed == {"a": "broken"}
    assert run.ended is None
    assert run.is_running is False


def test_a_process_that_has_the_number_now_is_not_the_run(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with journal("f", path):
        first = notes(path)[0]
        path.write_text(json.dumps({**first, "process_started": first["process_started"] - 60}))
        run = read_run(path)
        assert run is not None
        assert run.is_running is False


def test_only_its_own_machine_can_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.jsonl"
    with journal("f", path):
        monkeypatch.setattr(journals.socket, "gethostname", lambda: "another")
        run = read_run(path)
        assert run is not None
        assert run.is_running is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"event": "started"}'])
def test_what_is_no_journal_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "journal.jsonl"
    assert read_run(path) is None
    path.write_text(text)
    assert read_run(path) is None
