"""A set in rounds, without the pipeline around it: drawn, learnt from, drawn again."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from micro import CLASS_NAMES, SIZE, contents, generator_config, random_images, synthesize_config
from training import recipe, retraining

from fgds_core.classify.network import load_classifier
from fgds_core.classify.predict import predict_logits
from fgds_core.data.meta import Meta, write_meta
from fgds_core.data.splits import read_prepared
from fgds_core.feedback.load import read_by
from fgds_core.images.table import image_table, write_images
from fgds_core.stages import rounds
from fgds_core.stages.rounds import draw_in_rounds
from fgds_core.synthesis.guides import RECORD, finished_guide, guide_folder, remove_foreign_guides
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.shards import read_index, read_synthetic

COUNTS = {"train": (9, 4, 3), "val": (4, 4, 4), "test": (2, 2, 2)}
TRAINING = recipe(
    model="resnet10t",
    model_kwargs={"stem_width": 8, "channels": [8, 8, 16, 16]},
    num_steps=4,
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    records = {}
    for seed, (split, counts) in enumerate(COUNTS.items()):
        labels = [label for label, count in enumerate(counts) for _ in range(count)]
        table = image_table(random_images(len(labels), SIZE, seed), labels, CLASS_NAMES)
        records[split] = write_images(folder / f"{split}.parquet", table)
    sha256 = {split: record.sha256 for split, record in records.items()}
    bins, none = dict.fromkeys(CLASS_NAMES, "few"), dict.fromkeys(COUNTS, 0)
    write_meta(folder, Meta(CLASS_NAMES, SIZE, COUNTS, bins, None, none, sha256))
    return folder


def draw(prepared: Path, tiny_unclip: Path, guide: Path, out: Path, **changes: object):
    """Draws 11 images, 5 of the second class and 6 of the third."""
    config = synthesize_config(num_inference_steps=2, feedback_every=1, **changes)
    how = Recipe(generator_config(tiny_unclip), config, 3)
    where = {"fingerprint": "made so", "batch_size": 3}
    return draw_in_rounds(prepared, [guide], how, TRAINING, retraining(), out, **where)


@pytest.fixture(scope="module")
def twice(
    prepared: Path,
    tiny_unclip: Path,
    tiny_classifier: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp("twice") / "set"
    more = {"feedback": "hardness", "feedback_target": "real"}
    draw(prepared, tiny_unclip, tiny_classifier, out, rounds=2, **more)
    return out


def test_the_second_round_is_guided_by_what_has_learnt_from_the_first(
    twice: Path, prepared: Path, tiny_unclip: Path, tiny_classifier: Path, tmp_path: Path
) -> None:
    index = read_index(twice)
    assert sum(index.wanted) == 11
    once = {"feedback": "hardness", "feedback_target": "real"}
    draw(prepared, tiny_unclip, tiny_classifier, tmp_path, round_quotas="even", **once)
    _, table = read_synthetic(twice)
    _, other = read_synthetic(tmp_path)

    def rows(found: object) -> dict[tuple[int, int], dict[str, object]]:
        return {(row["label"], row["index"]): row for row in found.to_pylist()}

    both, single = rows(table), rows(other)
    of_both = both.keys() & single.keys()
    assert {both[key]["seed"] for key in of_both} == {single[key]["seed"] for key in of_both}
    same = {key for key in of_both if both[key] == single[key]}
    assert same == {(1, 0), (1, 1), (2, 0), (2, 1), (2, 2)}  # 5 of 11: the first round


def test_its_guide_has_all_that_feedback_may_ask(twice: Path, prepared: Path) -> None:
    folder = guide_folder(twice, 2)
    for name in ("loss", "entropy", "hardness"):
        config = synthesize_config(
            feedback=name, feedback_target="real", feedback_calibrated=True, feedback_augment=True
        )
        assert read_by(config, folder, prepared)["weights"]
    errors = finished_guide(folder, "made so")
    val = read_prepared(prepared, "val")
    wrong = predict_logits(load_classifier(folder), val).argmax(dim=1) != val.labels
    expected = [wrong[val.labels == label].double().mean().item() for label in (1, 2)]
    assert [own[""] for own in errors if own] == expected


def test_what_is_no_guide_is_trained_again(twice: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(guide_folder(twice, 2), tmp_path / "2")
    assert finished_guide(folder, "made so") is not None
    assert finished_guide(folder, "made otherwise") is None
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert finished_guide(folder, "made so") is None
    for text in ("", "{}", "[]", '{"fingerprint": "made so", "errors": [1], "files": {}}'):
        (folder / RECORD).write_text(text)
        assert finished_guide(folder, "made so") is None
    (folder / RECORD).unlink()
    assert finished_guide(folder, "made so") is None


def test_a_call_that_was_ended_goes_on_to_the_same_bytes(
    twice: Path,
    prepared: Path,
    tiny_unclip: Path,
    tiny_classifier: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = shutil.copytree(twice, tmp_path / "set")
    last = read_index(out).parts[-1].path
    (out / last).unlink()
    (out / "_index.json").unlink()

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("the guide is there")

    monkeypatch.setattr(rounds, "train_guide", refuse)
    more = {"feedback": "hardness", "feedback_target": "real"}
    draw(prepared, tiny_unclip, tiny_classifier, out, rounds=2, **more)
    assert contents(out) == contents(twice)


def test_a_set_in_rounds_is_read_like_any_other(twice: Path, prepared: Path) -> None:
    from datasets import load_dataset

    assert len(pd.read_parquet(twice)) == 11
    found = load_dataset("parquet", data_files=f"{twice}/*/part-*.parquet", split="train")
    assert len(found) == 11
    assert len(read_synthetic(twice)[0]) == 11


def test_guides_of_rounds_that_are_no_more_go(twice: Path, tmp_path: Path) -> None:
    out = shutil.copytree(twice, tmp_path / "set")
    remove_foreign_guides(out, 2)
    assert contents(out) == contents(twice)
    remove_foreign_guides(out, 1)
    assert not (out / "_rounds").exists()
    remove_foreign_guides(out, 1)


def test_unguided_rounds_differ_in_their_numbers_alone(
    prepared: Path, tiny_unclip: Path, tiny_classifier: Path, tmp_path: Path
) -> None:
    unguided = {"feedback": "none", "rounds": 3}
    plans = draw(prepared, tiny_unclip, tiny_classifier, tmp_path, **unguided)
    assert [sum(plan.wanted) for plan in plans] == [3, 4, 4]
    assert len(list((tmp_path / "_rounds").iterdir())) == 2
    assert read_index(tmp_path).wanted == tuple(
        sum(plan.wanted[k] for plan in plans) for k in range(3)
    )
