"""Prepared data: the real images in three splits."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from fgds_core.data.meta import META_NAME, PREPARE_AGAIN, SPLITS, Meta, read_meta
from fgds_core.errors import InputError
from fgds_core.files import sha256_file
from fgds_core.images.dataset import ImageDataset, read_images
from fgds_core.images.table import ROW_GROUP_ROWS, image_paths


def read_prepared(folder: Path, split: str) -> ImageDataset:
    """Opens one split of prepared data after comparing its digest with `meta.json`.

    Args:
        folder: The output of the stage prepare.
        split: "train", "val" or "test".

    Raises:
        InputError: The data are missing, damaged or not those `meta.json` speaks of.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    path = folder / f"{split}.parquet"
    if sha256_file(path) != read_meta(folder).content_sha256.get(split):
        raise InputError(f"{path} is not the file {META_NAME} speaks of; {PREPARE_AGAIN}")
    return read_images(path)


@dataclass(frozen=True, eq=False)
class RealImages:
    """The real images that a stage trains with and chooses by, opened once.

    Test images are opened apart, by what reports on them at the end.

    Attributes:
        folder: The output of the stage prepare.
        meta: What it says about itself.
        train: Training images.
        val: Validation images.
    """

    folder: Path
    meta: Meta
    train: ImageDataset
    val: ImageDataset


def read_real(folder: Path) -> RealImages:
    """Opens the training and validation images of prepared data.

    Raises:
        InputError: As `read_prepared`.
    """
    train, val = read_prepared(folder, "train"), read_prepared(folder, "val")
    return RealImages(folder, read_meta(folder), train, val)


def image_ids(folder: Path, split: str) -> list[str]:
    """What each image of a split is known by: its path in the table, or the row if it has none."""
    paths = image_paths(folder / f"{split}.parquet")
    return [str(row) if path is None else path for row, path in enumerate(paths)]


def class_digests(folder: Path, split: str) -> dict[str, str]:
    """Digest of each class's own images and groups, in their order; other classes have no part.

    Args:
        folder: The output of the stage prepare.
        split: "train", "val" or "test".

    Returns:
        Class name -> sha256.
    """
    class_names = read_meta(folder).class_names
    digests = [hashlib.sha256() for _ in class_names]
    with pq.ParquetFile(folder / f"{split}.parquet") as file:
        columns = [name for name in ("image", "label", "group") if name in file.schema_arrow.names]
        for batch in file.iter_batches(ROW_GROUP_ROWS, columns=columns):
            for row in batch.to_pylist():
                digest = digests[row["label"]]
                digest.update(hashlib.sha256(row["image"]["bytes"]).digest())
                digest.update(hashlib.sha256(repr(row.get("group")).encode()).digest())
    return {name: d.hexdigest() for name, d in zip(class_names, digests, strict=True)}
