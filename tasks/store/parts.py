"""Finished parts in the store, by fingerprint, class and range of images.

A part is an object named by its sha256 and a record, written last, that makes it count. The first
record stays: workers on other devices may draw the same images with other roundings, and all
workspaces shall end with the same bytes.
"""

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fgds_core.errors import InputError
from fgds_core.synthesis.finished import finished_part
from fgds_core.synthesis.plan import Part
from fgds_core.synthesis.record import PartRecord, part_record, write_sidecar
from fgds_core.synthesis.shards import remove_index
from tasks.store.bucket import Bucket, DamagedError, open_bucket
from tasks.store.config import StoreConfig

log = logging.getLogger(__name__)

DOWNLOADS = 8
"""Parts that go up or come down at the same time."""


def send_part(config: StoreConfig, part: Part, record: PartRecord, out: Path) -> PartRecord:
    """Sends a finished part unless the store has one, which then takes its place here.

    Args:
        config: Which store.
        part: The part.
        record: Of the part in `out`.
        out: Folder of the synthetic set.

    Returns:
        The record that counts, of the part that is now in `out`.

    Raises:
        InputError: The store refuses it.
    """
    bucket = open_bucket(config)
    name = _name(part, record.fingerprint)
    for _ in range(2):  # the second time after another worker was faster, or its part was damaged
        theirs = _record(bucket, part, record.fingerprint)
        if theirs is not None and theirs.sha256 == record.sha256:
            return record
        if theirs and (fetched := fetch_part(config, part, record.fingerprint, out)):
            return fetched
        bucket.put(out / record.path, _shard(name, record.sha256), record.sha256)
        if bucket.write(f"{name}.json", json.dumps(vars(record), sort_keys=True)):
            return record
    raise InputError(
        f"{bucket.address(name)} is being changed by another process; run again when it is done"
    )


def fetch_part(config: StoreConfig, part: Part, fingerprint: str, out: Path) -> PartRecord | None:
    """Brings a finished part down; one that is damaged in the store is removed there.

    Args:
        config: Which store.
        part: The part.
        fingerprint: Of everything that decides what it shows.
        out: Folder of the synthetic set.

    Returns:
        Its record; None if it has to be drawn.

    Raises:
        InputError: The store or the disk refuses it.
    """
    bucket = open_bucket(config)
    name = _name(part, fingerprint)
    record = _record(bucket, part, fingerprint)
    if record is None:
        return None
    remove_index(out)
    try:
        bucket.get(_shard(name, record.sha256), out / part.path, record.sha256)
    except DamagedError as error:
        log.warning("%s; it is removed and drawn anew", error)
        bucket.discard(f"{name}.json", _shard(name, record.sha256))
        return None
    write_sidecar(out, record)
    return finished_part(part, fingerprint, out)


def stored(
    config: StoreConfig, parts: Sequence[Part], fingerprints: Sequence[str]
) -> dict[str, float]:
    """Which parts the store lists, by path, and when each was finished in seconds since 1970.

    Their bytes are compared only when they come down. Without a store there are none.

    Raises:
        InputError: The store is out of reach.
    """
    if config.url is None:
        return {}
    bucket = open_bucket(config)
    prefixes = [f"parts/{fingerprint}/" for fingerprint in dict.fromkeys(fingerprints)]
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        times: dict[str, float] = {}
        for found in pool.map(bucket.listing, prefixes):
            times |= found
    keys = {
        part.path: f"{_name(part, fingerprint)}.json"
        for part, fingerprint in zip(parts, fingerprints, strict=True)
    }
    return {path: times[key] for path, key in keys.items() if key in times}


def offer(
    config: StoreConfig, parts: Sequence[Part], fingerprints: Sequence[str], out: Path
) -> None:
    """Sends the parts that are finished here and that the store lacks; workers look there.

    Raises:
        InputError: The store refuses one.
    """
    there = stored(config, parts, fingerprints)

    def one(part: Part, fingerprint: str) -> None:
        if part.path not in there and (record := finished_part(part, fingerprint, out)):
            send_part(config, part, record, out)

    with ThreadPoolExecutor(DOWNLOADS) as pool:
        list(pool.map(one, parts, fingerprints))


def collect(
    config: StoreConfig, parts: Sequence[Part], fingerprints: Sequence[str], out: Path
) -> tuple[PartRecord, ...]:
    """Brings down every part that this workspace lacks.

    Raises:
        InputError: A part is in neither place.
    """

    def one(part: Part, fingerprint: str) -> PartRecord:
        record = finished_part(part, fingerprint, out) or fetch_part(
            config, part, fingerprint, out
        )
        if record is None:
            raise InputError(
                f"{part.path} was drawn, but is no longer in {config.url}, or damaged there; run "
                "again: it is drawn anew, the others are kept"
            )
        return record

    with ThreadPoolExecutor(DOWNLOADS) as pool:
        return tuple(pool.map(one, parts, fingerprints))


def _record(bucket: Bucket, part: Part, fingerprint: str) -> PartRecord | None:
    """The record of a part in the store; one that is damaged is removed there."""
    key = f"{_name(part, fingerprint)}.json"
    try:
        text = bucket.read(key)
        if text is None:
            return None
        # The same images may be another part of the class where parts have another size.
        record = part_record({**json.loads(text), "path": part.path})
    except (DamagedError, ValueError, TypeError, KeyError):
        record = None
    wanted = (fingerprint, part.label, part.first_index, part.num_images)
    if record and wanted == (
        record.fingerprint,
        record.label,
        record.first_index,
        record.num_rows,
    ):
        return record
    log.warning("%s is damaged; it is removed and drawn anew", bucket.address(key))
    bucket.discard(key)
    return None


def _name(part: Part, fingerprint: str) -> str:
    """Of a part's objects, without suffix; the range stands for it, its number does not."""
    folder = part.path.split("/")[0]
    last = part.first_index + part.num_images - 1
    return f"parts/{fingerprint}/{folder}/{part.first_index:07d}-{last:07d}"


def _shard(name: str, sha256: str) -> str:
    return f"{name}.{sha256}.parquet"
