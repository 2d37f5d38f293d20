"""Feature vectors of many images: they lie on disk and are read a block of rows at a time.

However many images there are, memory holds a few blocks. A memory map would not do: mapped pages
count as the process' memory.

N images, B of them in a block, D features.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fgds_core.errors import InputError

Array = NDArray[np.floating[Any]]

BLOCKS = {"cpu": (2048, 2048), "cuda": (4096, 4096)}
"""Rows and columns of a block of distances on each kind of device: 16 MB and 64 MB in float32.

Devices of other kinds need not know float64: there it is the CPU that computes."""


@dataclass(frozen=True)
class VectorFile:
    """float32 vectors in a file, one after the other.

    Attributes:
        path: The file.
        shape: N and D.
    """

    path: Path
    shape: tuple[int, int]

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Reads some rows, [B, D].

        Raises:
            OSError: The file is shorter than its shape says.
        """
        found = np.empty((len(rows), self.shape[1]), dtype=np.float32)
        one = found.itemsize * self.shape[1]  # bytes
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1).tolist()  # of rows side by side
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            for start, stop in pairwise([*starts, len(rows)]):
                data = os.pread(descriptor, (stop - start) * one, int(rows[start]) * one)
                if len(data) != (stop - start) * one:
                    raise OSError(f"{self.path} ends before row {int(rows[stop - 1])}")
                found[start:stop] = np.frombuffer(data, np.float32).reshape(stop - start, -1)
        finally:
            os.close(descriptor)
        return found


def write_vectors(
    path: Path, num_images: int, batches: Iterable[NDArray[np.float32]]
) -> VectorFile:
    """Writes vectors as they come.

    Args:
        path: The file.
        num_images: How many there will be, 1 or more.
        batches: Vectors in order, [B, D].

    Raises:
        InputError: The disk has no room for all of them, which the first batch tells, or is full.
    """
    width = 0
    with path.open("wb") as file:
        for batch in batches:
            if not width:
                width = batch.shape[1]
                _check_room(path, 4 * num_images * width)
            try:
                file.write(batch.astype(np.float32, copy=False).tobytes())
            except OSError as error:
                raise InputError(
                    f"cannot keep the features of the images in {path} ({error.strerror}); make"
                    " room and run again"
                ) from error
    return VectorFile(path, (num_images, width))


def _check_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise InputError(
            f"the features of the images need {needed / 1e9:.1f} GB for a while in {path.parent},"
            f" {free / 1e9:.1f} GB are free; make room and run again"
        )


@dataclass(frozen=True, eq=False)
class Features:
    """The feature vectors of some images, in an order.

    Attributes:
        values: Those of all images, on disk or in memory.
        rows: Which of them, [N].
        device: Where blocks are put, of a kind in `BLOCKS`.
    """

    values: VectorFile | Array
    rows: NDArray[np.int64]
    device: str = "cpu"

    @classmethod
    def of(
        cls, values: Features | VectorFile | Array, device: str | torch.device = "cpu"
    ) -> Features:
        """All rows, where `device` computes; what are features already stay as they are."""
        if isinstance(values, Features):
            return values
        place = str(device) if torch.device(device).type in BLOCKS else "cpu"
        return cls(values, np.arange(values.shape[0], dtype=np.int64), place)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> int:
        """Number of features D."""
        return int(self.values.shape[1])

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of a block of distances where these features are."""
        return BLOCKS[torch.device(self.device).type]

    def take(self, which: NDArray[Any]) -> Features:
        """Some of these, by place or by mask, in that order."""
        return Features(self.values, self.rows[which], self.device)

    def array(self, which: NDArray[Any]) -> NDArray[np.float64]:
        """The vectors of a few images, by place or by mask, [B, D]."""
        return np.asarray(self.values[self.rows[which]], dtype=np.float64)

    def blocks(self, size: int) -> Iterator[tuple[slice, Tensor]]:
        """Every row once, in order: places and vectors, float64 [at most `size`, D]."""
        for place in self.places(size):
            yield place, self.read(place).to(torch.float64)

    def places(self, size: int, first: int = 0) -> Iterator[slice]:
        """Every place from the first one on, at most `size` at a time."""
        for start in range(first, len(self), size):
            yield slice(start, min(start + size, len(self)))

    def read(self, place: slice) -> Tensor:
        """The vectors at a place as they are stored, float32 or float64 [B, D]."""
        which, values = self.rows[place], self.values
        if isinstance(values, np.ndarray) and len(which) and bool((np.diff(which) == 1).all()):
            chosen = values[which[0] : which[-1] + 1]  # no copy
        else:
            chosen = values[which]
        rows = torch.from_numpy(np.ascontiguousarray(chosen))
        exact = rows if rows.dtype == torch.float64 else rows.to(torch.float32)
        return exact.to(self.device)
