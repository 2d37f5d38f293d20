"""Laws and contracts of the assessment, on images whose features are known."""

import csv
import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from micro import generator_config
from PIL import Image
from sets import gather, image_set

from fgds_core.assess import measures, neighbours
from fgds_core.assess.assessment import (
    class_weights,
    headline,
    measure_synthetic,
    no_meaning,
)
from fgds_core.assess.config import AssessConfig
from fgds_core.assess.estimates import Estimate, rounded
from fgds_core.assess.features import Extractor
from fgds_core.assess.guidance_health import HEALTH
from fgds_core.assess.neighbours import WHY, Suspicion
from fgds_core.assess.observe import observe
from fgds_core.assess.vectors import Features
from fgds_core.classify.network import create_classifier
from fgds_core.classify.predict import predict
from fgds_core.classify.save import save_classifier
from fgds_core.data.imbalance import shot_bins
from fgds_core.data.meta import Meta, read_meta, write_meta
from fgds_core.errors import InputError
from fgds_core.images.reading import Reading
from fgds_core.images.table import image_table, write_images
from fgds_core.judge.classifier import load_witness
from fgds_core.judge.judge import load_judge
from fgds_core.judge.record import JudgeRecord, Recognised, write_record
from fgds_core.stages.assess import assess
from fgds_core.synthesis import shards
from fgds_core.synthesis.columns import synthetic_schema
from fgds_core.synthesis.record import part_path, write_synthetic_part

CLASS_NAMES = ("cat", "dog", "emu")
CONFIG = AssessConfig(
    features="classifier",
    inception_weights=None,
    min_images_fid=50,
    min_images=20,
    fid_blocks=4,
    kid_subsets=4,
    kid_subset_size=20,
    nearest_k=3,
    bootstrap_samples=50,
    grid_images=2,
    grid_neighbours=3,
)


def colours(x):
    """Mean colour and the colour of one corner: [B, 3, H, W] -> [B, 6]."""
    return torch.cat([x.mean(dim=(2, 3)), x[:, :, 0, 0]], dim=1)


EXTRACT = Extractor("colours", colours, "cpu")


def make_images(counts, seed):
    """Noise around a colour for each class, as whole bytes."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    centre = torch.eye(3)[labels][:, :, None, None] - 0.5
    x = centre + 0.3 * torch.randn(len(labels), 3, 8, 8, generator=g)
    x = x + 0.2 * torch.randn(len(labels), 3, 1, 1, generator=g)
    return image_set(x, labels, CLASS_NAMES)


def make_table(images, conditioning=None):
    n = len(images)
    index = [int((images.labels[:i] == images.labels[i]).sum()) for i in range(n)]
    extra = {
        "group": [None] * n,
        "prompt": ["a photo"] * n,
        "seed": list(range(n)),
        "index": index,
        "conditioning_id": [0] * n if conditioning is None else conditioning,
        "embedding_dropout": [0.2] * n,
        "noise_level": [0] * n,
        "guidance_scale": [2.0] * n,
        "feedback": ["entropy"] * n,
        "feedback_scale": [0.02] * n,
        "attempt": [0] * n,
        "criterion_first": [0.25] * n,
        "criterion_last": [0.5] * (n - 1) + [None] * (n > 0),
        "criterion_final": [0.625] * n,
        "guided_steps": [4] * n,
        "skipped_steps": [1] * n,
        "nonfinite_steps": [0] * (n - 1) + [3] * (n > 0),
    }
    return image_table(
        [images.file(row) for row in range(n)],
        images.labels,
        CLASS_NAMES,
        extra,
        schema=synthetic_schema(CLASS_NAMES),
    )


@pytest.fixture(scope="module")
def train():
    return make_images([120, 60, 10], seed=1)


@pytest.fixture(scope="module")
def val():
    return make_images([80, 80, 80], seed=2)


@pytest.fixture(scope="module")
def synthetic():
    return make_images([0, 40, 70], seed=3)


@pytest.fixture(scope="module")
def classifier():
    return create_classifier("test_resnet", {}, CLASS_NAMES, 32, seed=0).eval()


@pytest.fixture(scope="module")
def measured(synthetic, train, val, classifier):
    return run(synthetic, make_table(synthetic), train, val, classifier)


def says(classifier):
    """A judge's answer of a classifier: probabilities of each class."""
    return lambda x: classifier(x).softmax(dim=-1)


