"""What every worker needs to draw: prepared data, baseline and generator.

An input lies at `inputs/<digest>/`, its list of files at `inputs/<digest>.json`, written last.
The digest is that of the cache keys, so an input is sent once, whichever runs need it.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock

from fgds_core.errors import InputError
from fgds_core.files import relative_to
from tasks.identity.cache import combined, content_digests, written
from tasks.store.bucket import Bucket, DamagedError, open_bucket
from tasks.store.config import StoreConfig
from tasks.workspace import FIRST, RUNS, Workspace

LOCK = RUNS / "inputs.lock"
"""Held by the process that brings inputs into the workspace."""


@dataclass(frozen=True)
class Shared:
    """What a task is told of the store; in no cache key.

    Attributes:
        config: Which store.
        inputs: Path in the workspace and content digest of each input that lies there.
    """

    config: StoreConfig
    inputs: tuple[tuple[str, str], ...]


def share(config: StoreConfig, digests: Mapping[str, str]) -> Shared | None:
    """Checks the store and puts the inputs there that it lacks.

    Args:
        config: Which store.
        digests: Content digests by path; what is no path here is on a hub, where workers find it.

    Returns:
        What to tell the tasks; None without a store.

    Raises:
        InputError: The store cannot be used.
    """
    if config.url is None:
        return None
    bucket = open_bucket(config)
    bucket.check()
    inputs = tuple((path, sha) for path, sha in sorted(digests.items()) if Path(path).exists())
    for path, digest in inputs:
        _send(bucket, path, digest)
    return Shared(config, inputs)


def fetch(shared: Shared, workspace: Workspace = FIRST) -> None:
    """Brings the inputs into this workspace whose content here is another.

    Args:
        shared: From the flow.
        workspace: What stages have made there gives way to that of the run; the rest is the user's
            own.

    Raises:
        InputError: One is not in the store, is damaged there, or the user's own differs here.
    """
    made_here = (workspace.prepared, *workspace.guides("both"))
    for path, digest in shared.inputs:
        if Path(path).exists() and content_digests(path)[path] == digest:
            continue
        LOCK.parent.mkdir(exist_ok=True)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with FileLock(LOCK):  # of the processes that share a folder, one brings it
            if not Path(path).exists() or (
                Path(path) in made_here and content_digests(path)[path] != digest
            ):
                _fetch(open_bucket(shared.config), path, digest)
            elif content_digests(path)[path] != digest:
                raise InputError(
                    f"{Path(path).resolve()} on this worker is not what the run began with; "
                    "remove it, and it is brought from the store"
                )


def _send(bucket: Bucket, path: str, digest: str) -> None:
    if bucket.read(_manifest(digest)) is not None:
        return
    files = {file.path: file.sha256 for file in written(path).files}
    for name, sha256 in files.items():
        bucket.put(Path(name), _key(path, digest, name), sha256)
    bucket.write(_manifest(digest), json.dumps(files))  # in the order of the digest


def _fetch(bucket: Bucket, path: str, digest: str) -> None:
    target = Path(path)
    # Beside the target first, so that what appears is whole
    with TemporaryDirectory(prefix=f"{target.name}-", suffix=".part", dir=target.parent) as folder:
        files = _download(bucket, path, digest, Path(folder))
        if not target.exists():
            os.rename(Path(folder, target.name), target)
            return
        for old in (file for file in target.rglob("*") if file.is_file()):
            if old.as_posix() not in files:
                old.unlink(missing_ok=True)
        for name in files:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(Path(folder, relative_to(Path(name), target.parent)), name)


def _download(bucket: Bucket, path: str, digest: str, folder: Path) -> dict[str, str]:
    """Brings the files of an input into a folder; returns their digests by path."""
    try:
        files: dict[str, str] = json.loads(bucket.read(_manifest(digest)) or "{}")
        if combined(files) != digest:
            raise DamagedError(f"the list of files of {path} is damaged or missing")
        for name, sha256 in files.items():
            key = _key(path, digest, name)
            bucket.get(key, folder / relative_to(Path(name), Path(path).parent), sha256)
    except (DamagedError, ValueError) as error:
        bucket.discard(_manifest(digest), *bucket.listing(f"inputs/{digest}/"))
        raise InputError(
            f"{path} cannot be brought from the store: {error}; it was removed there: run "
            "synthesize again, which puts it there anew"
        ) from error
    return files


def _manifest(digest: str) -> str:
    return f"inputs/{digest}.json"


def _key(path: str, digest: str, name: str) -> str:
    return f"inputs/{digest}/{relative_to(Path(name), Path(path).parent)}"
