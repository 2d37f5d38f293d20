"""The comparison of arms: sets grow, are found again, differ in nothing else; the arithmetic."""

import json
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from micro import MICRO, ROOT, contents, set_params, write_pictures

from benchmarks import experiments
from benchmarks.controls import arms as arms_module
from benchmarks.controls import runs as runs_module
from benchmarks.controls import vae
from benchmarks.controls.arms import (
    CEILING,
    CONTROL,
    GROUPED,
    LONG_TAILED,
    PAIRS,
    UNGUIDED,
    Arm,
)
from benchmarks.controls.others import Other
from benchmarks.controls.pieces import COLUMNS, Piece, recipe_of, run, trained, treatment_of
from benchmarks.controls.place import UNUSED, Place
from benchmarks.controls.sets import Best, Drawn, MoreReal
from benchmarks.controls.table import (
    as_markdown,
    difference,
    gap_closed,
    pairs_as_markdown,
    summary,
)
from benchmarks.documents import shown
from benchmarks.experiments import RESULTS
from fgds_core.images.table import image_table, write_images


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_unclip):
    folder = tmp_path_factory.mktemp("controls")
    shutil.copy(ROOT / "params.yaml", folder)
    changes = {
        **MICRO,
        "data": {"root": str(folder / "pictures"), "train": "train.parquet"},
        "generator": {"path": str(tiny_unclip)},
    }
    set_params(folder, changes)
    write_pictures(folder / "pictures")
    labels = [label for label in range(3) for _ in range(14)]
    rng = torch.Generator().manual_seed(7)
    pictures = torch.rand(len(labels), 3, 16, 16, generator=rng) * 2 - 1
    write_images(
        folder / "pictures" / UNUSED, image_table(pictures, labels, ("cat", "dog", "owl"))
    )
    return Place(folder / "params.yaml", folder / "runs" / "pictures")


WANTED = (0, 4, 12)  # 24, 12 and 4 real images are filled up to 16


def files(images):
    return [images.file(row) for row in range(len(images))]


@pytest.mark.parametrize("grouped", [False, True])
def test_every_arm_is_a_recipe_and_a_set_of_the_parameters(grouped):
    place = Place.of("fashion-contexts" if grouped else None)
    for arm in (GROUPED if grouped else LONG_TAILED).values():
        assert recipe_of(place, arm) is not None
        assert treatment_of(place, arm).training == {}
        if arm.images is not None and not isinstance(arm.images, MoreReal):
            assert arm.images.made_by(place)


def test_a_set_has_what_is_wanted_of_each_class(place):
    made = Drawn({"synthesize.feedback": "none"}).make(place, 0)
    assert tuple(made.images.labels.bincount(minlength=3).tolist()) == WANTED
    assert made.seconds_per_image > 0


def test_of_a_larger_set_the_first_images_are_those_of_the_smaller(place):
    changes = {"synthesize.feedback": "none", "synthesize.guidance_scale": 2.5}
    small = Drawn(changes).make(place, 0)
    before = contents(place.folder / "sets")
    large = Drawn(changes, times=2).make(place, 0)
    assert len(large.images) == 2 * len(small.images)
    firsts = [
        row
        for row, label in enumerate(large.images.labels.tolist())
        if large.table["index"][row].as_py() < WANTED[label]
    ]
    assert files(large.images.select(firsts)) == files(small.images)
    again = Drawn(changes).make(place, 0)
    assert files(again.images) == files(small.images)
    assert again.identity == small.identity != large.identity
    after = contents(place.folder / "sets")
    parts = {name: data for name, data in before.items() if name.endswith(".parquet")}
    assert parts
    assert all(after[name] == data for name, data in parts.items())


def test_a_set_follows_its_guide_and_its_seed(place):
    guided = {"synthesize.feedback": "loss"}
    one = Drawn(guided).make(place, 0)
    other = Drawn({**guided, "train_baseline.num_steps": 5}).make(place, 0)
    unled = Drawn({"synthesize.feedback": "none", "train_baseline.num_steps": 5})
    assert one.identity != other.identity
    assert one.identity != Drawn(guided).make(place, 1).identity
    assert unled.made_by(place) == replace(unled, changes={"synthesize.feedback": "none"}).made_by(
        place
    )


def test_a_set_follows_each_classifier_of_a_committee(place):
    loss = {"synthesize.feedback": "loss"}
    baseline, control, both = (
        Drawn({**loss, "synthesize.guide": guide}) for guide in ("baseline", "control", "both")
    )
    two_seeds = Drawn(loss, guide_seeds=2)
    for known in (lambda drawn: drawn.made_by(place), lambda drawn: drawn.make(place, 0).identity):
        assert len({known(drawn) for drawn in (baseline, control, both, two_seeds)}) == 4
        assert known(baseline) == known(Drawn(loss))
    plain = replace(two_seeds, changes={"synthesize.feedback": "none"})
    assert plain.made_by(place) == replace(plain, guide_seeds=1).made_by(place)
    (first, second) = place.guides(place.changed(loss), 0, 2)
    assert first == place.guide(place.params, 0) != second


