"""What decides a classifier between rounds, and the groups of images that errors share out."""

import json
import shutil
from pathlib import Path

import pytest
from micro import synthesize_config
from training import recipe, retraining

from fgds_core.data.meta import SPLITS, Meta, write_meta
from fgds_core.synthesis.plan import Part, plan_set
from fgds_core.synthesis.rounds import plan_round, planned
from tasks.identity.rounds import guide_fingerprint, trained_by
from tasks.round import cells_of
from tasks.workspace import FIRST

PART = Part(0, "cat", 0, 0, 4)
ORIGIN = {"training": {"loss": "ldam"}, "seed": 0}


def test_a_guide_is_known_by_what_it_learns_from_in_whatever_order() -> None:
    other = Part(1, "dog", 0, 0, 3)
    known = guide_fingerprint(ORIGIN, [(PART, "a"), (other, "b")])
    assert guide_fingerprint(ORIGIN, [(other, "b"), (PART, "a")]) == known
    for origin, parts in (
        ({**ORIGIN, "seed": 1}, [(PART, "a"), (other, "b")]),
        (ORIGIN, [(PART, "a"), (other, "c")]),
        (ORIGIN, [(PART, "a")]),
        (ORIGIN, [(PART, "a"), (Part(1, "dog", 0, 0, 2), "b")]),
    ):
        assert guide_fingerprint(origin, parts) != known


def test_recipe_seed_and_images_decide_it_and_the_test_images_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, baseline_of_a_recipe: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(baseline_of_a_recipe, FIRST.baseline)

    def found(real: str = "1", test: str = "1", seed: int = 0, **changes: object) -> object:
        counts = dict.fromkeys(SPLITS, (3, 3))
        sha256 = {"train": real, "val": "1", "test": test}
        none, bins = dict.fromkeys(SPLITS, 0), dict.fromkeys(("cat", "dog"), "few")
        write_meta(FIRST.prepared, Meta(("cat", "dog"), 8, counts, bins, None, none, sha256))
        return trained_by(retraining(**changes), seed, FIRST)

    assert found() == found(test="2")
    for changes in ({"real": "2"}, {"seed": 1}, {"real_share": 0.25}, {"training": {}}):
        assert found(**changes) != found()


@pytest.fixture
def baseline_of_a_recipe(tmp_path: Path, tiny_classifier: Path) -> Path:
    """A classifier that says how it was trained."""
    folder = shutil.copytree(tiny_classifier, tmp_path / "classifier")
    stored = json.loads((folder / "config.json").read_text())
    stored["training"] = recipe(sampling="instance").model_dump(mode="json")
    (folder / "config.json").write_text(json.dumps(stored))
    return folder


def test_the_groups_of_a_later_round_follow_from_its_errors() -> None:
    config = synthesize_config(target_per_group=6, rounds=2, images_per_part=2)
    cells = [{"dim": 2, "rock": 4}, {"dim": 6, "rock": 1}]
    whole = plan_set((6, 7), ("cat", "dog"), config, cells)
    first = plan_round(whole, [], config)

    def second(rate: float) -> dict[str, object]:
        errors = [dict.fromkeys(own, 0.5) for own in planned(whole)]
        errors[0]["rock"] = rate
        return cells_of(plan_round(whole, [first], config, errors))

    assert cells_of(first) == {"cat": [0, [["dim", 3]]], "dog": [0, [["rock", 2]]]}
    assert second(0.5) == {"cat": [3, [["dim", 2], ["rock", 1]]], "dog": [2, [["rock", 3]]]}
    assert second(0.0)["cat"] == [3, [["dim", 3]]]
