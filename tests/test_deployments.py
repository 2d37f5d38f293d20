"""The pipeline as Prefect runs it: server, deployments, a worker; and what DVC thinks of it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clones import dvc, one_server, outputs, ran, run
from micro import ROOT, set_params

from fgds_core.errors import InputError
from flows.synth_pipeline import synth_pipeline

PAGE = "reports/index.html"
"""The page shows how long the stages took, so its bytes differ from run to run."""


@pytest.fixture(scope="module")
def clone(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone without outputs, and DVC's cache empty."""
    folder = tmp_path_factory.mktemp("deployments") / "clone"
    run(["git", "clone", "--quiet", str(finished), str(folder)], finished)
    for file in (folder / "dvc.lock", *(folder / "reports").glob("*.json")):
        file.unlink()
    return folder


@pytest.fixture(scope="module")
def deployed(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that knows the deployments, and a worker; yields the server's address."""
    with one_server(tmp_path_factory.mktemp("prefect")) as url:
        prefect(clone, "work-pool", "create", "local", "--type", "process")
        prefect(clone, "--no-prompt", "deploy", "--all")
        start = ["worker", "start", "--pool", "local"]
        with (clone.parent / "worker.log").open("w") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "prefect", *start], cwd=clone, stdout=log, stderr=log
            )
            try:
                yield url
            finally:
                worker.kill()  # idle by now; asked to end, it takes up to a minute
                worker.wait()


def prefect(folder: Path, *arguments: str) -> str:
    return run([sys.executable, "-m", "prefect", *arguments], folder)


def run_deployment(folder: Path, *chosen: str, name: str = "local") -> str:
    return prefect(folder, "deployment", "run", f"synth-pipeline/{name}", "--watch", *chosen)


@pytest.fixture(scope="module")
def first(clone: Path, deployed: str) -> dict[str, str]:
    """The outputs of a run of the deployment."""
    run_deployment(clone)
    return outputs(clone)


def test_a_deployment_leads_to_the_same_state_as_dvc(
    clone: Path, first: dict[str, str], finished: Path
) -> None:
    expected = {name: sha for name, sha in outputs(finished).items() if name != PAGE}
    assert {name: sha for name, sha in first.items() if name != PAGE} == expected
    assert json.loads(dvc(clone, "status", "--json")) == {}
    assert ran(dvc(clone, "repro")) == []


def test_the_interface_shows_accuracies_samples_and_the_report(
    first: dict[str, str], deployed: str
) -> None:
    import httpx

    found = httpx.post(f"{deployed}/artifacts/latest/filter", json={}).json()
    shown = {artifact["key"]: artifact for artifact in found}
    stages = {"prepare", "train-baseline", "train-control", "synthesize", "assess", "retrain"}
    assert {f"{stage}-progress" for stage in stages} <= set(shown)
    assert shown["synthesize-progress"]["data"] == 100
    table = json.loads(shown["accuracy"]["data"])
    assert [row["test accuracy, %"] for row in table] == ["overall", "many", "medium", "few"]
    assert {"imbalanced", "control", "final", "gain", "95 % interval"} < set(table[0])
    samples = shown["synthetic-samples"]["data"]
    assert "**owl**, 4 real images\n\n![](data:image/jpeg;base64," in samples
    assert "|" not in samples  # a table's cells would clip the strips
    assert "reports/index.html" in shown["report"]["data"]

    named = {run["name"] for run in httpx.post(f"{deployed}/task_runs/filter", json={}).json()}
    assert {"synthesize-dog-0", "synthesize-owl-0", "synthesize-owl-1"} <= named


def test_overrides_are_used_and_only_what_params_yaml_stands_for_is_recorded(
    clone: Path, first: dict[str, str]
) -> None:
    lock = (clone / "dvc.lock").read_bytes()
    overrides = {"report.max_classes": 2, "compute.batch_size": 8}
    run_deployment(clone, "--param", f"overrides={json.dumps(overrides)}")
    assert {name for name, sha in outputs(clone).items() if first.get(name) != sha} == {PAGE}
    assert (clone / "dvc.lock").read_bytes() == lock
    assert set(json.loads(dvc(clone, "status", "--json"))) == {"report"}


def test_the_workers_of_an_adaptive_cluster_draw_what_is_missing(
    clone: Path, first: dict[str, str]
) -> None:
    adaptive = {
        "address": None,
        "cluster_class": "dask.distributed.LocalCluster",
        "cluster_kwargs": {"n_workers": 0, "threads_per_worker": 1, "dashboard_address": None},
        "adapt": {"minimum": 1, "maximum": 2},
    }
    set_params(clone, {"compute": {"dask": adaptive}})
    removed = next((clone / "data" / "synthetic").rglob("part-*.parquet"))
    removed.unlink()
    shutil.rmtree(clone / ".dvc" / "cache")  # which would bring it back
    run_deployment(clone, name="gpu")
    assert "Adaptive scaling started: minimum=1" in (clone.parent / "worker.log").read_text()
    now = outputs(clone)
    assert {name for name, sha in now.items() if first.get(name) != sha} <= {PAGE}


def test_a_mistake_in_the_overrides_ends_the_run_before_it_begins() -> None:
    with pytest.raises(InputError, match=r"did you mean synthesize\.feedback_scale\?"):
        synth_pipeline.fn(str(ROOT / "params.yaml"), {"synthesize.feedback_scal": 2})
