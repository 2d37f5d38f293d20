"""A workspace for flows that run in the tests' own process."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from micro import MICRO, ROOT, results_in, set_params, write_pictures

from flows.cli.arguments import arguments_of
from flows.cli.params import read_params
from flows.cli.stage import guarded
from flows.synth_pipeline import stage_flow
from tasks.workspace import Workspace


def furnish(folder: Path, tiny_unclip: Path) -> None:
    """Puts tiny pictures and the parameters for them into a folder."""
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
    set_params(folder, {**MICRO, "generator": {"path": str(tiny_unclip)}})
    write_pictures(folder / "assets" / "pictures")


def run_here(name: str, round: int = 1) -> int:
    """Runs a stage with the parameters of the working folder; returns its exit status."""
    params, flow, workspace = read_params(), stage_flow(name), Workspace(round)
    return guarded(lambda: flow(**arguments_of(flow, params, workspace)), workspace)


@pytest.fixture
def workspace(prefect_folder: Path, tiny_unclip: Path) -> Path:
    """The working folder, with tiny pictures, a random generator and the parameters for them."""
    furnish(prefect_folder, tiny_unclip)
    return prefect_folder


@pytest.fixture
def run_stage(workspace: Path) -> Callable[..., int]:
    """Runs a stage with the workspace's parameters; returns its exit status."""

    def run(name: str, round: int = 1, **changes: dict[str, Any]) -> int:
        set_params(workspace, changes)
        return run_here(name, round)

    return run


@pytest.fixture(scope="session")
def _ready(
    _prefect_server: None, tiny_unclip: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A workspace where the stages before synthesize are done; to be copied."""
    folder = tmp_path_factory.mktemp("ready")
    with pytest.MonkeyPatch.context() as patch, results_in(folder):
        patch.chdir(folder)
        furnish(folder, tiny_unclip)
        assert run_here("prepare") == 0
        assert run_here("judge") == 0
        assert run_here("train_baseline") == 0
    return folder


@pytest.fixture
def ready(_ready: Path, workspace: Path, run_stage: Callable[..., int]) -> Callable[..., int]:
    """`run_stage` in a workspace where the stages before synthesize are done."""
    shutil.copytree(_ready, workspace, symlinks=True, dirs_exist_ok=True)
    return run_stage
