"""`reports/timing.json`."""

import json
import time
from pathlib import Path

import pytest
from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.watch import timing


def test_stages_add_up_and_keep_each_other(tmp_path: Path) -> None:
    path = tmp_path / "reports" / "timing.json"
    timing.record_stage("prepare", 10.0, 4.0, path)
    timing.record_stage("assess", 20.0, 15.0, path)
    timing.record_stage("prepare", 12.0, 0.0, path)
    told = json.loads(path.read_text())
    assert told["stages"]["prepare"]["total_s"] == 12
    assert told["stages"]["assess"]["work_s"] == 15
    assert told["total_s"] == 32
    assert told["peak_rss_gb"] == max(s["peak_rss_gb"] for s in told["stages"].values())

    timing.record_job(40.0, 3.5, path)
    told = json.loads(path.read_text())
    assert (told["total_s"], told["peak_rss_gb"]) == (40, 3.5)
    assert set(told["stages"]) == {"prepare", "assess"}


def test_the_time_of_an_image_is_of_those_that_were_drawn(tmp_path: Path) -> None:
    path = tmp_path / "timing.json"

    def record(drawn: list[tuple[int, float]]) -> dict[str, float]:
        with timing.work_counted() as work:
            for images in drawn:
                timing.count_images(*images)
        timing.record_stage("synthesize", 10.0, 4.0, path, work.per_image_s)
        return json.loads(path.read_text())["stages"]["synthesize"]

    assert "per_image_s" not in record([])
    assert record([(100, 9.0), (20, 3.0)])["per_image_s"] == 0.1
    # a run that found all of them took four seconds for none
    assert record([])["per_image_s"] == 0.1
    timing.count_images(5, 1.0)  # nobody counts this


def test_a_training_takes_what_the_one_most_like_it_took(tmp_path: Path) -> None:
    path = tmp_path / "timing.json"
    assert timing.training_s(path) is None
    timing.record_stage("prepare", 9.0, 8.0, path)
    assert timing.training_s(path) is None
    for stage, seconds in (("train_baseline", 3.0), ("train_control", 5.0), ("retrain", 4.0)):
        timing.record_stage(stage, 9.0, seconds, path)
        assert timing.training_s(path) == seconds


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "timing.json"
    path.write_text('{"stages": ')
    timing.record_stage("prepare", 1.0, 1.0, path)
    assert set(json.loads(path.read_text())["stages"]) == {"prepare"}


def test_work_that_overlaps_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    with timing.work_counted() as counted:
        with timing.work():
            clock.now += 2
            with timing.work():
                clock.now += 3
        clock.now += 10
        with timing.work():
            clock.now += 1
            assert counted.seconds == 6  # while it goes on
    with timing.work():
        clock.now += 100  # nobody counts this
    assert counted.seconds == 6


def test_work_in_the_threads_of_tasks_counts(prefect_folder: Path) -> None:
    @task
    def works(number: int) -> None:
        with timing.work():
            time.sleep(0.05)

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def stage() -> None:
        works.map([1, 2]).wait()

    with timing.work_counted() as counted:
        stage()
    assert counted.seconds > 0
