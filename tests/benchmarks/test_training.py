"""The comparison of trainings: its arms are recipes, and what it says is what was measured."""

import json
from dataclasses import replace

import pytest
from micro import ROOT
from training import recipe, retraining

from benchmarks.documents import shown
from benchmarks.experiments import write_json
from benchmarks.training import (
    ARMS,
    COLUMNS,
    CONTROL,
    RESULT,
    Piece,
    Place,
    as_markdown,
    run_missing,
    summary,
)
from fgds_core.agreement import training_disagreements
from fgds_core.classify.config import RetrainConfig
from fgds_core.data.meta import SPLITS, Meta, write_meta
from flows.cli.params import read_params


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_is_a_recipe(arm):
    params = read_params(ROOT / "params.yaml")
    named = {**ARMS[arm].retrain, "training": ARMS[arm].training}
    retrain = RetrainConfig.model_validate({**params["retrain"].model_dump(), **named})
    assert not list(training_disagreements(params["train_baseline"], retrain))


def test_the_tables_in_the_document_are_the_results_at_hand():
    path = ROOT / RESULT
    assert shown(RESULT.name) == as_markdown(json.loads(path.read_text()))


def run(arm, synthetic, seed, macro):
    columns = dict.fromkeys(COLUMNS, macro) | {"medium": None}
    return {
        "arm": arm,
        "synthetic": synthetic,
        "seed": seed,
        "training": {},
        "retrain": {},
        "columns": columns,
    }


RUNS = [
    run(CONTROL, False, 0, 0.70),
    run(CONTROL, False, 1, 0.72),
    run(CONTROL, True, 0, 0.80),
    run(CONTROL, True, 1, 0.84),
    run("instance", False, 0, 0.74),
    run("instance", False, 1, 0.72),
    run("square root", False, 0, 0.90),  # not trained with all seeds yet
]


def test_differences_are_within_a_seed_and_the_strongest_is_of_real_images_alone():
    found = summary(RUNS)
    assert found["strongest_real_only"] == "instance"
    assert found["real_only_tries"] == 2
    assert found["seeds"] == [0, 1]
    control, instance = found["arms"][CONTROL], found["arms"]["instance"]
    assert control["real"]["macro"]["mean"] == pytest.approx(0.71)
    assert control["synthetic_minus_real"]["few"]["mean"] == pytest.approx(0.11)
    assert control["real_minus_control"]["macro"] == {"mean": 0, "low": 0, "high": 0, "seeds": 2}
    difference = instance["real_minus_control"]["macro"]
    # Of 0.04 and 0.00: t of one degree of freedom is 12.706, the standard error 0.02
    assert difference["mean"] == pytest.approx(0.02)
    assert difference["high"] == pytest.approx(0.02 + 12.7062 * 0.02, rel=1e-4)
    assert instance["synthetic"]["macro"] is None
    assert control["real"]["medium"] is None


def test_the_tables_name_the_strongest_and_how_many_were_tried():
    text = as_markdown(summary(RUNS))
    assert "| **instance** | 73.0 ± 12.7 |" in text
    assert f"| {CONTROL} | 82.0 ± 25.4 |" in text
    assert "Of 2 arms on real images alone **instance** has the highest" in text


@pytest.fixture
def place(tmp_path):
    """A finished run of which nothing is there but what is known of its images."""
    prepared, synthetic = tmp_path / "data" / "prepared", tmp_path / "data" / "synthetic"
    for folder in (prepared, synthetic):
        folder.mkdir(parents=True)
    counts = dict.fromkeys(SPLITS, (3, 2))
    digests = dict.fromkeys(SPLITS, "0")
    duplicates = dict.fromkeys(SPLITS, 0)
    write_meta(prepared, Meta(("a", "b"), 16, counts, {}, None, duplicates, digests))
    (synthetic / "_index.json").write_text("{}")
    return Place(tmp_path, recipe(), retraining())


def test_a_training_is_known_by_its_recipe_and_its_images(place):
    control, cmo = Piece(CONTROL, True, 0), Piece("class-balanced + CMO", True, 0)
    real = Piece(CONTROL, False, 0)
    before = {piece: place.source(piece) for piece in (control, cmo, real)}
    assert len(set(before.values())) == 3
    (place.run / "data" / "synthetic" / "_index.json").write_text("{ }")
    after = {piece: place.source(piece) for piece in before}
    assert [piece for piece in before if before[piece] != after[piece]] == [control, cmo]
    longer = replace(place, base=recipe(num_steps=6))
    assert longer.source(real) != before[real]


def test_trainings_that_are_there_stay_and_those_of_something_else_go(place, tmp_path):
    pieces = [Piece(CONTROL, synthetic, 0) for synthetic in (False, True)]
    kept = {
        piece.name: run(piece.arm, piece.synthetic, 0, 0.5) | {"source": place.source(piece)}
        for piece in pieces
    }
    other = run("instance", False, 0, 0.9) | {"source": "another"}
    write_json(tmp_path / "training_runs.json", {**kept, "instance, real, seed 0": other})
    assert run_missing(place, pieces[:1], tmp_path, jobs=1) == kept
