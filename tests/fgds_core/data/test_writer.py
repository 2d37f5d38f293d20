"""Splits that are written while others are prepared."""

import threading

import pyarrow.parquet as pq
import pytest

from fgds_core.data import writer
from fgds_core.data.writer import SplitWriter
from fgds_core.errors import InputError
from fgds_core.files import sha256_file
from fgds_core.images.table import image_schema, image_table

NAMES = ("cat", "dog")
SCHEMA = image_schema(NAMES)


def table(number):
    return image_table([b"%d" % number], [number % 2], NAMES, schema=SCHEMA)


def test_every_split_has_its_tables_in_their_order(tmp_path):
    with SplitWriter(tmp_path, SCHEMA) as splits:
        records = {
            name: splits.write(name, map(table, range(number)))
            for name, number in (("train", 9), ("val", 0), ("test", 3))
        }
    for name, number in (("train", 9), ("val", 0), ("test", 3)):
        record, path = records[name].result(), tmp_path / f"{name}.parquet"
        assert (record.num_rows, record.sha256) == (number, sha256_file(path))
        images = pq.read_table(path)["image"].to_pylist()
        assert [image["bytes"] for image in images] == [b"%d" % i for i in range(number)]


def test_a_split_that_ends_holds_up_no_other(tmp_path, monkeypatch):
    goes_on = threading.Event()
    write = writer.write_image_batches

    def slow(path, schema, tables):
        record = write(path, schema, tables)
        if path.name == "train.parquet":
            assert goes_on.wait(30)
        return record

    monkeypatch.setattr(writer, "write_image_batches", slow)
    with SplitWriter(tmp_path, SCHEMA) as splits:
        first = splits.write("train", [table(0)])
        second = splits.write("val", [table(1)])
        assert second.result().num_rows == 1
        assert not first.done()
        goes_on.set()
    assert first.result().num_rows == 1


def test_an_error_of_the_disk_ends_the_work_at_once(tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "flush", full)
    taken = []
    with SplitWriter(tmp_path, SCHEMA) as splits, pytest.raises(InputError, match="No space left"):
        splits.write("train", (taken.append(i) or table(i) for i in range(1000)))
    assert len(taken) < 10
    assert not list(tmp_path.iterdir())


def test_a_mistake_in_the_images_ends_the_thread(tmp_path):
    def tables():
        yield table(0)
        raise InputError("a picture is wrong")

    with SplitWriter(tmp_path, SCHEMA) as splits, pytest.raises(InputError, match="is wrong"):
        splits.write("train", tables())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("split")]
