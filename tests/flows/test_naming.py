"""A run on Prefect's pages tells what it is, and has logs."""

import importlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from micro import ROOT, set_params
from prefect import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

import flows.cli.stage
import flows.synth_pipeline
from flows.cli.naming import current_commit, run_name, tags_of
from flows.cli.params import read_params
from flows.synth_pipeline import stage_flow, synth_pipeline
from tasks.workspace import Workspace


def last_run() -> FlowRun:
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)[0]


def logs_of(run: FlowRun) -> list[str]:
    """What the run said; it is sent in the background."""
    chosen = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
    for _ in range(100):
        with get_client(sync_client=True) as client:
            if logs := client.read_logs(chosen):
                return [log.message for log in logs]
        time.sleep(0.1)
    return []


def test_a_stage_is_called_by_what_it_does_and_has_logs(
    run_stage: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_stage("prepare") == 0
    run = last_run()
    name, _, number = run.name.rpartition(" #")
    assert name == "prepare pictures"
    assert logs_of(run)
    assert "prepare pictures" not in capfd.readouterr().err  # the console stays quiet
    assert run_stage("prepare") == 0  # answered from the cache
    assert last_run().id != run.id
    assert last_run().name == f"prepare pictures #{int(number) + 1}"
    assert logs_of(last_run())


def test_the_pipeline_is_called_by_its_parameters_and_tagged(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_params(workspace, {"generator": {"path": "models/my-unclip"}})
    monkeypatch.setattr(flows.synth_pipeline, "STAGES", ())
    monkeypatch.setattr(flows.synth_pipeline, "show_results", lambda workspace: None)
    synth_pipeline(overrides={"seed": 3})
    run = last_run()
    name, _, number = run.name.rpartition(" #")
    assert name == "synth-pipeline pictures my-unclip entropy 0.05 seed 3"
    assert int(number) >= 1
    assert {"data:pictures", "generator:my-unclip", "recipe:entropy 0.05"} <= set(run.tags)


def test_a_stage_and_the_pipeline_are_found_by_data_recipe_and_commit(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "params.yaml"], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", *command], check=True)
    commit = current_commit()
    monkeypatch.setattr("sys.argv", ["flows"])
    with pytest.raises(SystemExit) as ended:
        flows.cli.stage.run_stage(stage_flow("prepare"), "")
    assert ended.value.code == 0
    assert {"data:pictures", f"commit:{commit}"} <= set(last_run().tags)

    monkeypatch.setattr(flows.synth_pipeline, "STAGES", ())
    monkeypatch.setattr(flows.synth_pipeline, "show_results", lambda workspace: None)
    synth_pipeline(overrides={"seed": 4})
    wanted = {"data:pictures", "recipe:entropy 0.05", f"commit:{commit}"}
    assert wanted <= set(last_run().tags)


def test_values_that_tell_nothing_are_left_out() -> None:
    params = read_params(ROOT / "params.yaml")
    off = params["synthesize"].model_copy(update={"feedback_scale": 0})
    assert run_name("synthesize", {"synthesize": off}) == "synthesize unguided"
    assert run_name("assess", {}) == "assess"
    assert run_name("assess", {}, Workspace(2)) == "assess round 2"
    at_root = SimpleNamespace(root="/")
    assert run_name("prepare", {"data": at_root}) == "prepare /"


def test_the_commit_is_a_tag_and_changes_are_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert current_commit() is None
    assert tags_of({}) == set()
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    Path("file").write_text("one")
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "state"]):
        subprocess.run(["git", *command], check=True)
    clean = current_commit()
    assert clean is not None
    assert len(clean) >= 7
    Path("file").write_text("two")
    assert tags_of({}) == {f"commit:{clean}+"}


@pytest.mark.parametrize(("level", "quiet"), [(None, True), ("DEBUG", False)])
def test_the_console_is_quiet_unless_a_level_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, level: str | None, quiet: bool
) -> None:
    name = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"
    monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("PREFECT_LOGGING_LEVEL", raising=False)
    if level is not None:
        monkeypatch.setenv("PREFECT_LOGGING_LEVEL", level)
    importlib.reload(sys.modules["flows"])
    assert (os.environ.get(name) == "WARNING") is quiet
    assert logging.getLogger("fgds_core.classify.train").getEffectiveLevel() == logging.INFO