def run(images, table, train, val, classifier, config=CONFIG, extract=EXTRACT, judge=None):
    with TemporaryDirectory() as folder:
        place = Path(folder)
        found = measure_synthetic(
            observe(images, place / "synthetic", extract, baseline=classifier, judge=judge),
            table,
            train=observe(train, place / "train", extract),
            val=observe(val, place / "val", extract, baseline=classifier),
            feature_space=extract.name,
            bins=dict(zip(CLASS_NAMES, ("many", "medium", "few"), strict=True)),
            config=config,
            seed=5,
        )
        return replace(found, neighbours=list(found.neighbours))


def pictures(assessment):
    return [row for table in assessment.neighbours for row in table.to_pylist()]


@settings(deadline=None)
@given(
    synthetic=st.lists(st.integers(0, 60), min_size=3, max_size=3).filter(any),
    real=st.lists(st.integers(0, 60), min_size=3, max_size=3).filter(any),
)
def test_weighted_real_images_have_the_class_mix_of_the_synthetic_ones(synthetic, real):
    labels, real_labels = np.repeat(range(3), synthetic), np.repeat(range(3), real)
    weights = class_weights(labels, real_labels)
    sums = np.bincount(real_labels, weights=weights, minlength=3)
    common = [n if r else 0 for n, r in zip(synthetic, real, strict=True)]
    if not any(common):
        assert not weights.any()
        return
    assert sums / sums.sum() == pytest.approx(np.array(common) / sum(common))
    assert class_weights(labels, real_labels[::-1]).tolist() == weights[::-1].tolist()


def test_a_small_validation_split_of_other_proportions_still_measures(train, classifier):
    # 92 real images, 6 of them of the classes that most synthetic images show
    val, synthetic = make_images([60, 26, 6], seed=2), make_images([0, 67, 130], seed=3)
    found = run(synthetic, make_table(synthetic), train, val, classifier).measures
    for name in ("kid", "precision", "recall", "density", "coverage", "copy_rate"):
        assert found[name]["value"] is not None, found[name]["reason"]
    assert found["kid"]["num_real"] == 26 + 6
    assert 6 < found["kid"]["effective_real"] < 32
    assert found["fid"]["reason"] == (
        "needs 50 real and 50 synthetic images (assess.min_images_fid), there are 32 and 197 of"
        " the same classes"
    )
    assert found["precision"]["value"] > 0.8


def test_a_single_image_that_stands_for_most_is_no_sample(train, classifier):
    val, synthetic = make_images([60, 26, 1], seed=2), make_images([0, 20, 130], seed=3)
    found = run(synthetic, make_table(synthetic), train, val, classifier).measures
    assert found["kid"]["value"] is None
    assert found["kid"]["reason"] == (
        "the 27 real images count for 1.3 in the class proportions of the synthetic ones, 5 are"
        " needed"
    )


def guesses(num_images, num_classes, seed):
    return np.random.default_rng(seed).integers(num_classes, size=num_images)


@pytest.mark.parametrize(
    ("predicted", "labels"),
    [
        (np.zeros(92, dtype=np.int64), np.repeat(range(3), [80, 10, 2])),  # always the largest
        (guesses(92, 12, seed=0), guesses(92, 12, seed=1)),
        (guesses(300, 3, seed=0), np.repeat(range(3), 100)),
        (np.repeat([0, 1], [50, 0]), np.repeat([0, 1], [50, 0])),  # one class in validation
    ],
)
def test_a_classifier_that_guesses_has_features_without_meaning(predicted, labels):
    features = {"val": Features.of(np.random.default_rng(0).normal(size=(len(labels), 4)))}
    num_classes = max(3, 1 + labels.max())
    assert "the baseline guesses" in no_meaning(features, predicted, labels, num_classes)
    assert no_meaning(features, None, labels, num_classes) is None


