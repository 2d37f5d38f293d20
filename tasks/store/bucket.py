"""A bucket whose objects appear whole or not at all, and are never overwritten.

Every object carries the sha256 of its bytes, and every write has the condition that there is no
such object yet. Requests are repeated by botocore, a bounded number of times with backoff.
"""

import io
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any, BinaryIO

from fgds_core.errors import InputError
from fgds_core.files import replacing, sha256_file
from tasks.store.config import StoreConfig
from tasks.store.faults import translate_errors

MULTIPART_BYTES = 16 * 2**20
"""Files from this size on go up and come down in pieces of it."""

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 30
MAX_CONNECTIONS = 32

FORMAT = '{"format": 1}\n'


class DamagedError(Exception):
    """An object has other bytes than were sent, or is not there."""


@dataclass(frozen=True)
class Bucket:
    """One bucket and the prefix of everything in it that is ours.

    Attributes:
        client: Of boto3.
        transfer: How large objects are cut.
        name: Of the bucket.
        prefix: Empty, or ends with a slash.
    """

    client: Any
    transfer: Any
    name: str
    prefix: str

    def check(self) -> None:
        """Lists and writes a little, before anything expensive relies on it.

        Raises:
            InputError: The bucket is out of reach, missing, or may not be used.
        """
        with translate_errors("list", self.address()):
            self.client.list_objects_v2(Bucket=self.name, Prefix=self.prefix, MaxKeys=1)
        self.write("store.json", FORMAT)

    def put(self, path: Path, key: str, sha256: str) -> None:
        """Puts a file whose digest belongs to the key; an object of other bytes makes way.

        Args:
            path: The file.
            key: Relative to the prefix; names these bytes and no others.
            sha256: Digest of the file.

        Raises:
            InputError: The store refuses it, or another process is at it.
        """
        for _ in range(2):
            with path.open("rb") as file:
                if self._create(key, file, sha256) or self._sha256(key) == sha256:
                    return
            self.discard(key)
        raise InputError(
            f"{self.address(key)} is being changed by another process; run again when it is done"
        )

    def write(self, key: str, text: str) -> bool:
        """Creates a small object; False if there was one, which stays."""
        data = text.encode()
        return self._create(key, io.BytesIO(data), sha256_of(data).hexdigest())

    def get(self, key: str, path: Path, sha256: str) -> None:
        """Brings an object down; the file appears only if it has the digest.

        Raises:
            DamagedError: The object is missing or has other bytes.
            InputError: The store or the disk refuses it.
        """
        with replacing(path) as temporary:
            with temporary.open("wb") as file:
                found = self._download(key, file)
            if not found or sha256_file(temporary) != sha256:
                raise DamagedError(f"{self.address(key)} is damaged")

    def read(self, key: str) -> str | None:
        """Reads a small object; None if it is not there.

        Raises:
            DamagedError: It is no text, or not what was sent.
        """
        file = io.BytesIO()
        if not self._download(key, file):
            return None
        try:
            return file.getvalue().decode()
        except UnicodeDecodeError as error:
            raise DamagedError(f"{self.address(key)} is damaged") from error

    def listing(self, prefix: str) -> dict[str, float]:
        """The objects below a prefix, and when each was written in seconds since 1970, by key."""
        pages = self.client.get_paginator("list_objects_v2")
        found = {}
        with translate_errors("list", self.address(prefix)):
            for page in pages.paginate(Bucket=self.name, Prefix=self.prefix + prefix):
                for item in page.get("Contents", ()):
                    found[item["Key"].removeprefix(self.prefix)] = item["LastModified"].timestamp()
        return found

    def discard(self, *keys: str) -> None:
        """Removes objects, such as damaged ones; those that are not there are no mistake."""
        for key in keys:
            with translate_errors("delete", self.address(key)):
                self.client.delete_object(Bucket=self.name, Key=self.prefix + key)

    def address(self, key: str = "") -> str:
        """Where an object lies, for messages."""
        return f"s3://{self.name}/{self.prefix}{key}"

    def _create(self, key: str, file: BinaryIO, sha256: str) -> bool:
        """Sends an object; False if there was one already."""
        from botocore.exceptions import ClientError

        with translate_errors("write", self.address(key)):
            try:
                self.client.upload_fileobj(
                    file,
                    self.name,
                    self.prefix + key,
                    ExtraArgs={"ChecksumAlgorithm": "SHA256", "Metadata": {"sha256": sha256}},
                    Config=self.transfer,
                )
            except ClientError as error:
                # 412: it exists; 409: another process is creating or deleting it right now
                if error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
                    return False
                raise
        return True

    def _download(self, key: str, file: BinaryIO) -> bool:
        """Receives an object; False if it is not there."""
        from botocore.exceptions import ClientError, FlexibleChecksumError

        with translate_errors("read", self.address(key)):
            try:
                self.client.download_fileobj(
                    self.name, self.prefix + key, file, Config=self.transfer
                )
            except FlexibleChecksumError as error:
                raise DamagedError(f"{self.address(key)} is damaged") from error
            except ClientError as error:
                if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                    return False
                raise
        return True

    def _sha256(self, key: str) -> str | None:
        """The digest an object was sent with; None if it is not there."""
        from botocore.exceptions import ClientError

        with translate_errors("read", self.address(key)):
            try:
                head = self.client.head_object(Bucket=self.name, Key=self.prefix + key)
            except ClientError as error:
                if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                    return None
                raise
        digest: str | None = head["Metadata"].get("sha256")
        return digest


def check_store(config: StoreConfig) -> None:
    """Refuses a store that cannot be used; does nothing where none is named.

    Raises:
        InputError: The bucket is out of reach, missing, or may not be used.
    """
    if config.url is not None:
        open_bucket(config).check()


@lru_cache(maxsize=4)
def open_bucket(config: StoreConfig) -> Bucket:
    """The bucket that the parameters name, under credentials that boto3 finds by itself.

    Raises:
        InputError: boto3's own settings are not right.
    """
    from boto3.s3.transfer import TransferConfig
    from boto3.session import Session
    from botocore.config import Config

    assert config.url is not None
    name, _, prefix = config.url.removeprefix("s3://").strip("/").partition("/")
    with translate_errors("open", config.url):
        client = Session().client(
            "s3",
            endpoint_url=config.endpoint_url,
            config=Config(
                retries={"mode": "standard", "total_max_attempts": config.max_attempts},
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=READ_TIMEOUT_S,
                max_pool_connections=MAX_CONNECTIONS,
            ),
        )
    for operation in ("PutObject", "CompleteMultipartUpload"):
        client.meta.events.register(f"provide-client-params.s3.{operation}", _never_overwrite)
    transfer = TransferConfig(
        multipart_threshold=MULTIPART_BYTES,
        multipart_chunksize=MULTIPART_BYTES,
        num_download_attempts=config.max_attempts,
        preferred_transfer_client="classic",  # the other one passes by our condition
    )
    return Bucket(client, transfer, name, f"{prefix}/" if prefix else "")


def _never_overwrite(params: dict[str, Any], **_: object) -> dict[str, Any]:
    return {"IfNoneMatch": "*", **params}
