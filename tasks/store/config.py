"""Where parts and inputs meet when the workers share no disk; nothing here changes a result."""

import re
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from fgds_core.section import Section

_CREDENTIALS = (
    "must hold no credentials; remove them: boto3 finds them in the environment, as docs/store.md"
    " says"
)


class StoreConfig(Section):
    """An S3 bucket. Part of no cache key, no fingerprint and of no stage's dependencies."""

    url: str | None = Field(
        description="s3://bucket/prefix for workers that share no disk; null: they share this"
        " folder"
    )
    endpoint_url: str | None = Field(
        description="http(s) address of an S3-compatible service; null is AWS, or what"
        " AWS_ENDPOINT_URL_S3 says"
    )
    max_attempts: int = Field(
        ge=1,
        le=100,
        description="times a request is sent before the store counts as out of reach; 1 never"
        " repeats",
    )

    @model_validator(mode="after")
    def _check_addresses(self) -> Self:
        # Of the model: a field's message would repeat the value, and a password with it.
        for key, value in (("url", self.url), ("endpoint_url", self.endpoint_url)):
            if value is not None and "@" in value:
                raise ValueError(f"{key} {_CREDENTIALS}")
        if self.url is not None and not _URL.fullmatch(self.url):
            raise ValueError(
                "url must look like s3://bucket/prefix: 3 to 63 lower-case letters, digits, dots"
                " and hyphens, then folders without spaces or query"
            )
        if self.endpoint_url is not None and not _is_endpoint(self.endpoint_url):
            raise ValueError(
                "endpoint_url must look like https://host or http://host:port: letters, digits,"
                " dots and hyphens, without folders or query"
            )
        return self


_URL = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()=-]+)*/?")

_HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?")


def _is_endpoint(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises for a port that is no number
    except ValueError:
        return False
    plain = not (parts.query or parts.fragment or parts.path.strip("/"))
    return parts.scheme in ("http", "https") and plain and bool(_HOST.fullmatch(parts.netloc))
