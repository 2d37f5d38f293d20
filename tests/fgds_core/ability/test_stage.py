"""The check as the stage asks for it: who looks, and what the generator was told."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from micro import (
    CLASS_NAMES,
    MICRO,
    ROOT,
    generator_config,
    set_params,
    synthesize_config,
    write_pictures,
)
from sets import gather

import fgds_core.stages.check
from fgds_core.ability.evidence import WORD
from fgds_core.ability.record import Ability
from fgds_core.adapt.recipe import AdaptedRecipe
from fgds_core.data.meta import Meta
from fgds_core.data.prepare import prepare
from fgds_core.data.splits import RealImages, read_prepared
from fgds_core.images.table import image_table, write_images
from fgds_core.judge.judge import load_judge
from fgds_core.judge.record import JudgeRecord, Recognised, write_record
from fgds_core.stages.check import Places, check_generator, unknown
from fgds_core.synthesis.recipe import Recipe
from flows.cli.params import read_params

EMBEDDED = ROOT / "assets" / "tiny-unclip"
ON_GROUND = ["a {class} on a {group} background"]


def real(names: tuple[str, ...], groups: tuple[str, ...] | None = None) -> RealImages:
    return RealImages(Path(), Meta(names, 32, {}, {}, groups, {}, {}), None, None)  # type: ignore[arg-type]


def recipe(prompts: list[str], conditioning: str = "dual") -> Recipe:
    config = synthesize_config(conditioning=conditioning)
    return Recipe(generator_config(EMBEDDED, prompts=prompts), config, 0)


def test_the_names_that_are_told_are_asked_for() -> None:
    told, data = recipe(["a photo of a {class}"]), real(("coat", "brown_bear"))
    classes, groups = unknown(told, data)
    assert classes == {"brown_bear": "the text encoder spells 'brown bear' in 9 pieces"}
    assert groups == {}
    assert unknown(recipe(["a photo of a {class}"], "image"), data) == ({}, {})
    learnt = AdaptedRecipe(told.generator, told.synthesize, 0, ("brown_bear",))
    assert unknown(learnt, data) == ({}, {})


def test_names_of_groups_count_where_prompts_name_them() -> None:
    data = real(("coat", "bag"), ("green striped", "volcano"))
    assert unknown(recipe(["a photo of a {class}"]), data) == ({}, {})
    assert unknown(recipe(ON_GROUND), data) == (
        {},
        {"volcano": "the text encoder spells 'volcano' in 6 pieces"},
    )


@pytest.fixture
def places(tmp_path: Path, tiny_classifier: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Prepared data, of which real images stand for drawn ones, and a judge who knew them all."""
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(ROOT / "params.yaml", "params.yaml")
    set_params(tmp_path, MICRO)
    write_pictures(tmp_path / "assets" / "pictures")
    params = read_params()
    prepare(params["data"], params["prepare"], tmp_path / "prepared")
    val = read_prepared(tmp_path / "prepared", "val")
    drawn = {}
    for label in range(2):
        drawn[label] = [tmp_path / f"{label}-{part}.parquet" for part in range(2)]
        for file in drawn[label]:
            images = gather(val.of_class(label))
            write_images(file, image_table(images, [label] * len(images), CLASS_NAMES))
    record = JudgeRecord("classifier", str(tiny_classifier), CLASS_NAMES)
    known = (Recognised(100, 100),) * 3
    write_record(tmp_path / "judge", JudgeRecord(**{**vars(record), "validation": known}))
    out = tmp_path / "ability.json"
    return Places(tmp_path / "prepared", drawn, tmp_path / "judge", tiny_classifier, out)


def rows(places: Places) -> dict[str, dict]:
    asked = Ability(12, "mine", "keep", "f")
    check_generator(recipe(["a photo of a {class}"]), asked, places)
    return {each["name"]: each for each in json.loads(places.record.read_text())["classes"]}


def test_the_judge_looks_at_all_that_was_drawn_and_at_its_own_recall(places: Places) -> None:
    found = rows(places)
    assert set(found) == {"cat", "dog"}  # of the third class nothing was drawn
    judge = load_judge(places.judge, CLASS_NAMES)
    val = read_prepared(places.prepared, "val")
    for label, name in enumerate(("cat", "dog")):
        seen = judge.probabilities(val.of_class(label)).argmax(dim=1).tolist()
        twice = Counter({CLASS_NAMES[k]: 2 * n for k, n in Counter(seen).items()})
        assert found[name]["seen"] == twice
        assert found[name]["recall"] == 1.0
        assert found[name]["num_images"] == 2 * len(seen)
        assert set(found[name]["far"]) == {"vision tower", "pixels"}


def test_without_a_judge_it_says_so_and_an_unknown_word_counts(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    (places.judge / "judge.json").unlink()
    monkeypatch.setattr(fgds_core.stages.check, "unknown", lambda *_: ({"dog": "strange"}, {}))
    found = rows(places)
    assert found["dog"]["reasons"][WORD] == "strange"
    assert WORD not in found["cat"]["reasons"]
    for each in found.values():
        assert each["seen"] is None
        assert any("there is no judge" in remark for remark in each["remarks"])
