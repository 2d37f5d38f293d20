"""Images without feedback beside the set, and what each step of guidance did."""

import math
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
from micro import contents

from fgds_core.images.table import read_table
from fgds_core.synthesis.shards import read_index, read_synthetic
from fgds_core.synthesis.steps import read_steps
from fgds_core.synthesis.unguided import read_unguided
from flows.plan import main as show_plan_of

Run = Callable[..., int]
SET = Path("data/synthetic")
TWO = {"unguided_twins": 2}


def test_twins_are_drawn_once_beside_the_set_and_change_nothing_of_it(
    ready: Run, drawn: list[str]
) -> None:
    assert ready("synthesize") == 0
    plain = contents(SET)
    assert not (SET / "_unguided.parquet").exists()
    drawn.clear()
    assert ready("synthesize", synthesize=TWO) == 0
    assert drawn == ["01-dog/part-00001.parquet", "02-owl/part-00001.parquet"]
    whole = contents(SET)
    assert {name: whole[name] for name in plain} == plain
    assert sorted(whole.keys() - plain.keys()) == ["_unguided.parquet"]
    drawn.clear()
    assert ready("synthesize") == 0
    assert drawn == []

    twins = read_unguided(SET)
    _, rows = read_synthetic(SET)
    of_set = {(r["label"], r["index"]): r for r in rows.to_pylist()}
    table = read_table(SET / "_unguided.parquet").to_pylist()
    assert [(r["label"], r["index"]) for r in table] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    for row in table:
        its = of_set[row["label"], row["index"]]
        told = ("seed", "prompt", "conditioning_id", "embedding_dropout", "noise_level", "group")
        assert [row[name] for name in told] == [its[name] for name in told]
        assert (row["feedback"], its["feedback"]) == ("none", "entropy")
        assert twins.of(row["label"], row["index"], row["seed"]) == row["image"]["bytes"]
    assert twins.of(1, 0, 7) is None

    # without feedback there is nothing to be compared with
    assert ready("synthesize", synthesize={**TWO, "feedback_scale": 0.0}) == 0
    assert not (SET / "_unguided.parquet").exists()


def test_the_plan_foresees_them(ready: Run, capsys) -> None:
    assert ready("synthesize", synthesize={"unguided_twins": 0}) == 0
    capsys.readouterr()
    assert show_plan_of(["--probe", "0"]) == 0
    assert "Twins" not in capsys.readouterr().out
    ready("prepare", synthesize={"unguided_twins": 3})
    capsys.readouterr()
    assert show_plan_of(["--probe", "0"]) == 0
    assert "Twins: 6 images without feedback, for the page" in capsys.readouterr().out


def test_each_step_of_guidance_is_noted_and_reaches_the_page(ready: Run) -> None:
    assert ready("synthesize", synthesize=TWO) == 0
    index = read_index(SET)
    noted = read_steps(SET, index.parts).to_pylist()
    _, rows = read_synthetic(SET)
    assert len(noted) == rows.num_rows
    of_set = {(r["label"], r["index"]): r for r in rows.to_pylist()}
    for each in noted:
        row = of_set[each["label"], each["index"]]
        values, norms = each["criterion_by_step"], each["gradient_by_step"]
        assert len(values) == len(norms) == row["guided_steps"] + row["skipped_steps"] > 0
        assert math.isclose(values[0], row["criterion_first"], rel_tol=1e-6)
        assert math.isclose(values[-1], row["criterion_last"], rel_tol=1e-6)
        assert all(norm > 0 for norm in norms)

    assert ready("assess") == 0
    health = pq.read_table("reports/assess/guidance.parquet").to_pylist()
    assert [len(each["criterion_by_step"]) for each in health] == [len(values)] * len(health)
    shown = pq.read_table("reports/assess/neighbours.parquet").to_pylist()
    assert [r["role"] for r in shown].count("unguided") == 4
    steps = next(r["criterion_by_step"] for r in shown if r["role"] == "synthetic")
    assert len(steps.split()) == len(values)
