"""Rows by exact ranges: whatever the file, the bytes are those that pyarrow reads."""

import errno
import io
import multiprocessing
import multiprocessing.synchronize
import os
import pickle
import threading
import time
import tracemalloc
from itertools import pairwise

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from micro import random_images
from PIL import Image
from sets import image_set
from torch.utils.data import DataLoader

from fgds_core.errors import InputError
from fgds_core.images import dataset
from fgds_core.images.dataset import images_of, joined, read_images
from fgds_core.images.loader import batches, load
from fgds_core.images.pixels import from_uint8, to_uint8
from fgds_core.images.table import image_table, read_table, write_images

NAMES = ("a", "b")


def png(color: int, size: int = 4) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (color, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def table_of(files: list[bytes], **extra: list[object]) -> pa.Table:
    return image_table(files, [i % 2 for i in range(len(files))], NAMES, extra)


# The first is a picture, for a set knows its size
SIZES = st.lists(st.integers(0, 3000), min_size=0, max_size=30)
WAYS = {
    "ours": {"compression": "none", "use_dictionary": False, "data_page_version": "1.0"},
    "many pages": {"compression": "none", "use_dictionary": False, "data_page_size": 64},
    "second version": {"compression": "none", "data_page_version": "2.0"},
    "of pandas": {},
    "compressed": {"compression": "gzip"},
}


@settings(max_examples=40, deadline=None)
@given(st.lists(SIZES, min_size=1, max_size=3), st.integers(1, 12), st.integers(0, 2**32))
@pytest.mark.parametrize("way", WAYS)
def test_every_row_has_the_bytes_that_pyarrow_reads(tmp_path_factory, way, sizes, rows, seed):
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("files")
    paths, known = [], []
    for number, of_file in enumerate(sizes):
        # Bytes that look like the levels before the values, too
        files = [png(1), *(rng.integers(0, 5, size, np.uint8).tobytes() for size in of_file)]
        path = folder / f"{number}.parquet"
        table = table_of(files, group=["x"] * len(files), note=["\0\2" * 9] * len(files))
        if way == "ours":
            write_images(path, table)
        else:
            pq.write_table(table, path, row_group_size=rows, **WAYS[way])
        paths.append(path)
        known += [row["bytes"] for row in pq.read_table(path)["image"].to_pylist()]
    columns = pa.concat_tables([read_table(path, images=False) for path in paths])
    images = images_of(paths, columns)
    assert len(images) == len(known)
    order = rng.permutation(len(known)).tolist()
    assert [images.file(row) for row in order] == [known[row] for row in order]
    plain = images._files.length >= 0
    assert plain.all() if way == "ours" else not plain.all() or way == "many pages"


@pytest.mark.parametrize("kept", [True, False])
def test_images_are_the_pixels_that_were_written(kept, monkeypatch):
    if not kept:
        monkeypatch.setattr(dataset, "KEPT_BYTES", 0)
    x = random_images(7)
    images = image_set(x, [0, 1, 0, 1, 0, 1, 1], NAMES, groups=["x", "y", "x", "y", "y", "y", "y"])
    pixels = to_uint8(x)
    assert images.size == (8, 8)
    assert images.is_kept is kept
    assert images[3].dtype == torch.uint8
    for rows in ([6, 0, 6, 2], [0], range(7)):
        assert torch.equal(images.__getitems__(rows), pixels[list(rows)])
    ones = images.of_class(1)
    assert ones.labels.tolist() == [1, 1, 1, 1]
    assert ones.groups == ("y", "y", "y", "y")
    assert torch.equal(ones.__getitems__([3, 1]), pixels[[6, 3]])
    assert ones.select([2]).file(0) == images.file(5)
    again = pickle.loads(pickle.dumps(ones))
    assert torch.equal(again.__getitems__([0]), pixels[[1]])
    both = joined(ones, images)
    assert torch.equal(both.__getitems__(range(11)), pixels[[1, 3, 5, 6, *range(7)]])
    assert both.labels.tolist() == ones.labels.tolist() + images.labels.tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_give_the_same_batches_in_order(workers, monkeypatch):
    monkeypatch.setattr(dataset, "KEPT_BYTES", 0)
    images = image_set(random_images(10), [0] * 10, NAMES)
    state = torch.random.get_rng_state()
    read = list(batches(images, 4, workers=workers))
    assert [len(batch) for batch in read] == [4, 4, 2]
    assert torch.equal(torch.cat(read), images.__getitems__(range(10)))
    rows = [[3, 1], [9], [0, 0, 2]]
    for batch, wanted in zip(load(images, iter(rows), workers=workers), rows, strict=True):
        assert torch.equal(batch, images.__getitems__(wanted))
    assert torch.equal(torch.random.get_rng_state(), state)


def number_of(process):
    return int(process.name.rpartition("-")[2])


def test_what_libraries_do_at_the_end_of_a_program_fails_no_reading(monkeypatch):
    monkeypatch.setattr(dataset, "KEPT_BYTES", 0)
    images = image_set(random_images(6), [0] * 6, NAMES)
    before = number_of(multiprocessing.Process())

    def fail_in_a_fork():  # as Prefect does; the second while the first is waited for
        if (number := number_of(multiprocessing.current_process())) > before:
            time.sleep(0.5 * (before + 2 - number))
            raise SystemError("this process has not that thread")

    threading._register_atexit(fail_in_a_fork)
    try:
        assert len(list(batches(images, 2, workers=2))) == 3
    finally:
        threading._threading_atexits.pop()


def test_what_a_process_finds_wrong_is_told_as_without_it(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "KEPT_BYTES", 0)
    path = tmp_path / "t.parquet"
    write_images(path, table_of([png(0), b"text", png(2)]))
    images, caught = read_images(path), []
    before, kept, start = multiprocessing.active_children(), [], DataLoader.__iter__

    def referred_to(loader):
        kept.append(start(loader))
        return kept[-1]

    monkeypatch.setattr(DataLoader, "__iter__", referred_to)
    for workers in (0, 2):
        with pytest.raises(InputError) as error:
            list(batches(images, 2, workers=workers))
        caught.append(error.value)  # with all it refers to
    assert str(caught[0]) == str(caught[1])
    for _ in range(200):  # they are told to end, which takes its time on a busy machine
        if multiprocessing.active_children() == before:
            break
        time.sleep(0.1)
    assert multiprocessing.active_children() == before


def test_batches_need_no_shared_memory(monkeypatch):
    def full(batch):
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)")

    monkeypatch.setattr(dataset, "KEPT_BYTES", 0)
    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    images = image_set(random_images(10), [0] * 10, NAMES)
    assert torch.equal(
        torch.cat(list(batches(images, 4, workers=1))), images.__getitems__(range(10))
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of DataLoader
def test_a_system_that_starts_no_processes_is_told(monkeypatch):
    def refused(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))  # of semaphores in /dev/shm

    monkeypatch.setattr(dataset, "KEPT_BYTES", 0)
    monkeypatch.setattr(multiprocessing.synchronize.SemLock, "__init__", refused)
    images = image_set(random_images(4), [0] * 4, NAMES)
    with pytest.raises(InputError, match=r"compute\.loader_workers: 0"):
        list(batches(images, 2, workers=1))


