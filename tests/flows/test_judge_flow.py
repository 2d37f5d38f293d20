"""The stage judge: a judge for any data, calibrated, of which finished trainings are kept."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from micro import CLASS_NAMES, COUNTS, ROOT, contents, set_params
from prefect.settings import PREFECT_RESULTS_LOCAL_STORAGE_PATH, temporary_settings

import tasks.judge
from fgds_core.classify.config import final_recipe
from fgds_core.data.splits import read_prepared
from fgds_core.judge.cross_fitted import fold_folder, folds_of
from fgds_core.judge.judge import load_judge
from fgds_core.judge.record import read_record
from fgds_core.stages.train_fold import recipe_of_folds
from flows import plan
from flows.cli.judge import show_judge
from flows.cli.params import read_params
from tasks.workspace import FIRST

Run = Callable[..., int]


def trained(monkeypatch: pytest.MonkeyPatch, fails_at: int | None = None) -> list[int]:
    """The folds without which a classifier is trained from now on."""
    done: list[int] = []
    train = tasks.judge.train_fold

    def noting(prepared: Path, fold: int, *rest: Any) -> None:
        if fold == fails_at:
            raise KeyboardInterrupt
        done.append(fold)
        train(prepared, fold, *rest)

    monkeypatch.setattr(tasks.judge, "train_fold", noting)
    return done


def forget(folder: Path) -> Any:
    """Prefect remembers nothing of what was done before."""
    return temporary_settings({PREFECT_RESULTS_LOCAL_STORAGE_PATH: folder / "forgotten"})


def test_every_data_set_has_a_judge_that_knows_how_far_it_can_be_believed(ready: Run) -> None:
    record = read_record(FIRST.judge)
    assert record.class_names == CLASS_NAMES
    assert [each.num_images for each in record.validation] == list(COUNTS["validation"])
    assert [each.num_images for each in record.training] == list(COUNTS["train"])
    judge = load_judge(FIRST.judge, CLASS_NAMES)
    train, val = (read_prepared(FIRST.prepared, split) for split in ("train", "val"))
    seen = judge.probabilities(val).argmax(dim=1)
    right = [int(((seen == k) & (val.labels == k)).sum()) for k in range(3)]
    assert [each.num_right for each in record.validation] == right
    folds = folds_of(train.labels, 2, record.seed)
    seen = judge.probabilities(train, folds=folds).argmax(dim=1)
    right = [int(((seen == k) & (train.labels == k)).sum()) for k in range(3)]
    assert [each.num_right for each in record.training] == right
    assert not list(FIRST.judge.glob(".*"))


def test_a_fold_that_is_finished_is_not_trained_again(
    workspace: Path, ready: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(FIRST.judge)
    shutil.rmtree(fold_folder(FIRST.judge, 1))
    (FIRST.judge / "judge.json").unlink()
    done = trained(monkeypatch)
    with forget(workspace):
        assert ready("judge") == 0
    assert done == [1]
    assert contents(FIRST.judge) == before  # the same bytes
    with forget(workspace):
        assert ready("judge") == 0
    assert done == [1]
    (fold_folder(FIRST.judge, 0) / "model.safetensors").write_bytes(b"damaged")
    with forget(workspace):
        assert ready("judge") == 0
    assert done == [1, 0]
    assert contents(FIRST.judge) == before


def test_a_run_that_was_stopped_goes_on_and_says_how_far_it_is(
    workspace: Path,
    ready: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        trained(patch, fails_at=1)
        assert ready("judge", judge={"folds": 3}) != 0
    capsys.readouterr()
    show_judge(read_params(), FIRST)
    said = capsys.readouterr().out
    assert "cross_fitted; 1 of 3 classifiers are trained" in said
    assert "To train: 2" in said
    done = trained(monkeypatch)
    assert ready("judge") == 0
    assert done == [1, 2]
    capsys.readouterr()
    show_judge(read_params(), FIRST)
    assert "It was shown 18 real validation images." in capsys.readouterr().out
    assert ready("judge", judge={"folds": 2}) == 0
    assert {path.name for path in FIRST.judge.iterdir()} == {"fold-0", "fold-1", "judge.json"}


def test_another_judge_takes_the_place_and_trains_nothing(
    workspace: Path, ready: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = trained(monkeypatch)
    shutil.copytree(fold_folder(FIRST.judge, 0), workspace / "witness")
    assert ready("judge", judge={"kind": "classifier", "path": "witness"}) == 0
    record = read_record(FIRST.judge)
    assert (record.kind, record.path, record.training) == ("classifier", "witness", ())
    assert [path.name for path in FIRST.judge.iterdir()] == ["judge.json"]
    assert done == []


def test_the_plan_says_what_the_judge_costs(
    ready: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    set_params(Path(), {"judge": {"folds": 4}})
    capsys.readouterr()
    assert plan.main(["--probe", "0"]) == 0
    assert "Judge: cross_fitted; 0 of 4 classifiers are trained" in capsys.readouterr().out


def test_no_second_stage_learns_from_the_fold_that_is_left_out() -> None:
    params = read_params(ROOT / "params.yaml")
    control = final_recipe(params["train_baseline"], {"second_stage": "dfr"})
    assert recipe_of_folds(control).second_stage == "none"
    crt = control.model_copy(update={"second_stage": "crt"})
    assert recipe_of_folds(crt) is crt
