"""Workers without a common disk: the store changes no byte, and nothing is drawn twice."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from s3 import SECRET, Network

import tasks.synthesize
from flows.params import read_params
from tasks.cache import content_digests
from tasks.generator import generator_digests
from tasks.layout import BASELINE, PREPARED
from tasks.store.inputs import Shared, share
from tasks.synthesize import draw_part, fingerprint, made_by, plan

Run = Callable[..., int]
PARTS = ["01-dog/part-00000.parquet", "02-owl/part-00000.parquet", "02-owl/part-00001.parquet"]


@pytest.fixture
def ready(run_stage: Run) -> Run:
    """A workspace whose earlier stages are done."""
    assert run_stage("prepare") == 0
    assert run_stage("train_baseline") == 0
    return run_stage


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts that were drawn rather than found, by path."""
    paths: list[str] = []
    write_part = tasks.synthesize.write_part

    def counting(part, *arguments, **options):
        paths.append(part.path)
        return write_part(part, *arguments, **options)

    monkeypatch.setattr(tasks.synthesize, "write_part", counting)
    return paths


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def draw_on_a_worker(folder: Path, shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws every part in an empty workspace, as a worker on another machine would."""
    params = read_params()
    generator, config, seed = (params[name] for name in ("generator", "synthesize", "seed"))
    inputs = content_digests(PREPARED, BASELINE) | generator_digests(generator)
    made = fingerprint(made_by(generator, config, seed, inputs))
    parts = plan(config).parts
    tasks.synthesize._load_studio.cache_clear()
    with monkeypatch.context() as context:
        folder.mkdir()
        context.chdir(folder)
        for part in parts:
            draw_part.fn(part, generator, config, seed, made, params["compute"], shared)


def test_a_store_changes_no_byte_and_an_empty_workspace_draws_nothing(
    workspace: Path, ready: Run, drawn: list[str], network: Network
) -> None:
    out = workspace / "data" / "synthetic"
    assert ready("synthesize") == 0
    without = contents(out)

    shutil.rmtree(out)
    drawn.clear()
    store = {"url": "s3://shards/runs", "endpoint_url": network.url}
    network.faults = ["503", "drop", "none", "500", "lost", "none", "503"]
    assert ready("synthesize", store=store) == 0
    assert sorted(drawn) == PARTS
    assert contents(out) == without

    shutil.rmtree(out)
    drawn.clear()
    assert ready("synthesize") == 0
    assert drawn == []
    assert contents(out) == without
    assert [
        p for p in workspace.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()
    ] == []


def test_a_worker_with_an_empty_disk_draws_what_the_flow_collects(
    workspace: Path,
    ready: Run,
    drawn: list[str],
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = {"url": "s3://shards/runs", "endpoint_url": network.url}
    assert ready("prepare", store=store) == 0
    params = read_params()
    inputs = content_digests(PREPARED, BASELINE) | generator_digests(params["generator"])
    shared = share(params["store"], inputs)
    assert shared is not None
    draw_on_a_worker(workspace / "worker", shared, monkeypatch)
    assert sorted(drawn) == PARTS

    drawn.clear()
    assert ready("synthesize") == 0
    assert drawn == []
    synthetic = contents(workspace / "data" / "synthetic")
    del synthetic["index.json"]
    assert synthetic == contents(workspace / "worker" / "data" / "synthetic")


def test_a_store_out_of_reach_stops_before_anything_is_drawn(
    ready: Run, drawn: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    store = {"url": "s3://shards/runs", "endpoint_url": "http://127.0.0.1:9", "max_attempts": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        assert ready("synthesize", store=store) == 2
    said = capsys.readouterr().err
    assert "cannot list s3://shards/runs/: the service does not answer" in said
    assert "Traceback" not in said
    assert SECRET not in said
    assert drawn == []
