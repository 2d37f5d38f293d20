"""Fashion-Contexts is what its card says, and none of its garments is where it may not be."""

import hashlib
import io
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image
from shown import as_datasets_shows

from assets.corpus import COLOURS, CONTEXTS, appearance_hash, fashion_lt_hashes, render, resize
from assets.fashion_contexts import (
    FOLDER,
    GROUNDS,
    TARGET_PER_GROUP,
    TRAIN_COUNTS,
    looks_of,
    make,
    train_counts,
)
from assets.fashion_lt import CLASS_NAMES, DEBIAN_FOLDER, SPLITS, UNUSED
from assets.fashion_lt import FOLDER as FASHION_LT

FILES = (*SPLITS, UNUSED)
RECIPE = Path(__file__).parents[2] / "recipes" / "fashion_contexts.yaml"
BALANCED = {"validation": 20, "test": 60}


@pytest.fixture(scope="module")
def tables():
    return {split: pq.read_table(FOLDER / f"{split}.parquet").to_pylist() for split in FILES}


@pytest.fixture(scope="module")
def official_test():
    """The official test pictures by what the rows call them, from Fashion-LT."""
    rows = pq.read_table(FASHION_LT / "test.parquet").to_pylist()
    return {row["image"]["path"]: (row["label"], pixels(row)) for row in rows}


def pixels(row):
    with Image.open(io.BytesIO(row["image"]["bytes"])) as picture:
        return np.asarray(picture)


def cells(rows):
    return Counter((CLASS_NAMES[row["label"]], row["group"]) for row in rows)


def test_files_are_those_of_the_card(tables):
    card = (FOLDER / "README.md").read_text()
    stated = re.findall(r"\| (\w+)\.parquet \| (\d+) \| ([0-9a-f]{64}) \|", card)
    assert [split for split, _, _ in stated] == list(FILES)
    for split, number, digest in stated:
        assert len(tables[split]) == int(number)
        assert hashlib.sha256((FOLDER / f"{split}.parquet").read_bytes()).hexdigest() == digest


def test_training_cells_are_those_of_the_rule_and_of_the_card(tables):
    found = cells(tables["train"])
    table = {name: [found[name, ground] for ground in GROUNDS] for name in CLASS_NAMES}
    assert table == train_counts()
    card = (FOLDER / "README.md").read_text()
    for name, row in table.items():
        assert f"| {' | '.join(map(str, [*row, sum(row)]))} |" in card.split(f"| {name} |")[1]
        assert sorted(row, reverse=True) == list(TRAIN_COUNTS)


def test_every_ground_is_that_of_most_images_of_two_classes():
    own = [list(GROUNDS)[np.argmax(row)] for row in train_counts().values()]
    assert Counter(own) == dict.fromkeys(GROUNDS, 2)


def test_some_cells_are_empty_and_some_have_1_to_10_images():
    counts = [count for row in train_counts().values() for count in row]
    assert counts.count(0) == 10
    assert sum(1 <= count <= 10 for count in counts) == 20


@pytest.mark.parametrize(("split", "number"), BALANCED.items())
def test_validation_and_test_are_balanced_over_all_cells(tables, split, number):
    assert cells(tables[split]) == {(k, g): number for k in CLASS_NAMES for g in GROUNDS}


def test_unused_fills_every_cell_up_to_the_target_of_the_recipe(tables):
    recipe = yaml.safe_load(RECIPE.read_text())["synthesize"]
    assert recipe["target_per_group"] == TARGET_PER_GROUP
    train, unused = cells(tables["train"]), cells(tables[UNUSED])
    for cell in ((name, ground) for name in CLASS_NAMES for ground in GROUNDS):
        assert unused[cell] == max(TARGET_PER_GROUP - train[cell], 0)


def test_no_garment_is_there_twice(tables):
    rows = [row for rows in tables.values() for row in rows]
    for known_by in (lambda row: row["garment"], lambda row: row["image"]["path"]):
        assert len({known_by(row) for row in rows}) == len(rows) == 1230 + 1000 + 3000 + 1370


