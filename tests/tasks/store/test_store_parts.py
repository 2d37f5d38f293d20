"""Parts in the store: the first one stays, a damaged one is drawn anew."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from micro import random_images
from s3 import BUCKET, Network, config, damage, objects

from fgds_core.errors import InputError
from fgds_core.images.table import image_table
from fgds_core.synthesis.columns import synthetic_schema
from fgds_core.synthesis.finished import finished_part
from fgds_core.synthesis.plan import Part
from fgds_core.synthesis.record import PartRecord, write_synthetic_part
from tasks.store.bucket import Bucket
from tasks.store.config import StoreConfig
from tasks.store.parts import collect, fetch_part, offer, send_part, stored

NAMES = ("cat", "dog")
PART = Part(label=1, class_name="dog", index=1, first_index=4, num_images=2)
KEY = "runs/parts/f/01-dog/0000004-0000005"


@pytest.fixture
def store(network: Network) -> StoreConfig:
    return config(network.url)


def draw(out: Path, part: Part = PART, pixels: int = 0) -> PartRecord:
    """A part as `write_part` leaves it; other pixels stand for another device's rounding."""
    indices = list(range(part.first_index, part.first_index + part.num_images))
    columns = {
        "group": None,
        "prompt": "a dog",
        "conditioning_id": 5,
        "embedding_dropout": 0.4,
        "noise_level": 0,
        "guidance_scale": 2.0,
        "feedback": "none",
        "feedback_scale": 0.0,
        "criterion_first": None,
        "criterion_last": None,
        "criterion_final": None,
        "attempt": 0,
        "guided_steps": 0,
        "skipped_steps": 0,
        "nonfinite_steps": 0,
    }
    extra = {name: [value] * part.num_images for name, value in columns.items()}
    rows = image_table(
        random_images(part.num_images, seed=pixels),
        [part.label] * part.num_images,
        NAMES,
        {**extra, "seed": indices, "index": indices},
        schema=synthetic_schema(NAMES),
    )
    return write_synthetic_part(out, part.path, rows, "f")


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_part_comes_down_as_it_was(store: StoreConfig, s3: Any, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    record = draw(here)
    assert fetch_part(store, PART, "f", there) is None
    assert send_part(store, PART, record, here) == record
    assert sorted(objects(s3)) == [f"{KEY}.{record.sha256}.parquet", f"{KEY}.json"]
    assert fetch_part(store, PART, "f", there) == record
    assert files(there) == files(here)
    assert fetch_part(store, PART, "another", there) is None


def test_a_part_costs_few_requests(store: StoreConfig, network: Network, tmp_path: Path) -> None:
    record = draw(tmp_path)
    fetch_part(store, PART, "f", tmp_path)
    send_part(store, PART, record, tmp_path)
    assert [request.split()[0] for request in network.requests] == ["HEAD", "HEAD", "PUT", "PUT"]
    network.requests.clear()
    send_part(store, PART, record, tmp_path)
    assert [request.split()[0] for request in network.requests] == ["HEAD", "GET"]
    network.requests.clear()
    fetch_part(store, PART, "f", tmp_path / "there")
    assert [request.split()[0] for request in network.requests] == ["HEAD", "GET"] * 2


def test_the_record_is_written_last(
    store: StoreConfig, s3: Any, network: Network, tmp_path: Path
) -> None:
    record = draw(tmp_path)
    network.faults = ["none", "none", "500", "500", "500", "500"]
    with pytest.raises(InputError, match="InternalError"):
        send_part(store, PART, record, tmp_path)
    assert list(objects(s3)) == [f"{KEY}.{record.sha256}.parquet"]
    assert fetch_part(store, PART, "f", tmp_path / "there") is None
    assert send_part(store, PART, record, tmp_path) == record
    assert len(objects(s3)) == 2


def test_the_first_of_two_workers_stays(store: StoreConfig, s3: Any, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    first, second = draw(one), draw(other, pixels=1)
    assert first.sha256 != second.sha256
    send_part(store, PART, first, one)
    assert send_part(store, PART, second, other) == first
    assert files(other) == files(one)
    assert len(objects(s3)) == 2


def test_a_worker_that_is_faster_at_the_last_moment_stays(
    store: StoreConfig, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    first, second = draw(one), draw(other, pixels=1)
    put = Bucket.put
    sent: list[str] = []

    def overtaken(self: Any, path: Path, key: str, sha256: str) -> None:
        put(self, path, key, sha256)
        if not sent:
            sent.append(key)
            send_part(store, PART, first, one)

    monkeypatch.setattr(Bucket, "put", overtaken)
    assert send_part(store, PART, second, other) == first
    assert files(other) == files(one)


@pytest.mark.parametrize("data", [b"", b"cut", None])
@pytest.mark.parametrize("what", ["parquet", "json"])
def test_a_damaged_part_is_drawn_anew(
    store: StoreConfig, s3: Any, tmp_path: Path, data: bytes | None, what: str
) -> None:
    record = draw(tmp_path / "here")
    send_part(store, PART, record, tmp_path / "here")
    key = f"{KEY}.json" if what == "json" else f"{KEY}.{record.sha256}.parquet"
    if data is None:
        s3.delete_object(Bucket=BUCKET, Key=key)
    else:
        damage(s3, key, data)
    assert fetch_part(store, PART, "f", tmp_path / "there") is None
    assert files(tmp_path / "there") == {}
    assert f"{KEY}.json" not in objects(s3)

    assert send_part(store, PART, record, tmp_path / "here") == record
    assert fetch_part(store, PART, "f", tmp_path / "there") == record


@pytest.mark.parametrize("field", ["fingerprint", "num_rows", "sha256", "seeds"])
def test_a_record_of_something_else_is_not_believed(
    store: StoreConfig, s3: Any, tmp_path: Path, field: str
) -> None:
    record = draw(tmp_path / "here")
    send_part(store, PART, record, tmp_path / "here")
    value = json.loads(objects(s3)[f"{KEY}.json"])
    value[field] = {"num_rows": 3, "seeds": None}.get(field, "0" * 64)
    damage(s3, f"{KEY}.json", json.dumps(value).encode())
    assert fetch_part(store, PART, "f", tmp_path / "there") is None
    assert f"{KEY}.json" not in objects(s3)


def test_a_damaged_part_does_not_replace_a_good_one(
    store: StoreConfig, s3: Any, tmp_path: Path
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    first, second = draw(one), draw(other, pixels=1)
    send_part(store, PART, first, one)
    damage(s3, f"{KEY}.{first.sha256}.parquet", b"cut")
    good = files(other)
    assert send_part(store, PART, second, other) == second
    assert files(other) == good


def test_the_same_images_may_be_another_part_of_their_class(
    store: StoreConfig, tmp_path: Path
) -> None:
    send_part(store, PART, draw(tmp_path / "here"), tmp_path / "here")
    same = replace(PART, index=2)  # of two images each, not of four
    record = fetch_part(store, same, "f", tmp_path / "there")
    assert record == finished_part(same, "f", tmp_path / "there")
    assert record.path == "01-dog/part-00002.parquet"
    longer = replace(PART, num_images=4)
    assert fetch_part(store, longer, "f", tmp_path / "there") is None


def test_what_is_finished_here_is_offered_once(
    store: StoreConfig, network: Network, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    parts = [replace(PART, index=i, first_index=2 * i) for i in range(3)]
    records = [draw(here, part) for part in parts[:2]]
    offer(store, parts, "fff", here)
    assert sorted(stored(store, parts, "fff")) == [part.path for part in parts[:2]]
    network.requests.clear()
    offer(store, parts, "fff", here)
    assert [request for request in network.requests if not request.startswith("GET")] == []
    assert [fetch_part(store, part, "f", tmp_path / "there") for part in parts] == [*records, None]


def test_the_parts_of_all_workers_are_collected_once(
    store: StoreConfig, network: Network, tmp_path: Path
) -> None:
    flow = tmp_path / "flow"
    parts = [replace(PART, index=i, first_index=2 * i) for i in range(4)]
    records = []
    for part in parts:
        out = flow if part.index == 0 else tmp_path / f"worker-{part.index}"
        records.append(draw(out, part))
        send_part(store, part, records[-1], out)
    ago = time.time() - 60
    there = stored(store, [*parts, PART], "fffff")
    assert sorted(there) == [part.path for part in parts]
    assert all(ago < at < time.time() + 60 for at in there.values())
    assert list(collect(store, parts, "ffff", flow)) == records
    network.requests.clear()
    assert list(collect(store, parts, "ffff", flow)) == records
    assert network.requests == []
    with pytest.raises(
        InputError, match=r"01-dog/part-00009\.parquet was drawn, but is no longer"
    ):
        collect(store, [*parts, replace(PART, index=9, first_index=18)], "fffff", flow)
