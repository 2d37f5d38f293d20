"""kill -9 at any moment of a training: the same command ends with the same bytes."""

import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from disturbed import Case, until
from micro import contents, set_params

TRAINING = {
    "num_steps": 120,
    "eval_every": 15,
    "ema_decay": 0.9,
    "accumulate_steps": 2,
    "precision": "float16",
}
STAGE = "flows.train_baseline"
KILLS = 4


@dataclass
class TrainingCase(Case):
    """A training that something happens to; it draws no image."""

    @property
    def out(self) -> Path:
        """What is to have the same bytes: weights, and what they are worth."""
        return self.folder / "models" / "baseline"

    def written(self) -> int:
        """When it was last noted where the training stands; 0 if it is not noted."""
        states = (self.folder / ".runs").glob("*.checkpoint")
        return max((state.stat().st_mtime_ns for state in states), default=0)

    def row(self, survived: bool | None) -> dict[str, object]:
        """The line of the case in the table, without numbers of images."""
        none = dict.fromkeys(("images_lost", "images_duplicated", "parts_redone"))
        return super().row(survived) | none


@pytest.fixture
def case(request: pytest.FixtureRequest, prepared: Path, tmp_path: Path) -> Iterator[Case]:
    """A copy of the clone in which nothing is trained yet."""
    (name,) = request.node.get_closest_marker("case").args
    (tmp_path / "logs").mkdir()
    case = TrainingCase(name, tmp_path / "clone", tmp_path / "logs", {})
    shutil.copytree(prepared, case.folder, symlinks=True)
    shutil.rmtree(case.folder / "models" / "baseline")
    changes = {"train_baseline": TRAINING, "compute": {"checkpoint_every_s": 1e-3}}
    set_params(case.folder, changes)
    yield case
    case.close()


def undisturbed(case: TrainingCase, tmp_path: Path) -> dict[str, bytes]:
    """What the same training leaves in a copy of the case's clone."""
    whole = TrainingCase("undisturbed", tmp_path / "whole", tmp_path / "logs-of-whole", {})
    whole.logs.mkdir()
    shutil.copytree(case.folder, whole.folder, symlinks=True)
    whole.ended(whole.start(STAGE), 0)
    return contents(whole.out)


@pytest.mark.slow
@pytest.mark.case("SIGKILL of a training, four times")
def test_a_killed_training(case: TrainingCase, tmp_path: Path) -> None:
    whole = undisturbed(case, tmp_path)
    rng = random.Random(0)
    for _ in range(KILLS):
        before = case.written()
        run = case.start(STAGE)
        until(lambda: case.written() > before, run)  # noqa: B023
        time.sleep(rng.uniform(0, 0.5))
        run.kill_all()
        assert case.written()
    case.ended(case.start(STAGE), 0)
    assert not case.written()
    assert contents(case.out) == whole
