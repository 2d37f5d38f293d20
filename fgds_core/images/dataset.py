"""Sets of labelled images, read from tables."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor

from fgds_core.errors import InputError
from fgds_core.images.pixels import decode_images
from fgds_core.images.table import class_names_of, column_values, read_table


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images in memory.

    Attributes:
        images: float32 in [-1, 1], [N, 3, H, W].
        labels: int64, [N].
        groups: Name of each image's group (context), or None for data without groups.
        class_names: Name of each of the K classes.
    """

    images: Tensor
    labels: Tensor
    groups: tuple[str, ...] | None
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def of_class(self, label: int) -> "ImageSet":
        """The images of one class, in their order."""
        which = torch.nonzero(self.labels == label).flatten()
        groups = None if self.groups is None else tuple(self.groups[i] for i in which.tolist())
        return ImageSet(self.images[which], self.labels[which], groups, self.class_names)


def read_images(path: Path) -> ImageSet:
    """Reads and fully decodes an image table.

    Raises:
        InputError: As `read_table`, or an image is corrupt; names file and row.
    """
    return table_images(read_table(path), source=str(path))


def table_images(table: pa.Table, *, source: str = "image table") -> ImageSet:
    """Decodes the images of a table; `source` names it in an error."""
    class_names = class_names_of(table.schema)
    if class_names is None:
        raise InputError(f"{source} does not name its classes; write it with fgds_core.images")
    groups: tuple[str, ...] | None = None
    if "group" in table.column_names and table["group"].null_count < table.num_rows:
        names = column_values(table, "group")
        if None in names:
            raise InputError(f"{source}, row {names.index(None)}: has no group, others have one")
        groups = tuple(names)
    return ImageSet(
        images=decode_images(table["image"], source=source),
        labels=torch.tensor(column_values(table, "label"), dtype=torch.int64),
        groups=groups,
        class_names=class_names,
    )
