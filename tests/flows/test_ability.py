"""The generator check as part of synthesize: what is done about what cannot be drawn."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fgds_core.ability.record import read_ability
from fgds_core.data.splits import read_prepared
from fgds_core.images.dataset import read_images
from fgds_core.images.table import column_values, read_table
from fgds_core.synthesis.shards import read_index
from flows.plan import main as show_plan_of

Run = Callable[..., int]

CHECKED = {"check_images": 8}
"""The generator here has random weights, so nothing that it draws is near to anything real."""


def parts(workspace: Path) -> dict[str, bytes]:
    out = workspace / "data" / "synthetic"
    return {
        path.relative_to(out).as_posix(): path.read_bytes() for path in out.glob("*/*.parquet")
    }


def test_it_stops_before_anything_is_drawn_and_says_why(
    workspace: Path, ready: Run, drawn: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ready("synthesize", synthesize=CHECKED) == 2
    said = capsys.readouterr().err
    assert "cannot draw 2 of 2 classes, and nothing was drawn" in said
    assert "dog: far from real (8 of 8 are farther" in said
    assert "or set synthesize.cannot_draw to resample" in said
    assert drawn == ["01-dog/part-00000.parquet", "02-owl/part-00000.parquet"]  # of the check
    assert not parts(workspace)
    assert {each.name for each in read_ability(Path("reports/ability.json")).failing} == {
        "dog",
        "owl",
    }
    # Asked again it draws nothing, for the images of the check are kept
    drawn.clear()
    assert ready("synthesize", synthesize=CHECKED) == 2
    assert drawn == []
    # The plan says so too
    capsys.readouterr()
    assert show_plan_of(["--probe", "0"]) == 0
    shown = capsys.readouterr().out
    assert "Check: " in shown
    assert "it cannot draw 'dog': far from real" in shown


def test_the_check_changes_no_image_and_keep_goes_on_with_a_warning(
    workspace: Path, ready: Run, drawn: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ready("synthesize") == 0
    before = parts(workspace)
    assert read_ability(Path("reports/ability.json")).check_images == 0
    drawn.clear()
    assert ready("synthesize", synthesize={**CHECKED, "cannot_draw": "keep"}) == 0
    assert parts(workspace) == before
    assert len(drawn) == 2  # of the check; the set is as it was
    assert "warning: it cannot draw 'dog'" in capsys.readouterr().out
    ability = read_ability(Path("reports/ability.json"))
    assert ability.resampled == frozenset()
    assert all(each.reasons for each in ability.failing)


def test_resample_fills_the_classes_with_real_images(workspace: Path, ready: Run) -> None:
    assert ready("synthesize", synthesize={**CHECKED, "cannot_draw": "resample"}) == 0
    index = read_index(Path("data/synthetic"))
    assert list(index.made_by["resampled"]) == ["dog", "owl"]
    assert index.wanted == (0, 4, 12)
    real = read_prepared(Path("data/prepared"), "train")
    for part in index.parts:
        path = Path("data/synthetic") / part.path
        chosen = column_values(read_table(path), "conditioning_id")
        own = real.of_class(part.label).__getitems__(chosen)
        assert torch.equal(read_images(path).__getitems__(range(part.num_rows)), own)
    again = parts(workspace)
    # As it was, when it is asked for again; drawn, when drawing is wanted
    assert ready("synthesize", synthesize={**CHECKED, "cannot_draw": "resample"}) == 0
    assert parts(workspace) == again
    assert ready("synthesize", synthesize={"check_images": 0}) == 0
    assert not parts(workspace).items() & again.items()
