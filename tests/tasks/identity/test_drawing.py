"""What decides the synthetic images, and with it their fingerprints."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from micro import ROOT, random_images, synthesize_config

from fgds_core.data.meta import SPLITS, Meta, write_meta
from fgds_core.errors import InputError
from fgds_core.feedback.registry import CRITERIA
from fgds_core.images.table import image_table, write_images
from fgds_core.synthesis.config import FeedbackFactors
from fgds_core.synthesis.recipe import Recipe
from flows.cli.params import read_params
from tasks.identity.drawing import fingerprint, input_digests, made_by, part_fingerprint
from tasks.workspace import FIRST

NAMES = ("cat", "dog", "owl")
PREPARED, BASELINE, CONTROL = (
    path.as_posix() for path in (FIRST.prepared, FIRST.baseline, FIRST.control)
)
INPUTS = {PREPARED: "1", BASELINE: "2", "assets/tiny-unclip": "3"}


@pytest.fixture(autouse=True)
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_classifier: Path) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_classifier, BASELINE)
    prepare()


def prepare(labels: tuple[int, ...] = (0, 1, 2), names: tuple[str, ...] = NAMES) -> None:
    """Writes real images, one for each label."""
    table = image_table(random_images(len(labels)), labels, names)
    sha256 = {s: write_images(Path(PREPARED, f"{s}.parquet"), table).sha256 for s in SPLITS}
    counts = dict.fromkeys(SPLITS, tuple(labels.count(k) for k in range(len(names))))
    bins, none = dict.fromkeys(names, "few"), dict.fromkeys(SPLITS, 0)
    write_meta(Path(PREPARED), Meta(names, 8, counts, bins, None, none, sha256))


def prepare_validation() -> None:
    """Writes other validation images."""
    sha256 = write_images(
        Path(PREPARED, "val.parquet"), image_table(random_images(3, seed=1), (0, 1, 2), NAMES)
    ).sha256
    path = Path(PREPARED, "meta.json")
    meta = json.loads(path.read_text())
    meta["content_sha256"]["val"] = sha256
    path.write_text(json.dumps(meta))


def origin(
    changes: Mapping[str, Any], inputs: Mapping[str, str] = INPUTS, seed: int = 0
) -> dict[str, Any]:
    params = read_params(ROOT / "params.yaml")
    base = params["synthesize"].model_copy(update={"feedback": "entropy", "feedback_scale": 0.02})
    config = base.model_copy(update=dict(changes))
    return made_by(Recipe(params["generator"], config, seed), inputs, FIRST)


def of(changes: Mapping[str, Any], inputs: Mapping[str, str] = INPUTS, seed: int = 0) -> str:
    return fingerprint(origin(changes, inputs, seed))


def of_parts(changes: Mapping[str, Any]) -> list[str]:
    """Of the parts of each class."""
    return [part_fingerprint(origin(changes), label, NAMES) for label in range(3)]


def test_more_images_leave_the_finished_ones_valid() -> None:
    assert of({"target_per_class": 300}) == of({"target_per_class": 400})
    assert of({"min_per_class": 0}) == of({"min_per_class": 40})
    assert of({"images_per_part": 30}) == of({"images_per_part": 40})


def test_the_group_of_an_image_is_in_the_fingerprint_of_its_own_class() -> None:
    path = Path(PREPARED, "meta.json")
    text = {"conditioning": "text", "target_per_group": 3}
    counts = {"cat": {"dim": 1}, "dog": {"dim": 1}, "owl": {"dim": 1}}

    def set_groups(**changes: dict[str, int]) -> None:
        train = {**counts, **changes}
        own = {"groups": ["dim", "rock"], "group_counts": {"train": train, "val": {}, "test": {}}}
        path.write_text(json.dumps({**json.loads(path.read_text()), **own}))

    set_groups()
    before, by_class = of_parts(text), of_parts({"conditioning": "text"})
    assert of_parts({**text, "target_per_group": 9}) == before
    set_groups(dog={"rock": 1})
    after = of_parts(text)
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]
    assert of_parts({"conditioning": "text"}) == by_class


@pytest.mark.parametrize(
    "changes", [{"feedback_scale": 0.03}, {"num_inference_steps": 7}, {"feedback": "loss"}]
)
def test_what_the_images_show_is_in_the_fingerprint(changes: dict[str, Any]) -> None:
    assert of(changes) != of({})


def test_seed_generator_and_baseline_are_in_the_fingerprint() -> None:
    all_of_them = {of({}), of({}, seed=1)}
    all_of_them |= {of({}, {**INPUTS, path: "changed"}) for path in INPUTS}
    assert len(all_of_them) == 3  # of the prepared data the training images count
    rewrite("model.safetensors", lambda weights: weights + b"changed")
    assert of({}) not in all_of_them


def rewrite(name: str, change: Callable[[bytes], bytes], folder: str = BASELINE) -> None:
    """Changes a file of the baseline, or of another classifier."""
    file = Path(folder, name)
    file.write_bytes(change(file.read_bytes()))


@pytest.fixture
def control(tiny_classifier: Path) -> str:
    """The folder of a control with other weights than the baseline."""
    shutil.copytree(tiny_classifier, FIRST.control)
    rewrite("model.safetensors", lambda weights: weights + b"its own", CONTROL)
    return CONTROL


@pytest.mark.parametrize(
    ("guide", "counts"),
    [("baseline", {BASELINE}), ("control", {CONTROL}), ("both", {BASELINE, CONTROL})],
)
def test_of_the_classifiers_those_that_guide_count(
    guide: str, counts: set[str], control: str
) -> None:
    for folder in (BASELINE, control):
        before, unguided = of({"guide": guide}), of({"guide": guide, "feedback": "none"})
        rewrite("model.safetensors", lambda weights: weights + b"changed", folder)
        assert (of({"guide": guide}) != before) == (folder in counts)
        assert of({"guide": guide, "feedback": "none"}) == unguided


def test_which_folder_a_guide_lies_in_does_not_count(tiny_classifier: Path) -> None:
    shutil.copytree(tiny_classifier, FIRST.control)
    inputs = {path: digest for path, digest in INPUTS.items() if path != BASELINE}
    baseline, control, both = (
        of({"guide": guide}, inputs) for guide in ("baseline", "control", "both")
    )
    assert baseline == control != both


def test_the_class_counts_matter_where_the_prior_is_taken_out() -> None:
    rid, text = {"feedback_tau": 1.0}, {"conditioning": "text"}
    before = of_parts(rid | text), of_parts(text)
    assert of({"feedback_tau": 0.0}) == of({}) not in (of(rid), of({"feedback_tau": 0.5}))
    prepare((0, 1, 1, 2))
    assert of_parts(text) == before[1]
    assert not set(of_parts(rid | text)) & set(before[0])
    assert of(rid | {"feedback": "none"}) == of({"feedback": "none"})


@pytest.mark.parametrize(
    ("guide", "missing"), [("control", CONTROL), ("both", CONTROL), ("baseline", BASELINE)]
)
def test_a_guide_that_is_missing_is_told_with_what_makes_it(guide: str, missing: str) -> None:
    if missing == BASELINE:
        shutil.rmtree(BASELINE)
    makes = {CONTROL: "python -m flows.train_control", BASELINE: "dvc repro train_baseline"}
    config = synthesize_config(guide=guide)
    recipe = Recipe(read_params(ROOT / "params.yaml")["generator"], config, 0)
    with pytest.raises(InputError, match=f"{missing}, which guides.*`{makes[missing]}`"):
        input_digests(recipe, FIRST)


def config(**entries: Any) -> Callable[[bytes], bytes]:
    """Changes entries of the baseline's configuration."""
    return lambda text: json.dumps({**json.loads(text), **entries}).encode()


