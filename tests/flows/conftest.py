"""A workspace for flows that run in the tests' own process."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from micro import MICRO, ROOT, set_params, write_pictures

from flows.params import read_params
from flows.stage import guarded, sections_of
from flows.synth_pipeline import stage_flow


@pytest.fixture
def workspace(prefect_folder: Path, tiny_unclip: Path) -> Path:
    """The working folder, with tiny pictures, a random generator and the parameters for them."""
    shutil.copyfile(ROOT / "params.yaml", "params.yaml")
    set_params(prefect_folder, {**MICRO, "generator": {"path": str(tiny_unclip)}})
    write_pictures(prefect_folder / "assets" / "pictures")
    return prefect_folder


@pytest.fixture
def run_stage(workspace: Path) -> Callable[..., int]:
    """Runs a stage with the workspace's parameters; returns its exit status."""

    def run(name: str, **changes: dict[str, Any]) -> int:
        set_params(workspace, changes)
        params, flow = read_params(), stage_flow(name)
        return guarded(lambda: flow(**{section: params[section] for section in sections_of(flow)}))

    return run


@pytest.fixture
def ready(run_stage: Callable[..., int]) -> Callable[..., int]:
    """`run_stage` in a workspace where the stages before synthesize are done."""
    assert run_stage("prepare") == 0
    assert run_stage("train_baseline") == 0
    return run_stage