def test_a_weak_classifier_that_does_not_guess_has_features():
    labels = np.repeat(range(12), 8)
    right = np.random.default_rng(0).random(96) < 0.3
    predicted = np.where(right, labels, guesses(96, 12, seed=3))
    features = {"val": Features.of(np.random.default_rng(0).normal(size=(96, 4)))}
    assert no_meaning(features, predicted, labels, 12) is None


def test_features_that_are_constant_or_not_finite_measure_nothing(
    synthetic, train, val, classifier
):
    for value, said in ((0.5, "the same for every image"), (float("nan"), "not finite")):
        flat = replace(EXTRACT, embed=lambda x, value=value: torch.full((len(x), 3), value))
        found = run(synthetic, make_table(synthetic), train, val, classifier, extract=flat)
        assert found.measures["precision"]["value"] is None
        assert said in found.measures["per_class"]["emu"]["kid"]["reason"]
        assert found.measures["warnings"] == [found.measures["fid"]["reason"]]


def test_the_features_of_a_random_classifier_are_refused(synthetic, train, val, classifier):
    named = replace(EXTRACT, name="classifier")
    found = run(synthetic, make_table(synthetic), train, val, classifier, extract=named)
    assert "the baseline guesses" in found.measures["precision"]["reason"]
    assert headline(found.measures)["precision"] is None


def test_pictures_of_something_else_are_warned_of(synthetic, train, val, classifier):
    far = image_set(torch.ones(len(synthetic), 3, 8, 8), synthetic.labels, CLASS_NAMES)
    found = run(far, make_table(far), train, val, classifier).measures
    assert "hardly any synthetic image looks like a real one" in found["warnings"][0]


def test_every_measure_names_its_sample_and_feature_space(measured):
    for place in (measured.measures, measured.measures["per_class"]["emu"]):
        for name in ("fid", "kid", "precision", "recall", "density", "coverage", "copy_rate"):
            entry = place[name]
            assert entry["feature_space"] == "colours"
            assert entry["low"] <= entry["value"] <= entry["high"]
            assert entry["num_real"] > 0
    # 80 validation images of each of two classes, which count 40 to 70
    assert measured.measures["fid"]["num_real"] == 80 + 80
    assert measured.measures["fid"]["effective_real"] == pytest.approx(
        80 * 110**2 / (40**2 + 70**2), rel=1e-5
    )
    assert "effective_real" not in measured.measures["per_class"]["emu"]["kid"]
    assert measured.measures["fid"]["num_synthetic"] == 110


def test_images_of_the_same_distribution_score_well_in_spite_of_another_class_mix(measured):
    assert measured.measures["precision"]["value"] > 0.8
    assert measured.measures["coverage"]["value"] > 0.7
    assert measured.measures["fid"]["value"] < 0.1


def test_a_class_without_enough_images_has_no_value_and_a_reason(measured):
    cat, dog = (measured.measures["per_class"][name] for name in ("cat", "dog"))
    assert cat["kid"]["value"] is None
    assert "0" in cat["kid"]["reason"]
    assert dog["fid"]["value"] is None  # 40 images, 50 wanted
    assert dog["kid"]["value"] is not None
    assert "reason" not in dog["kid"]


def test_copies_of_training_images_are_found(train, val, classifier):
    rows = torch.arange(len(train)).repeat(2)[-140:]  # dogs and emus, each twice
    copied = train.select(rows.tolist())
    found = run(copied, make_table(copied), train, val, classifier).measures
    assert found["copy_rate"]["value"] == 1
    fresh = make_images([20, 40, 70], seed=11)
    found = run(fresh, make_table(fresh), train, val, classifier).measures
    assert found["copy_rate"]["value"] < 0.1


def test_criteria_stand_beside_those_of_real_images_of_the_class(
    measured, synthetic, val, classifier
):
    baseline = measured.measures["per_class"]["dog"]["baseline"]
    for source, images in (("real", val), ("synthetic", synthetic)):
        logits, _ = predict(classifier, gather(images.of_class(1)))
        p = logits.double().softmax(-1)
        entropy = -(p * p.log()).sum(-1).mean().item()
        loss = -p[:, 1].log().mean().item()
        assert baseline["entropy"][source] == pytest.approx(entropy, rel=1e-4)
        assert baseline["loss"][source] == pytest.approx(loss, rel=1e-4)
    assert measured.measures["per_class"]["cat"]["baseline"]["loss"]["synthetic"] is None


