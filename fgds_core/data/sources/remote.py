"""Raw images in a bucket: names, sizes and tables are brought, pictures are read where they lie.

While a run lasts, a folder of this machine stands for the bucket. Tables and lists in it are
copies, pictures are files of the right size without content. So whatever a source finds out from
names and sizes it finds out in the same way, and no picture takes room on this machine.
Credentials and service are those of the environment, as for all tools of AWS.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fgds_core.errors import InputError
from fgds_core.files import PATH_MOST, brief, is_remote

_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 30
_ATTEMPTS = 4

_NOT_BROUGHT = frozenset([".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"])
"""Archives, which no source reads."""


def bring(root: str, folder: Path, pictures: frozenset[str]) -> dict[str, str]:
    """Makes a folder that stands for a place in a bucket.

    Args:
        root: Such as s3://bucket/flowers.
        folder: An empty folder.
        pictures: How the names of files end that are not brought.

    Returns:
        Entity tag and size of each object, by its name below the root.

    Raises:
        InputError: The bucket is missing, empty, out of reach or may not be read, or an object has
            a name that no file can have.
    """
    with _told(root):
        system, base = _system(root)
        found = system.find(base, detail=True)
    tags, sources, copies = {}, [], []
    for key, its in sorted(found.items()):
        name = key.removeprefix(base).removeprefix("/")
        if its["type"] != "file" or not name or name.endswith("/"):  # stands for a folder
            continue
        path = folder / name
        if {"", ".", ".."} & set(name.split("/")) or not name.isprintable():
            raise InputError(
                f"data.root: {brief(f'{root}/{name}', PATH_MOST)} is no name of a file; rename it"
            )
        tags[name] = f"{its.get('ETag', '')} {its['size']}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix.lower() in pictures | _NOT_BROUGHT:
                path.touch()
                os.truncate(path, its["size"])
            else:
                sources.append(key)
                copies.append(path)
        except OSError as error:
            raise InputError(
                f"data.root: {brief(f'{root}/{name}', PATH_MOST)} has no place on this machine "
                f"({error.strerror}); rename it, or make room in {folder}"
            ) from error
    if not tags:
        raise InputError(f"data.root: there is nothing below {root}; correct it")
    with _told(root):
        for key, path in zip(sources, copies, strict=True):
            system.get_file(key, str(path))
    return tags


def digest_of(tags: Mapping[str, str], names: Iterable[str]) -> str:
    """Digest of the names and entity tags of objects, in the order of the names."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{tags[name]}  {name}\n".encode())
    return digest.hexdigest()


def read_objects(addresses: Sequence[str], most: int) -> list[bytes | InputError]:
    """The bytes of objects, all of them asked for at a time; what is wrong with one in its place.

    Args:
        addresses: Such as s3://bucket/flowers/rose/1.jpg.
        most: Of a larger one so many bytes and one are read.
    """
    if not addresses:
        return []
    system, _ = _system(addresses[0])
    keys = [address.removeprefix("s3://") for address in addresses]
    zeros, ends = [0] * len(keys), [most + 1] * len(keys)
    found = system.cat_ranges(keys, zeros, ends, on_error="return")
    return [
        content if isinstance(content, bytes) else InputError(f"cannot be read ({_why(content)})")
        for content in found
    ]


def _system(address: str) -> tuple[Any, str]:
    """The file system of a bucket, and the path of an address in it."""
    from fsspec.core import url_to_fs

    assert is_remote(address)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    system, path = url_to_fs(
        address,
        use_listings_cache=False,
        endpoint_url=endpoint or None,
        config_kwargs={
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "read_timeout": _READ_TIMEOUT_S,
            "retries": {"total_max_attempts": _ATTEMPTS, "mode": "standard"},
        },
    )
    return system, str(path).rstrip("/")


@contextmanager
def _told(root: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(
            f"data.root: there is no bucket or nothing below {root}; correct it"
        ) from error
    except Exception as error:  # of the network, the service or the credentials
        refused = isinstance(error, PermissionError) or "Credential" in type(error).__name__
        remedy = (
            "give credentials that may list and read it: AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the machine's role"
            if refused
            else "correct the network or AWS_ENDPOINT_URL, and run again"
        )
        raise InputError(f"data.root: {root} cannot be read ({_why(error)}); {remedy}") from error


def _why(error: BaseException) -> str:
    return brief(str(error) or type(error).__name__, 200)
