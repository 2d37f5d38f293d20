"""Prepared data: the real images in three splits, and the `meta.json` that speaks of them."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet as pq

from fgds_core.errors import InputError
from fgds_core.files import read_json, sha256_file, write_json
from fgds_core.images.dataset import ImageDataset, read_images
from fgds_core.images.formats import PNG, Encoding
from fgds_core.images.table import ROW_GROUP_ROWS

META_NAME = "meta.json"
SPLITS = ("train", "val", "test")

_PREPARE_AGAIN = "run the stage prepare again"


@dataclass(frozen=True)
class Meta:
    """What `meta.json` says about prepared data.

    Attributes:
        class_names: Name of each of the K classes.
        image_size: Height and width of every image, in pixels.
        counts: Images of each class, for each split.
        bins: "many", "medium" or "few" for each class name, from the real training counts.
        groups: Names of the groups, sorted, or None for data without groups.
        duplicates: Images that repeat an earlier image of their own split, for each split.
        content_sha256: Digest of each split's file.
        encoding: How every image is stored, and how a synthetic one must be.
    """

    class_names: tuple[str, ...]
    image_size: int
    counts: dict[str, tuple[int, ...]]
    bins: dict[str, str]
    groups: tuple[str, ...] | None
    duplicates: dict[str, int]
    content_sha256: dict[str, str]
    encoding: Encoding = PNG


def write_meta(folder: Path, meta: Meta) -> None:
    """Writes `meta.json`: the last file of prepared data, without it there is none."""
    write_json(folder / META_NAME, asdict(meta))


def read_meta(folder: Path) -> Meta:
    """Reads `meta.json` of prepared data.

    Raises:
        InputError: The file is missing or damaged.
    """
    value = read_json(folder / META_NAME, _PREPARE_AGAIN)
    try:
        return Meta(
            class_names=tuple(value["class_names"]),
            image_size=int(value["image_size"]),
            counts={split: tuple(value["counts"][split]) for split in SPLITS},
            bins=dict(value["bins"]),
            groups=None if value["groups"] is None else tuple(value["groups"]),
            duplicates=dict(value["duplicates"]),
            content_sha256=dict(value["content_sha256"]),
            encoding=Encoding(**value["encoding"]) if "encoding" in value else PNG,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / META_NAME} is damaged ({error!r}); {_PREPARE_AGAIN}"
        ) from error


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
        raise InputError(f"{path} is not the file {META_NAME} speaks of; {_PREPARE_AGAIN}")
    return read_images(path)


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
