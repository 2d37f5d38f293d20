"""The store: whole objects, verified; faults are borne a bounded number of times, then told."""

import logging
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from boto3.session import Session
from micro import ROOT, set_params
from moto.core import enable_iam_authentication
from s3 import BUCKET, SECRET, Network, config, damage, objects

from fgds_core.errors import InputError
from fgds_core.files import sha256_file
from flows.cli.params import read_params
from tasks.identity.cache import content_digests
from tasks.store import bucket as buckets
from tasks.store.bucket import Bucket, DamagedError, open_bucket
from tasks.store.config import StoreConfig
from tasks.store.inputs import fetch, share

MANY = bytes(5 * 2**20) + b"and a second piece"


@pytest.fixture
def store(network: Network) -> Bucket:
    return open_bucket(config(network.url))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"some bytes")
    return path


def put(store: Bucket, path: Path, key: str = "key") -> str:
    sha256 = sha256_file(path)
    store.put(path, key, sha256)
    return sha256


@pytest.mark.parametrize("data", [b"", b"some bytes"])
def test_what_goes_up_comes_down(store: Bucket, s3: Any, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    sha256 = put(store, tmp_path / "file", "a/key")
    store.get("a/key", tmp_path / "new" / "file", sha256)
    assert (tmp_path / "new" / "file").read_bytes() == data
    assert set(store.listing("a/")) == {"a/key"}
    head = s3.head_object(Bucket=BUCKET, Key="runs/a/key", ChecksumMode="ENABLED")
    assert head["Metadata"]["sha256"] == sha256
    assert head["ChecksumSHA256"]


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file of two pieces."""
    monkeypatch.setattr(buckets, "MULTIPART_BYTES", 5 * 2**20)
    (tmp_path / "large").write_bytes(MANY)
    return tmp_path / "large"


def test_large_files_travel_in_pieces(
    in_pieces: Path, store: Bucket, network: Network, tmp_path: Path
) -> None:
    sha256 = put(store, in_pieces)
    assert sum("partNumber" in request for request in network.requests) == 2
    store.get("key", tmp_path / "down", sha256)
    assert (tmp_path / "down").read_bytes() == MANY
    assert sum(request.startswith("GET") for request in network.requests) == 2


def test_a_large_file_that_fails_leaves_nothing(
    in_pieces: Path, store: Bucket, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(params: dict[str, Any], **_: object) -> None:
        if params["PartNumber"] == 2:
            raise InputError("the power is gone")

    store.client.meta.events.register("provide-client-params.s3.UploadPart", failing)
    with pytest.raises(InputError, match="power"):
        put(store, in_pieces)
    assert objects(s3) == {}
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)


def test_nothing_is_overwritten(in_pieces: Path, store: Bucket, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="runs/key", Body=b"first")
    with in_pieces.open("rb") as file:
        assert not store._create("key", file, "0")
    assert store.write("text", "first")
    assert not store.write("text", "second")
    assert objects(s3) == {"runs/key": b"first", "runs/text": b"first"}


def test_what_lies_in_the_place_of_a_file_makes_way(store: Bucket, s3: Any, file: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key="runs/key", Body=b"rubbish")
    put(store, file)
    assert objects(s3) == {"runs/key": b"some bytes"}


def test_two_writers_of_the_same_file_agree(store: Bucket, s3: Any, file: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: put(store, file), range(8)))
    assert objects(s3) == {"runs/key": b"some bytes"}


@pytest.mark.parametrize("data", [b"", b"some byte", b"some bytez"])
def test_damage_is_noticed(
    store: Bucket, s3: Any, file: Path, tmp_path: Path, data: bytes
) -> None:
    sha256 = put(store, file)
    damage(s3, "runs/key", data)
    (tmp_path / "target").write_bytes(b"before")
    with pytest.raises(DamagedError, match="s3://shards/runs/key is damaged"):
        store.get("key", tmp_path / "target", sha256)
    assert (tmp_path / "target").read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "target"]


def test_what_is_missing_is_none_or_damaged(store: Bucket, tmp_path: Path) -> None:
    assert store.read("key") is None
    assert store.listing("key") == {}
    store.discard("key")
    with pytest.raises(DamagedError):
        store.get("key", tmp_path / "target", "0")
    assert not (tmp_path / "target").exists()


def test_more_than_a_page_is_listed(
    store: Bucket, s3: Any, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")
    for i in range(5):
        s3.put_object(Bucket=BUCKET, Key=f"runs/many/{i}")
    assert sorted(store.listing("many/")) == [f"many/{i}" for i in range(5)]
    assert len(network.requests) == 3


@pytest.mark.parametrize(
    "faults",
    [["500"], ["503", "503", "503"], ["drop"], ["lost"], ["lost", "503", "drop"], ["409"]],
)
def test_a_write_outlives_faults(
    store: Bucket, s3: Any, network: Network, file: Path, faults: list[str]
) -> None:
    network.faults = list(faults)
    put(store, file)
    assert network.faults == []
    assert objects(s3) == {"runs/key": b"some bytes"}


@pytest.mark.parametrize(
    "faults", [["500"], ["503", "drop", "503"], ["none", "cut"], ["none", "cut", "500"]]
)
def test_a_read_outlives_faults(
    store: Bucket, network: Network, file: Path, tmp_path: Path, faults: list[str]
) -> None:
    sha256 = put(store, file)
    network.faults = list(faults)
    store.get("key", tmp_path / "down", sha256)
    assert network.faults == []
    assert (tmp_path / "down").read_bytes() == b"some bytes"


@pytest.mark.parametrize("faults", [["503", "drop", "none", "lost", "503"], ["lost"] * 3])
def test_pieces_outlive_faults(
    in_pieces: Path, store: Bucket, s3: Any, network: Network, faults: list[str]
) -> None:
    network.faults = list(faults)
    put(store, in_pieces)
    assert objects(s3) == {"runs/key": MANY}


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("500", r"cannot write s3://shards/runs/key: 4 attempts failed \(InternalError\); run ag"),
        ("503", r"4 attempts failed \(SlowDown\)"),
        ("drop", r"does not answer \(ConnectionClosedError\); check the network"),
    ],
)
def test_endless_faults_of_a_write_end_in_one_message(
    store: Bucket, network: Network, file: Path, fault: str, told: str
) -> None:
    network.always = fault
    with pytest.raises(InputError, match=told):
        put(store, file)
    assert len(network.requests) == 4


def test_endless_faults_of_a_read_end_in_one_message(
    store: Bucket, network: Network, file: Path, tmp_path: Path
) -> None:
    sha256 = put(store, file)
    network.requests.clear()
    network.always = "cut"
    with pytest.raises(InputError, match=r"cannot read s3://shards/runs/key: the connection br"):
        store.get("key", tmp_path / "down", sha256)
    assert len(network.requests) <= 2 * 4
    assert not (tmp_path / "down").exists()


def test_an_endless_conflict_ends_in_one_message(
    store: Bucket, network: Network, file: Path
) -> None:
    network.always = "409"
    with pytest.raises(InputError):
        put(store, file)
    assert len(network.requests) <= 6


def test_the_check_is_cheap_and_leaves_one_small_object(
    store: Bucket, s3: Any, network: Network
) -> None:
    store.check()
    store.check()
    assert len(network.requests) == 4
    assert list(objects(s3)) == ["runs/store.json"]


def refusal(settings: StoreConfig) -> str:
    with pytest.raises(InputError) as caught:
        open_bucket(settings).check()
    assert SECRET not in str(caught.value)
    assert "testing" not in str(caught.value)
    return str(caught.value)


def test_a_missing_bucket(network: Network) -> None:
    told = refusal(config(network.url, bucket="no-such-bucket"))
    assert "cannot list s3://no-such-bucket/runs/: there is no such bucket (NoSuchBucket)" in told
    assert "create it, or correct store.url" in told


def test_credentials_that_are_not_accepted(network: Network) -> None:
    with enable_iam_authentication():
        told = refusal(config(network.url))
    assert "the credentials are not accepted (InvalidAccessKeyId)" in told
    assert "AWS_ACCESS_KEY_ID" in told


def test_credentials_that_may_do_nothing(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    iam = Session().client("iam", endpoint_url=network.url)
    iam.create_user(UserName="nobody")
    key = iam.create_access_key(UserName="nobody")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    with enable_iam_authentication():
        told = refusal(config(network.url))
    assert "access is denied (AccessDenied); allow these credentials s3:ListBucket" in told
    assert key["AccessKeyId"] not in told


def test_no_credentials(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "boto3 finds no credentials (NoCredentialsError); set" in refusal(config(network.url))
    assert network.requests == []


def test_a_profile_that_is_not_there(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "boto3 finds no credentials (ProfileNotFound)" in refusal(config(network.url))


def test_a_service_that_is_not_there(s3: Any) -> None:
    told = refusal(config("http://127.0.0.1:9"))
    assert "the service does not answer (EndpointConnectionError); check the network" in told
    told = refusal(config("http://no-such-host.invalid"))
    assert "the service does not answer (EndpointConnectionError)" in told


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("400", "another region (AuthorizationHeaderMalformed); set AWS_DEFAULT_REGION"),
        ("501", "lacks conditional writes"),
    ],
)
def test_other_refusals_say_what_to_do(network: Network, fault: str, told: str) -> None:
    network.always = fault
    assert told in refusal(config(network.url))


def test_credentials_are_in_no_log_and_no_record(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        settings = config(network.url)
        shared = share(settings, {})
    assert SECRET.encode() not in pickle.dumps(shared)
    assert SECRET not in caplog.text + repr(shared) + settings.model_dump_json()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"url": "s3://key:hidden@bucket/x"}, "url: must hold no credentials"),
        ({"url": "s3://key:hid/hidden@bucket/x"}, "url: must hold no credentials"),
        ({"endpoint_url": "https://key:hidden@host"}, "endpoint_url: must hold no credentials"),
        ({"url": "s3://key:hidden"}, "url must look like"),
        ({"url": "https://hidden/x"}, "url must look like"),
        ({"url": "s3://Bucket_hidden"}, "url must look like"),
        ({"url": "s3://bucket/a?hidden=1"}, "url must look like"),
        ({"endpoint_url": "localhost:9000/hidden"}, "endpoint_url must look like"),
        ({"endpoint_url": "http://hidden_host:9000"}, "endpoint_url must look like"),
        ({"endpoint_url": "http://host:hidden"}, "endpoint_url must look like"),
        ({"endpoint_url": "http://host/?X-Amz-Signature=hidden"}, "endpoint_url: must hold no"),
        ({"endpoint_url": "http://host/?hidden"}, "endpoint_url must look like"),
    ],
)
def test_addresses_are_checked_and_not_repeated(
    tmp_path: Path, changes: dict[str, str], told: str
) -> None:
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    set_params(tmp_path, {"store": {"url": "s3://bucket/prefix", **changes}})
    with pytest.raises(InputError, match=told) as caught:
        read_params(tmp_path / "params.yaml")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "s3://my.bucket-1/a/b_c/"])
def test_addresses_that_are_right(url: str) -> None:
    settings = StoreConfig(url=url, endpoint_url="https://host:9000/", max_attempts=1)
    store = open_bucket(settings)
    assert not store.prefix.startswith("/")
    assert store.address().startswith(f"s3://{store.name}/")


def write_inputs(folder: Path) -> dict[str, str]:
    for name, text in {
        "data/prepared/train.parquet": "images",
        "data/prepared/meta.json": "{}",
        "models/baseline/model.safetensors": "weights",
        "assets/generator/unet/config.json": "{}",
        "assets/generator/unet-lora/config.json": "{}",  # before or after, as one sorts
        "assets/generator/unet.json": "{}",
        "assets/card.json": "alone",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return content_digests("data/prepared", "models/baseline", "assets/generator") | {
        **content_digests("assets/card.json"),
        "owner/on-the-hub": "commit",
    }


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Goes to another workspace."""

    def go(name: str) -> Path:
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        return tmp_path / name

    return go


def test_inputs_are_sent_once_and_brought_where_they_lack(
    s3: Any, network: Network, elsewhere: Callable[[str], Path]
) -> None:
    digests = write_inputs(elsewhere("flow"))
    settings = config(network.url)
    shared = share(settings, digests)
    assert [path for path, _ in shared.inputs] == sorted(set(digests) - {"owner/on-the-hub"})
    network.requests.clear()
    assert share(settings, digests) == shared
    assert not any(r.startswith("PUT") and "inputs" in r for r in network.requests)

    worker = elsewhere("worker")
    (worker / "data" / "prepared").mkdir(parents=True)
    (worker / "data" / "prepared" / "old.parquet").write_text("of an earlier run")
    fetch(shared)
    assert content_digests(*dict(shared.inputs)) == dict(shared.inputs)
    network.requests.clear()
    fetch(shared)
    assert network.requests == []
    assert list(worker.rglob("*.part")) == []


def test_a_users_own_files_are_not_replaced(
    network: Network, elsewhere: Callable[[str], Path]
) -> None:
    shared = share(config(network.url), write_inputs(elsewhere("flow")))
    worker = elsewhere("worker")
    (worker / "assets" / "generator").mkdir(parents=True)
    (worker / "assets" / "generator" / "mine").write_text("")
    with pytest.raises(InputError, match="generator on this worker is not what the run began"):
        fetch(shared)


@pytest.mark.parametrize("damaged", ["train.parquet", ".json"])
def test_damaged_inputs_are_told_and_sent_anew(
    s3: Any, network: Network, elsewhere: Callable[[str], Path], damaged: str
) -> None:
    digests = write_inputs(elsewhere("flow"))
    settings = config(network.url)
    shared = share(settings, digests)
    digest = digests["data/prepared"]
    (key,) = (
        key
        for key in objects(s3)
        if digest in key
        and (key.endswith(f"{digest}.json") or damaged != ".json")
        and key.endswith(damaged)
    )
    damage(s3, key, objects(s3)[key][:-1] + b"?")
    elsewhere("worker")
    with pytest.raises(InputError, match=r"data/prepared cannot be brought.*run synthesize"):
        fetch(shared)
    assert not Path("data/prepared").exists()

    elsewhere("flow")
    shared = share(settings, digests)
    elsewhere("worker")
    fetch(shared)
    assert content_digests("data/prepared")["data/prepared"] == digest


def test_a_run_whose_inputs_were_removed_says_so(
    s3: Any, network: Network, elsewhere: Callable[[str], Path]
) -> None:
    shared = share(config(network.url), write_inputs(elsewhere("flow")))
    elsewhere("worker")
    with pytest.raises(InputError, match="is damaged or missing"):
        fetch(replace(shared, inputs=(("data/prepared", "0" * 64),)))
