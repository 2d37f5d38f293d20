"""Trainings in common: results replace old ones when whole, and a stopped one goes on."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from training import retraining

from fgds_core.classify.run import TrainingRun
from tasks.training import Training, checkpoint_of, trained
from tasks.workspace import Workspace

CONFIG = retraining()
COMPUTE = SimpleNamespace(
    device="cpu",
    threads=0,
    attention="auto",
    loader_workers=3,
    checkpoint_every_s=1e-9,
    compile=False,
    channels_last=False,
    training_processes=1,
)


def training(workspace: Workspace, inputs: dict[str, str]) -> Training:
    return Training("retrain", workspace.final, workspace.reports, 2, (CONFIG, 0, inputs))


def files() -> dict[str, str]:
    found = (path for folder in ("models", "reports") for path in Path(folder).rglob("*.json"))
    return {path.as_posix(): path.read_text() for path in found if "live" not in path.parts}


def test_every_training_of_every_round_keeps_a_checkpoint_of_its_own() -> None:
    models = [Workspace().baseline, Workspace().control, *(Workspace(n).final for n in (1, 2, 3))]
    trainings = [Training("retrain", m, Path("reports"), 2, (CONFIG, 0, {})) for m in models]
    assert len({checkpoint_of(each, COMPUTE).path for each in trainings}) == len(models)


@pytest.mark.parametrize("round", [1, 2])
def test_a_training_that_fails_leaves_the_last_one_and_goes_on(
    prefect_folder: Path, round: int
) -> None:
    workspace = Workspace(round)
    inputs = {"data/prepared": "1"}
    states: list[dict | None] = []

    def train(text: str, *, fails: bool = False):
        def write(models: Path, reports: Path, run: TrainingRun) -> None:
            assert (run.device, run.loader_workers) == ("cpu", 3)
            assert run.checkpoint is not None
            states.append(run.checkpoint.read())
            models.mkdir(parents=True)
            (models / "config.json").write_text(text)
            run.checkpoint.write(lambda: {"step": 1})
            if fails:
                raise OSError(28, "No space left on device")
            (reports / "final.json").write_text(text)

        return trained(training(workspace, inputs), COMPUTE, write)

    first = train("first")
    here = {f"{workspace.final.as_posix()}/config.json", f"{workspace.reports}/final.json"}
    assert here <= {file.path for file in first.files}
    before = files()
    with pytest.raises(OSError, match="No space"):
        train("second", fails=True)
    assert files() == before
    train("third")
    assert {files()[name] for name in here} == {"third"}
    assert states == [None, None, {"step": 1}]  # what ended leaves no state, what failed does
    assert not checkpoint_of(training(workspace, inputs), COMPUTE).path.exists()


def test_a_checkpoint_is_that_of_the_same_training_alone(prefect_folder: Path) -> None:
    one = checkpoint_of(training(Workspace(), {"data/prepared": "1"}), COMPUTE)
    one.path.parent.mkdir(exist_ok=True)
    one.write(lambda: {"step": 1})
    assert one.read() == {"step": 1}
    other_data = training(Workspace(), {"data/prepared": "2"})
    assert checkpoint_of(other_data, COMPUTE).read() is None
    on_gpu = SimpleNamespace(**vars(COMPUTE) | {"device": "cuda"})
    assert checkpoint_of(training(Workspace(), {"data/prepared": "1"}), on_gpu).read() is None
