"""What the stages write of a classifier, for images with groups."""

import csv
import json

import pytest
import torch
from micro import random_images

from fgds_core.classify.answers import read_answers
from fgds_core.classify.evaluation import write_evaluation
from fgds_core.classify.network import create_classifier
from fgds_core.data.meta import SPLITS, Meta, write_meta
from fgds_core.data.splits import read_real
from fgds_core.images.table import image_table, write_images

NAMES = ("cat", "dog")
GROUPS = {
    "train": ["in", "in", "in", "out"],  # no dog was seen outdoors
    "val": ["in", "in", "out", "out"],
    "test": ["in", "out", "in", "out"],
}
LABELS = {"train": [0, 1, 1, 0], "val": [0, 1, 0, 1], "test": [0, 0, 1, 1]}


@pytest.fixture
def reports(tmp_path):
    """The reports on a classifier that was never trained."""
    records = {
        split: write_images(
            tmp_path / f"{split}.parquet",
            image_table(
                random_images(4, 16),
                LABELS[split],
                NAMES,
                {"group": GROUPS[split]},
                paths=[f"{split}/{k}.png" for k in range(4)],
            ),
        )
        for split in SPLITS
    }
    meta = Meta(
        class_names=NAMES,
        image_size=16,
        counts={split: (2, 2) for split in SPLITS},
        bins=dict.fromkeys(NAMES, "few"),
        groups=("in", "out"),
        duplicates=dict.fromkeys(SPLITS, 0),
        content_sha256={split: record.sha256 for split, record in records.items()},
    )
    write_meta(tmp_path, meta)
    classifier = create_classifier("test_resnet", {}, NAMES, 16, seed=0)
    with torch.no_grad():
        classifier.network.get_classifier().bias.copy_(torch.tensor([100.0, 0.0]))  # all are cats
    write_evaluation(classifier, read_real(tmp_path), 0, tmp_path / "reports", "final")
    return tmp_path / "reports"


def test_groups_are_counted_in_training_and_measured_in_testing(reports):
    metrics = json.loads((reports / "final.json").read_text())
    assert metrics["overall"] == metrics["macro_accuracy"] == metrics["mean_group"] == 0.5
    # Two training images are cats and two are dogs indoors: of each group its share
    assert metrics["adjusted_mean"] == (1 + 1) / 4
    assert metrics["worst_group_10"] is None
    worst = metrics["worst"]
    assert (worst["class"], worst["num_images"], worst["low"]) == ("dog", 1, 0)
    with (reports / "final" / "per_group.csv").open() as file:
        rows = {(row["class"], row["group"]): row for row in csv.DictReader(file)}
    assert {key: row["num_train"] for key, row in rows.items()} == {
        ("dog", "in"): "2",
        ("dog", "out"): "0",
        ("cat", "in"): "1",
        ("cat", "out"): "1",
    }


def test_answers_are_known_by_the_path_of_their_image(reports):
    answers = read_answers(reports / "final" / "predictions.parquet", "").to_pydict()
    assert answers["id"] == [f"test/{k}.png" for k in range(4)]
    assert answers["predicted"] == ["cat"] * 4
    assert answers["group"] == GROUPS["test"]
    assert answers["confidence"] == pytest.approx([1.0] * 4)
