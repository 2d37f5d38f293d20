"""`python -m flows.redraw` makes any image of a set again, or says what has changed since."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from micro import contents, set_params

from fgds_core.images.table import image_table, read_table, write_images
from fgds_core.synthesis.shards import read_index, read_synthetic
from flows.redraw import REDRAWN, main

Run = Callable[..., int]
SET = Path("data/synthetic")
SAME = "equal to its row byte for byte"


def redraw(*arguments: str) -> int:
    return main(["--class", "owl", "--index", *arguments])


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the command says of owl 3 after some changes of the parameters."""

    def message(**changes: dict[str, object]) -> str:
        set_params(Path.cwd(), changes)
        capsys.readouterr()
        assert redraw("3") == 2
        return capsys.readouterr().err

    return message


def test_an_image_is_made_again_byte_for_byte_until_something_changes(
    ready: Run,
    refused: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "_index.json" in refused()
    assert ready("synthesize") == 0
    before = contents(SET)
    capsys.readouterr()
    assert redraw("9", "0") == 0
    said = capsys.readouterr().out
    assert said.count(SAME) == 2
    images, rows = read_synthetic(SET)
    for place in (0, 9):
        (row,) = (
            n
            for n, each in enumerate(rows.to_pylist())
            if (each["label"], each["index"]) == (2, place)
        )
        file = REDRAWN / f"02-owl-{place:05d}.png"
        assert file.read_bytes() == images.file(row)
        assert str(file) in said
        assert f"{rows['seed'][row]}\n" in said
    assert "data/synthetic/02-owl/part-00001.parquet" in said
    assert "data/prepared/train.parquet, row 3" in said  # the owls are rows 36 to 39
    assert contents(SET) == before

    # what decides no pixel keeps nothing from it
    set_params(Path.cwd(), {"synthesize": {"target_per_class": 12, "images_per_part": 3}})
    set_params(Path.cwd(), {"compute": {"batch_size": 5}})
    assert redraw("10") == 0

    # what does is said in one line, and nothing is drawn
    shutil.rmtree(REDRAWN)
    said = refused(synthesize={"feedback_scale": 0.25, "eta": 0.5})
    assert "synthesize.feedback_scale was 0.05, is 0.25" in said
    assert "synthesize.eta was 0, is 0.5" in said
    assert said.count("\n") == 1
    prompts = {"prompts": ["{class}!"]}
    said = refused(synthesize={"feedback_scale": 0.05, "eta": 0.0}, generator=prompts)
    assert "generator.prompts was ['a photo of a {class}'], is ['{class}!']" in said
    with monkeypatch.context() as patch:
        patch.setattr("tasks.identity.drawing.drawing_code", lambda recipe: "other")
        said = refused(generator={"prompts": ["a photo of a {class}"]})
    assert "the code that draws has changed" in said
    assert "feedback_scale" not in said
    assert not REDRAWN.exists()

    # nor is what there is not
    assert redraw("3", "12") == 2
    said = capsys.readouterr().err
    assert "class 'owl' has no synthetic image 12; it has the images 0 to 11" in said
    assert main(["--class", "cat", "--index", "0"]) == 2
    assert "class 'cat' has no synthetic image 0; it has none" in capsys.readouterr().err
    assert main(["--class", "owls", "--index", "0"]) == 2
    assert "there is no class 'owls'" in capsys.readouterr().err
    (SET / "02-owl" / "part-00000.parquet").unlink()
    assert "part-00000.parquet is missing" in refused()


def test_of_a_set_in_rounds(
    ready: Run, refused: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ready("synthesize", synthesize={"rounds": 2, "images_per_part": 4}) == 0
    last = read_index(SET).wanted[2] - 1
    assert last > 5  # of the second round
    assert redraw("0", str(last)) == 0
    assert capsys.readouterr().out.count(SAME) == 2
    set_params(Path.cwd(), {"retrain": {"real_share": 0.25}})
    assert redraw("0") == 0  # which the first round has drawn
    assert main(["--class", "owl", "--index", str(last)]) == 2
    assert "guides round 2 is to be trained again" in capsys.readouterr().err


def test_of_a_set_that_is_drawn_for_groups_from_text_alone(
    workspace: Path, run_stage: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "validation", "test"):
        path = workspace / "assets" / "pictures" / f"{split}.parquet"
        rows = read_table(path)
        files = [image["bytes"] for image in rows["image"].to_pylist()]
        groups = [("snow", "grass")[row % 3 % 2] for row in range(len(files))]
        names = ("cat", "dog", "owl")
        write_images(path, image_table(files, rows["label"].to_pylist(), names, {"group": groups}))
    assert run_stage("prepare", data={"group_column": "group"}) == 0
    assert run_stage("train_baseline") == 0
    drawn = {"target_per_group": 5, "images_per_part": 4, "conditioning": "text"}
    prompts = {"prompts": ["{class} {group}"]}
    assert run_stage("synthesize", synthesize=drawn, generator=prompts) == 0
    indices = [str(index) for index in range(read_index(SET).wanted[2])]
    assert len(indices) > 4
    capsys.readouterr()
    assert redraw(*indices) == 0
    said = capsys.readouterr().out
    assert said.count(SAME) == len(indices)
    assert "owl snow" in said
    assert "owl grass" in said
