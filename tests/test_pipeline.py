"""The whole pipeline in a temporary clone, on pictures of a few pixels and random networks."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from clones import dvc, module, one_server, outputs, ran, run
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


def test_the_main_job_runs_all_stages_and_shows_what_came_out(
    clone: Path, finished: Path, job: str
) -> None:
    for stage in STAGES:
        assert f"Running stage '{stage}'" in job
    assert job.count("test accuracy, %") == 1  # not by the stage report as well
    table = job[job.index("test accuracy, %") :].splitlines()
    assert table[0].split()[3:7] == ["imbalanced", "control", "final", "gain"]
    assert max(map(len, table[:5])) <= 80
    assert [line.split()[0] for line in table[1:5]] == ["overall", "many", "medium", "few"]
    assert f"Report: {finished / 'reports' / 'index.html'}" in job
    assert "synthesize  16/16" in job
    for stage in STAGES:
        assert f"{stage}: starting ..." in job
    for stage in ("train_baseline", "retrain"):
        assert re.search(rf"^{stage}: test accuracy \d+\.\d % \(", job, re.M)
    assert "Traceback" not in job

    timing = json.loads((clone / "reports" / "timing.json").read_text())
    assert set(timing) == {"stages", "total_s", "peak_rss_gb"}
    assert set(timing["stages"]) == set(STAGES)
    for name, times in timing["stages"].items():
        assert times["work_s"] > 0 or name == "adapt"  # which is off
        assert times["work_s"] < times["total_s"] < timing["total_s"]


def test_a_second_job_does_nothing_and_says_so(clone: Path, job: str) -> None:
    before = outputs(clone)
    said = module(clone, "flows.repro")
    assert said.startswith("Everything is up to date")
    assert "Running stage" not in said
    assert outputs(clone) == before


def test_dvc_shows_a_few_metrics_that_are_numbers(clone: Path, job: str) -> None:
    files = json.loads(dvc(clone, "metrics", "show", "--json"))[""]["data"]
    shown = {Path(path).name.split(".")[0]: file["data"] for path, file in files.items()}
    assert set(shown) == {"baseline", "control", "final", "synthetic"}
    for name in ("baseline", "control", "final"):
        report = json.loads((clone / "reports" / f"{name}.json").read_text())
        assert shown[name]["overall"] == pytest.approx(report["overall"], abs=1e-4)
        assert report["num_images"] == 18
    assert {"val_overall", "val_few"} < set(shown["final"])
    values = [value for metrics in shown.values() for value in metrics.values()]
    assert all(isinstance(value, float) for value in values)
    assert len(values) <= 20
    lines = dvc(clone, "metrics", "show").splitlines()
    assert max(map(len, lines)) <= 120
    assert "reports/final.metrics.json" in json.loads(
        dvc(clone, "metrics", "diff", "--all", "--json")
    )


def test_dvc_plots_show_what_their_titles_say_without_a_network(clone: Path, job: str) -> None:
    found = json.loads(dvc(clone, "plots", "show", "--json", "--out", "plots"))["data"]
    spec = {name: plot[0]["content"] for name, plot in found.items()}
    data = {name: plot["data"]["values"] for name, plot in spec.items()}
    assert {row["field"] for row in data["Test accuracy"]} == {"imbalanced", "control", "final"}
    kept = spec["Test accuracy"]["transform"][0]["filter"]["oneOf"]
    assert set(kept) == {"overall", "many", "medium", "few", "worst_group"}
    for row in data["Confusion of the final classifier"]:  # of the actual class's six images
        assert float(row["share"]) == pytest.approx(int(row["num_images"]) / 6, abs=1e-6)
    curve = data["Macro accuracy on validation images"]
    assert {row["step"] for row in curve} == {"3", "6"}
    assert {row["filename"].split("/")[0] for row in curve} == {"baseline", "control", "final"}

    assert "dvc_plots/index.html" in dvc(clone, "plots", "show")
    page = (clone / "dvc_plots" / "index.html").read_text()
    assert 'id = "Test_accuracy"' in page
    assert "<script src" not in page
    assert run(["git", "status", "--porcelain", "dvc_plots"], clone) == ""
    shutil.rmtree(clone / "dvc_plots")


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
        ("fgds_core/report/page.py", {"report"}),
        ("fgds_core/diffusion/sample.py", {"synthesize"}),
        ("tasks/watch/progress.py", set()),
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


def test_images_are_vetted_and_left_out_by_either_door(
    clone: Path, other_clone: Path, job: str
) -> None:
    set_params(clone, {"judge": {"min_agreement": 1.0}})
    said = module(clone, "flows.exclude", "--class", "owl", "--index", "3", "--reason", "blurred")
    assert set(ran(said)) == {*("judge", "adapt", "synthesize", "assess", "retrain", "report")}
    assert changed_stages(clone) == set()
    final = json.loads((clone / "models" / "final" / "config.json").read_text())
    index = json.loads((clone / "data" / "synthetic" / "_index.json").read_text())
    present = sum(each["present"] for each in index["classes"])
    assert sum(final["synthetic_counts"]) == present - index["excluded"]["num_rows"]
    assert index["made_by"]["vetting"]["min_agreement"] == 1

    shutil.copyfile(clone / "params.yaml", other_clone / "params.yaml")
    module(other_clone, "flows.synth_pipeline")
    first, second = (outputs(each) for each in (clone, other_clone))
    assert {n: sha for n, sha in second.items() if n != PAGE} == {
        n: sha for n, sha in first.items() if n != PAGE
    }
