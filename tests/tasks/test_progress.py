"""Progress in a log: one readable line at a time."""

import io
import re

import pytest

from tasks import progress


class Clock:
    """A clock that the test moves."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_log_gets_a_line_every_ten_seconds(clock: Clock) -> None:
    log = io.StringIO()
    with progress.bar("synthesize", 1158, "images", log) as advance:
        for _ in range(4):
            clock.now += 4
            advance(40)
    lines = log.getvalue().splitlines()
    assert lines[0] == "synthesize  120/1158  10.0 images/s  ETA 1:44"
    assert len(lines) == 2


def test_the_last_line_says_how_long_it_took(clock: Clock) -> None:
    log = io.StringIO()
    with progress.bar("assess", 10, "images", log) as advance:
        clock.now += 3700
        advance(10)
    assert log.getvalue().splitlines()[-1] == "assess  10/10  0.0 images/s  done in 1:01:40"


def test_tasks_reach_the_bar_by_its_name(clock: Clock) -> None:
    log = io.StringIO()
    with progress.bar("synthesize", 10, "images", log):
        progress.advance("synthesize", 10)
        progress.advance("another", 5)
    progress.advance("synthesize", 1)
    assert "synthesize  10/10" in log.getvalue()


def test_a_terminal_gets_a_moving_bar() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    with progress.bar("prepare", 4, "images", terminal) as advance:
        advance(4)
    assert re.search(r"prepare: 100%.*4/4", terminal.getvalue())