VALUES = {"loss": [1.0, 2.0, 3.0], "entropy": [0.5, 0.6, None]}


@pytest.mark.parametrize(
    ("file", "change", "matters"),
    [
        ("config.json", config(temperature=3.0), {"feedback_calibrated": True}),
        ("config.json", config(criterion_on_real=VALUES), {"feedback_target": "real"}),
        ("config.json", config(image_size=64), {"feedback_augment": True}),
        ("config.json", config(interpolation="bilinear"), {}),
        ("feature_statistics.safetensors", lambda data: data + b"0", {"feedback": "hardness"}),
        ("config.json", config(core_version="9", epochs=9), None),
        ("notes.txt", lambda _: b"of mine", None),
    ],
)
def test_of_the_baseline_counts_what_guidance_reads(
    file: str, change: Callable[[bytes], bytes], matters: dict[str, Any] | None
) -> None:
    off = {"feedback_calibrated": False, "feedback_target": "none", "feedback_augment": False}
    training = {"shift": 2, "horizontal_flip": True, "erase": 0.4}
    rewrite("config.json", config(training=training, image_size=32))
    Path(BASELINE, "notes.txt").write_text("")
    on = off if matters is None else off | matters
    plain, before = of(off), of(on)
    rewrite(file, change)
    assert (of(on) == before) == (matters is None)
    assert (of(off) == plain) == (matters != {})


def test_another_criterion_measured_on_real_images_redraws_nothing() -> None:
    real = {"feedback_target": "real", "feedback_calibrated": False}
    rewrite("config.json", config(criterion_on_real=VALUES))
    before = of(real)
    rewrite("config.json", config(criterion_on_real={**VALUES, "margin": [1.0, 1.0, 1.0]}))
    assert of(real) == before
    rewrite("config.json", config(criterion_on_real={**VALUES, "entropy": [0.5, 0.6, 0.7]}))
    assert of(real) != before


