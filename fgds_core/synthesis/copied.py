"""Which images of a set are copies of real ones, and of which.

They are compared as pictures, whole and in part, mirrored and turned. What only the features of a
network hold for alike is left to the assessment, and to a person: an image that was drawn from
the embedding of a real one is near to it there without being its copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from fgds_core.copies.find import copies_of
from fgds_core.copies.sets import conditioning_rows, pictures_of
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.reading import Reading
from fgds_core.images.table import column_values

COPIES = "copies"
"""Who leaves out images that are copies."""

_SPLITS = {"train": "training", "val": "validation", "test": "test"}


def copied(
    images: ImageDataset,
    rows: pa.Table,
    real: Mapping[str, ImageDataset],
    place: Path,
    device: str,
    reading: Reading,
) -> dict[int, dict[int, str]]:
    """Looks for copies among synthetic images.

    Args:
        images: The synthetic images.
        rows: Their columns, in the same order.
        real: The real images by split, `train` among them; of each at least one.
        place: A folder for their thumbnails, a kilobyte an image.
        device: Where it is computed.
        reading: How images are read; all of them are told of, synthetic and real ones.

    Returns:
        Class -> index within the class -> what it is a copy of: split and row in the split's
        file, whether it was made from that image, how it was found, and how near it is.

    Raises:
        InputError: An image is damaged, or the disk has no room.
    """
    references = {split: pictures_of(its, place / split, reading) for split, its in real.items()}
    asked = pictures_of(images, place / "synthetic", reading)
    found, _ = copies_of(asked, references, None, device)
    places = column_values(rows, "conditioning_id")
    sources = conditioning_rows(asked.labels, places, references["train"].labels)
    labels, indices = asked.labels.tolist(), column_values(rows, "index")
    reasons: dict[int, dict[int, str]] = {}
    for each in found.to_pylist():  # the nearest first
        row, split, reference = each["row"], each["split"], each["reference"]
        made_from = split == "train" and reference == sources[row]
        what = f"copy of {_SPLITS[split]} image {reference}"
        what += ", which it was made from" if made_from else ""
        what += "" if each["orientation"] == "as it is" else f", {each['orientation']}"
        near = f"{each['ratio']:.3f} of the distance of real neighbours"
        why = f"{what} ({each['way']}: {near}, below {each['threshold']:.3f})"
        reasons.setdefault(labels[row], {}).setdefault(indices[row], why)
    return reasons
