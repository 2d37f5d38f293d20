"""Pictures for the report: synthetic images, what they were made from and what they are near to.

They are kept as the page shows them, and a few classes at a time are in memory.
"""

import io
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fgds_core.assess.estimates import rounded
from fgds_core.assess.fidelity import nearest
from fgds_core.assess.observe import Observed
from fgds_core.images.formats import PNG, decode_picture, encode_picture
from fgds_core.images.table import ROW_GROUP_ROWS, image_schema, image_table

THUMBNAIL = 96  # pixels; larger pictures are shrunk to keep the page small

COLUMNS: dict[str, pa.DataType] = {
    "item": pa.int64(),
    "of": pa.int64(),
    "role": pa.string(),
    "rank": pa.int64(),
    "distance": pa.float64(),
}
"""Beside image and label: number of the synthetic image within its class, its class, what the
picture is (synthetic, conditioning or real), the neighbour's place or 0, and the neighbour's
distance to the synthetic image in feature space."""


def neighbour_schema(class_names: Sequence[str]) -> pa.Schema:
    """The schema of the table of pictures: image, label and `COLUMNS`."""
    return image_schema(class_names, COLUMNS)


def neighbour_tables(
    synthetic: Observed,
    train: Observed,
    conditioning: NDArray[np.float64],
    by_class: Sequence[NDArray[np.int64]],
    num_images: int,
    num_neighbours: int,
) -> Iterator[pa.Table]:
    """The first synthetic images of each class, each with what it was made from and is near to.

    Args:
        synthetic: The synthetic images.
        train: The real training images.
        conditioning: Which training image of its class each was made from; NaN is text alone, [M].
        by_class: Rows of the synthetic images of each class.
        num_images: Images of a class, at most.
        num_neighbours: Training images beside each.

    Yields:
        The rows of some classes, about `ROW_GROUP_ROWS` at a time.
    """
    class_names = synthetic.images.class_names
    chosen = [rows[:num_images] for rows in by_class]
    rows = np.concatenate(chosen)
    if not len(rows):
        return
    distances, near = nearest(synthetic.features.take(rows), train.features, num_neighbours)
    train_labels = train.labels
    own = {k: np.flatnonzero(train_labels == k) for k, some in enumerate(chosen) if len(some)}
    starts = np.cumsum([0, *map(len, chosen)])

    def of_image(k: int, item: int) -> Iterator[tuple[bytes, int, tuple[Any, ...]]]:
        row, place = int(chosen[k][item]), int(starts[k]) + item
        yield _picture(synthetic, row), k, (item, k, "synthetic", 0, None)
        source = conditioning[row]
        if not np.isnan(source):
            yield _picture(train, int(own[k][int(source)])), k, (item, k, "conditioning", 0, None)
        for rank, neighbour in enumerate(near[place].tolist()):
            distance = rounded(float(distances[place, rank]))
            label = int(train_labels[neighbour])
            yield _picture(train, neighbour), label, (item, k, "real", rank, distance)

    held: list[tuple[bytes, int, tuple[Any, ...]]] = []
    for k, some in enumerate(chosen):
        of_class = list(chain.from_iterable(of_image(k, item) for item in range(len(some))))
        if held and len(held) + len(of_class) > ROW_GROUP_ROWS:
            yield _table(held, class_names)
            held = []
        held += of_class
    yield _table(held, class_names)


def _table(
    rows: Sequence[tuple[bytes, int, tuple[Any, ...]]], class_names: Sequence[str]
) -> pa.Table:
    pictures, labels, extra = zip(*rows, strict=True)
    columns = dict(zip(COLUMNS, map(list, zip(*extra, strict=True)), strict=True))
    schema = neighbour_schema(class_names)
    return image_table(pictures, labels, class_names, columns, schema=schema)


def _picture(seen: Observed, row: int) -> bytes:
    """An image as the page shows it: without loss when small, else a thumbnail."""
    image = decode_picture(seen.images.file(row)).convert("RGB")
    if max(image.size) <= THUMBNAIL:
        return encode_picture(image, PNG)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
