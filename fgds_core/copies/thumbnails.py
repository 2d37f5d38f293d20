"""Small grey pictures of images: all that a search for copies keeps of them.

Those of a large set lie on disk, a kilobyte an image, and are read a block at a time.

N images, B of them in a block.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fgds_core.errors import InputError

Bytes = NDArray[np.uint8]
Rows = NDArray[np.int64]

SIDE = 32
"""Pixels a side of a thumbnail."""

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey pixel, ITU-R BT.601."""


def shrink(pixels: Tensor) -> Bytes:
    """The thumbnails of images: grey, each pixel the mean of an area.

    Args:
        pixels: uint8 of any size, [B, 3, H, W].

    Returns:
        Row by row, [B, SIDE * SIDE].
    """
    weights = torch.tensor(_LUMA, device=pixels.device).view(1, 3, 1, 1)
    grey = (pixels.float() * weights).sum(dim=1, keepdim=True)  # [B, 1, H, W]
    small = F.adaptive_avg_pool2d(grey, SIDE).flatten(1)  # [B, SIDE * SIDE]
    thumbnails: Bytes = small.round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return thumbnails


@dataclass(frozen=True)
class ThumbnailFile:
    """Thumbnails in a file, one after the other.

    Attributes:
        path: The file.
        num_images: How many there are, N.
    """

    path: Path
    num_images: int

    def __len__(self) -> int:
        return self.num_images

    def __getitem__(self, rows: Rows) -> Bytes:
        """Reads some rows, [B, SIDE * SIDE].

        Raises:
            OSError: The file is shorter than it should be.
        """
        one = SIDE * SIDE  # bytes
        found = np.empty((len(rows), one), dtype=np.uint8)
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1).tolist()  # of rows side by side
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            for start, stop in pairwise([*starts, len(rows)]):
                data = os.pread(descriptor, (stop - start) * one, int(rows[start]) * one)
                if len(data) != (stop - start) * one:
                    raise OSError(f"{self.path} ends before row {int(rows[stop - 1])}")
                found[start:stop] = np.frombuffer(data, np.uint8).reshape(-1, one)
        finally:
            os.close(descriptor)
        return found


def write_thumbnails(path: Path, batches: Iterable[Tensor]) -> ThumbnailFile:
    """Writes the thumbnails of images as they come.

    Args:
        path: The file.
        batches: Images in order, uint8 [B, 3, H, W].

    Raises:
        InputError: The disk is full or may not be written.
    """
    num_images = 0
    try:
        with path.open("wb") as file:
            for batch in batches:
                file.write(shrink(batch).tobytes())
                num_images += len(batch)
    except OSError as error:
        raise InputError(
            f"cannot keep the thumbnails of the images in {path} ({error.strerror}); make room and"
            " run again"
        ) from error
    return ThumbnailFile(path, num_images)


class Stored(Protocol):
    """Thumbnails that are read by row."""

    def __getitem__(self, rows: Rows, /) -> Bytes: ...


class Vectors(Protocol):
    """Feature vectors of some images, [N, D]."""

    def __len__(self) -> int: ...

    def blocks(self, size: int) -> Iterator[tuple[slice, Tensor]]:
        """Every row once, in order: places and vectors [B, D], at most `size` rows."""
        ...

    def take(self, which: Rows) -> Vectors:
        """Those of some rows, in that order."""
        ...


@dataclass(frozen=True, eq=False)
class Pictures:
    """A set of images as a search for copies knows it.

    Attributes:
        thumbnails: Of each image, [N, SIDE * SIDE], in memory or on disk.
        labels: Their classes, [N].
        features: Of each image in a space of a network, [N, D]; None leaves them out.
    """

    thumbnails: Stored
    labels: Rows
    features: Vectors | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Rows) -> Pictures:
        """Some of them, in that order; in memory but for the features."""
        features = None if self.features is None else self.features.take(rows)
        return Pictures(self.thumbnails[rows], self.labels[rows], features)


def joined(sets: Sequence[Pictures]) -> Pictures:
    """Several sets as one, in their order; with features only where all have them."""
    labels = np.concatenate([each.labels for each in sets])
    features = [each.features for each in sets if each.features is not None]
    return Pictures(
        _Chain([each.thumbnails for each in sets], [len(each) for each in sets]),
        labels,
        _VectorChain(features) if len(features) == len(sets) else None,
    )


class _Chain:
    """Thumbnails of several sets, one after the other."""

    def __init__(self, parts: Sequence[Stored], lengths: Sequence[int]) -> None:
        self.parts = parts
        self.starts = np.cumsum([0, *lengths])

    def __getitem__(self, rows: Rows) -> Bytes:
        found = np.empty((len(rows), SIDE * SIDE), dtype=np.uint8)
        which = np.searchsorted(self.starts, rows, side="right") - 1
        for number in np.unique(which).tolist():
            at = np.flatnonzero(which == number)
            found[at] = self.parts[number][rows[at] - self.starts[number]]
        return found


class _VectorChain:
    """Features of several sets, one after the other."""

    def __init__(self, parts: Sequence[Vectors]) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def blocks(self, size: int) -> Iterator[tuple[slice, Tensor]]:
        start = 0
        for part in self.parts:
            for place, x in part.blocks(size):
                yield slice(start + place.start, start + place.stop), x
            start += len(part)

    def take(self, which: Rows) -> Vectors:
        """Those of some rows, in that order."""
        starts = np.cumsum([0, *map(len, self.parts)])
        of = np.searchsorted(starts, which, side="right") - 1
        if (np.diff(of) < 0).any():
            raise ValueError("rows of a later set come before those of an earlier one")
        return _VectorChain(
            [part.take(which[of == i] - starts[i]) for i, part in enumerate(self.parts)]
        )