def test_the_best_are_those_with_the_largest_criterion_of_each_class(place):
    from benchmarks.controls.sets import criterion_of
    from fgds_core.classify.network import load_classifier

    pool = Drawn({"synthesize.feedback": "none"}, times=2)
    best = Best(pool, "loss", judged=False).make(place, 0)
    assert tuple(best.images.labels.bincount(minlength=3).tolist()) == WANTED
    whole = pool.make(place, 0)
    guide = load_classifier(place.guide(place.params, 0))
    values = criterion_of(guide, whole.images, "loss")
    chosen = criterion_of(guide, best.images, "loss")
    for label, wanted in enumerate(WANTED):
        of_class = values[whole.images.labels == label].sort(descending=True).values[:wanted]
        kept = chosen[best.images.labels == label].sort(descending=True).values
        torch.testing.assert_close(kept, of_class)
    assert best.seconds_per_image == pytest.approx(2 * whole.seconds_per_image)


def test_images_that_controls_of_other_seeds_recognise_come_first(place):
    from benchmarks.controls.sets import OWN_JUDGES, own_judge

    judge, pool = own_judge(place), Drawn({"synthesize.feedback": "none"}, times=2)
    assert len({id(each) for each in judge.classifiers}) == OWN_JUDGES
    weights = [dict(each.network.named_parameters()) for each in judge.classifiers]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    whole = pool.make(place, 0)
    right = judge.argmax_of(whole.images) == whole.images.labels
    chosen = Best(pool, "none", own_judge=True).make(place, 0)
    kept = judge.argmax_of(chosen.images) == chosen.images.labels
    for label, wanted in enumerate(WANTED):
        there = int(right[whole.images.labels == label].sum())
        assert int(kept[chosen.images.labels == label].sum()) == min(there, wanted)


def test_more_real_images_are_as_many_and_of_no_split(place):
    made = MoreReal().make(place, 0)
    assert tuple(made.images.labels.bincount(minlength=3).tolist()) == WANTED
    used = set(files(place.real.train)) | set(files(place.real.val)) | set(files(place.test))
    assert not used & set(files(made.images))


def test_another_generator_draws_as_many_and_is_trained_once(place, monkeypatch):
    monkeypatch.setattr(vae, "fit", partial(vae.fit, num_steps=2))
    made = Other("vae").make(place, 0)
    assert tuple(made.images.labels.bincount(minlength=3).tolist()) == WANTED
    assert made.seconds_per_image > 0
    monkeypatch.delattr(vae, "fit")
    again = Other("vae").make(place, 0)
    assert (again.identity, again.seconds_per_image) == (made.identity, made.seconds_per_image)
    assert files(again.images) == files(made.images)
    assert Other("vae").made_by(place) != Other("gan").made_by(place)


def test_smote_changes_the_last_layer_of_the_control_alone(place, monkeypatch):
    monkeypatch.setattr(arms_module, "LONG_TAILED", {CONTROL: Arm(), "smote": Arm(smote=True)})
    found = {arm: trained(place, Piece(arm, 0, "val"), None) for arm in (CONTROL, "smote")}
    assert found[CONTROL][0] != found["smote"][0]
    plain, refitted = (found[arm][1].state_dict() for arm in (CONTROL, "smote"))
    changed = {name for name, t in plain.items() if not torch.equal(t, refitted[name])}
    assert changed == {"network.fc.weight", "network.fc.bias"}


def test_runs_are_kept_and_made_again_when_an_arm_changes(place, tmp_path, monkeypatch):
    arms = {CONTROL: Arm(), CEILING: Arm(MoreReal())}
    monkeypatch.setattr(arms_module, "LONG_TAILED", arms)
    made = []

    def here(place, piece):
        made.append(piece.name)
        return run(place, piece)

    class Inline:
        def __init__(self, *_arguments):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_error):
            pass

        def submit(self, make, piece):
            from concurrent.futures import Future

            done = Future()
            done.set_result(make(piece))
            return done

    monkeypatch.setattr(experiments, "ProcessPoolExecutor", Inline)
    monkeypatch.setattr(runs_module, "run", here)
    path = tmp_path / "runs.json"
    pieces = [Piece(arm, 0, split) for arm in arms for split in ("val", "test")]
    first = runs_module.run_missing(place, pieces, path, 1)
    assert made == [piece.name for piece in pieces]
    assert first.keys() == set(made)
    assert (
        first[f"{CONTROL}, seed 0, val"]["source"] == first[f"{CONTROL}, seed 0, test"]["source"]
    )
    assert runs_module.run_missing(place, pieces, path, 1) == first == json.loads(path.read_text())
    assert len(made) == 4
    arms[CEILING] = Arm(MoreReal(), training={"label_smoothing": 0.0})
    runs_module.run_missing(place, pieces, path, 1)
    assert len(made) == 6


