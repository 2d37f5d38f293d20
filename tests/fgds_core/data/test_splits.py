import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from micro import random_images
from sets import gather

from fgds_core.data.meta import SPLITS, Meta, read_meta, write_meta
from fgds_core.data.splits import class_digests, image_ids, read_prepared, read_real
from fgds_core.errors import InputError
from fgds_core.images.formats import Encoding
from fgds_core.images.table import image_table, write_images

NAMES = ("cat", "T-shirt/top", "ankle boot")


def prepared(folder: Path) -> Meta:
    table = image_table(random_images(), [0, 1, 2, 1], NAMES)
    records = {s: write_images(folder / f"{s}.parquet", table) for s in SPLITS}
    meta = Meta(
        class_names=NAMES,
        image_size=8,
        counts={split: (1, 2, 1) for split in SPLITS},
        bins=dict.fromkeys(NAMES, "few"),
        groups=None,
        duplicates=dict.fromkeys(SPLITS, 0),
        content_sha256={split: record.sha256 for split, record in records.items()},
    )
    write_meta(folder, meta)
    return meta


def test_prepared_data_come_back(tmp_path):
    meta = prepared(tmp_path)
    assert read_meta(tmp_path) == meta
    assert torch.equal(gather(read_prepared(tmp_path, "val")), random_images())
    with pytest.raises(ValueError, match="split must be one of"):
        read_prepared(tmp_path, "validation")


def test_images_are_known_by_their_paths_or_by_their_rows(tmp_path):
    prepared(tmp_path)
    assert image_ids(tmp_path, "test") == ["0", "1", "2", "3"]
    paths = ["a/1.png", "a/2.png", None, "b/1.png"]
    table = image_table(random_images(), [0, 1, 2, 1], NAMES, paths=paths)
    write_images(tmp_path / "test.parquet", table)
    assert image_ids(tmp_path, "test") == ["a/1.png", "a/2.png", "2", "b/1.png"]


def test_training_and_validation_images_are_opened_together(tmp_path):
    meta = prepared(tmp_path)
    real = read_real(tmp_path)
    assert (real.folder, real.meta) == (tmp_path, meta)
    assert real.train.labels.tolist() == real.val.labels.tolist() == [0, 1, 2, 1]


def test_data_of_before_there_were_encodings_are_png(tmp_path):
    meta = replace(prepared(tmp_path), encoding=Encoding("jpeg", 90))
    write_meta(tmp_path, meta)
    assert read_meta(tmp_path) == meta
    told = json.loads((tmp_path / "meta.json").read_text())
    del told["encoding"]
    (tmp_path / "meta.json").write_text(json.dumps(told))
    assert read_meta(tmp_path).encoding == Encoding("png")


def test_prepared_data_that_changed_are_refused(tmp_path):
    prepared(tmp_path)
    table = image_table(random_images(seed=5), [0, 1, 2, 1], NAMES)
    write_images(tmp_path / "val.parquet", table)
    with pytest.raises(InputError, match=r"val\.parquet is not the file meta\.json speaks of"):
        read_prepared(tmp_path, "val")
    (tmp_path / "meta.json").write_text('{"class_names": []}')
    with pytest.raises(InputError, match=r"meta\.json is damaged"):
        read_prepared(tmp_path, "train")


def test_the_digest_of_a_class_is_that_of_its_own_images_in_their_order(tmp_path):
    prepared(tmp_path)
    before = class_digests(tmp_path, "train")
    assert list(before) == list(NAMES)
    images, labels = random_images(), [0, 1, 2, 1]

    def with_rows(rows: list[int]) -> dict[str, str]:
        table = image_table(images[rows], [labels[row] for row in rows], NAMES)
        write_images(tmp_path / "train.parquet", table)
        return class_digests(tmp_path, "train")

    assert with_rows([2, 1, 0, 3]) == before  # other classes between them
    assert with_rows([0, 3, 2, 1]) == {**before, "T-shirt/top": with_rows([3, 1])["T-shirt/top"]}
    assert with_rows([0, 1, 2, 3, 0])["cat"] != before["cat"]
    assert with_rows([0, 1, 2, 3, 0])["ankle boot"] == before["ankle boot"]