def test_garments_that_validate_and_test_are_official_test_pictures(tables, official_test):
    """Of Fashion-LT, that is, of which the generator's corpus holds nothing."""
    for row in tables["validation"] + tables["test"]:
        label, image = official_test[row["image"]["path"]]
        assert label == row["label"]
        assert appearance_hash(image) == row["garment"]


def test_unused_garments_are_such_as_the_generators_corpus_holds_out_or_never_had(tables):
    """Those of Fashion-LT validate there; that others are held out, making them asserts."""
    names = pq.read_table(FASHION_LT / "validation.parquet")["image"].to_pylist()
    validating = {row["path"] for row in names}
    of_fashion_lt = fashion_lt_hashes(FASHION_LT)
    for row in tables[UNUSED]:
        assert (row["garment"] in of_fashion_lt) == (row["image"]["path"] in validating)


def test_garments_that_train_are_not_in_fashion_lt(tables):
    trained = {row["garment"] for row in tables["train"]}
    assert not trained & fashion_lt_hashes(FASHION_LT)
    assert all(row["image"]["path"].startswith("train-") for row in tables["train"])


def test_pictures_show_the_garment_before_its_ground(tables, official_test):
    shares = []
    for row in tables["test"]:
        shown, ground = pixels(row), GROUNDS[row["group"]]
        if ground.context in ("target", "inverted"):
            garment = resize(official_test[row["image"]["path"]][1])
            assert np.array_equal(shown, garment if ground.context == "target" else 255 - garment)
        else:
            assert shown.shape == (32, 32, 3)
            paint = np.array(COLOURS[ground.colour]) * 255
            lights = [0.25 * paint, 0.85 * paint] if ground.pattern else [0.85 * paint]
            near = [np.abs(shown - light).max(axis=-1) <= 1 for light in lights]  # [32, 32]
            assert all(light.any() for light in near)
            shares.append(np.any(near, axis=0).mean())
    assert np.mean(shares) > 0.3


def test_a_garment_never_has_the_colour_of_its_ground():
    looks = looks_of(("red", "green striped", "yellow checked") * 200, np.random.default_rng(0))
    assert all(look.garment != look.ground for look in looks)
    assert {look.garment for look in looks if look.ground == "red"} == set(COLOURS) - {"red"}


def test_groups_are_called_as_in_the_captions_the_generator_learned_from():
    black = torch.zeros(3000, 32, 32, dtype=torch.uint8)
    labels = torch.arange(3000) % len(CLASS_NAMES)
    contexts = torch.arange(3000) // len(CLASS_NAMES) % len(CONTEXTS)
    captions = render(black, labels, contexts, np.random.default_rng(0)).captions
    for name, ground in GROUNDS.items():
        told = Counter(
            context
            for context, caption in zip(contexts.tolist(), captions, strict=True)
            if caption.endswith(f" on a {name} background")
        )
        assert CONTEXTS.index(ground.context) in told
        if ground.context != "target":  # coloured and textured ones are before black too
            assert CONTEXTS[told.most_common(1)[0][0]] == ground.context


def test_datasets_shows_pictures_class_names_and_groups(tmp_path, monkeypatch):
    data = as_datasets_shows(FOLDER / "train.parquet", tmp_path, monkeypatch)
    assert tuple(data.features["label"].names) == CLASS_NAMES
    assert data[0]["image"].size == (32, 32)
    assert set(data["group"]) == set(GROUNDS)


@pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="needs the idx files of Fashion-MNIST")
def test_same_input_same_bytes_and_no_garment_trained_the_generator(tmp_path):
    """Making it asserts the latter."""
    make(DEBIAN_FOLDER, FASHION_LT, tmp_path, 0, *BALANCED.values())
    for file in tmp_path.iterdir():
        assert file.read_bytes() == (FOLDER / file.name).read_bytes(), file.name


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(ValueError, match="--source"):
        make(tmp_path / "nowhere", FASHION_LT, tmp_path, 0, 1, 1)
