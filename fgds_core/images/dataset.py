"""Sets of labelled images: rows of Parquet files, of which nothing is read until it is asked for.

An image is read by the exact range of bytes where our writer put it: plain values, uncompressed,
one page a row group. No memory map: mapped pages count as the process' memory, and a file that is
cut short would end the process. Files written otherwise are read by row groups, more slowly.

N images, B of them in a batch, 3 channels, H x W pixels.
"""

import errno
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from fgds_core.errors import InputError
from fgds_core.images.formats import FORMATS, reason_of
from fgds_core.images.table import class_names_of, column_values, read_table

KEPT_BYTES = 256 * 2**20
"""A set that takes no more bytes decoded is kept decoded once it was read; a larger one never."""

_MAKE_AGAIN = "run the stage that writes it again"
_HEAD = 65_536
"""Bytes of a column's chunk within which its first image begins."""


class ImageDataset(Dataset[Tensor]):
    """Labelled images at rest, decoded when they are asked for, as uint8 until the device.

    Holds no open file and may be pickled, so that processes of a `DataLoader` can read from it.

    Attributes:
        labels: int64, [N].
        groups: Name of each image's group (context), or None for data without groups.
        class_names: Name of each of the K classes.
    """

    labels: Tensor
    groups: tuple[str, ...] | None
    class_names: tuple[str, ...]

    def __init__(
        self,
        files: "_Files",
        rows: NDArray[np.int64],
        labels: Tensor,
        groups: tuple[str, ...] | None,
        class_names: tuple[str, ...],
    ) -> None:
        """Use `read_images`, `images_of` or `joined`."""
        self._files = files
        self._rows = rows
        self.labels = labels
        self.groups = groups
        self.class_names = class_names

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images, in pixels; (0, 0) of an empty set."""
        return self._files.size()

    @property
    def is_kept(self) -> bool:
        """Whether decoded images are kept, for there are few of them."""
        return self._files.is_small()

    def __getitem__(self, row: int) -> Tensor:
        """One image, uint8 [3, H, W].

        Raises:
            InputError: It is missing, corrupt or of another size than the first; names file and
                row.
            IndexError: There is no such row.
        """
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Sequence[int]) -> Tensor:
        """A batch, uint8 [B, 3, H, W]. Raises as `__getitem__` does."""
        return self._files.decoded(self._rows[np.asarray(rows, dtype=np.int64)])

    def file(self, row: int) -> bytes:
        """The encoded image as it is stored. Raises as `__getitem__` does."""
        (data,) = self._files.encoded(self._rows[[row]])
        return data

    def select(self, rows: Sequence[int]) -> "ImageDataset":
        """The images of some rows, in that order."""
        which = np.asarray(rows, dtype=np.int64)
        groups = None if self.groups is None else tuple(self.groups[i] for i in which.tolist())
        labels = self.labels[torch.from_numpy(which)]
        return ImageDataset(self._files, self._rows[which], labels, groups, self.class_names)

    def of_class(self, label: int) -> "ImageDataset":
        """The images of one class, in their order."""
        return self.select(torch.nonzero(self.labels == label).flatten().tolist())


def read_images(path: Path) -> ImageDataset:
    """Opens an image table; its images are read later.

    Raises:
        InputError: As `read_table`.
    """
    return images_of([path], read_table(path, images=False))


def images_of(paths: Sequence[Path], rows: pa.Table) -> ImageDataset:
    """The images of several files, one after the other.

    Args:
        paths: Image tables with the same classes.
        rows: All their rows without the column `image`, as `read_table` gives them.

    Raises:
        InputError: A file is missing or not readable, or some images have a group and others not.
    """
    class_names = class_names_of(rows.schema)
    assert class_names is not None  # read_table has looked
    files = _Files(paths)
    source = str(paths[0]) if len(paths) == 1 else str(Path(os.path.commonpath(paths)))
    return ImageDataset(
        files,
        np.arange(len(files), dtype=np.int64),
        torch.tensor(column_values(rows, "label"), dtype=torch.int64),
        _groups(rows, source),
        class_names,
    )


def joined(first: ImageDataset, second: ImageDataset) -> ImageDataset:
    """Both sets as one, the rows of the second behind those of the first.

    Raises:
        ValueError: They differ in their classes or in the size of their images.
    """
    if first.class_names != second.class_names or first.size != second.size:
        raise ValueError("sets to be joined must have the same classes and one size of images")
    files = first._files.before(second._files)
    rows = np.concatenate([first._rows, second._rows + len(first._files)])
    groups = None
    if first.groups is not None and second.groups is not None:
        groups = first.groups + second.groups
    labels = torch.cat([first.labels, second.labels])
    return ImageDataset(files, rows, labels, groups, first.class_names)


def _groups(rows: pa.Table, source: str) -> tuple[str, ...] | None:
    if "group" not in rows.column_names or rows["group"].null_count == rows.num_rows:
        return None
    column = rows["group"].combine_chunks().dictionary_encode()
    names: list[Any] = column.dictionary.to_pylist()  # equal names are one string in memory
    places: list[Any] = column.indices.to_pylist()
    if None in places:
        raise InputError(f"{source}, row {places.index(None)}: has no group, others have one")
    return tuple(names[place] for place in places)


class _Files:
    """Encoded images of several Parquet files, by row over all of them.

    For each row: the number of its file, and where its bytes begin and how many they are, or -1
    where only pyarrow can read them.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        ranges = [_ranges(path) for path in paths]
        counts = [len(of_file) for of_file in ranges]
        self.first_rows = np.cumsum([0, *counts])[:-1]  # of each file
        self.file = np.repeat(np.arange(len(counts), dtype=np.int32), counts)  # [N]
        self.start, self.length = np.concatenate([_NO_RANGES, *ranges]).T.copy()  # [N], [N]
        self._size: tuple[int, int] | None = None
        self._kept: tuple[Tensor, NDArray[np.bool_]] | None = None
        self._group: tuple[tuple[int, int], list[bytes | None]] | None = None

    def __len__(self) -> int:
        return len(self.file)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": None, "_group": None}  # what was read is read again

    def before(self, other: "_Files") -> "_Files":
        """These files and then those of another."""
        both = _Files([])
        both.paths = self.paths + other.paths
        both.first_rows = np.concatenate([self.first_rows, other.first_rows + len(self)])
        both.file = np.concatenate([self.file, other.file + np.int32(len(self.paths))])
        both.start = np.concatenate([self.start, other.start])
        both.length = np.concatenate([self.length, other.length])
        return both

    def size(self) -> tuple[int, int]:
        """Height and width of the first image, in pixels."""
        if self._size is None and len(self):
            rows = np.zeros(1, dtype=np.int64)
            (data,) = self.encoded(rows)
            self._size = self._picture(0, data).shape[:2]
        return self._size or (0, 0)

    def is_small(self) -> bool:
        """Whether all images take few enough bytes decoded to be kept."""
        height, width = self.size()
        return len(self) * 3 * height * width <= KEPT_BYTES

    def decoded(self, rows: NDArray[np.int64]) -> Tensor:
        """Images, uint8 [B, 3, H, W]."""
        if not self.is_small():
            return self._decode(rows)
        if self._kept is None:
            space = torch.empty(len(self), 3, *self.size(), dtype=torch.uint8)
            self._kept = space, np.zeros(len(self), dtype=np.bool_)
        images, is_there = self._kept
        new = np.unique(rows[~is_there[rows]])
        if len(new):
            images[torch.from_numpy(new)] = self._decode(new)
            is_there[new] = True  # last, for other threads
        return images[torch.from_numpy(rows)]

    def _decode(self, rows: NDArray[np.int64]) -> Tensor:
        height, width = self.size()
        # Of numpy: glibc finds no place again for torch's aligned memory, and a process would grow
        pixels = np.empty((len(rows), 3, height, width), dtype=np.uint8)  # [B, 3, H, W]
        for place, data in enumerate(self.encoded(rows)):
            picture = self._picture(int(rows[place]), data)
            if picture.shape != (height, width, 3):
                raise InputError(
                    f"{self._where(int(rows[place]))}: the image is {picture.shape[1]}x"
                    f"{picture.shape[0]} pixels, the first one {width}x{height}; all must have "
                    "one size"
                )
            pixels[place] = picture.transpose(2, 0, 1)  # [3, H, W]
        return torch.from_numpy(pixels)

    def _picture(self, row: int, data: bytes) -> NDArray[np.uint8]:
        """The pixels of an image file, [H, W, 3]; its bytes were compared with their digest."""
        try:
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
            return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
        except Exception as error:  # PIL's parsers let all kinds through
            raise InputError(
                f"{self._where(row)}: not a readable image ({reason_of(error)}); {_MAKE_AGAIN}"
            ) from error

    def encoded(self, rows: NDArray[np.int64]) -> Iterator[bytes]:
        """The bytes of image files as they are stored."""
        for file, of_file in groupby(rows.tolist(), key=lambda row: int(self.file[row])):
            yield from self._read(file, list(of_file))

    def _read(self, file: int, rows: Sequence[int]) -> Iterator[bytes]:
        with self._telling(rows[0]):
            descriptor = os.open(self.paths[file], os.O_RDONLY)
        try:
            for row in rows:
                start, length = int(self.start[row]), int(self.length[row])
                if length < 0:
                    yield self._from_row_group(row)
                    continue
                with self._telling(row):
                    data = os.pread(descriptor, 4 + length, start - 4)
                if len(data) < 4 + length or int.from_bytes(data[:4], "little") != length:
                    raise InputError(
                        f"{self._where(row)}: has changed since it was opened; {_MAKE_AGAIN}"
                    )
                yield data[4:]
        finally:
            os.close(descriptor)

    @contextmanager
    def _telling(self, row: int) -> Iterator[None]:
        """Names file and row where a file cannot be read, unless too many others are open."""
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{self._where(row)}: cannot be read ({reason}); {_MAKE_AGAIN}"
            ) from error

    def _from_row_group(self, row: int) -> bytes:
        """The bytes of a row that only pyarrow can read; the row group is kept for the next."""
        file = int(self.file[row])
        row_in_file = row - int(self.first_rows[file])
        with self._telling(row), pq.ParquetFile(self.paths[file]) as table:
            group, place = 0, row_in_file
            while place >= (rows := table.metadata.row_group(group).num_rows):
                group, place = group + 1, place - rows
            kept = self._group
            if kept is None or kept[0] != (file, group):
                column = table.read_row_group(group, columns=["image"])["image"]
                kept = (
                    (file, group),
                    [None if image is None else image["bytes"] for image in column.to_pylist()],
                )
                self._group = kept
        data = kept[1][place]
        if data is None:
            raise InputError(f"{self._where(row)}: holds no image bytes; {_MAKE_AGAIN}")
        return data

    def _where(self, row: int) -> str:
        file = int(self.file[row])
        return f"{self.paths[file]}, row {row - int(self.first_rows[file])}"