def entry(arm, seed, value, split="test"):
    return {
        "arm": arm,
        "seed": seed,
        "split": split,
        "columns": dict.fromkeys(COLUMNS, value) | {"worst_group": None, "worst_tenth": None},
        "seconds_per_image": None if arm.startswith("real") else 0.1,
    }


RUNS = {
    f"{arm} {seed}": entry(arm, seed, value)
    for arm, values in {
        CONTROL: (0.50, 0.52, 0.54),
        CEILING: (0.60, 0.61, 0.65),
        UNGUIDED: (0.55, 0.56, 0.60),
    }.items()
    for seed, value in enumerate(values)
}


def test_differences_are_within_a_seed():
    found = summary(RUNS, [CONTROL, CEILING, UNGUIDED], "test")
    few = found["arms"][UNGUIDED]["over_control"]["few"]
    assert few["mean"] == pytest.approx(0.05)
    assert few == difference({0: 0.55, 1: 0.56, 2: 0.60}, {0: 0.50, 1: 0.52, 2: 0.54, 3: 0.9})
    assert few["seeds"] == 3
    assert found["tries"] == 3
    assert not summary(RUNS, [CONTROL], "val")["arms"]


def test_pairs_are_of_arms_that_there_are():
    for arms in (LONG_TAILED, GROUPED):
        known = [pair for pair in PAIRS if set(pair) <= set(arms)]
        assert len(known) > 15
    assert all({one, other} <= set(LONG_TAILED) | set(GROUPED) for one, other in PAIRS)


def test_a_pair_is_bold_where_its_interval_leaves_out_zero():
    seen = {
        "feedback: loss": (0.62, 0.63, 0.64),
        UNGUIDED: (0.60, 0.61, 0.62),
        "equal compute: twice as many": (0.60, 0.66, 0.63),
    }
    runs = {
        f"{arm} {seed}": entry(arm, seed, value)
        for arm, values in seen.items()
        for seed, value in enumerate(values)
    }
    found = summary(runs, list(seen), "test")
    assert [(pair["arm"], pair["other"]) for pair in found["pairs"]] == [
        ("feedback: loss", UNGUIDED),
        ("feedback: loss", "equal compute: twice as many"),
    ]
    clear, unclear = pairs_as_markdown(found).splitlines()[2:]
    assert clear.count("**+2.0 ± 0.0**") == 3
    assert "**" not in unclear
    assert "| 3 |" in unclear


def test_the_gap_closed_is_a_ratio_of_means_with_fiellers_interval():
    control = {0: 0.50, 1: 0.52, 2: 0.54}
    arm = {0: 0.55, 1: 0.56, 2: 0.60}
    ceiling = {0: 0.60, 1: 0.61, 2: 0.65}
    found = gap_closed(arm, control, ceiling)
    assert found["mean"] == pytest.approx(0.05 / 0.10)
    # A bound is a ratio that a t test at 5 % only just does not refuse
    for bound in (found["low"], found["high"]):
        rest = np.array([(arm[s] - control[s]) - bound * (ceiling[s] - control[s]) for s in arm])
        t = abs(rest.mean()) / (rest.std(ddof=1) / 3**0.5)
        assert t == pytest.approx(4.302652729911275)
    assert found["low"] < found["mean"] < found["high"]


def test_no_gap_is_closed_where_there_is_none():
    assert gap_closed({0: 0.6}, {0: 0.5}, {0: 0.4}) is None
    assert gap_closed({0: 0.6}, {0: 0.5}, {0: 0.7})["low"] is None
    unclear = gap_closed({0: 0.6, 1: 0.5}, {0: 0.5, 1: 0.5}, {0: 0.4, 1: 0.7})
    assert (unclear["low"], unclear["high"]) == (None, None)


@pytest.mark.parametrize("name", ["fashion-lt", "fashion-contexts"])
@pytest.mark.parametrize("split", ["test", "val"])
def test_the_tables_in_the_document_are_the_results_at_hand(name, split):
    path = ROOT / RESULTS / f"controls-{name}.json"
    results = json.loads(path.read_text())
    table = as_markdown(results if split == "test" else results["validation"])
    assert shown(f"controls-{name}, {split}") == table
    pairs = pairs_as_markdown(results if split == "test" else results["validation"])
    assert shown(f"controls-{name}, {split}, pairs") == pairs
