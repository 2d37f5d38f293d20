"""Batches of a set of images, read ahead by processes of their own."""

import errno
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.util import Finalize
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from fgds_core.errors import InputError
from fgds_core.images.dataset import ImageDataset
from fgds_core.processes import serve

Pixels = NDArray[np.uint8]
Asked = TypeVar("Asked")
Asked_contra = TypeVar("Asked_contra", contravariant=True)


class Readable(Protocol[Asked_contra]):
    """What batches are read from: a set, or one whose images are changed when they are read."""

    @property
    def is_kept(self) -> bool:
        """Whether decoded images are kept, so that no process needs to read ahead."""
        ...

    def __getitems__(self, asked: Sequence[Asked_contra], /) -> Tensor:
        """A batch, uint8 [B, 3, H, W]."""
        ...


def batches(images: ImageDataset, batch_size: int, *, workers: int = 0) -> Iterator[Tensor]:
    """The whole set in order, uint8 [B, 3, H, W] at a time; the last batch may be smaller.

    Args:
        images: The set.
        batch_size: Images in a batch.
        workers: Processes that read ahead, see `load`.
    """
    starts = range(0, len(images), batch_size)
    rows = (list(range(at, min(at + batch_size, len(images)))) for at in starts)
    return load(images, rows, workers=workers)


def load(
    images: Readable[Asked], rows: Iterable[list[Asked]], *, workers: int = 0
) -> Iterator[Tensor]:
    """Batches of the rows that are named, uint8 [B, 3, H, W], in that order.

    Args:
        images: The set.
        rows: Rows of each batch, with what else the set is to be told of each; asked for ahead of
            what is yielded where there are workers.
        workers: Processes that read ahead; 0 reads in this one, and so does a set that is kept
            decoded. The batches are the same.
    """
    if workers == 0 or images.is_kept:
        return (images.__getitems__(batch) for batch in rows)
    loader: Iterable[Tensor | Pixels | Exception] = DataLoader(
        _Reader(images),
        batch_sampler=rows,
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_serve,
        generator=torch.Generator(),  # else it would draw from the global one
    )
    return _received(loader)


class _Reader(Dataset[Any]):
    """A set as the processes read it; what is wrong with a batch is sent in its place.

    DataLoader itself would make another error of it, whose message is a traceback.
    """

    def __init__(self, images: Readable[Any]) -> None:
        self.images = images

    def __getitems__(self, rows: list[Any]) -> Tensor | Pixels | Exception:
        try:
            batch = self.images.__getitems__(rows)
        except (InputError, OSError, MemoryError) as error:
            return error
        try:
            batch.share_memory_()  # type: ignore[no-untyped-call]
        except RuntimeError:  # no room in /dev/shm, of which containers have little
            pixels: Pixels = batch.numpy()
            return pixels  # through the pipe, more slowly
        return batch


def _received(loader: Iterable[Tensor | Pixels | Exception]) -> Iterator[Tensor]:
    try:
        batches = iter(loader)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        raise InputError(
            f"no process can be started that reads images ({error}); do without them: "
            "compute.loader_workers: 0"
        ) from error
    try:
        for batch in batches:
            if isinstance(batch, Exception):
                raise batch
            yield batch if isinstance(batch, Tensor) else torch.from_numpy(batch)
    finally:
        # The processes end here, whoever still refers to them; torch has no public way
        if isinstance(batches, _MultiProcessingDataLoaderIter):
            batches._shutdown_workers()


def _as_it_is(batch: object) -> object:
    """Takes the place of DataLoader's collation: `__getitems__` gives whole batches."""
    return batch


def _serve(worker: int) -> None:
    """Has a process end with its last batch, or with the process it was forked from.

    It leaves out what libraries do when a program ends: Prefect's part of it fails in a fork, and
    the reading with it.
    """
    serve()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a flow's own way to end is not for a fork
    Finalize(None, os._exit, args=(0,), exitpriority=-100)  # after all others
