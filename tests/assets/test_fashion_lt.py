"""Fashion-LT is what its card says, and its splits share no picture."""

import hashlib
import io
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from shown import as_datasets_shows

from assets.fashion_lt import (
    CLASS_NAMES,
    DEBIAN_FOLDER,
    FOLDER,
    SPLITS,
    UNUSED,
    UNUSED_PER_CLASS,
    content_hash,
    long_tail,
    make,
    shot_bin,
)

FILES = (*SPLITS, UNUSED)
TAIL = ("coat", "shirt", "pullover", "sneaker", "dress", "sandal", "ankle boot", "t-shirt", "bag")


@pytest.fixture(scope="module")
def tables():
    return {split: pq.read_table(FOLDER / f"{split}.parquet") for split in FILES}


@pytest.fixture(scope="module")
def counts(tables):
    labels = tables["train"]["label"].to_numpy()
    return dict(zip(CLASS_NAMES, np.bincount(labels, minlength=10).tolist(), strict=True))


def pixels(row):
    with Image.open(io.BytesIO(row["bytes"])) as picture:
        assert picture.mode == "L"
        return np.asarray(picture)


def test_files_are_those_of_the_card():
    card = (FOLDER / "README.md").read_text()
    stated = dict(re.findall(r"\| (\w+)\.parquet \| \d+ \| ([0-9a-f]{64}) \|", card))
    assert set(stated) == set(FILES)
    for split in FILES:
        digest = hashlib.sha256((FOLDER / f"{split}.parquet").read_bytes()).hexdigest()
        assert digest == stated[split]


def test_profile_is_exponential_and_fills_all_bins(counts):
    assert sorted(counts.values(), reverse=True) == long_tail(10, 500, 100)
    bins = [shot_bin(n) for n in counts.values()]
    assert {b: bins.count(b) for b in bins} == {"many": 4, "medium": 3, "few": 3}


def test_classes_come_in_the_order_of_the_seed(counts):
    assert tuple(sorted(counts, key=lambda name: -counts[name]))[:9] == TAIL


def test_validation_and_test_are_balanced(tables):
    for split, count in (("validation", 200), ("test", 1000)):
        labels = tables[split]["label"].to_numpy()
        assert np.bincount(labels, minlength=10).tolist() == [count] * 10


def test_unused_fills_every_class_up_to_200(tables, counts):
    labels = tables[UNUSED]["label"].to_numpy()
    assert np.bincount(labels, minlength=10).tolist() == [UNUSED_PER_CLASS] * 10
    assert min(counts.values()) + UNUSED_PER_CLASS == 200


def test_no_picture_is_in_two_files(tables):
    hashes = [content_hash(pixels(row)) for t in tables.values() for row in t["image"].to_pylist()]
    assert len(set(hashes)) == len(hashes) == 1242 + 2000 + 10_000 + 1950


def test_datasets_shows_pictures_and_class_names(tmp_path, monkeypatch):
    data = as_datasets_shows(FOLDER / "train.parquet", tmp_path, monkeypatch)
    assert tuple(data.features["label"].names) == CLASS_NAMES
    assert data[0]["image"].size == (28, 28)


@pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="needs the idx files of Fashion-MNIST")
def test_same_input_same_bytes(tmp_path):
    make(DEBIAN_FOLDER, tmp_path, 0, 500, 100, 200)
    for file in tmp_path.iterdir():
        assert file.read_bytes() == (FOLDER / file.name).read_bytes(), file.name


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(ValueError, match="--source"):
        make(tmp_path / "nowhere", tmp_path, 0, 500, 100, 200)
