"""A user's mistake is one message and a status; nothing already made is lost."""

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from micro import ROOT, contents, set_params
from prefect.settings import PREFECT_API_URL, temporary_settings

from fgds_core.errors import InputError
from fgds_core.images.table import image_table, write_images
from flows.cli.params import read_params
from flows.cli.server import await_server
from flows.cli.stage import check_wanted, guarded
from tasks.workspace import FIRST

Run = Callable[..., int]


@pytest.fixture
def refused(
    run_stage: Run, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Callable[..., str]:
    """Runs a stage that has to refuse its input; returns the message."""

    def run(name: str, **changes: dict[str, object]) -> str:
        capsys.readouterr()
        assert run_stage(name, **changes) == 2
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert said.count("error: ") == 1
        return said[said.index("error: ") :]

    return run


def test_an_unknown_parameter_stops_the_command_line(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text().replace("feedback_scale:", "feedback_scal:")
    (tmp_path / "params.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "flows.prepare", "--params", str(tmp_path / "params.yaml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "did you mean synthesize.feedback_scale?" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_help_says_units_and_run_time_and_a_dry_run_runs_nothing(tmp_path: Path) -> None:
    def said(*arguments: str) -> str:
        command = [sys.executable, "-m", "flows.synthesize", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    help_text = said("--help")
    assert (
        "  synthesize.guidance_scale: number, 1 to 1,000 (now 1.5)\n      weight of" in help_text
    )
    assert "minutes" in help_text
    assert "feedback_scale: " in said("--dry-run")


def test_a_missing_column(workspace: Path, refused: Callable[..., str]) -> None:
    path = workspace / "assets" / "pictures" / "validation.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["label"]), path)
    assert "has no column label" in refused("prepare")


def test_a_corrupt_image(workspace: Path, refused: Callable[..., str]) -> None:
    path = workspace / "assets" / "pictures" / "train.parquet"
    files = pq.read_table(path).column("image").combine_chunks().field("bytes").to_pylist()
    labels = pq.read_table(path).column("label").to_pylist()
    files[3] = files[3][:40]
    write_images(path, image_table(files, labels, ("cat", "dog", "owl")))
    assert "not a readable image" in refused("prepare")
    assert not (workspace / "data" / "prepared").exists()


def test_a_class_without_training_images_that_would_condition_on_one(
    workspace: Path, run_stage: Run, refused: Callable[..., str]
) -> None:
    path = workspace / "assets" / "pictures" / "train.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 36), path)
    assert run_stage("prepare") == 0  # it may be drawn from text
    params = read_params()
    with pytest.raises(InputError, match="classes owl have no real training image"):
        check_wanted("train_baseline", params["synthesize"], params["generator"], FIRST)
    assert run_stage("train_baseline") == 0
    said = refused("synthesize")
    assert "owl" in said
    assert "synthesize.conditioning" in said


def test_a_stage_before_its_turn(refused: Callable[..., str]) -> None:
    assert "data/prepared is missing" in refused("train_baseline")


def test_outputs_that_cannot_be_written(workspace: Path, refused: Callable[..., str]) -> None:
    (workspace / "models").write_text("a file where a folder belongs")
    assert "cannot write to" in refused("prepare")


def test_a_disk_that_fills_up(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def write() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "data/index.json")

    assert guarded(write) == 1
    said = capsys.readouterr().err
    assert "No space left on device for data/index.json; make room" in said
    assert "resume with" in said


def test_a_device_that_is_not_there(run_stage: Run, refused: Callable[..., str]) -> None:
    assert run_stage("prepare") == 0
    assert "compute.device" in refused("train_baseline", compute={"device": "cuda:31"})


def test_a_generator_that_is_not_there_costs_nothing_already_made(
    workspace: Path, run_stage: Run, refused: Callable[..., str]
) -> None:
    assert run_stage("prepare") == 0
    assert run_stage("train_baseline") == 0
    assert run_stage("synthesize") == 0
    drawn = {path: path.read_bytes() for path in (workspace / "data").rglob("*.parquet")}
    path_before = read_params()["generator"].path

    assert "there is no folder no/such/folder" in refused(
        "synthesize", generator={"path": "no/such/folder"}
    )
    (workspace / "empty").mkdir()
    assert "empty" in refused("synthesize", generator={"path": "empty"})
    assert {path: path.read_bytes() for path in (workspace / "data").rglob("*.parquet")} == drawn

    set_params(workspace, {"generator": {"path": path_before}})
    theirs, place = workspace / "theirs", workspace / "data" / "synthetic" / "01-dog"
    place.rename(theirs)
    place.symlink_to(theirs)
    before = contents(theirs)
    assert "data/synthetic/01-dog is a symbolic link to" in refused("synthesize")
    assert contents(theirs) == before


def test_classes_that_are_full_are_named_before_the_baseline_is_trained(
    workspace: Path, run_stage: Run
) -> None:
    config, generator = read_params()["synthesize"], read_params()["generator"]
    full = config.model_copy(update={"target_per_class": 4})
    check_wanted("train_baseline", full, generator, FIRST)  # nothing is prepared yet
    assert run_stage("prepare") == 0
    with pytest.raises(InputError, match=r"is 4, and even the smallest class has 4 real"):
        check_wanted("train_baseline", full, generator, FIRST)
    check_wanted("train_baseline", config, generator, FIRST)
    check_wanted("report", full, generator, FIRST)


def test_a_server_that_does_not_answer_is_named_before_anything_runs():
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(InputError, match=r"no Prefect server answers at http://127\.0\.0\.1:9/api"),
    ):
        await_server(timeout_s=0.1)
