"""Twins of some images of a set: from the same seed, told the same, drawn without feedback.

They show what feedback did to an image, on the page alone: they are no part of the set, and no
training and no measure sees them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fgds_core.images.dataset import ImageDataset, read_images
from fgds_core.images.table import column_values, read_table, write_image_batches
from fgds_core.synthesis.columns import synthetic_schema
from fgds_core.synthesis.shards import UNGUIDED_NAME, in_order, read_part

if TYPE_CHECKING:
    from fgds_core.synthesis.record import PartRecord


@dataclass(frozen=True, eq=False)
class Twins:
    """The twins of a set.

    Attributes:
        images: They, in the order of their classes.
        rows: Label, index and seed of each -> its row.
    """

    images: ImageDataset
    rows: dict[tuple[int, int, int], int]

    def of(self, label: int, index: int, seed: int) -> bytes | None:
        """The image file of a twin; None where there is none of that seed."""
        row = self.rows.get((label, index, seed))
        return None if row is None else self.images.file(row)


def write_unguided(
    drawn: Path, records: Iterable[PartRecord], class_names: Sequence[str], out: Path
) -> None:
    """Writes the twins of a set, by class and index; where there are none, there is no file.

    Args:
        drawn: The folder in which they were drawn.
        records: Of the parts that hold them there.
        class_names: Name of each class.
        out: Folder of the set.

    Raises:
        InputError: A part has changed since it was drawn, or the disk is full.
    """
    path, parts = out / UNGUIDED_NAME, in_order(records)
    if parts:
        tables = (read_part(drawn, record) for record in parts)
        write_image_batches(path, synthetic_schema(class_names), tables)
    else:
        path.unlink(missing_ok=True)


def read_unguided(out: Path) -> Twins | None:
    """The twins of a set; None if it has none.

    Args:
        out: Folder of the set.

    Raises:
        InputError: The table is damaged.
    """
    path = out / UNGUIDED_NAME
    if not path.is_file():
        return None
    rows = read_table(path, images=False)
    keys = zip(*(column_values(rows, name) for name in ("label", "index", "seed")), strict=True)
    return Twins(read_images(path), {key: row for row, key in enumerate(keys)})
