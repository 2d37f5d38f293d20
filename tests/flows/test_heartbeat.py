"""No command is silent for long."""

import io
import sys
import threading

import pytest

from flows.cli.heartbeat import SILENCE_S, is_due, never_silent


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
