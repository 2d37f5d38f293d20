"""The two training stages, end to end on tiny real and synthetic images."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from micro import ROOT
from training import recipe, retraining

from fgds_core.classify.answers import read_answers
from fgds_core.classify.card import read_classifier_config
from fgds_core.classify.config import TrainConfig
from fgds_core.classify.evaluation import confusion_rows, shown_by_dvc
from fgds_core.classify.network import load_classifier
from fgds_core.data.imbalance import shot_bins
from fgds_core.data.meta import Meta, write_meta
from fgds_core.errors import InputError
from fgds_core.feedback.gaussians import ClassGaussians
from fgds_core.images.table import image_table, write_images
from fgds_core.stages.retrain import retrain
from fgds_core.stages.train_baseline import train_baseline
from fgds_core.stages.train_control import train_control
from fgds_core.synthesis import shards
from fgds_core.synthesis.columns import synthetic_schema
from fgds_core.synthesis.record import part_path, write_synthetic_part

CLASS_NAMES = ("dark", "grey", "light")
COUNTS = {"train": (30, 21, 5), "val": (8, 8, 8), "test": (10, 10, 10)}
SIZE = 8


def pictures(counts: tuple[int, ...], seed: int) -> tuple[torch.Tensor, list[int]]:
    """Noisy pictures whose brightness tells the class."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    noise = torch.randn(len(labels), 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    brightness = torch.tensor([-0.7, 0.0, 0.7])[labels].view(-1, 1, 1, 1)
    return (brightness + 0.1 * noise).clamp(-1, 1), labels


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    records = {
        split: write_images(
            folder / f"{split}.parquet",
            image_table(*pictures(counts, seed), CLASS_NAMES),
        )
        for seed, (split, counts) in enumerate(COUNTS.items())
    }
    write_meta(
        folder,
        Meta(
            class_names=CLASS_NAMES,
            image_size=SIZE,
            counts=COUNTS,
            bins=dict(zip(CLASS_NAMES, shot_bins(COUNTS["train"]), strict=True)),
            groups=None,
            duplicates=dict.fromkeys(COUNTS, 0),
            content_sha256={split: record.sha256 for split, record in records.items()},
        ),
    )
    return folder


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images of the rarest class."""
    folder = tmp_path_factory.mktemp("synthetic")
    images, labels = pictures((0, 0, 10), seed=9)
    schema = synthetic_schema(CLASS_NAMES)
    columns = {
        "group": [None] * 10,
        "prompt": ["a photo of a light"] * 10,
        "seed": list(range(10)),
        "index": list(range(10)),
        "conditioning_id": [None] * 10,
        "embedding_dropout": [0.0] * 10,
        "noise_level": [0] * 10,
        "guidance_scale": [2.0] * 10,
        "feedback": ["none"] * 10,
        "feedback_scale": [0.0] * 10,
        "attempt": [0] * 10,
        "criterion_first": [None] * 10,
        "criterion_last": [None] * 10,
        "criterion_final": [None] * 10,
        "guided_steps": [0] * 10,
        "skipped_steps": [0] * 10,
        "nonfinite_steps": [0] * 10,
    }
    table = image_table(images, labels, CLASS_NAMES, columns, schema=schema)
    path = part_path(2, CLASS_NAMES[2], 0)
    record = write_synthetic_part(folder, path, table, "fingerprint")
    shards.write_index(
        folder,
        [record],
        class_names=CLASS_NAMES,
        wanted=(0, 0, 10),
        fingerprint="fingerprint",
        made_by={},
    )
    return folder


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    return recipe(
        model="resnet10t",
        model_kwargs={"stem_width": 8, "channels": [8, 8, 16, 16]},
        input_size=32,
        num_steps=30,
        batch_size=16,
        learning_rate=0.003,
        warmup_steps=2,
        weight_decay=0.0,
        label_smoothing=0.0,
        shift=1,
        erase=0.0,
        eval_every=10,
    )


@pytest.fixture(scope="module")
def baseline(
    prepared: Path, config: TrainConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A workspace in which the baseline stage ran."""
    workspace = tmp_path_factory.mktemp("workspace")
    train_baseline(prepared, config, 0, workspace / "models/baseline", workspace / "reports")
    return workspace


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_baseline_learns_and_writes_what_the_later_stages_read(prepared, baseline):
    metrics = json.loads((baseline / "reports/baseline.json").read_text())
    assert metrics["overall"] > 0.9
    assert metrics["many"] is None  # no class has more than 100 real images
    assert metrics["num_images"] == 30
    validation = json.loads((baseline / "reports/baseline/validation.json").read_text())
    assert validation["num_images"] == 24
    answers = read_answers(baseline / "reports/baseline/predictions.parquet", "")
    rows = answers.to_pylist()
    assert len(set(answers["id"].to_pylist())) == 30
    assert [row["actual"] for row in rows] == [n for n in CLASS_NAMES for _ in range(10)]
    correct = sum(row["actual"] == row["predicted"] for row in rows)
    assert correct / len(rows) == pytest.approx(metrics["overall"])
    assert all(1 / 3 <= float(row["confidence"]) <= 1 for row in rows)

    config = read_classifier_config(baseline / "models/baseline")
    assert config.real_counts == COUNTS["train"]
    assert config.bins == {"dark": "medium", "grey": "medium", "light": "few"}
    assert all(len(values) == 3 for values in config.criterion_on_real.values())
    gaussians = ClassGaussians.load(baseline / "models/baseline/feature_statistics.safetensors")
    assert gaussians.means.shape[0] == 3


