"""Which images of a set are copies of real ones, and of which.

They are compared as pictures, whole and in part, mirrored and turned, and by the features of a
network where these are asked for: an image that was drawn from the embedding of a real one may be
near to it there without being its copy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pyarrow as pa

from fgds_core.copies.find import copies_of
from fgds_core.copies.sets import conditioning_rows
from fgds_core.copies.thumbnails import Pictures
from fgds_core.images.table import column_values

COPIES = "copies"
"""Who leaves out images that are copies."""

_SPLITS = {"train": "training", "val": "validation", "test": "test"}


def copied(
    images: Pictures,
    rows: pa.Table,
    real: Mapping[str, Pictures],
    ways: Collection[str],
    device: str,
) -> dict[int, dict[int, str]]:
    """Looks for copies among synthetic images.

    Args:
        images: The synthetic images.
        rows: Their columns, in the same order.
        real: The real images by split, `train` among them; of each at least one.
        ways: By what they are compared: `picture`, `part`, `features`.
        device: Where it is computed.

    Returns:
        Class -> index within the class -> what it is a copy of: split and row in the split's
        file, whether it was made from that image, how it was found, and how near it is.
    """
    found, _ = copies_of(images, real, None, device, ways)
    places = column_values(rows, "conditioning_id")
    sources = conditioning_rows(images.labels, places, real["train"].labels)
    labels, indices = images.labels.tolist(), column_values(rows, "index")
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
