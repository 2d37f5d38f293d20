"""Batches of a set of images, read ahead by processes of their own."""

import os
from collections.abc import Iterable, Iterator
from multiprocessing.util import Finalize

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from fgds_core.images.dataset import ImageDataset


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


def load(images: ImageDataset, rows: Iterable[list[int]], *, workers: int = 0) -> Iterator[Tensor]:
    """Batches of the rows that are named, uint8 [B, 3, H, W], in that order.

    Args:
        images: The set.
        rows: Rows of each batch; asked for ahead of what is yielded where there are workers.
        workers: Processes that read ahead; 0 reads in this one, and so does a set that is kept
            decoded. The batches are the same.
    """
    if workers == 0 or images.is_kept:
        return (images.__getitems__(batch) for batch in rows)
    loader: Iterable[Tensor] = DataLoader(
        images,
        batch_sampler=rows,
        num_workers=workers,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # else it would draw from the global one
        worker_init_fn=_end_at_once,
    )
    return iter(loader)


def _as_it_is(batch: list[object]) -> list[object]:
    """Takes the place of DataLoader's collation: `__getitems__` gives whole batches."""
    return batch


def _end_at_once(worker: int) -> None:
    """Has a process end with its last batch, without what libraries do when a program ends.

    That is for the process it was forked from: Prefect's part of it fails in a fork, and the
    reading with it.
    """
    Finalize(None, os._exit, args=(0,), exitpriority=-100)  # after all others
