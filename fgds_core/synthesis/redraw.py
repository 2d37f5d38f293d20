"""Makes one image of a set again, and says what differs where it cannot be the same."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from fgds_core.images.dataset import ImageDataset
from fgds_core.images.formats import decode_picture
from fgds_core.images.table import read_table
from fgds_core.synthesis.models import LoadedModels
from fgds_core.synthesis.part import write_part
from fgds_core.synthesis.plan import Part
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.resample import write_resampled


def redraw(
    part: Part,
    index: int,
    row: Mapping[str, Any],
    recipe: Recipe,
    models: LoadedModels,
    *,
    batch_size: int,
    micro_batch: int | None = None,
) -> dict[str, Any]:
    """Makes an image of a part again: alone, or if that differs with its batch, or with its part.

    An image follows from its seed, but the last bits of a sum depend on how many images a network
    is asked of together, and which are embedded together is a matter of the part; a criterion may
    even value the images of a part as one set.

    Args:
        part: The part that holds it.
        index: Its place within the class.
        row: What the set holds of it, all columns.
        recipe: How it was drawn.
        models: What it was drawn with.
        batch_size: Images that were drawn together.
        micro_batch: Images decoded and classified at a time.

    Returns:
        The same columns of the image that was drawn now.
    """
    together = models.feedback is not None and models.feedback.together
    begin = part.first_index
    start = begin + (index - begin) // batch_size * batch_size
    whole = range(begin, begin + part.num_images)
    batch = range(start, min(start + batch_size, whole.stop))
    for asked in [whole] if together else sorted({range(index, index + 1), batch, whole}, key=len):
        some = _some(part, asked)
        with TemporaryDirectory(prefix="fgds-redraw-") as folder:
            out = Path(folder)
            write_part(
                some, recipe, models, "", out, batch_size=batch_size, micro_batch=micro_batch
            )
            table = read_table(out / some.path)
        drawn = row_of(table, index)
        if drawn == row:
            break
    return drawn


def resample(part: Part, index: int, real: ImageDataset, seed: int) -> dict[str, Any]:
    """Makes an image again of a class that real images fill; see `write_resampled`.

    Args:
        part: The part that holds it.
        index: Its place within the class.
        real: All real training images.
        seed: Of the run.
    """
    some = _some(part, range(index, index + 1))
    with TemporaryDirectory(prefix="fgds-redraw-") as folder:
        write_resampled(some, real, seed, "", Path(folder))
        return row_of(read_table(Path(folder) / some.path), index)


def _some(part: Part, indices: range) -> Part:
    """Some images of a part."""
    first = indices.start - part.first_index
    groups = part.groups[first : first + len(indices)]
    return replace(part, first_index=indices.start, num_images=len(indices), groups=groups)


def row_of(part: pa.Table, index: int) -> dict[str, Any]:
    """All columns of one image of a part.

    Args:
        part: Its rows, with the images.
        index: The image's place within its class.
    """
    (row,) = (place for place, its in enumerate(part["index"].to_pylist()) if its == index)
    values: dict[str, Any] = part.slice(row, 1).to_pylist()[0]
    return values


def unlike(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what two drawings of an image differ; nothing if they are equal byte for byte.

    Args:
        was: The columns of the one in the set.
        now: The columns of the one drawn now.
    """
    found = []
    if was["image"] != now["image"]:
        old, new = (np.asarray(decode_picture(each["image"]["bytes"])) for each in (was, now))
        if old.shape != new.shape:
            found.append(f"the image has {new.shape} pixels in place of {old.shape}")
        else:
            gap = np.abs(old.astype(np.int16) - new)
            found.append(
                f"{(gap > 0).mean():.2%} of the pixels' values differ, by at most"
                f" {gap.max()} of 255"
            )
    for name in was:
        if name != "image" and was[name] != now[name]:
            found.append(f"{name} was {_value(was[name])}, is {_value(now[name])}")
    return found


def changes(was: Mapping[str, Any], now: Mapping[str, Any], class_name: str) -> Iterator[str]:
    """What decides images of a class and has changed.

    Args:
        was: What made the set, of its index.
        now: The same as it would be made now.
        class_name: The class; the real images of others decide nothing.
    """
    for key in dict.fromkeys((*was, *now)):
        old, new = was.get(key), now.get(key)
        if key in ("real", "cells", "feedback_factors", "resampled"):
            old, new = ((each or {}).get(class_name) for each in (old, new))
        if old == new:
            continue
        if key in ("generator", "synthesize"):
            yield from _keys(key, old or {}, new or {})
        elif key == "inputs":
            for path in sorted({*(old or {}), *(new or {})}):
                if (old or {}).get(path) != (new or {}).get(path):
                    yield f"{path} has other content"
        elif key in _WORDS:
            yield _WORDS[key].format(class_name=class_name)
        elif key not in ("rounds", "vetting"):
            yield f"{key} was {_value(old)}, is {_value(new)}"


_WORDS = {
    "guide": "the classifier that guides is another one",
    "real": "the real training images of {class_name} are others",
    "cells": "the images of {class_name} are drawn for other groups",
    "resampled": "{class_name} is, or was, filled with real images",
    "code": "the code that draws has changed",
    "donors": "the real training images are others, whose embeddings are mixed in",
    "real_counts": "the classes have other numbers of real training images",
}
"""What is known of an entry by its digest alone."""


def _keys(section: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys((*old, *new)):
        if old.get(key) != new.get(key):
            was, now = (_value(each[key]) if key in each else "its default" for each in (old, new))
            yield f"{section}.{key} was {was}, is {now}"


def _value(value: object) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.9g}"
    text = "null" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