def test_guidance_is_summed_up_over_the_images_that_were_guided(measured):
    assert measured.measures["guidance"] == {
        "feedback": ["entropy"],
        "criterion_first": 0.25,
        "criterion_last": 0.5,
        "criterion_final": 0.625,
        "guided_steps": 4,
        "skipped_steps": 1,
        "nonfinite_steps": 3,
        "redrawn_images": 0,
        "share_of_pushes": pytest.approx(440 / 553, rel=1e-5),
        "criterion_rise": 0.25,
        "images": dict.fromkeys(HEALTH, 0) | {"pushed": 110},
    }
    assert measured.measures["per_class"]["cat"]["guidance"]["criterion_first"] is None
    rows = [r for r in measured.criterion if r["class"] == "emu" and r["criterion"] == "feedback"]
    assert [(r["source"], r["num_images"], r["mean"]) for r in rows] == [
        ("synthetic first", 70, 0.25),
        ("synthetic last", 69, 0.5),
        ("synthetic final", 70, 0.625),
    ]


def test_label_agreement_is_the_judges_or_absent(measured, synthetic, train, val, classifier):
    assert measured.measures["label_agreement"] is None
    assert measured.judged is None
    judge = create_classifier("test_resnet", {}, CLASS_NAMES, 32, seed=3).eval()
    p = predict(judge, gather(synthetic))[0].softmax(dim=-1)  # [M, K]
    right = p.argmax(dim=-1) == synthetic.labels  # [M]
    assessed = run(synthetic, make_table(synthetic), train, val, classifier, judge=says(judge))
    found = assessed.measures
    for name, chosen in (("dog", synthetic.labels == 1), ("emu", synthetic.labels == 2)):
        agreement = found["per_class"][name]["label_agreement"]
        assert agreement["value"] == pytest.approx(float(right[chosen].double().mean()), rel=1e-5)
        assert agreement["num_synthetic"] == int(chosen.sum())
    assert found["per_class"]["cat"]["label_agreement"] is None
    assert found["label_agreement"]["value"] == pytest.approx(
        float(right.double().mean()), rel=1e-5
    )
    rows = assessed.judged.to_pydict()
    assert rows["class"] == [CLASS_NAMES[k] for k in synthetic.labels.tolist()]
    assert rows["index"] == [*range(40), *range(70)]
    assert rows["judge_label"] == [CLASS_NAMES[k] for k in p.argmax(dim=-1).tolist()]
    assert rows["judge_probability"] == pytest.approx(p.max(dim=-1).values.tolist(), abs=1e-5)
    first, second = p.sort(dim=-1, descending=True).values.T[:2]
    assert rows["judge_margin"] == pytest.approx((first - second).tolist(), abs=1e-5)


def test_the_grid_shows_each_image_with_its_source_and_neighbours(
    synthetic, train, val, classifier
):
    table = make_table(synthetic, conditioning=[*(i % 10 for i in range(109)), None])
    grid = pictures(run(synthetic, table, train, val, classifier))

    own = [r for r in grid if r["role"] == "class"]
    assert [(r["of"], r["item"], r["rank"]) for r in own] == [
        (k, None, rank) for k in range(3) for rank in range(2)
    ]
    assert own[3]["image"]["bytes"] == train.of_class(1).file(1)
    shown = {(r["of"], r["item"]) for r in grid if r not in own and r["why"] in (None, "first")}
    assert shown >= {(1, 0), (1, 1), (2, 0), (2, 1)}
    of_image = [r for r in grid if (r["of"], r["item"]) == (1, 1)]
    assert [(r["role"], r["rank"]) for r in of_image] == [
        ("synthetic", 0),
        ("conditioning", 0),
        ("real", 0),
        ("real", 1),
        ("real", 2),
    ]
    assert of_image[0]["image"]["bytes"] == table["image"][1]["bytes"].as_py()
    assert of_image[1]["image"]["bytes"] == train.of_class(1).file(1)
    feature = colours(gather(synthetic)[1:2])
    expected = torch.cdist(feature, colours(gather(train))).sort().values[0, :3]
    assert [r["distance"] for r in of_image[2:]] == pytest.approx(expected.tolist(), rel=1e-4)