_NO_RANGES = np.empty((0, 2), dtype=np.int64)


def _ranges(path: Path) -> NDArray[np.int64]:
    """Where each image of a file begins and how many bytes it has, [N, 2].

    Images of a row group that is not plain have the length -1.
    """
    try:
        with pq.ParquetFile(path) as file, path.open("rb") as raw:
            paths = [file.schema.column(i).path for i in range(len(file.schema))]
            column = paths.index("image.bytes")
            level = file.schema.column(column).max_definition_level
            found = [_NO_RANGES]
            for group in range(file.metadata.num_row_groups):
                chunk = file.metadata.row_group(group).column(column)
                values = _plain_values(raw.fileno(), chunk, level)
                if values is None:
                    values = [(0, -1)] * file.metadata.row_group(group).num_rows
                found.append(np.array(values, dtype=np.int64).reshape(-1, 2))
            return np.concatenate(found)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{path} is not a readable image table ({error}); {_MAKE_AGAIN}"
        ) from error


def _plain_values(
    descriptor: int, chunk: pq.ColumnChunkMetaData, level: int
) -> list[tuple[int, int]] | None:
    """Start and length of each value of a chunk of one plain page without nulls; None otherwise.

    Args:
        descriptor: Of the open file.
        chunk: Where pyarrow says the column's chunk lies.
        level: Definition level of a value that is there.

    Source: https://parquet.apache.org/docs/file-format/data-pages/encodings/
    """
    if chunk.compression != "UNCOMPRESSED" or chunk.has_dictionary_page:
        return None
    start, end = chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size
    # Before the values stand their definition levels: in a page of n values that are all there,
    # one run of n times the same level, and before it the run's length in bytes.
    run = _varint(chunk.num_values << 1) + bytes([level])
    levels = len(run).to_bytes(4, "little") + run
    head = os.pread(descriptor, min(_HEAD, end - start), start)
    at = head.find(levels)
    while at >= 0:
        values = _chain(descriptor, start + at + len(levels), end, chunk.num_values)
        if values is not None:
            return values
        at = head.find(levels, at + 1)
    return None


def _chain(descriptor: int, start: int, end: int, count: int) -> list[tuple[int, int]] | None:
    """Follows values from each to the next; None unless so many end where the chunk ends."""
    values = []
    for _ in range(count):
        if start + 4 > end:
            return None
        length = int.from_bytes(os.pread(descriptor, 4, start), "little")
        values.append((start + 4, length))
        start += 4 + length
    return values if start == end else None


def _varint(number: int) -> bytes:
    """An unsigned number in groups of seven bits, the lowest first (ULEB128)."""
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])
