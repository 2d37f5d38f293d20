"""The whole pipeline in a temporary clone, on pictures of a few pixels and random networks."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from clones import dvc, module, one_server, outputs, run
from micro import set_params

from flows.synth_pipeline import STAGES

PAGE = "reports/index.html"
"""The page shows how long the stages took, so its bytes differ from run to run."""


@pytest.fixture(scope="module")
def clone(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this repository, its code as it is now, with tiny data, after the main job."""
    folder = tmp_path_factory.mktemp("clone") / "clone"
    shutil.copytree(finished, folder, symlinks=True)
    return folder


@pytest.fixture(scope="module")
def other_clone(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same clone, before any stage ran, and not under git."""
    folder = tmp_path_factory.mktemp("other") / "clone"
    run(["git", "clone", "--quiet", str(finished), str(folder)], finished)
    run(["git", "checkout", "--quiet", "HEAD~1"], folder)
    shutil.rmtree(folder / ".git")
    return folder


@pytest.fixture(scope="module")
def job(finished: Path) -> str:
    """What the main job said."""
    return (finished.parent / "job.txt").read_text()


@pytest.fixture(scope="module", autouse=True)
def _one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Prefect server for all processes, with a database of its own."""
    with one_server(tmp_path_factory.mktemp("prefect")):
        yield


def changed_stages(folder: Path) -> set[str]:
    return set(json.loads(dvc(folder, "status", "--json")))


def test_the_main_job_runs_the_six_stages_and_shows_what_came_out(
    clone: Path, finished: Path, job: str
) -> None:
    for stage in STAGES:
        assert f"Running stage '{stage}'" in job
    table = job[job.index("test accuracy") :].splitlines()
    assert [line.split()[0] for line in table[1:5]] == ["overall", "many", "medium", "few"]
    assert f"Report: {finished / 'reports' / 'index.html'}" in job
    assert "synthesize  16/16" in job
    assert "Traceback" not in job

    timing = json.loads((clone / "reports" / "timing.json").read_text())
    assert set(timing) == {"stages", "total_s", "peak_rss_gb"}
    assert set(timing["stages"]) == set(STAGES)
    for times in timing["stages"].values():
        assert 0 < times["work_s"] < times["total_s"] < timing["total_s"]


def test_a_second_job_does_nothing_and_says_so(clone: Path, job: str) -> None:
    before = outputs(clone)
    said = module(clone, "flows.repro")
    assert said.startswith("Everything is up to date")
    assert "Running stage" not in said
    assert outputs(clone) == before


def test_dvc_shows_metrics_and_plots(clone: Path, job: str) -> None:
    metrics = json.loads(dvc(clone, "metrics", "show", "--json"))[""]["data"]
    assert metrics["reports/final.json"]["data"]["num_images"] == 18
    assert "reports/final.json" in json.loads(dvc(clone, "metrics", "diff", "--all", "--json"))
    page = dvc(clone, "plots", "show", "--out", "plots")
    assert "plots/index.html" in page
    shutil.rmtree(clone / "plots")


def test_the_other_door_leads_to_the_same_state(clone: Path, other_clone: Path, job: str) -> None:
    module(other_clone, "flows.synth_pipeline")
    without_times = {name: sha for name, sha in outputs(clone).items() if name != PAGE}
    assert {n: sha for n, sha in outputs(other_clone).items() if n != PAGE} == without_times
    assert module(other_clone, "flows.repro").startswith("Everything is up to date")


def test_after_the_job_the_flow_answers_from_the_cache_and_mends_what_is_damaged(
    clone: Path, job: str
) -> None:
    before = outputs(clone)
    part = next((clone / "data" / "synthetic").glob("*/part-00000.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    (clone / "models" / "final" / "model.safetensors").unlink()

    module(clone, "flows.synth_pipeline")

    assert outputs(clone) == before
    assert changed_stages(clone) == set()
    timing = json.loads((clone / "reports" / "timing.json").read_text())
    assert {name: times["work_s"] for name, times in timing["stages"].items()} == dict.fromkeys(
        STAGES, 0
    )


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("fgds_core/report.py", {"report"}),
        ("fgds_core/sample.py", {"synthesize"}),
        ("tasks/progress.py", set()),
    ],
)
def test_an_edit_repeats_the_stages_it_is_the_code_of(
    clone: Path, job: str, file: str, stages: set[str]
) -> None:
    text = (clone / file).read_text()
    (clone / file).write_text(text + "\n")
    try:
        assert changed_stages(clone) == stages
    finally:
        (clone / file).write_text(text)


def test_compute_repeats_nothing(clone: Path, job: str) -> None:
    set_params(clone, {"compute": {"workers": 2, "batch_size": 8}})
    assert changed_stages(clone) == set()