def test_large_pictures_are_kept_as_thumbnails_for_the_page(train, val, classifier):
    large = image_set(torch.rand(3, 3, 120, 240), [1, 1, 2], CLASS_NAMES)
    table = run(large, make_table(large), train, val, classifier).neighbours[0]
    sizes = {
        role: Image.open(BytesIO(picture["bytes"])).size
        for picture, role in zip(
            *(table[name].to_pylist() for name in ("image", "role")), strict=True
        )
    }
    small = dict.fromkeys(("class", "conditioning", "real"), (8, 8))
    assert sizes == small | {"synthetic": (96, 48)}


def test_pictures_of_many_classes_come_a_few_at_a_time(monkeypatch, train, val, classifier):
    monkeypatch.setattr(neighbours, "ROW_GROUP_ROWS", 10)
    synthetic = make_images([4, 4, 4], seed=9)
    found = run(synthetic, make_table(synthetic), train, val, classifier)
    assert [set(table["of"].to_pylist()) for table in found.neighbours] == [{0}, {1}, {2}]
    assert [table.num_rows for table in found.neighbours] == [12, 12, 12]


def test_the_grid_shows_whom_a_person_should_look_at_and_what_its_row_says(
    synthetic, train, val, classifier
):
    judge = create_classifier("test_resnet", {}, CLASS_NAMES, 32, seed=3).eval()
    table = make_table(synthetic)
    rows = pictures(run(synthetic, table, train, val, classifier, judge=says(judge)))
    p = judge(gather(synthetic)).softmax(dim=-1)
    label = p.argmax(dim=-1)
    score = (torch.where(label == synthetic.labels, 1, -1) * p.amax(dim=-1)).detach()
    for k, start, end in ((1, 0, 40), (2, 40, 110)):
        own = [r for r in rows if r["of"] == k and r["role"] == "synthetic"]
        by_reason = {why: [r["index"] for r in own if why in r["why"].split(",")] for why in WHY}
        assert by_reason["first"] == [0, 1]
        order = score[start:end].argsort(stable=True).tolist()
        assert set(by_reason["worst"]) == set(order[:3])
        assert len(by_reason["best"]) == 3
        assert min(score[start:end][by_reason["best"]]) >= score[start:end].sort().values[-3]
        assert len(own) == len({r["index"] for r in own})
        for r in own:
            i = start + r["index"]
            assert r["seed"] == i
            assert r["prompt"] == "a photo"
            assert (r["criterion_first"], r["guided_steps"]) == (0.25, 4)
            assert r["judge_label"] == label[i]
            assert r["judge_score"] == pytest.approx(float(score[i]), abs=1e-5)


def test_suspected_copies_are_shown_the_nearest_first():
    copy = np.array([np.nan, 3.0, 1.0, np.nan, 2.0, 0.5, 4.0])
    rows = np.arange(1, 7)
    assert neighbours.chosen(rows, 1, Suspicion(copy=copy)) == {
        1: ["first"],
        5: ["copy"],
        2: ["copy"],
        4: ["copy"],
    }