def test_real_images_are_in_the_fingerprint_of_their_class_alone() -> None:
    before, set_before = of_parts({}), of({})
    assert len(set(before)) == 3
    prepare((0, 1, 2, 1))
    after = of_parts({})
    assert [a == b for a, b in zip(after, before, strict=True)] == [True, False, True]
    assert of({}) != set_before


def test_real_images_count_only_where_they_condition() -> None:
    text = {"conditioning": "text"}
    before = of_parts(text), of(text)
    prepare((0, 1, 2, 1))
    assert (of_parts(text), of(text)) == before


@pytest.mark.parametrize(
    ("mix", "kept"), [("slerp", [True, False, True]), ("transfer", [False] * 3)]
)
def test_where_other_classes_are_mixed_in_all_real_images_count(
    mix: str, kept: list[bool]
) -> None:
    before = of_parts({"embedding_mix": mix})
    prepare((0, 1, 2, 1))
    after = of_parts({"embedding_mix": mix})
    assert [a == b for a, b in zip(after, before, strict=True)] == kept


def test_the_share_of_a_mixture_counts_where_there_is_one() -> None:
    share = {"embedding_mix_share": 0.2}
    assert of(share) == of({})
    mixed = {"embedding_mix": "any_class"}
    assert len({of({}), of(mixed), of(mixed | share)}) == 3


EXEMPLAR = {"feedback": "exemplar", "conditioning": "text"}


def test_exemplars_count_for_their_class_where_text_alone_conditions() -> None:
    before = of_parts(EXEMPLAR)
    prepare((0, 1, 2, 1))
    after = of_parts(EXEMPLAR)
    assert [a == b for a, b in zip(after, before, strict=True)] == [True, False, True]


def test_the_size_of_a_part_counts_where_its_images_are_valued_together() -> None:
    for feedback in ("exemplar", "exemplar_loss", "exemplar_entropy"):
        sizes = [of({"feedback": feedback, "images_per_part": size}) for size in (30, 40)]
        assert len(set(sizes)) == 2
    for changes in ({"feedback": "influence"}, {"feedback": "exemplar", "feedback_scale": 0.0}):
        assert of(changes | {"images_per_part": 30}) == of(changes | {"images_per_part": 40})


@pytest.mark.parametrize(
    ("changes", "by"),
    [
        ({"feedback_exemplars": 5}, {"exemplar", "exemplar_loss", "exemplar_entropy"}),
        ({"feedback_mix": 0.7}, {"exemplar_loss", "exemplar_entropy"}),
    ],
)
def test_what_one_criterion_reads_redraws_no_image_of_another(
    changes: dict[str, Any], by: set[str]
) -> None:
    assert {
        name for name in CRITERIA if of({"feedback": name}) != of({"feedback": name} | changes)
    } == by


def test_validation_images_count_where_influence_is_measured_by_them() -> None:
    text = {"conditioning": "text"}
    before = {name: of(text | {"feedback": name}) for name in CRITERIA}
    prepare_validation()
    assert {name for name in CRITERIA if of(text | {"feedback": name}) != before[name]} == {
        "influence"
    }


def test_unguided_images_outlive_a_new_baseline() -> None:
    unguided = {"feedback": "none"}
    before = of(unguided)
    rewrite("model.safetensors", lambda weights: weights + b"changed")
    assert of(unguided) == before


def test_a_factor_of_feedback_redraws_the_classes_of_its_bin_alone() -> None:
    few, medium = {"few": 2.0}, {"medium": 2.0}
    plain = of_parts({})  # each class has one image
    assert of_parts({"feedback_factors": FeedbackFactors(**medium)}) == plain
    changed = of_parts({"feedback_factors": FeedbackFactors(**few)})
    assert not set(changed) & set(plain)
    prepare((0, *[1] * 20, 2))
    mixed = of_parts({}), of_parts({"feedback_factors": FeedbackFactors(**few)})
    assert [a == b for a, b in zip(*mixed, strict=True)] == [False, True, False]
    assert mixed[1][0] == changed[0]  # whatever the other classes' bins
    off = {"feedback": "none"}
    assert of(off | {"feedback_factors": FeedbackFactors(**few)}) == of(off)


def test_without_feedback_nothing_that_is_said_of_it_counts() -> None:
    off = {"feedback": "none"}
    changes = {"feedback_every": 7, "feedback_rule": "score", "feedback_decoder": "half"}
    assert of(off | changes) == of(off) == of({"feedback_scale": 0.0})
    assert of(changes) != of({})
