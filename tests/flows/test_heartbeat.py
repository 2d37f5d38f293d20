"""No command is silent for long."""

import io
import sys
import threading
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest
from micro import ROOT

from fgds_core.errors import InputError
from flows.cli import stage
from flows.cli.heartbeat import SILENCE_S, Heard, is_due, never_silent
from flows.synth_pipeline import stage_flow, synth_pipeline


class Listener(io.StringIO):
    """A terminal that tells when something was said."""

    def __init__(self) -> None:
        super().__init__()
        self.said = threading.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        self.said.set()
        return written

    def isatty(self) -> bool:
        return True


def listen(monkeypatch: pytest.MonkeyPatch) -> tuple[Listener, Listener]:
    """Takes the place of the standard streams, which pytest has set for the test by now."""
    out, err = Listener(), Listener()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    return out, err


def test_silence_is_broken_by_what_works_and_for_how_long(monkeypatch) -> None:
    _, err = listen(monkeypatch)
    with never_silent("assess", most_s=0.05):
        assert err.said.wait(30)
    lines = err.getvalue().splitlines()
    assert lines[0].startswith("assess  still at work after 0:0")
    assert all(line.startswith("assess  still at work") for line in lines)


def test_a_word_is_due_before_five_seconds_are_over_and_not_while_others_speak() -> None:
    assert SILENCE_S <= 5
    look_s = SILENCE_S / 20
    silent = [n * look_s for n in range(100) if is_due(n * look_s, 0.0, SILENCE_S)]
    assert silent[0] <= SILENCE_S
    assert not is_due(100.0, 100.0 - 0.9 * SILENCE_S, SILENCE_S)


def test_no_silence_is_longer_than_five_seconds_whatever_else_is_said() -> None:
    look_s = SILENCE_S / 20
    others = [0.0, 0.1, 4.6, 9.4, 9.5, 14.2, 40.0, 44.9, 45.0]  # when something else speaks
    heard = []
    for n in range(int(60 / look_s)):
        before, now = (n - 1) * look_s, n * look_s
        heard += [at for at in others if before < at <= now]
        if is_due(now, heard[-1], SILENCE_S):
            heard.append(now)
    assert max(b - a for a, b in pairwise(heard)) <= SILENCE_S
    assert len(heard) - len(others) <= 60 / (0.95 * SILENCE_S)  # and not more words than needed


class Reached(InputError):
    """What a command is stopped with once it works."""


@pytest.mark.parametrize(
    ("module", "given", "place"),
    [
        ("plan", [], "flows.plan.read_params"),
        ("preview", [], "flows.preview.read_params"),
        ("redraw", ["--class", "owl", "--index", "1"], "flows.redraw.read_params"),
        ("exclude", ["--list"], "flows.exclude.read_params"),
        ("exclude", ["--class", "owl", "--index", "1"], "flows.exclude.read_params"),
        ("compare", ["one", "other"], "flows.compare.read_experiment"),
        ("worth", [], "flows.worth.read_params"),
        ("init", ["somewhere"], "fgds_core.data.recognise.recognise"),
    ],
)
def test_every_command_is_heard_of_while_it_works(
    module: str,
    given: list[str],
    place: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    watched = []

    def reached(*arguments: object, **options: object) -> None:
        watched.append(isinstance(sys.stdout, Heard))
        raise Reached

    monkeypatch.setattr(place, reached)
    assert import_module(f"flows.{module}").main(given) == 2
    assert watched == [True]


def test_a_stage_is_heard_of_while_it_works_and_while_it_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    watched = []

    def reached(*arguments: object) -> None:
        watched.append(isinstance(sys.stdout, Heard))
        raise Reached

    monkeypatch.setattr(stage, "import_module", reached)
    question = stage.Question("status", "asks", reached)
    for given in ([], ["--status"]):
        monkeypatch.setattr("sys.argv", ["flows", *given])
        with pytest.raises(SystemExit):
            stage.run_stage(stage_flow("report"), "", question)
    monkeypatch.setattr("flows.cli.stage.guarded", reached)
    monkeypatch.setattr("sys.argv", ["flows"])
    with pytest.raises(Reached):
        stage.run_pipeline(synth_pipeline, "")
    assert watched == [True, True, True]


def test_what_is_said_counts_as_a_word_on_either_stream(monkeypatch) -> None:
    listen(monkeypatch)
    with never_silent("assess"):
        for stream in (sys.stdout, sys.stderr):
            before = stream.last
            print("epoch done", file=stream)
            assert stream.last > before


def test_the_streams_are_themselves_and_come_back(monkeypatch) -> None:
    out, err = listen(monkeypatch)

    def fail() -> None:
        with never_silent("assess"):
            assert sys.stderr.isatty()
            print("heard", flush=True)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (sys.stdout, sys.stderr) == (out, err)
    assert out.getvalue() == "heard\n"
