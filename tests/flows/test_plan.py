"""`python -m flows.plan`: what is to be drawn, what it costs, and the limit to that."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from micro import ROOT, set_params

import tasks.cost
import tasks.glance
import tasks.workers.worker
from flows.plan import main

Run = Callable[..., int]


def contents(workspace: Path) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for folder in ("data", "models", "reports")
        for path in (workspace / folder).rglob("*")
        if path.is_file()
    }


def row(text: str, name: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.split()[:1] == [name])
    return line.split()[1:]


def test_without_prepared_data_it_says_what_makes_them(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == 2
    told = capsys.readouterr()
    assert told.err == "error: data/prepared is missing; make it with `dvc repro prepare`\n"
    assert told.out == ""


def test_without_a_baseline_it_counts_and_measures_nothing(
    run_stage: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_stage("prepare") == 0
    assert main([]) == 0
    told = capsys.readouterr().out
    # real, wanted, finished, to draw, parts
    assert row(told, "cat") == ["medium", "24", "0", "0", "0", "0"]
    assert row(told, "owl") == ["few", "4", "12", "0", "12", "2"]
    assert row(told, "few") == ["2", "16", "16", "0", "16", "3"]
    assert row(told, "all") == ["3", "40", "16", "0", "16", "3"]
    assert "needs models/baseline; make it with `dvc repro train_baseline`" in told
    assert "Probe" not in told

    assert main(["--max-device-hours", "1"]) == 2  # a limit that cannot be checked is not kept
    assert "--max-device-hours needs models/baseline" in capsys.readouterr().err


def test_without_the_control_that_guides_it_says_what_makes_it(
    workspace: Path, ready: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    set_params(workspace, {"synthesize": {"guide": "both"}})
    assert main([]) == 0
    needs = "needs models/control; make it with `python -m flows.train_control`"
    assert needs in capsys.readouterr().out
    assert main(["--max-device-hours", "1"]) == 2
    assert f"--max-device-hours {needs}" in capsys.readouterr().err


def test_the_probe_draws_the_images_of_the_run_and_leaves_nothing(
    workspace: Path,
    ready: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    probed: list[bytes] = []
    write_part = tasks.cost.write_part

    def watching(part, *arguments, **options):
        record = write_part(part, *arguments, **options)
        out = next(argument for argument in arguments if isinstance(argument, Path))
        probed.append((out / record.path).read_bytes())
        return record

    monkeypatch.setattr(tasks.cost, "write_part", watching)
    set_params(workspace, {"synthesize": {"images_per_part": 4}})
    before = contents(workspace)
    capsys.readouterr()
    assert main([]) == 0
    told = capsys.readouterr().out
    assert "by 4 images of class 'owl' on cpu" in told
    assert "device-hours for 16 images" in told
    assert contents(workspace) == before

    assert ready("synthesize") == 0
    part = workspace / "data" / "synthetic" / "02-owl" / "part-00000.parquet"
    assert probed == [part.read_bytes()] * 2


def test_a_glance_says_what_the_generator_cannot_draw_before_anything_is_trained(
    run_stage: Run,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_stage("prepare", synthesize={"check_images": 8}) == 0
    before = contents(workspace)
    capsys.readouterr()
    assert main(["--probe", "0"]) == 0
    told = capsys.readouterr().out
    assert "Check: 16 images without feedback come first" in told
    assert "at a glance" not in told
    assert main([]) == 0
    told = capsys.readouterr().out
    assert "Check, at a glance: warning: it cannot draw 'owl': far from real (8 of 8" in told
    assert "cannot draw 'dog'" in told
    assert contents(workspace) == before
    assert not (workspace / ".runs" / "check").exists()
    # With no time left after the class that wants most
    monkeypatch.setattr(tasks.glance, "GLANCE_S", 0.0)
    assert main([]) == 0
    told = capsys.readouterr().out
    assert "can draw 0 of 1 classes" in told
    assert "cannot draw 'owl'" in told
    assert "1 more classes are looked at by the run alone" in told


def test_what_is_finished_costs_nothing(
    workspace: Path, ready: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ready("synthesize") == 0
    damaged = workspace / "data" / "synthetic" / "02-owl" / "part-00001.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    capsys.readouterr()
    assert main(["--probe", "1"]) == 0
    told = capsys.readouterr().out
    assert row(told, "all") == ["3", "40", "16", "12", "4", "3"]
    assert "by 1 images of class 'owl'" in told
    assert "device-hours for 4 images" in told

    assert ready("synthesize") == 0
    capsys.readouterr()
    assert main(["--max-device-hours", "1e-9"]) == 0
    assert "Everything is drawn." in capsys.readouterr().out


def test_a_larger_run_than_allowed_is_refused_by_the_plan_and_by_the_run(
    workspace: Path, ready: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "16 images to draw take about"
    capsys.readouterr()
    assert main(["--max-device-hours", "1e-9"]) == 2
    assert told in capsys.readouterr().err
    assert main(["--max-device-hours", "1e-9", "--probe", "0"]) == 2
    assert "needs a probe of 1 image or more" in capsys.readouterr().err

    assert ready("synthesize", compute={"max_device_hours": 1e-9}) == 2
    assert told in capsys.readouterr().err
    assert not list((workspace / "data").rglob("part-*"))
    assert main([]) == 2
    assert told in capsys.readouterr().err
    assert main(["--max-device-hours", "1000"]) == 0  # the command goes before the parameters

    assert ready("synthesize", compute={"max_device_hours": 1000}) == 0
    assert ready("synthesize", compute={"max_device_hours": 1e-9}) == 0  # nothing is left to draw


def test_a_worker_of_a_cluster_draws_the_probe(
    workspace: Path,
    ready: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cluster = {
        "address": None,
        "cluster_class": "dask.distributed.LocalCluster",
        "cluster_kwargs": {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None},
        "adapt": None,
    }

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("the flow's own process has loaded models")

    monkeypatch.setattr(tasks.workers.worker, "load_models", refuse)
    limited = {"runner": "dask", "dask": cluster, "max_device_hours": 1e-9}
    assert ready("synthesize", compute=limited) == 2
    assert "16 images to draw take about" in capsys.readouterr().err
    assert not list((workspace / "data").rglob("part-*"))


def test_images_that_cannot_be_drawn_are_told_without_a_traceback(
    ready: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*arguments, **options):
        raise FloatingPointError("3 of 4 images are not finite")

    monkeypatch.setattr(tasks.cost, "write_part", failing)
    capsys.readouterr()
    assert main([]) == 2
    assert "the probe cannot draw 4 images of class 'owl': 3 of 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--prob", "4", "--frob"], "unrecognized arguments: --frob"),
        (["--probe", "-1"], "got '-1'; must be a whole number from 0"),
        (["--max-device-hours", "0"], "got '0'; must be a number above 0"),
        (["--max-device-hours", "nan"], "got 'nan'; must be a number above 0"),
    ],
)
def test_a_mistake_in_the_options_is_refused(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert told in capsys.readouterr().err


def test_a_mistake_in_the_parameters_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.plan", "--params", str(tmp_path / "none.yaml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "none.yaml: No such file" in done.stderr
    assert "Traceback" not in done.stderr