def test_recall_stands_beside_each_class_and_on_the_diagonal_of_the_confusion(baseline):
    per_class = rows_of(baseline / "reports/baseline/per_class.csv")
    assert [tuple(row.values())[:2] for row in per_class] == [
        ("dark", "medium"),
        ("grey", "medium"),
        ("light", "few"),
    ]
    assert [int(row["num_train"]) for row in per_class] == list(COUNTS["train"])
    confusion = rows_of(baseline / "reports/baseline/confusion.csv")
    for row in per_class:
        shares = {
            each["predicted"]: float(each["share"])
            for each in confusion
            if each["actual"] == row["class"]
        }
        assert shares[row["class"]] == pytest.approx(float(row["recall"]))
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    assert not (baseline / "reports/baseline/per_group.csv").exists()


def test_the_trade_off_holds_the_measures_on_validation_images(baseline):
    validation = json.loads((baseline / "reports/baseline/validation.json").read_text())
    rows = rows_of(baseline / "reports/baseline/tradeoff.csv")
    unmoved = next(row for row in rows if float(row["tau"]) == 0)
    for name in ("overall", "medium", "few"):
        assert float(unmoved[name]) == validation[name]
    assert unmoved["many"] == ""


def test_a_name_in_the_confusion_cannot_end_the_script_of_a_page():
    """`dvc plots` writes the names into a script as they are; its template has them back."""
    labels = torch.tensor([0, 0, 1])
    images = SimpleNamespace(class_names=("</script><b>x", "a & b"), labels=labels)
    rows = confusion_rows(SimpleNamespace(predictions=torch.tensor([0, 1, 1])), images)
    assert [(row["actual"], row["predicted"]) for row in rows] == [
        ("&lt;/script>&lt;b>x", "&lt;/script>&lt;b>x"),
        ("&lt;/script>&lt;b>x", "a & b"),
        ("a & b", "a & b"),
    ]
    template = (ROOT / ".dvc/plots/confusion_by_actual.json").read_text()
    for column in ("actual", "predicted"):
        assert f"replace(datum.{column}, /&lt;/g, '<')" in template


