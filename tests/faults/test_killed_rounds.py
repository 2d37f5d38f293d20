"""kill -9 in the first round, in the training between two, and in the second: the same bytes."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clones import module
from disturbed import WORKERS, Case, until
from micro import contents, set_params

from fgds_core.synthesis.guides import RECORD, guide_folder

ROUNDS = {"rounds": 2}
TRAINING = {"num_steps": 60, "eval_every": 15}


@pytest.fixture(scope="module")
def in_rounds(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clone with the parameters of two rounds."""
    folder = tmp_path_factory.mktemp("rounds") / "clone"
    shutil.copytree(prepared, folder, symlinks=True)
    changes = {"synthesize": ROUNDS, "retrain": {"training": TRAINING}}
    set_params(folder, {**changes, "compute": {"checkpoint_every_s": 1e-3}})
    return folder


@pytest.fixture(scope="module")
def whole(in_rounds: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed run leaves."""
    folder = tmp_path_factory.mktemp("undisturbed") / "clone"
    shutil.copytree(in_rounds, folder, symlinks=True)
    module(folder, "flows.synthesize")
    return contents(folder / "data" / "synthetic")


@pytest.fixture
def case(
    request: pytest.FixtureRequest, in_rounds: Path, whole: dict[str, bytes], tmp_path: Path
) -> Iterator[Case]:
    """A case in a copy of that clone."""
    (name,) = request.node.get_closest_marker("case").args
    (tmp_path / "logs").mkdir()
    case = Case(name, tmp_path / "clone", tmp_path / "logs", whole)
    shutil.copytree(in_rounds, case.folder, symlinks=True)
    case.parts_planned = sum(path.endswith(".parquet") for path in whole)
    yield case
    case.close()


def in_training(case: Case) -> bool:
    return any((case.folder / ".runs").glob("*synthetic*.checkpoint"))


def in_second_round(case: Case) -> bool:
    """Whether its classifier is there and some of its parts."""
    first = case.parts_planned // 2
    return (guide_folder(case.out, 2) / RECORD).is_file() and len(case.parts()) > first + 1


def in_first_round(case: Case) -> bool:
    return len(case.parts()) >= 2


@pytest.mark.parametrize(
    "there",
    [
        pytest.param(
            there, marks=[pytest.mark.slow, pytest.mark.case(f"SIGKILL in {name}")], id=name
        )
        for name, there in {
            "the first of two rounds": in_first_round,
            "the training between two rounds": in_training,
            "the second of two rounds": in_second_round,
        }.items()
    ],
)
def test_a_run_in_rounds_that_is_killed(case: Case, there: Callable[[Case], bool]) -> None:
    run = case.start()
    until(lambda: there(case), run)
    run.kill_all()
    assert not (case.out / "_index.json").exists()
    case.run()
    assert contents(case.out) == case.whole
    assert 0 <= case.drawings() - case.parts_planned <= WORKERS
    assert not in_training(case)
