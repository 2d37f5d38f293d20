"""Variants with `dvc exp`, and a colleague who gets the results from a remote."""

import csv
import io
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clones import dvc, one_server, outputs, ran, run
from micro import ROOT

from fgds_core.synthesis.shards import read_index, read_synthetic

GUIDE = ROOT / "docs" / "experiments.md"
TUNING = "reports/|data/|models/|Created|State|Executor"
"""Columns that say nothing while a run is tuned: test images, digests of files, times."""

SCALES = {"weak": 0.02, "strong": 0.2}
AFTER_SYNTHESIZE = ["synthesize", "assess", "retrain", "report"]


@pytest.fixture(scope="module")
def clone(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished clone and a server for its experiments."""
    folder = tmp_path_factory.mktemp("experiments") / "clone"
    shutil.copytree(finished, folder, symlinks=True)
    run(["git", "config", "user.name", "test"], folder)
    run(["git", "config", "user.email", "test@example.org"], folder)
    with one_server(tmp_path_factory.mktemp("prefect")):
        yield folder


@pytest.fixture(scope="module")
def small(clone: Path) -> str:
    """What an experiment says that changes the last stage alone."""
    return dvc(clone, "exp", "run", "--name", "small", "-S", "report.max_classes=2")


@pytest.fixture(scope="module")
def parallel(clone: Path, small: str) -> dict[str, str]:
    """The bytes of the workspace before two experiments ran beside each other."""
    run(["git", "checkout", "--quiet", "."], clone)
    dvc(clone, "checkout")
    before = outputs(clone)
    for name, scale in SCALES.items():
        change = f"synthesize.feedback_scale={scale}"
        dvc(clone, "exp", "run", "--queue", "--name", name, "-S", change)
    dvc(clone, "exp", "run", "--run-all", "--jobs", "2")
    return before


def table(clone: Path) -> dict[str, dict[str, str]]:
    """The rows of `dvc exp show` by experiment."""
    text = dvc(clone, "exp", "show", "--csv", "--num", "1")
    rows = csv.DictReader(io.StringIO(text[text.index("Experiment,") :]))
    return {row["Experiment"] or "workspace": row for row in rows}


def test_an_experiment_runs_the_stages_that_depend_on_its_parameter(small: str) -> None:
    assert ran(small) == ["report"]


def test_parallel_experiments_leave_each_other_and_the_workspace_alone(
    clone: Path, parallel: dict[str, str], tmp_path: Path
) -> None:
    assert outputs(clone) == parallel
    images = set()
    for name, scale in SCALES.items():
        copy = tmp_path / name
        shutil.copytree(clone, copy, symlinks=True)
        dvc(copy, "exp", "apply", name)
        assert json.loads(dvc(copy, "status", "--json")) == {}
        synthetic = copy / "data" / "synthetic"
        assert read_index(synthetic).made_by["synthesize"]["feedback_scale"] == scale
        assert set(read_synthetic(synthetic)[1]["feedback_scale"].to_pylist()) == {scale}
        images |= {part.sha256 for part in read_index(synthetic).parts}
    assert len(images) == 2 * len(read_index(clone / "data" / "synthetic").parts)


def test_the_table_shows_parameters_and_metrics(clone: Path, parallel: dict[str, str]) -> None:
    rows = table(clone)
    for name, scale in SCALES.items():
        assert float(rows[name]["synthesize.feedback_scale"]) == scale
        assert 0 <= float(rows[name]["val_overall"]) <= 1
        assert 0 <= float(rows[name]["reports/final.metrics.json:overall"]) <= 1
    assert rows["small"]["report.max_classes"] == "2"


def test_the_table_for_tuning_fits_a_terminal_and_shows_no_test_image(
    clone: Path, parallel: dict[str, str]
) -> None:
    """As docs/experiments.md has it."""
    command = ["exp", "show", "--no-pager", "--only-changed", "--drop", TUNING, "--keep", "val_"]
    said = dvc(clone, *command)
    header = next(line for line in said.splitlines() if "Experiment" in line)
    assert {"val_overall", "val_few", "synthesize.feedback_scale"} <= set(header.split())
    assert "reports/" not in header
    assert len(header.rstrip()) <= 120
    assert f"dvc exp show --only-changed --drop '{TUNING}' --keep 'val_'" in GUIDE.read_text()


def test_experiments_stand_side_by_side_on_a_page(clone: Path, parallel: dict[str, str]) -> None:
    said = run([sys.executable, "-m", "flows.compare", "weak", "strong"], clone)
    row = next(line for line in said.splitlines() if line.startswith("synthesize.feedback_scale"))
    assert row.split()[1:] == ["0.02", "0.2"]
    assert (clone / "reports" / "compare" / "index.html").is_file()


def test_experiments_are_compared(clone: Path, parallel: dict[str, str]) -> None:
    found = json.loads(dvc(clone, "exp", "diff", "weak", "strong", "--json", "--all"))
    changed = found["params"]["params.yaml"]["synthesize.feedback_scale"]
    assert (changed["old"], changed["new"]) == (0.02, 0.2)
    metrics = {name for file in found["metrics"].values() for name in file}
    assert metrics <= {
        "overall",
        "few",
        "medium",
        "val_overall",
        "val_few",
        "fid",
        "label_agreement",
    }
    assert "index.html" in dvc(clone, "plots", "diff", "weak", "strong", "--out", "plots")
    page = (clone / "plots" / "index.html").read_text()
    shutil.rmtree(clone / "plots")
    assert "Macro accuracy on validation images" in page
    for name in SCALES:
        assert f'"rev": "{name}"' in page


@pytest.fixture(params=["folder", "s3"])
def remote(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[list[list[str]]]:
    """DVC's commands that name a remote: an empty folder, or an empty bucket on this machine."""
    if request.param == "folder":
        yield [["add", "--default", "shared", str(tmp_path / "remote")]]
        return
    import boto3
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket="fgds")
        yield [
            ["add", "--default", "shared", "s3://fgds/dvc"],
            ["modify", "shared", "endpointurl", url],
        ]
    finally:
        server.stop()


def test_a_colleague_pulls_and_computes_nothing(
    finished: Path, remote: list[list[str]], tmp_path: Path
) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    shutil.copytree(finished, mine, symlinks=True)
    for command in remote:
        dvc(mine, "remote", *command)
    assert "pushed" in dvc(mine, "push")
    run(["git", "clone", "--quiet", str(mine), str(theirs)], tmp_path)
    for command in remote:
        dvc(theirs, "remote", *command)
    dvc(theirs, "pull")
    assert outputs(theirs) == outputs(finished)
    assert ran(dvc(theirs, "repro")) == []
    assert json.loads(dvc(theirs, "status", "--json")) == {}
