from pathlib import Path

import pytest
import torch
from micro import random_images

from fgds_core.errors import InputError
from fgds_core.images import (
    image_table,
    write_images,
)
from fgds_core.splits import SPLITS, Meta, read_meta, read_prepared, write_meta

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
    assert torch.equal(read_prepared(tmp_path, "val").images, random_images())
    with pytest.raises(ValueError, match="split must be one of"):
        read_prepared(tmp_path, "validation")


def test_prepared_data_that_changed_are_refused(tmp_path):
    prepared(tmp_path)
    table = image_table(random_images(seed=5), [0, 1, 2, 1], NAMES)
    write_images(tmp_path / "val.parquet", table)
    with pytest.raises(InputError, match=r"val\.parquet is not the file meta\.json speaks of"):
        read_prepared(tmp_path, "val")
    (tmp_path / "meta.json").write_text('{"class_names": []}')
    with pytest.raises(InputError, match=r"meta\.json is damaged"):
        read_prepared(tmp_path, "train")
