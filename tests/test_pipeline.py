"""The whole pipeline in a temporary clone, on pictures of a few pixels and random networks."""

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Watched, browser
from clones import dvc, module, one_server, outputs, ran, run
from micro import set_params
from prefect import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_KEY, PREFECT_API_URL, temporary_settings

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
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one Prefect server for all processes, with a database of its own."""
    with one_server(tmp_path_factory.mktemp("prefect")) as url:
        yield url


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
        # and ends with a line of what came of it
        assert re.search(rf"^{stage}: (?!starting).*\d", job, re.M) or stage == "adapt"
    assert "adapt: off" in job
    verdict = json.loads((clone / "reports" / "verdict.json").read_text())
    assert f"\nreport: {verdict['headline']}\n" in job
    for stage in ("train_baseline", "retrain"):
        assert re.search(rf"^{stage}: test accuracy \d+\.\d % \(", job, re.M)
    assert "Traceback" not in job

    timing = json.loads((clone / "reports" / "timing.json").read_text())
    assert set(timing) == {"stages", "total_s", "peak_rss_gb"}
    assert set(timing["stages"]) == set(STAGES)
    for name, times in timing["stages"].items():
        assert times["work_s"] > 0 or name == "adapt"  # which is off
        assert times["work_s"] < times["total_s"] < timing["total_s"]


def test_dvc_alone_ends_with_the_table_and_the_page_too(clone: Path, job: str) -> None:
    before = outputs(clone)
    said = dvc(clone, "repro", "--force", "--single-item", "report").splitlines()
    start = next(n for n, line in enumerate(said) if line.startswith("test accuracy, %"))
    of_job = job[job.index("test accuracy, %") :].splitlines()
    assert said[start : start + 5] == of_job[:5]
    page = next(n for n, line in enumerate(said) if line.startswith("Report: "))
    assert said[page] == f"Report: {clone / PAGE}"
    assert page == start + 6  # a blank line between
    assert {n: s for n, s in outputs(clone).items() if n != PAGE} == {
        n: s for n, s in before.items() if n != PAGE
    }


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
    with browser() as chrome:
        watched = Watched(chrome, clone / "dvc_plots" / "index.html")
        drawn = "document.querySelectorAll('.vega-embed canvas').length"
        watched.page.wait_for_function(f"{drawn} === {len(found)}")
        assert watched.complaints == []
        assert all(url.startswith("file:") for url in watched.requests)
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


def test_prefect_shows_what_ran_of_which_commit_and_what_came_of_it(
    clone: Path, job: str, server: str
) -> None:
    module(clone, "flows.synth_pipeline")
    commit = run(["git", "rev-parse", "--short", "HEAD"], clone).strip()
    with (
        temporary_settings({PREFECT_API_URL: server, PREFECT_API_KEY: None}),
        get_client(sync_client=True) as client,
    ):
        newest = {"sort": FlowRunSort.START_TIME_DESC, "limit": 50}
        found = {
            each.name.partition(" ")[0]: each for each in client.read_flow_runs(**newest)[::-1]
        }
        whole = found["synth-pipeline"]
        assert re.fullmatch(
            r"synth-pipeline pictures tiny-unclip entropy 0\.05 seed 0 #\d+", whole.name
        )
        tags = {"data:pictures", "generator:tiny-unclip", "recipe:entropy 0.05"}
        for each in (whole, found["synthesize"]):
            assert tags <= set(each.tags)
            assert {tag.removesuffix("+") for tag in each.tags} > {f"commit:{commit}"}
        logs = client.read_logs(
            LogFilter(flow_run_id=LogFilterFlowRunId(any_=[found["retrain"].id])), limit=200
        )
        assert any(log.message.startswith("test accuracy ") for log in logs)
        mine = ArtifactFilterFlowRunId(any_=[whole.id])
        artifacts = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=mine))
    shown = {each.key: each.data for each in artifacts}
    table = json.loads(shown["accuracy"])
    with (clone / "reports" / "summary.csv").open() as file:
        rows = {row["bin"]: row for row in csv.DictReader(file)}
    for row in table:
        name = row["test accuracy, %"]
        if not rows[name]["control"]:
            assert row["control"] == row["gain"] == "-"  # no class is in the bin
            continue
        assert row["control"] == f"{100 * float(rows[name]['control']):.1f}"
        assert float(row["gain"]) == pytest.approx(float(row["final"]) - float(row["control"]))
    assert [row["test accuracy, %"] for row in table] == ["overall", "many", "medium", "few"]
    assert "**owl**, 4 real images" in shown["synthetic-samples"]
    assert (clone / PAGE).as_uri() in shown["report"]


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("fgds_core/report/page.py", {"report"}),
        ("fgds_core/diffusion/sample.py", {"adapt", "synthesize"}),
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