def test_too_many_open_files_are_no_damage(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "KEPT_BYTES", 0)
    write_images(tmp_path / "t.parquet", table_of([png(0)]))
    images = read_images(tmp_path / "t.parquet")

    def refused(*arguments):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(OSError, match="Too many open files"):
        images.file(0)


def test_a_reading_process_does_not_grow_with_the_batches_it_reads(monkeypatch):
    monkeypatch.setattr(dataset, "KEPT_BYTES", 0)
    images = image_set(random_images(4, 256), [0] * 4, NAMES)
    rows = [[0, 1, 2, 3] * 4] * 30  # 3 MB each
    held, before = [], psutil.Process().children()  # such as the server of other tests' forks
    for number, _ in enumerate(load(images, iter(rows), workers=1)):
        if number in (10, 25):
            (reader,) = set(psutil.Process().children()) - set(before)
            held.append(reader.memory_full_info().uss)
    assert held[1] - held[0] < 20e6


def test_a_set_without_images_has_no_size():
    empty = image_set(torch.empty(0, 3, 8, 8), [], NAMES)
    assert len(empty) == 0
    assert empty.size == (0, 0)
    assert list(batches(empty, 4)) == []


def test_what_became_of_a_file_is_told_with_its_row(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "KEPT_BYTES", 0)
    path = tmp_path / "t.parquet"
    write_images(path, table_of([png(i) for i in range(3)]))
    images = read_images(path)
    assert images.size == (4, 4)
    write_images(path, table_of([png(i, size=9) for i in range(3)]))
    with pytest.raises(InputError, match=r"t\.parquet, row 2: has changed since it was opened"):
        images.__getitems__([2])
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"row 1: has changed since it was opened"):
        images.file(1)
    path.unlink()
    with pytest.raises(InputError, match=r"row 0: cannot be read .*No such file"):
        images.file(0)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (b"text", "row 1: not a readable image"),
        (png(1)[:-35], "row 1: not a readable image"),
        (None, "row 1: holds no image bytes"),
        (png(1, size=5), "row 1: the image is 5x5 pixels, the first one 4x4"),
    ],
)
def test_an_image_that_is_none_is_told_with_its_row(tmp_path, second, message):
    path = tmp_path / "t.parquet"
    write_images(path, table_of([png(0), second, png(2)]))
    images = read_images(path)
    assert images[2][0, 0, 0] == 2
    with pytest.raises(InputError, match=message):
        images[1]


def test_half_given_groups_are_refused(tmp_path):
    write_images(tmp_path / "t.parquet", table_of([png(0)] * 2, group=["a", None]))
    with pytest.raises(InputError, match=r"t\.parquet, row 1: has no group"):
        read_images(tmp_path / "t.parquet")


def test_what_a_set_holds_does_not_grow_with_its_images(tmp_path, monkeypatch):
    """Of an image a set holds a few numbers; reading all of it by batches keeps one batch."""
    monkeypatch.setattr(dataset, "KEPT_BYTES", 0)
    held = []
    for count in (50, 100, 200):
        path = tmp_path / f"{count}.parquet"
        write_images(path, table_of([png(i % 256, size=64) for i in range(count)]))
        tracemalloc.start()
        images = read_images(path)
        total = 0
        for batch in batches(images, 10):
            total += len(batch)
            del batch
        held.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert total == count
    for fewer, more in pairwise(held):
        assert more - fewer < 100 * 64 * 64 * 3 / 10  # a tenth of the images between them


def test_values_are_those_of_floats():
    x = random_images(2)
    assert torch.equal(from_uint8(image_set(x, [0, 1], NAMES).__getitems__([0, 1])), x)
