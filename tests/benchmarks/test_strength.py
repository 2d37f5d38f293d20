"""The study of strength: successive halving, what pieces are made of, and the variants' counts."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from micro import ROOT
from sets import gather, image_set

from benchmarks.controls.place import Place
from benchmarks.strength import pieces
from benchmarks.strength.halving import Rung, successive_halving
from benchmarks.strength.pieces import (
    Candidate,
    OutOfTime,
    Piece,
    Study,
    class_weights,
    head,
    plain,
    source,
)
from benchmarks.strength.plot import COLOURS, picture
from benchmarks.strength.study import (
    BLENDS,
    DEFAULT,
    FEWER,
    GRID,
    MEASURES,
    NUM_TRIED,
    RUNGS,
    rank_correlation,
    retrained,
    tried,
)
from benchmarks.strength.variants import counts_at, first_of_each, write_variant
from fgds_core.classify.refit import halves

ASSETS = ROOT / "assets" / "fashion-lt"
AT_100 = [14, 5, 180, 65, 500, 39, 300, 108, 8, 23]


def test_each_rung_values_what_the_one_before_kept_at_its_own_budget():
    asked = []

    def value(candidate: int, budget: int) -> float:
        asked.append((candidate, budget))
        return candidate if budget == 1 else -candidate

    rungs = successive_halving(range(9), [Rung(1, 3), Rung(3, 2), Rung(9, 1)], value)
    assert [[candidate for candidate, _ in rung] for rung in rungs] == [
        [8, 7, 6, 5, 4, 3, 2, 1, 0],
        [6, 7, 8],
        [6, 7],
    ]
    spent = {budget: sum(b == budget for _, b in asked) for budget in (1, 3, 9)}
    assert spent == {1: 9, 3: 3, 9: 2}  # the rungs cost about as much as each other
    assert len(set(asked)) == len(asked)


def test_of_equal_candidates_the_first_named_is_kept():
    rungs = successive_halving("cab", [Rung(1, 2), Rung(2, 1)], lambda candidate, budget: 0.0)
    assert [candidate for candidate, _ in rungs[-1]] == ["c", "a"]


@pytest.mark.parametrize(
    ("candidates", "rungs", "message"),
    [
        ("aa", [Rung(1, 1)], "named twice"),
        ("ab", [Rung(2, 2), Rung(2, 1)], "must grow"),
        ("ab", [Rung(1, 1), Rung(2, 2)], "keep"),
        ("ab", [Rung(1, 3)], "keep"),
        ("ab", [Rung(1, 0)], "keep"),
    ],
)
def test_rungs_that_make_no_sense_are_refused(candidates, rungs, message):
    with pytest.raises(ValueError, match=message):
        successive_halving(candidates, rungs, lambda candidate, budget: 0.0)


def test_what_is_tried_is_of_the_grid_and_the_default_is_among_it():
    assert len(set(GRID)) == len(GRID)
    found = tried()
    assert found == tried()
    assert found[0] == DEFAULT
    assert len(set(found)) == NUM_TRIED
    assert set(found) <= set(GRID)
    assert [rung.budget for rung in RUNGS] == list(MEASURES)
    assert RUNGS[0].keep <= NUM_TRIED


def test_the_default_is_that_of_the_parameters_but_for_rounds():
    place = Place.of("fashion-lt")
    at_once = place.params["synthesize"].model_copy(update={"rounds": 1})
    for scale in DEFAULT.scales:
        assert place.changed(DEFAULT.changes(scale))["synthesize"] == at_once


@pytest.mark.parametrize("candidate", dict.fromkeys([*GRID, *BLENDS, FEWER]), ids=str)
def test_every_candidate_is_a_recipe_of_its_own(candidate):
    config = Place.of("fashion-lt").changed(candidate.changes(candidate.scales[2]))["synthesize"]
    assert config.feedback_scale == candidate.scales[2]
    assert (config.feedback == "none") == (candidate.scales[2] == 0)
    assert (config.conditioning == "text") == (candidate.embedding_dropout is None)


def test_candidates_have_names_of_their_own():
    every = {*GRID, *BLENDS, FEWER}
    assert len({str(candidate) for candidate in every}) == len(every)
    assert str(Candidate(1.5, 0.9, (0.01, 0.01, 0.02))) == (
        "guidance 1.5, dropout 0.9, loss 0.01/0.01/0.02"
    )


def test_halves_have_no_image_in_common_and_the_same_of_each_class():
    labels = torch.arange(12) % 3
    grey = torch.linspace(-1, 1, 12)[:, None, None, None].expand(12, 3, 8, 8)
    images = image_set(grey, labels, ("a", "b", "c"))
    one, other = halves(images, pieces.SPLIT_SEED)
    assert one.labels.bincount().tolist() == other.labels.bincount().tolist() == [2, 2, 2]
    seen = [each.file(row) for each in (one, other) for row in range(len(each))]
    assert sorted(seen) == sorted(images.file(row) for row in range(12))


def test_classes_weigh_alike_and_so_do_the_sources_within_one():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    is_synthetic = np.array([0, 0, 0, 0, 0, 1, 1, 1], dtype=bool)
    weights = class_weights(labels, is_synthetic)
    assert weights == pytest.approx([1, 1, 1, 1, 2, 2 / 3, 2 / 3, 2 / 3])


def test_the_head_learns_from_synthetic_images_what_real_ones_do_not_show(monkeypatch):
    def bright(of_class, number):
        x = torch.full((number, 3, 8, 8), -1.0)
        x[:, of_class] = 1.0
        return x

    def seen(classifier, images):
        return gather(images).mean(dim=(2, 3)).numpy()

    monkeypatch.setattr(pieces, "features", seen)
    names = ("red", "green")
    real = image_set(bright(0, 12), [0] * 6 + [1] * 6, names)  # the second class looks like it
    synthetic = image_set(bright(1, 60), [1] * 60, names)
    val = image_set(torch.cat([bright(0, 4), bright(1, 4)]), [0] * 4 + [1] * 4, names)
    found = head(None, real, synthetic, halves(val, 0), 1)
    assert found == {"chosen": [1.0, 1.0], "other": [1.0, 1.0]}


def test_of_the_study_of_feedback_plain_settings_of_several_seeds_are_ranked():
    rows = json.loads((ROOT / "benchmarks" / "results" / "feedback_study.json").read_text())
    found = retrained(rows.values())
    assert {plain(1.5, 0.9, 0.01), plain(1.5, None, 0.0), plain(3.0, 0.4, 0.0)} <= found.keys()
    assert plain(1.5, 0.4, 0.01) not in found  # one seed
    shown = {seed: round(100 * own["overall"], 1) for seed, own in found[DEFAULT].items()}
    assert shown == {0: 80.7, 1: 81.4}  # not of its variants, such as another guide


def test_rankings_that_agree_correlate_and_those_that_do_not_do_not():
    up, down = list(range(8)), list(range(8))[::-1]
    assert rank_correlation([(up, [x**2 for x in up])])["mean"] == pytest.approx(1)
    assert rank_correlation([(up, down)])["mean"] == pytest.approx(-1)
    both = rank_correlation([(up, up), (up, down)])
    assert both["mean"] == pytest.approx(0)
    assert both["low"] <= both["mean"] <= both["high"]


@pytest.mark.parametrize("factor", [10, 50, 100, 200])
def test_a_factor_is_the_largest_class_over_the_smallest(factor):
    counts = counts_at(factor, AT_100)
    assert max(counts) == 500
    assert min(counts) == round(500 / factor)
    assert np.argsort(counts).tolist() == np.argsort(AT_100).tolist()
    assert (counts == AT_100) == (factor == 100)


def test_of_each_class_the_first_images_are_taken():
    labels = np.array([1, 0, 1, 0, 1])
    assert first_of_each(labels, [1, 2]).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"there are \[2, 0\] images, wanted are \[3, 0\]"):
        first_of_each(labels, [3, 0])


def test_a_variant_has_the_counts_promised_and_another_factors_pictures(tmp_path):
    tables = {}
    for factor in (10, 100, 200):
        counts = write_variant(ASSETS, factor, tmp_path / str(factor))
        table = pq.read_table(tmp_path / str(factor) / "train.parquet")
        assert np.bincount(table["label"]).tolist() == counts
        tables[factor] = {row["image"]["bytes"] for row in table.to_pylist()}
        assert len(tables[factor]) == sum(counts)  # no picture twice
        validation = tmp_path / str(factor) / "validation.parquet"
        assert validation.read_bytes() == (ASSETS / "validation.parquet").read_bytes()
    own = pq.read_table(ASSETS / "train.parquet")
    assert pq.read_table(tmp_path / "100" / "train.parquet").equals(own)
    assert tables[200] < tables[100]
    validation = pq.read_table(ASSETS / "validation.parquet")
    others = {row["image"]["bytes"] for row in validation.to_pylist()}
    assert not tables[10] & others


def test_the_picture_has_a_line_for_each_factor_and_one_for_its_control():
    def row(value):
        return {key: {"mean": value, "low": None, "high": None} for key in ("macro", "few")}

    scales = {"control": row(0.7), "0": row(0.8), "0.01": row(0.9)}
    whole = {factor: {"real": [], "scales": scales} for factor in COLOURS}
    figure = picture(whole)
    for axes in figure.axes:
        lines = [line.get_ydata() for line in axes.get_lines()]
        assert [list(line) for line in lines] == [[80, 90], [70, 70]] * len(COLOURS)
        assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.01"]


def test_pieces_are_kept_and_made_again_when_they_would_be_of_something_else(
    tmp_path, monkeypatch
):
    made = []
    told = {"chosen": [0.5, 1.0], "other": [0.0, 1.0]}
    monkeypatch.setattr(pieces, "make", lambda piece: made.append(piece) or told)
    monkeypatch.setattr(pieces, "source", lambda piece: "as it is")
    path, piece = tmp_path / "runs.json", Piece(DEFAULT, 0)
    assert Study(path).recalls(piece) == told
    assert Study(path, seconds=-1).recalls(piece) == told  # it is there
    assert made == [piece]
    with pytest.raises(OutOfTime):
        Study(path, seconds=-1).recalls(Piece(DEFAULT, 1))
    monkeypatch.setattr(pieces, "source", lambda piece: "another")
    assert Study(path).recalls(piece) == told
    assert made == [piece] * 2
    assert json.loads(path.read_text())[piece.name]["source"] == "another"


def test_what_makes_a_piece_is_in_its_source(tmp_path, monkeypatch):
    class Prepared:
        """A place whose real images need not be prepared."""

        def __init__(self) -> None:
            self._place = Place.of("fashion-lt")

        def __getattr__(self, name):
            return getattr(self._place, name)

        def identity(self, *made_of):
            return json.dumps([str(each) for each in made_of])

    place = Prepared()
    monkeypatch.setattr(pieces, "place_at", lambda factor: place)
    base = Piece(DEFAULT, 0)
    others = [
        Piece(None, 0),
        Piece(DEFAULT, 0, measure="head"),
        Piece(plain(1.5, 0.9, 0.02), 0),
        Piece(plain(1.5, 0.9, 0.0), 0),
        Piece(plain(2.0, 0.9, 0.01), 0),
        Piece(plain(1.5, None, 0.01), 0),
        Piece(Candidate(1.5, 0.9, (0.01, 0.01, 0.02)), 0),
    ]
    assert len({source(piece) for piece in [base, *others]}) == 8
    # The others are in its name
    named = [base, Piece(DEFAULT, 1), Piece(DEFAULT, 0, 1), Piece(DEFAULT, 0, most=20)]
    named += [Piece(FEWER, 0), Piece(DEFAULT, 0, factor=10)]
    assert len({piece.name for piece in named}) == len(named)