def test_text_only_images_have_no_conditioning_image(synthetic, train, val, classifier):
    table = make_table(synthetic, conditioning=[None] * len(synthetic))
    grid = pictures(run(synthetic, table, train, val, classifier))
    assert {r["role"] for r in grid} == {"class", "synthetic", "real"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": "inception"}, "inception_weights"),
        ({"inception_weights": "a.pt"}, "set it to null"),
        ({"fid_blocks": 1}, "at least 2"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        AssessConfig(**{**CONFIG.model_dump(), **change})


@pytest.fixture
def workspace(tmp_path, train, val, synthetic, classifier):
    """Prepared data without a test split, a synthetic set and a baseline."""
    prepared, made, baseline = (tmp_path / name for name in ("prepared", "synthetic", "baseline"))
    files = {}
    for split, images in (("train", train), ("val", val)):
        table = image_table(gather(images), images.labels, CLASS_NAMES)
        files[split] = write_images(prepared / f"{split}.parquet", table)
    counts = tuple(torch.bincount(train.labels).tolist())
    bins = dict(zip(CLASS_NAMES, shot_bins(counts), strict=True))
    write_meta(
        prepared,
        Meta(
            class_names=CLASS_NAMES,
            image_size=8,
            counts={"train": counts, "val": (80, 80, 80), "test": (0, 0, 0)},
            bins=bins,
            groups=None,
            duplicates={"train": 0, "val": 0, "test": 0},
            content_sha256={split: record.sha256 for split, record in files.items()},
        ),
    )
    table = make_table(synthetic)
    records = []
    for label in (1, 2):
        rows = table.filter(torch.eq(synthetic.labels, label).numpy())
        path = part_path(label, CLASS_NAMES[label], 0)
        records.append(write_synthetic_part(made, path, rows, "fingerprint"))
    shards.write_index(
        made,
        records,
        class_names=CLASS_NAMES,
        wanted=[0, 40, 70],
        fingerprint="fingerprint",
        made_by={},
    )
    save_classifier(baseline, classifier, real_counts=counts, bins=bins)
    return tmp_path


GENERATOR = generator_config("none")


def run_stage(folder, reports, config=CONFIG, **options):
    return assess(
        folder / "prepared",
        folder / "synthetic",
        folder / "baseline",
        GENERATOR,
        config,
        5,
        reports,
        **options,
    )


def test_the_stage_writes_the_same_bytes_twice(workspace):
    done = []
    found = run_stage(workspace, workspace / "a", reading=Reading(32, advance=done.append))
    run_stage(workspace, workspace / "b", reading=Reading(32))
    names = sorted(path.relative_to(workspace / "a") for path in (workspace / "a").rglob("*.*"))
    assert [str(name) for name in names] == [
        "assess/copies.parquet",
        "assess/copy_pairs.parquet",
        "assess/criterion.csv",
        "assess/guidance.parquet",
        "assess/measures.json",
        "assess/neighbours.parquet",
        "assess/per_class.csv",
        "synthetic.json",
        "synthetic.metrics.json",
    ]
    for name in names:
        assert (workspace / "a" / name).read_bytes() == (workspace / "b" / name).read_bytes()
    assert sum(done) == 190 + 240 + 110
    assert json.loads((workspace / "a" / "assess" / "measures.json").read_text()) == found
    metrics = json.loads((workspace / "a" / "synthetic.json").read_text())
    assert metrics == headline(found)
    assert metrics["num_synthetic"] == 110
    assert metrics["label_agreement"] is None
    assert len(metrics) == 9
    assert all(value is None or isinstance(value, int | float) for value in metrics.values())
    rows = list(csv.DictReader((workspace / "a/assess/per_class.csv").open()))
    assert [row["num_real_train"] for row in rows] == ["120", "60", "10"]
    assert pq.read_table(workspace / "a/assess/neighbours.parquet").num_rows >= 3 * 2 + 4 * 5


def test_copies_of_all_splits_are_named_with_what_they_copy(workspace, train, val):
    fresh, test = make_images([0, 40, 70], seed=3), make_images([30, 30, 30], seed=8)
    meta = read_meta(workspace / "prepared")
    table = image_table(gather(test), test.labels, CLASS_NAMES)
    record = write_images(workspace / "prepared" / "test.parquet", table)
    write_meta(
        workspace / "prepared",
        replace(
            meta,
            counts=meta.counts | {"test": (30, 30, 30)},
            content_sha256=meta.content_sha256 | {"test": record.sha256},
        ),
    )
    # The first emus are a training, a validation and a test image, the training one mirrored
    planted = [train.of_class(2)[0].flip(-1), val.of_class(2)[7], test.of_class(2)[5]]
    x = torch.stack([fresh[row] for row in range(len(fresh))])
    x[40:43] = torch.stack(planted)
    images = image_set(x.float() / 127.5 - 1, fresh.labels, CLASS_NAMES)
    made = workspace / "synthetic"
    table = make_table(images)
    records = [
        write_synthetic_part(
            made,
            part_path(label, CLASS_NAMES[label], 0),
            table.filter(torch.eq(images.labels, label).numpy()),
            "fingerprint",
        )
        for label in (1, 2)
    ]
    shards.write_index(
        made,
        records,
        class_names=CLASS_NAMES,
        wanted=[0, 40, 70],
        fingerprint="fingerprint",
        made_by={},
    )
    found = run_stage(workspace, workspace / "a")
    rows = pq.read_table(workspace / "a/assess/copies.parquet").to_pylist()
    known = {(r["class"], r["index"]): r for r in rows}
    for index, split, reference in ((0, "train", 180), (1, "val", 167), (2, "test", 65)):
        row = known["emu", index]
        assert (row["split"], row["reference"], row["ratio"]) == (split, reference, 0)
    assert known["emu", 0]["orientation"] == "mirrored"
    assert [known["emu", index]["conditioning"] for index in range(3)] == [True, False, False]
    assert len(rows) <= 3 + 4  # by chance
    for split in ("train", "val", "test"):
        assert 1 <= found["copies"][split]["num_suspected"] <= 3
        assert found["per_class"]["emu"]["copies"][split]["num_suspected"] >= 1
        assert found["copies"][split]["num_real"] >= 190
    pairs = pq.read_table(workspace / "a/assess/copy_pairs.parquet").to_pylist()
    assert [row["role"] for row in pairs] == ["synthetic", "real"] * len(rows)
    first = next(row for row in pairs if row["split"] == "test" and row["role"] == "real")
    assert first["image"]["bytes"] == test.file(65)
    shown = pq.read_table(workspace / "a/assess/neighbours.parquet").to_pylist()
    assert {0, 1, 2} <= {row["index"] for row in shown if "copy" in (row["why"] or "")}


def test_a_classifier_of_other_classes_is_refused(workspace, classifier):
    other = replace_names(classifier, ("ant", "bee", "cow"))
    bins = dict.fromkeys(other.class_names, "few")
    save_classifier(workspace / "baseline", other, real_counts=[1, 1, 1], bins=bins)
    with pytest.raises(InputError, match="train_baseline"):
        run_stage(workspace, workspace / "reports")


def a_judge(folder, classifier, recognised):
    """A judge at rest that is some classifier and recognises so many real images of each class."""
    bins = dict.fromkeys(classifier.class_names, "few")
    save_classifier(folder / "networks", classifier, real_counts=[1, 1, 1], bins=bins)
    path = str(folder / "networks")
    record = JudgeRecord("classifier", path, classifier.class_names, validation=recognised)
    write_record(folder / "judge", record)
    return folder / "judge"


def test_a_judge_of_other_classes_is_refused_before_any_image_is_read(workspace, classifier):
    other = replace_names(classifier, ("ant", "bee", "cow"))
    judge, done = a_judge(workspace, other, ()), []
    reading = Reading(advance=done.append)
    with pytest.raises(InputError, match=r"knows the classes \['ant'.*stage judge again"):
        run_stage(workspace, workspace / "reports", judge=judge, reading=reading)
    judge = a_judge(workspace, classifier, ())
    (workspace / "networks" / "config.json").unlink()
    with pytest.raises(InputError, match=r"judge\.path: .*null"):
        run_stage(workspace, workspace / "reports", judge=judge, reading=reading)
    assert not done


def test_the_accents_of_a_judges_classes_are_compared_as_letters(tmp_path, classifier):
    names = ("cafe\u0301", "dog", "emu")
    judge = a_judge(tmp_path, replace_names(classifier, names), ())
    assert load_judge(judge, ("caf\u00e9", "dog", "emu")).class_names == names
    with pytest.raises(InputError, match="in another order"):
        load_witness(tmp_path / "networks", ("dog", "caf\u00e9", "emu"))


def test_what_a_judge_sees_is_kept_for_each_image(workspace, classifier):
    recognised = (Recognised(20, 18), Recognised(20, 15), Recognised(4, 3))
    other = create_classifier("test_resnet", {}, CLASS_NAMES, 32, seed=3).eval()
    judge = a_judge(workspace, other, recognised)
    found = run_stage(workspace, workspace / "a", judge=judge)
    run_stage(workspace, workspace / "b", judge=judge)
    path = workspace / "a" / "assess" / "judged.parquet"
    assert path.read_bytes() == (workspace / "b" / "assess" / "judged.parquet").read_bytes()
    rows = pq.read_table(path).to_pydict()
    says = ["judge_label", "judge_probability", "judge_margin"]
    assert list(rows) == ["class", "index", *says]
    right = [a == b for a, b in zip(rows["class"], rows["judge_label"], strict=True)]
    assert found["label_agreement"]["value"] == pytest.approx(sum(right) / 110, rel=1e-5)

    said = found["per_class"]["dog"]
    share, agreement = said["judge"]["agreement_of_recall"], said["label_agreement"]["value"]
    assert (said["judge"]["recall"], said["judge"]["num_real"]) == (0.75, 20)
    assert share["value"] == pytest.approx(agreement / 0.75, rel=1e-5)
    assert share["low"] <= share["value"] < share["high"]
    others = [
        label
        for label, own in zip(rows["judge_label"], rows["class"], strict=True)
        if own == "dog" != label
    ]
    instead = said["judge"]["sees_instead"]
    assert (
        instead["num_images"]
        == others.count(instead["class"])
        == max(map(others.count, CLASS_NAMES))
    )
    too_few = found["per_class"]["emu"]["judge"]["agreement_of_recall"]
    assert too_few["value"] is None
    assert "recognises 3 of 4 real images" in too_few["reason"]
    assert found["judge"]["num_real"] == 44
    assert found["judge"]["agreement_of_recall"]["value"] > 0


def test_the_features_are_gone_when_all_is_measured(workspace):
    run_stage(workspace, workspace / "a")
    assert {path.name for path in (workspace / "a").iterdir()} == {
        "assess",
        "synthetic.json",
        "synthetic.metrics.json",
    }


def test_another_measure_is_one_line(workspace, monkeypatch):
    def smallest_loss(sample):
        if not len(sample.synthetic):
            return None
        return Estimate(float(sample.answers["loss"].min()), None, None, 0, len(sample.synthetic))

    toy = measures.Measure("Toy", "the easiest image", smallest_loss, in_features=False)
    monkeypatch.setitem(measures.MEASURES, "toy", toy)
    config = CONFIG.model_copy(update={"grid_images": 0})
    before = run_stage(workspace, workspace / "a", config=config)
    found = json.loads((workspace / "a" / "assess" / "measures.json").read_text())
    assert found == before
    assert found["shown"][-1] == {"name": "toy", "label": "Toy", "hint": "the easiest image"}
    rows = {r["class"]: r for r in csv.DictReader((workspace / "a/assess/per_class.csv").open())}
    for name in ("dog", "emu"):
        value = found["per_class"][name]["toy"]["value"]
        assert float(rows[name]["toy"]) == value
        assert value >= found["toy"]["value"]
    assert json.loads((workspace / "a" / "synthetic.json").read_text())["toy"] > 0
    monkeypatch.delitem(measures.MEASURES, "toy")
    after = run_stage(workspace, workspace / "b", config=config)
    assert {name: found[name] for name in measures.MEASURES} == {
        name: after[name] for name in measures.MEASURES
    }  # it takes no randomness from the others


def replace_names(classifier, names):
    other = create_classifier("test_resnet", {}, names, 32, seed=0)
    other.load_state_dict(classifier.state_dict())
    return other


def test_an_extractor_is_recorded_by_name(synthetic, train, val, classifier):
    named = replace(EXTRACT, name="other")
    found = run(synthetic, make_table(synthetic), train, val, classifier, extract=named)
    assert found.measures["feature_space"] == {"name": "other", "num_features": 6}


def test_rounding_keeps_everything_but_digits():
    value = {"a": [1, 0.123456789, None, "x"], "b": {"c": 123456789.0}}
    assert rounded(value) == {"a": [1, 0.123457, None, "x"], "b": {"c": 123457000.0}}
