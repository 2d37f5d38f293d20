"""Pictures of the images that are left out of training, for the report: which, by whom and why."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from fgds_core.assess.neighbours import thumbnail
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.table import ROW_GROUP_ROWS, image_schema, image_table

COLUMNS: dict[str, pa.DataType] = {
    "index": pa.int64(),
    "by": pa.string(),
    "reason": pa.string(),
}
"""Beside image and label: its place within the class, who leaves it out, and why."""


def left_out_schema(class_names: Sequence[str]) -> pa.Schema:
    """The schema of the table: image, label and `COLUMNS`."""
    return image_schema(class_names, COLUMNS)


def left_out_tables(images: ImageDataset, rows: Mapping[str, Sequence[Any]]) -> Iterator[pa.Table]:
    """The images that are left out, as the page shows them.

    Args:
        images: They, M of them.
        rows: `COLUMNS`, each with M values.

    Yields:
        At most `ROW_GROUP_ROWS` rows at a time.
    """
    schema, labels = left_out_schema(images.class_names), images.labels.tolist()
    for start in range(0, len(images), ROW_GROUP_ROWS):
        end = min(start + ROW_GROUP_ROWS, len(images))
        files = [thumbnail(images.file(row)) for row in range(start, end)]
        extra = {name: rows[name][start:end] for name in COLUMNS}
        yield image_table(files, labels[start:end], images.class_names, extra, schema=schema)