def test_the_control_is_the_final_classifier_without_synthetic_images(
    prepared, synthetic, baseline, config, tmp_path
):
    """With real images alone in every slot that has one, both differ in nothing."""
    imbalanced = config.model_copy(update={"sampling": "instance"})
    metrics = train_control(
        prepared, config, imbalanced, 0, tmp_path / "models/control", tmp_path / "reports"
    )
    assert json.loads((tmp_path / "reports/control.json").read_text()) == metrics
    retrain(
        prepared,
        synthetic,
        baseline / "models/baseline",
        retraining(real_share=1.0),
        0,
        tmp_path / "models/final",
        tmp_path / "reports",
    )
    for name in ("predictions.parquet", "per_class.csv", "validation.json", "tradeoff.csv"):
        files = [tmp_path / "reports" / who / name for who in ("control", "final")]
        assert files[0].read_bytes() == files[1].read_bytes()
    # This baseline samples class-balanced: it is its own control.
    weights = [
        (folder / "model.safetensors").read_bytes()
        for folder in (tmp_path / "models/control", baseline / "models/baseline")
    ]
    assert weights[0] == weights[1]


def test_a_control_that_repeats_the_baseline_says_so(prepared, config, tmp_path, caplog):
    short = config.model_copy(update={"num_steps": 3})
    for sampling in ("class_balanced", "instance"):
        chosen = short.model_copy(update={"sampling": sampling})
        train_control(prepared, short, chosen, 0, tmp_path / "models", tmp_path / "reports")
    assert [record.levelname for record in caplog.records if "repeats" in record.message] == [
        "WARNING"
    ]


def test_dvc_shows_a_few_numbers_and_validation_of_the_final_classifier_alone():
    numbers = dict.fromkeys(("overall", "few", "macro_f1", "ece"), 0.123456)
    numbers |= {"many": None, "medium": 0.5, "worst_group": None, "num_images": 30, "seed": 0}
    assert shown_by_dvc(numbers, numbers, "control") == {
        "overall": 0.1235,
        "few": 0.1235,
        "medium": 0.5,
    }
    final = shown_by_dvc(numbers, numbers | {"worst_group": 0.25}, "final")
    assert set(final) == {"overall", "few", "medium", "val_overall", "val_few", "val_worst_group"}


def test_retraining_keeps_real_counts_and_bins(prepared, synthetic, baseline, tmp_path):
    metrics = retrain(
        prepared,
        synthetic,
        baseline / "models/baseline",
        retraining(),
        1,
        tmp_path / "models/final",
        tmp_path / "reports",
    )
    config = read_classifier_config(tmp_path / "models/final")
    assert config.real_counts == COUNTS["train"]
    notes = json.loads((tmp_path / "models/final/config.json").read_text())
    assert notes["synthetic_counts"] == [0, 0, 10]
    assert config.bins["light"] == "few"
    assert metrics["seed"] == 1
    assert json.loads((tmp_path / "reports/final.json").read_text()) == metrics
    classifier = load_classifier(tmp_path / "models/final")
    assert classifier.class_names == CLASS_NAMES


def test_what_is_done_with_synthetic_images_is_recorded_and_leaves_an_ordinary_classifier(
    prepared, synthetic, baseline, tmp_path
):
    plain, special = (
        retraining(),
        retraining(
            training={"sampling": "class_balanced", "mix": "cmo", "crop_scale": 0.5},
            synthetic_weight=0.5,
            synthetic_label_smoothing=0.2,
            split_batch_norm=True,
            mix_within_source=True,
        ),
    )
    states = []
    for config in (plain, special):
        folder = tmp_path / str(len(states))
        retrain(prepared, synthetic, baseline / "models/baseline", config, 1, folder, folder)
        notes = json.loads((folder / "config.json").read_text())
        assert notes["retraining"] == config.model_dump(mode="json")
        states.append(load_classifier(folder).state_dict())
    assert states[0].keys() == states[1].keys()
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_retraining_refuses_a_synthetic_set_without_index(prepared, baseline, tmp_path):
    with pytest.raises(InputError, match=r"index\.json"):
        retrain(
            prepared,
            tmp_path,
            baseline / "models/baseline",
            retraining(),
            0,
            tmp_path / "models",
            tmp_path / "reports",
        )
