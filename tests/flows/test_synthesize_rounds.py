"""One set in several rounds: as many images, in one folder, resumed like one drawn at once."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from ended import Stopped
from micro import contents, set_params

import tasks.draw
import tasks.synthesize
from fgds_core.errors import InputError
from fgds_core.synthesis.guides import guide_folder
from fgds_core.synthesis.shards import read_index, read_synthetic
from flows.cli.params import read_params
from flows.cli.stage import check_wanted
from flows.cli.status import show_status
from flows.plan import main as show_plan_of
from tasks.workspace import FIRST, Workspace

Run = Callable[..., int]
TWICE = {"rounds": 2, "images_per_part": 4}
SET = Path("data/synthetic")


@pytest.fixture
def twice(ready: Run) -> dict[str, bytes]:
    """What an undisturbed run in two rounds leaves; it is removed again."""
    assert ready("synthesize", synthesize=TWICE) == 0
    whole = contents(SET)
    shutil.rmtree(SET)
    shutil.rmtree("results")
    return whole


def test_the_guide_lies_where_both_look() -> None:
    for number in (2, 7):
        (folder,) = Workspace(drawing=number).guides()
        assert folder == guide_folder(FIRST.synthetic, number)
    assert [each.guides() for each in FIRST.draws(1)] == [FIRST.guides()]


def test_two_rounds_draw_as_many_images_and_the_first_those_of_one(
    ready: Run, drawn: list[str]
) -> None:
    assert ready("synthesize", synthesize={"images_per_part": 4}) == 0
    once = contents(SET)
    drawn.clear()
    assert ready("synthesize", synthesize=TWICE) == 0
    index = read_index(SET)
    assert sum(index.wanted) == 16
    rounds = index.made_by["rounds"]
    assert [sum(each["wanted"]) for each in rounds] == [8, 8]
    assert rounds[0]["guide"] == index.made_by["guide"] != rounds[1]["guide"]
    images, table = read_synthetic(SET)
    assert len(images) == 16
    assert len(set(table["seed"].to_pylist())) == 16
    first = "02-owl/part-00000.parquet"  # of the 12 owls 6 are in the first round
    assert contents(SET)[first] == once[first]
    assert first not in drawn

    drawn.clear()
    assert ready("synthesize") == 0
    assert drawn == []
    assert ready("synthesize", synthesize={"rounds": 1}) == 0
    assert contents(SET) == once
    assert first not in drawn


@pytest.mark.parametrize("where", ["the first round", "the training", "the second round"])
def test_a_run_that_ends_anywhere_is_resumed_to_the_same_bytes(
    ready: Run,
    twice: dict[str, bytes],
    drawn: list[str],
    where: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counting, train_guide = tasks.draw.write_part, tasks.synthesize.train_guide
    total = sum(name.endswith(".parquet") for name in twice)
    stop_after = {"the first round": 1, "the second round": total - 1}.get(where)

    def draws_some(part, *arguments, **options):
        if len(drawn) == stop_after:
            raise Stopped
        return counting(part, *arguments, **options)

    def trains_half(*arguments: object) -> None:
        run = arguments[-1]
        steps: list[int] = []

        def advance(number: int) -> None:
            steps.append(number)
            if len(steps) == 4 and where == "the training":
                raise Stopped

        train_guide(*arguments[:-1], dataclasses.replace(run, advance=advance))

    monkeypatch.setattr(tasks.draw, "write_part", draws_some)
    monkeypatch.setattr(tasks.synthesize, "train_guide", trains_half)
    with pytest.raises(Stopped):
        ready("synthesize", compute={"checkpoint_every_s": 1e-9})
    assert not (SET / "_index.json").exists()
    checkpoints = list(Path(".runs").glob("*.checkpoint"))
    assert bool(checkpoints) == (where == "the training")
    before = len(drawn)
    monkeypatch.setattr(tasks.draw, "write_part", counting)
    monkeypatch.setattr(tasks.synthesize, "train_guide", train_guide)
    assert ready("synthesize") == 0
    assert contents(SET) == twice
    assert before
    assert len(drawn) == total
    assert not list(Path(".runs").glob("*.checkpoint"))


def test_what_is_changed_is_drawn_again_and_what_follows_from_it(
    ready: Run, drawn: list[str]
) -> None:
    assert ready("synthesize", synthesize=TWICE) == 0
    whole = contents(SET)
    parts = sorted(name for name in whole if name.endswith(".parquet"))
    drawn.clear()

    # another recipe of the classifiers between rounds: the second round alone
    assert ready("synthesize", retrain={"real_share": 0.25}) == 0
    first = read_index(SET).made_by["rounds"][0]["wanted"]
    assert first == [0, 2, 6]
    kept = ["01-dog/part-00000.parquet", "02-owl/part-00000.parquet", "02-owl/part-00001.parquet"]
    assert drawn
    assert not set(drawn) & set(kept)
    assert all(contents(SET)[name] == whole[name] for name in kept)
    assert ready("synthesize", retrain={"real_share": 0.5}) == 0
    assert contents(SET) == whole

    # another criterion: all of it
    drawn.clear()
    assert ready("synthesize", synthesize={"feedback": "loss"}) == 0
    assert len(drawn) >= len(parts) - 1
    assert ready("synthesize", synthesize={"feedback": "entropy"}) == 0
    assert contents(SET) == whole


@pytest.mark.parametrize("damage", ["guide", "part"])
def test_what_is_damaged_is_mended(ready: Run, drawn: list[str], damage: str) -> None:
    assert ready("synthesize", synthesize=TWICE) == 0
    whole = contents(SET)
    drawn.clear()
    name = {"guide": "_rounds/2/model.safetensors", "part": "02-owl/part-00000.parquet"}[damage]
    (SET / name).write_bytes(whole[name][:-9])
    assert ready("synthesize") == 0
    assert contents(SET) == whole
    assert drawn == ([] if damage == "guide" else [name])


def test_hardness_and_its_limit_are_known_of_every_guide(ready: Run) -> None:
    more = {"feedback": "hardness", "feedback_target": "real", "feedback_augment": True}
    assert ready("synthesize", synthesize={**TWICE, **more, "round_quotas": "even"}) == 0
    index = read_index(SET)
    assert index.wanted == (0, 4, 12)
    assert [each["wanted"] for each in index.made_by["rounds"]] == [[0, 2, 6]] * 2
    assert {"gaussians", "targets"} <= set(index.made_by["rounds"][1]["guide"])


def test_without_a_baseline_the_plan_says_what_is_certain(
    run_stage: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_stage("prepare", synthesize=TWICE) == 0
    assert show_plan_of([]) == 0
    (line,) = (row for row in capsys.readouterr().out.splitlines() if row.startswith("(later"))
    assert line.split()[2:] == ["3", "40", "8", "0", "8", "0"]
    assert run_stage("prepare", synthesize={"round_quotas": "even"}) == 0
    assert show_plan_of([]) == 0
    assert "(later rounds)" not in capsys.readouterr().out


def test_plan_and_status_say_what_is_known_and_what_is_not(
    workspace: Path,
    ready: Run,
    drawn: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_params(workspace, {"synthesize": TWICE})

    def said() -> str:
        show_status(read_params(), FIRST)
        return capsys.readouterr().out

    def plan(*arguments: str) -> str:
        assert show_plan_of(arguments) == 0
        return capsys.readouterr().out

    def row(text: str, name: str) -> list[str]:
        (line,) = (line for line in text.splitlines() if line.startswith(name))
        return line.removeprefix(name).split()

    capsys.readouterr()
    assert row(plan("--probe", "0"), "(later rounds)") == ["3", "40", "8", "0", "8", "0"]
    assert row(plan("--probe", "0"), "all") == ["3", "40", "16", "0", "16", "3"]
    told = plan("--probe", "1")
    assert "device-hours for 16 images" in told
    assert "Trainings between rounds: 1, whose time nobody knows" in told
    assert row(said(), "(later rounds)") == ["8", "0", "0"]

    def refuse(*arguments: object) -> None:
        raise InputError("no training")

    train_guide = tasks.synthesize.train_guide
    monkeypatch.setattr(tasks.synthesize, "train_guide", refuse)
    assert ready("synthesize") == 2
    capsys.readouterr()
    text = said()
    assert row(text, "all") == ["16", "8", "0"]
    assert "Round 1 of 2: a classifier that learns from it guides the next and says" in text
    assert "The set is not complete" in text
    assert row(plan("--probe", "0"), "all") == ["3", "40", "16", "8", "8", "3"]
    assert "device-hours for 8 images" in plan("--probe", "1")  # by a part that is there
    assert ready("synthesize", compute={"max_device_hours": 1e-9}) == 2
    assert "8 images to draw take about" in capsys.readouterr().err

    monkeypatch.setattr(tasks.synthesize, "train_guide", train_guide)
    assert ready("synthesize", compute={"max_device_hours": None}) == 0
    capsys.readouterr()
    text = said()
    assert row(text, "all") == ["16", "16", "0"]
    assert "Round 2 of 2." in text
    assert "The set is complete." in text
    assert "Everything is drawn." in plan()


def test_more_rounds_than_images_are_refused_before_the_baseline_is_trained(
    ready: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ready("synthesize", synthesize={"rounds": 17}) == 2
    assert "synthesize.rounds: got 17, but there are 16 images" in capsys.readouterr().err
    params = read_params()
    with pytest.raises(InputError, match="got 17"):
        check_wanted("train_baseline", params["synthesize"], params["generator"], FIRST)
