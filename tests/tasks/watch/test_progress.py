"""Progress in a log: one readable line at a time."""

import io
from pathlib import Path

import pytest

from tasks.watch import progress


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


def test_a_log_begins_at_once_and_gets_a_line_every_five_seconds(clock: Clock) -> None:
    log = io.StringIO()
    with progress.bar("synthesize", 1158, "images", log) as advance:
        assert log.getvalue() == "synthesize  0/1158 images\n"
        for _ in range(10):
            clock.now += 4
            advance(40)
    assert log.getvalue().splitlines() == [
        "synthesize  0/1158 images",
        "synthesize  40/1158 images",  # no time to go while nobody can know
        "synthesize  80/1158 images",
        "synthesize  120/1158 images",
        "synthesize  200/1158  10.0 images/s  ETA 1:36",
        "synthesize  280/1158  10.0 images/s  ETA 1:28",
        "synthesize  360/1158  10.0 images/s  ETA 1:20",
        "synthesize  400/1158 images",
    ]


def test_the_last_line_says_how_long_it_took(clock: Clock) -> None:
    log = io.StringIO()
    with progress.bar("assess", 10, "images", log) as advance:
        clock.now += 3700
        advance(10)
    assert log.getvalue().splitlines()[-1] == "assess  10/10 images  done in 1:01:40"


@pytest.mark.parametrize("warm_up_s", [0, 30, 300])
@pytest.mark.parametrize("step_s", [0.2, 1.0, 40.0])
def test_every_eta_holds_however_long_the_first_unit_takes(
    clock: Clock, warm_up_s: float, step_s: float
) -> None:
    pace = progress.Pace(200)
    clock.now += warm_up_s
    told = 0
    for i in range(200):
        clock.now += step_s * (0.8 if i % 2 else 1.2)
        pace.update(1)
        if pace.eta_s is not None and i < 199:
            told += 1
            assert pace.eta_s == pytest.approx((199 - i) * step_s, rel=0.2, abs=step_s)
    assert told >= 180


@pytest.mark.parametrize("first_s", [0.5, 20.0, 600.0])
@pytest.mark.parametrize("batch_s", [0.5, 2.0, 30.0])
def test_the_first_line_with_an_eta_is_right_within_a_few_percent(
    clock: Clock, first_s: float, batch_s: float
) -> None:
    """A constant rate after a first batch that takes as long as it likes."""
    log = io.StringIO()
    with progress.bar("synthesize", 16 * 200, "images", log) as advance:
        for done in range(1, 201):
            clock.now += first_s if done == 1 else batch_s
            advance(16)
            if "ETA" in log.getvalue():
                break
    told = log.getvalue().splitlines()[-2].rpartition("ETA ")[2]
    parts = [int(part) for part in told.split(":")]
    eta_s = sum(part * 60**place for place, part in enumerate(reversed(parts)))
    assert eta_s == pytest.approx((200 - done) * batch_s, rel=0.03, abs=1)
    assert done <= 5 or done * batch_s <= 12  # and it comes soon


@pytest.mark.parametrize("at_once", [1, 2, 5, 8])
@pytest.mark.parametrize("jitter_s", [0.01, 0.6])
def test_every_eta_of_several_side_by_side_holds_too(
    clock: Clock, at_once: int, jitter_s: float
) -> None:
    """All begin with a warm-up, so what they have done comes in bursts."""
    batch_s, rounds = 10.0, 40
    pace = progress.Pace(at_once * rounds, at_once)
    told = 0
    for each in range(rounds):
        for worker in range(at_once):
            clock.now = 100 + 60 + each * batch_s + worker * jitter_s
            pace.update(1)
            left = at_once * rounds - pace.done
            if pace.eta_s is not None and left >= at_once:
                told += 1
                assert pace.eta_s == pytest.approx(left * batch_s / at_once, rel=0.05)
    assert told >= at_once * (rounds - 6)


def test_tasks_that_find_their_work_done_promise_nothing(clock: Clock) -> None:
    log = io.StringIO()
    with progress.bar("synthesize", 1000, "images", log):
        for _ in range(50):
            clock.now += 1
            progress.advance("synthesize", 10, found=True)
    assert "ETA" not in log.getvalue()


def test_what_was_found_is_done_and_promises_nothing(clock: Clock) -> None:
    pace = progress.Pace(1000)
    for _ in range(50):
        pace.update(10, found=True)
    assert (pace.done, pace.rate) == (500, None)
    for _ in range(10):
        clock.now += 2
        pace.update(10)
    assert pace.rate == pytest.approx(5)
    assert pace.eta_s == pytest.approx(80)


def test_a_rate_that_changes_is_noticed_within_a_minute_or_so(clock: Clock) -> None:
    pace = progress.Pace(10_000)
    for seconds in [1] * 300 + [4] * 20:
        clock.now += seconds
        pace.update(1)
    assert pace.rate == pytest.approx(0.25, rel=0.1)


def test_a_result_is_one_line_on_the_console_and_in_the_log(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="tasks"):
        progress.say_result("retrain", "test accuracy 80.5 %")
    assert capsys.readouterr().out == "retrain: test accuracy 80.5 %\n"
    assert "test accuracy 80.5 %" in caplog.text


def test_an_accuracy_is_told_with_its_bins_as_far_as_there_are_some(tmp_path: Path) -> None:
    file = tmp_path / "final.json"
    file.write_text('{"overall": 0.8046, "many": 0.712, "medium": null, "few": 0.0}')
    assert progress.accuracy_line(file) == "test accuracy 80.5 % (many 71.2, few 0.0)"
    file.write_text('{"overall": 0.5, "many": null, "medium": null, "few": null}')
    assert progress.accuracy_line(file) == "test accuracy 50.0 %"


def test_tasks_reach_the_bar_by_its_name(clock: Clock) -> None:
    log = io.StringIO()
    with progress.bar("synthesize", 10, "images", log):
        progress.advance("synthesize", 10)
        progress.advance("another", 5)
    progress.advance("synthesize", 1)
    assert "synthesize  10/10" in log.getvalue()


def test_a_terminal_gets_a_moving_bar(clock: Clock) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    with progress.bar("prepare", 4, "images", terminal) as advance:
        for _ in range(4):
            clock.now += 2
            advance(1)
    assert "prepare: 100%" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()
    assert "0.5 images/s]" in terminal.getvalue()
