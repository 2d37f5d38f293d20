"""The criterion and the norm of its gradient at each step of guidance, where they were noted.

M synthetic images, S gradients of the image that had most.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

BY_STEP = ("criterion_by_step", "gradient_by_step")
"""Columns of lists, a number for each gradient in turn: the criterion before the push, and the
norm of its gradient with respect to the image's pixels in [-1, 1]."""

Steps = Mapping[str, NDArray[np.float32]]
"""Each of `BY_STEP`, [M, S]; NaN behind an image's last gradient, and where nothing was noted."""


def steps_of(rows: pa.Table) -> Steps:
    """Takes the notes out of the rows of a set, [M]; nothing where they have none."""
    return {name: _padded(rows[name]) for name in BY_STEP if name in rows.column_names}


def _padded(lists: pa.ChunkedArray[Any]) -> NDArray[np.float32]:
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)  # [M]
    padded = np.full((len(lengths), lengths.max(initial=0)), np.nan, dtype=np.float32)
    inside = np.arange(padded.shape[1]) < lengths[:, None]  # [M, S]
    padded[inside] = pc.list_flatten(lists).to_numpy()
    return padded


def step_means(steps: Steps, which: NDArray[np.int64]) -> dict[str, list[float | None]]:
    """The means over some images, step by step; those that are not finite are left out.

    Args:
        steps: Of all images.
        which: Rows of those that are asked for.
    """
    found = {}
    for name, values in steps.items():
        some = values[which].astype(np.float64)
        finite = np.isfinite(some)
        counts = finite.sum(axis=0)  # [S]
        sums = np.where(finite, some, 0).sum(axis=0)
        found[name] = [
            float(total / count) if count else None
            for total, count in zip(sums, counts, strict=True)
        ]
    return found


def step_columns(steps: Steps) -> dict[str, pa.Array[Any]]:
    """The notes as columns of lists, null where nothing was noted, M rows each."""

    def column(values: NDArray[np.float32]) -> pa.Array[Any]:
        lists: list[Any] = [
            row[: row.size - int(np.isnan(row[::-1]).argmin())].tolist()
            if not np.isnan(row).all()
            else None
            for row in values
        ]
        return pa.array(lists, pa.list_(pa.float32()))

    return {name: column(values) for name, values in steps.items()}
