"""The generator check as part of synthesize: what is done about what cannot be drawn."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import fgds_core.stages.check
from fgds_core.ability.check import CELL_IMAGES, Checked
from fgds_core.ability.evidence import Evidence, Verdict
from fgds_core.ability.record import read_ability
from fgds_core.data.splits import RealImages, read_prepared
from fgds_core.images.dataset import ImageDataset, read_images
from fgds_core.images.table import column_values, read_table
from fgds_core.synthesis.plan import Part, Plan
from fgds_core.synthesis.shards import read_index
from flows.plan import main as show_plan_of
from tasks.ability import check_plan, second_look

Run = Callable[..., int]

CHECKED = {"check_images": 8}
"""The generator here has random weights, so nothing that it draws is near to anything real."""

EVIDENCE = Evidence(8, 9, 9, {}, {}, None, (0, 0))


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


def test_a_class_in_doubt_gets_a_second_look(
    ready: Run,
    drawn: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown: list[dict[str, int]] = []

    def check(images: Callable[[int], ImageDataset | None], real: RealImages, *_: Any, **__: Any):
        found = [(name, images(label)) for label, name in enumerate(real.val.class_names)]
        numbers = {name: len(some) for name, some in found if some is not None}
        shown.append(numbers)
        unsure = {"owl": ("perhaps",)} if numbers["owl"] < 16 else {}
        return [
            Checked(name, EVIDENCE, Verdict(True, {}, (), unsure.get(name, ())))
            for name in numbers
        ], []

    monkeypatch.setattr(fgds_core.stages.check, "check", check)
    assert ready("synthesize", synthesize=CHECKED) == 0
    assert shown == [{"dog": 8, "owl": 8}, {"dog": 8, "owl": 16}]
    assert "in doubt: owl; a second look" in capsys.readouterr().err
    assert drawn[:3] == [
        "01-dog/part-00000.parquet",
        "02-owl/part-00000.parquet",
        "02-owl/part-00002.parquet",
    ]
    assert not read_ability(Path("reports/ability.json")).in_doubt
    drawn.clear()
    assert ready("synthesize", synthesize={"cannot_draw": "keep"}) == 0
    assert drawn == []  # both looks are kept


def test_with_groups_enough_is_drawn_of_each_to_tell() -> None:
    groups = tuple(f"g{place}" for place in range(5))
    parts = (Part(0, "cat", 0, 0, 100, groups * 20), Part(1, "dog", 0, 0, 12, groups * 2))
    plan = check_plan(Plan(parts, ("cat", "dog", "owl"), (9, 9, 200), (100, 12, 0)), 8)
    assert plan.wanted == (5 * CELL_IMAGES, 12, 0)  # no more than the set itself draws
    assert Counter(plan.parts[0].groups) == dict.fromkeys(groups, CELL_IMAGES)
    again = second_look(plan, ["cat"])
    assert again.wanted == (5 * CELL_IMAGES, 0, 0)
    (more,) = again.parts
    assert more.first_index == plan.parts[0].first_index + plan.parts[0].num_images
    assert more.groups == plan.parts[0].groups


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
