"""What `meta.json` says about prepared data."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fgds_core.data.cells import Cells
from fgds_core.errors import InputError
from fgds_core.files import read_json, write_json
from fgds_core.images.formats import PNG, Encoding

META_NAME = "meta.json"
METADATA_NAME = "metadata.csv"
SPLITS = ("train", "val", "test")

PREPARE_AGAIN = "run the stage prepare again"


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
        overlaps: Images that occur in two splits, for each pair such as "train-test"; of "dropped"
            ones the copies in training were left out. None if there are none; not written then.
        group_counts: For each split and class name, the images in each group that has some; None
            for data without groups, and not written then.
        near_duplicates: Images that are nearly the same in two splits: `threshold`, `counts` for
            each pair of splits, the nearest `pairs`, and of "dropped" ones those in training were
            left out. None if there are none; not written then.
    """

    class_names: tuple[str, ...]
    image_size: int
    counts: dict[str, tuple[int, ...]]
    bins: dict[str, str]
    groups: tuple[str, ...] | None
    duplicates: dict[str, int]
    content_sha256: dict[str, str]
    encoding: Encoding = PNG
    overlaps: dict[str, int] | None = None
    group_counts: dict[str, dict[str, dict[str, int]]] | None = None
    near_duplicates: dict[str, Any] | None = None

    @property
    def cells(self) -> Cells | None:
        """Real training images of each class in each group; None for data without groups.

        Raises:
            InputError: The data were prepared before these were counted.
        """
        if self.groups is None:
            return None
        if self.group_counts is None:
            raise InputError(f"the prepared data do not say how large groups are; {PREPARE_AGAIN}")
        found = self.group_counts["train"]
        return [
            {group: found.get(name, {}).get(group, 0) for group in self.groups}
            for name in self.class_names
        ]


def write_meta(folder: Path, meta: Meta) -> None:
    """Writes `meta.json`: the last file of prepared data, without it there is none."""
    value = asdict(meta)
    for name in ("overlaps", "group_counts", "near_duplicates"):
        if value[name] is None:
            del value[name]  # as it was written before there were any
    write_json(folder / META_NAME, value)


def read_meta(folder: Path) -> Meta:
    """Reads `meta.json` of prepared data.

    Raises:
        InputError: The file is missing or damaged.
    """
    value = read_json(folder / META_NAME, PREPARE_AGAIN)
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
            overlaps=dict(value["overlaps"]) if "overlaps" in value else None,
            group_counts=dict(value["group_counts"]) if "group_counts" in value else None,
            near_duplicates=dict(value["near_duplicates"]) if "near_duplicates" in value else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / META_NAME} is damaged ({error!r}); {PREPARE_AGAIN}"
        ) from error
