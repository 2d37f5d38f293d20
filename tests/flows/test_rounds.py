"""A second synthetic set and classifier lie beside the first and need no new code."""

from collections.abc import Callable
from pathlib import Path

import pytest
from micro import contents

from fgds_core.synthesis.shards import read_index
from flows.cli.stage import run_stage
from flows.synth_pipeline import stage_flow
from tasks.watch.timing import work_counted
from tasks.workspace import FIRST

OF_A_ROUND = ("synthesize", "assess", "retrain", "report")


def outputs(root: Path) -> dict[str, bytes]:
    folders = ("data", "models", "reports")
    return {
        f"{folder}/{name}": content
        for folder in folders
        for name, content in contents(root / folder).items()
    }


def test_a_round_is_guided_by_the_one_before_and_leaves_it_as_it_is(
    workspace: Path, ready: Callable[..., int]
) -> None:
    def draw_and_train(number: int) -> None:
        assert [ready(name, round=number) for name in OF_A_ROUND] == [0] * len(OF_A_ROUND)

    assert ready("train_control") == 0
    second = FIRST.next()
    draw_and_train(1)
    first_bytes = outputs(workspace)

    draw_and_train(2)
    both = outputs(workspace)
    assert {name: both[name] for name in first_bytes} == first_bytes
    new = {name for name in both if name not in first_bytes}
    assert all(name.split("/")[1] == "round-2" for name in new)
    for made in (second.synthetic_index, second.final / "model.safetensors"):
        assert made.as_posix() in new
    for report in ("synthetic.json", "final.json", "index.html", "summary.csv"):
        assert (second.reports / report).as_posix() in new

    part = "02-owl/part-00000.parquet"
    assert both[f"data/synthetic/{part}"] != both[f"data/round-2/synthetic/{part}"]
    made_by = [read_index(each.synthetic).fingerprint for each in (FIRST, second)]
    assert made_by[0] != made_by[1]

    with work_counted() as counted:
        draw_and_train(1)
        draw_and_train(2)
    assert counted.seconds == 0
    assert outputs(workspace) == both


@pytest.mark.parametrize(
    ("stage", "number", "message"),
    [
        ("retrain", "0", "argument --round: got '0'; must be a whole number from 1 to 999"),
        ("retrain", "two", "argument --round: got 'two'; must be a whole number from 1 to 999"),
        ("train_baseline", "2", "unrecognized arguments: --round 2"),
    ],
)
def test_what_is_no_round_of_a_stage_is_said(
    stage: str,
    number: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", [stage, "--round", number])
    with pytest.raises(SystemExit, match="2"):
        run_stage(stage_flow(stage), "")
    assert message in capsys.readouterr().err
