"""Workers without a common disk: the store changes no byte, and nothing is drawn twice."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from micro import contents
from s3 import SECRET, Network

from fgds_core.synthesis.recipe import Recipe
from flows.cli.params import read_params
from tasks.status import read_status
from tasks.workspace import FIRST

Run = Callable[..., int]
PARTS = ["01-dog/part-00000.parquet", "02-owl/part-00000.parquet", "02-owl/part-00001.parquet"]


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
    params = read_params()
    recipe = Recipe(params["generator"], params["synthesize"], params["seed"])
    found = read_status(recipe, params["retrain"], params["store"], FIRST)
    assert [each.done for each in found.classes] == [0, 4, 12]
    assert not found.complete

    drawn.clear()
    assert ready("synthesize") == 0
    assert drawn == []
    assert contents(out) == without
    assert [
        p for p in workspace.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()
    ] == []


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
