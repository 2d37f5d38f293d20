"""`python -m flows.worth`: what it trains, what that costs, and what it refuses."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fgds_core.data.imbalance
import tasks.worth
from fgds_core.worth.subsamples import Subsample, planned
from flows.cli.tables import columns
from flows.worth import as_text, main
from tasks.watch.timing import record_stage

Run = Callable[..., int]
SEEDS = ("--seeds", "2")
PLAN = planned(0, 2)


@pytest.fixture
def finished(ready: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """A workspace with a synthetic set, of which nothing was said yet."""
    assert ready("synthesize") == 0
    record_stage("train_control", 30.0, 20.0)
    capsys.readouterr()


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Subsample]:
    """The trainings that were made rather than found."""
    made: list[Subsample] = []
    train = tasks.worth.train_subsample

    def counting(prepared, synthetic, recipe, config, subsample, run):
        made.append(subsample)
        return train(prepared, synthetic, recipe, config, subsample, run)

    monkeypatch.setattr(tasks.worth, "train_subsample", counting)
    return made


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Subsample]]:
    """Trainings that are made up; the list of those that were asked for."""
    made: list[Subsample] = []

    def answer(prepared, synthetic, recipe, config, subsample, run):
        made.append(subsample)
        recall = 0.6 * subsample.real + 0.2 * subsample.synthetic
        return np.random.default_rng(subsample.seed).random(18) < recall

    monkeypatch.setattr(tasks.worth, "train_subsample", answer)
    return made


def kept(workspace: Path) -> list[Path]:
    return sorted((workspace / ".runs" / "worth").glob("*.json"))


@pytest.mark.usefixtures("finished")
def test_it_trains_what_it_has_planned_once_and_writes_the_estimate(
    workspace: Path, trained: list[Subsample], capsys: pytest.CaptureFixture[str]
) -> None:
    test_images = workspace / "data" / "prepared" / "test.parquet"
    test_images.write_bytes(b"never read")
    assert main([*SEEDS, "--plan"]) == 0
    assert "12 trainings, 0 of them kept, 12 to make" in capsys.readouterr().out
    assert main([*SEEDS]) == 0
    assert trained == list(PLAN)
    told = capsys.readouterr().out
    found = json.loads((workspace / "reports" / "worth.json").read_text())
    assert as_text(found) in told
    assert found["num_trainings"] == 12
    assert found["num_validation"] == 18
    assert found["bins"].keys() == {"medium", "few"}  # 24; 12 and 4 real images
    assert found["bins"]["few"]["real_per_unit"] == 8
    assert {each["unit"] for each in found["units"]} == {"cat", "dog", "owl"}
    assert len(kept(workspace)) == 12
    assert not list((workspace / ".runs" / "worth").glob("*.checkpoint"))

    assert main([*SEEDS]) == 0
    assert len(trained) == 12
    report = workspace / "reports" / "worth.json"
    assert json.loads(report.read_text()) == found

    for file in kept(workspace):
        file.unlink()
    assert main([*SEEDS, "--jobs", "2"]) == 0  # in processes of their own
    assert len(trained) == 12
    assert json.loads(report.read_text()) == found


@pytest.mark.usefixtures("finished")
def test_a_training_that_is_lost_damaged_or_of_other_images_is_made_again(
    workspace: Path, quick: list[Subsample]
) -> None:
    assert main([*SEEDS]) == 0
    files = kept(workspace)
    files[0].unlink()
    files[1].write_text(files[1].read_text()[:-9])
    files[2].write_text(files[2].read_text().replace('"num_images": 18', '"num_images": 17'))
    quick.clear()
    assert main([*SEEDS]) == 0
    assert len(quick) == 3
    quick.clear()
    assert main(["--seeds", "3"]) == 0  # those of two seeds are among those of three
    assert quick == list(planned(0, 3)[12:])


@pytest.mark.usefixtures("finished")
def test_what_is_finished_stays_when_a_training_fails(
    workspace: Path,
    quick: list[Subsample],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer = tasks.worth.train_subsample

    def failing(*arguments: Any) -> Any:
        if arguments[4] == PLAN[4]:
            raise RuntimeError("a cosmic ray")
        return answer(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(tasks.worth, "train_subsample", failing)
        assert main([*SEEDS]) == 1
    told = capsys.readouterr().err
    assert "1 of 12 trainings failed, the first with: a cosmic ray" in told
    assert len(kept(workspace)) == 11
    assert not (workspace / "reports" / "worth.json").exists()
    quick.clear()
    assert main([*SEEDS]) == 0
    assert quick == [PLAN[4]]


@pytest.mark.usefixtures("finished")
def test_the_cost_is_said_before_it_is_spent_and_has_a_limit(
    workspace: Path, quick: list[Subsample], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SEEDS, "--plan", "--jobs", "5"]) == 0
    assert "Cost: 1:00 at 20 s a training, 5 at a time" in capsys.readouterr().out
    assert main([*SEEDS, "--max-minutes", "3.9"]) == 2
    told = capsys.readouterr().err
    assert "12 trainings take about 4 minutes, more than the limit of 3.9" in told
    (workspace / "reports" / "timing.json").unlink()
    assert main([*SEEDS, "--max-minutes", "100"]) == 2
    assert "nothing says how long a training takes" in capsys.readouterr().err
    assert main([*SEEDS, "--plan"]) == 0
    assert "Cost: not known before the first one" in capsys.readouterr().out
    assert not quick
    assert not kept(workspace)

    assert main([*SEEDS]) == 0
    assert main([*SEEDS, "--max-minutes", "1e-9"]) == 0  # what is kept costs nothing


@pytest.mark.usefixtures("finished")
def test_data_without_a_rare_class_are_refused(
    quick: list[Subsample],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(fgds_core.data.imbalance, "MANY_ABOVE", 3)
    monkeypatch.setattr(fgds_core.data.imbalance, "FEW_BELOW", 0)
    assert main([]) == 2
    told = capsys.readouterr().err
    assert "no class of data/prepared is rare, the smallest has 4 real training images" in told
    assert not quick


def test_an_unfinished_run_is_told_what_finishes_it(
    ready: Run, quick: list[Subsample], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main([]) == 2
    told = capsys.readouterr().err
    assert told == (
        "error: data/synthetic/_index.json is missing: worth is told of a finished run; finish it"
        " with `dvc repro`\n"
    )
    assert main(["--round", "2"]) == 2
    assert "data/round-2/synthetic/_index.json" in capsys.readouterr().err
    assert not quick


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--seeds", "1"], "must be a whole number from 2 to 1,000"),
        (["--jobs", "0"], "must be a whole number from 1 to 1,024"),
        (["--max-minutes", "nan"], "must be a number above 0"),
    ],
)
def test_options_are_checked(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert reason in capsys.readouterr().err


def interval(value: float | None, low: float | None, high: float | None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high}


@pytest.mark.parametrize(
    ("worth", "told"),
    [
        (interval(11.2, 8.4, 1234.5), "11 (8.4 to 1,234) real ones a rare class"),
        (interval(11.2, 8.4, None), "11 (8.4 or more) real ones a rare class"),
        (interval(None, 17.6, None), "more than 18 real ones a rare class"),
        (interval(None, None, -3.2), "less than -3.2 real ones a rare class"),
        (interval(None, None, None), "an unknown number of real ones a rare class"),
        (interval(2, None, 30), "2.0 (30 or less) real ones a rare class"),
    ],
)
def test_the_table_fits_a_terminal_and_says_what_has_no_bound(
    worth: dict[str, Any], told: str
) -> None:
    recall = interval(0.8034, 0.7812, 0.8259)
    found = {
        "unit": "class",
        "num_synthetic": 1158,
        "num_more": 1000,
        "bins": {
            "few": {
                "units": 3,
                "real_per_unit": 9,
                "recall_real": recall,
                "recall_synthetic": recall,
                "worth": worth,
                "more": interval(2, 0, 5),
            }
        },
        "units": [
            {
                "unit": f"class with a long name, number {number}",
                "bin": "few",
                "real": 14,
                "recall": 0.6,
                "doubling": interval(0.1, 0.05, 0.16),
            }
            for number in range(50)
        ],
    }
    text = as_text(found)
    assert told in " ".join(text.split())
    assert max(map(columns, text.splitlines())) <= 80
    assert "+10.0 (+5.0 to +16.0)" in text
    assert "and 10 more" in text
