"""An S3 service on loopback, and a network in front of it that fails as it is told."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

import boto3

from tasks.store.config import StoreConfig

BUCKET = "shards"
SECRET = "wJalrXUtnFEMI/not-a-real-secret"

_ERRORS = {
    "500": (500, "InternalError"),
    "503": (503, "SlowDown"),
    "403": (403, "InvalidAccessKeyId"),
    "400": (400, "AuthorizationHeaderMalformed"),
    "409": (409, "ConditionalRequestConflict"),
    "501": (501, "NotImplemented"),
}


class Network(ThreadingHTTPServer):
    """Forwards requests to a service, but spoils those that it has a fault for.

    Attributes:
        faults: One for each of the next requests: an HTTP status, `drop` (the connection closes
            without an answer), `cut` (it closes in the middle of the answer), `lost` (it closes
            after the service has done what was asked) or `none`.
        always: A fault of every request, or None.
        requests: Method and path of each request so far.
    """

    daemon_threads = True

    def __init__(self, service: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.service = service
        self.faults: list[str] = []
        self.always: str | None = None
        self.requests: list[str] = []
        self.lock = Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_fault(self, request: str) -> str | None:
        with self.lock:
            self.requests.append(request)
            return self.faults.pop(0) if self.faults else self.always

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # connections that break are what this is for


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Network

    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.next_fault(f"{self.command} {self.path}")
        if fault in _ERRORS:
            status, code = _ERRORS[fault]
            text = f"<Error><Code>{code}</Code><Message>as told</Message></Error>".encode()
            self.answer(status, [("Content-Type", "application/xml")], text, len(text))
        elif fault == "drop":
            self.close_connection = True
        else:
            connection = http.client.HTTPConnection(self.server.service)
            headers = {k: v for k, v in self.headers.items() if k.lower() != "expect"}
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            data = response.read()
            length = len(data) or int(response.headers.get("Content-Length", 0))
            kept = [
                (name, value)
                for name, value in response.getheaders()
                if name.lower() not in ("content-length", "connection", "transfer-encoding")
            ]
            if fault == "lost":
                self.close_connection = True
                return
            if fault == "cut":
                data = data[: len(data) // 2]
                self.close_connection = True
            self.answer(response.status, kept, data, length)
            connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward

    def answer(
        self, status: int, headers: list[tuple[str, str]], data: bytes, length: int
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def network(service: str) -> Iterator[Network]:
    """A network in front of `host:port`."""
    with Network(service) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def config(endpoint_url: str | None, bucket: str = BUCKET, max_attempts: int = 4) -> StoreConfig:
    """The section `store` for a bucket of the service."""
    return StoreConfig(
        url=f"s3://{bucket}/runs", endpoint_url=endpoint_url, max_attempts=max_attempts
    )


def objects(client: Any, bucket: str = BUCKET) -> dict[str, bytes]:
    """What the service holds, by key."""
    found = client.list_objects_v2(Bucket=bucket).get("Contents", [])
    return {
        item["Key"]: client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
        for item in found
    }


def damage(client: Any, key: str, data: bytes) -> None:
    """Puts other bytes in an object's place, under the digest of the old ones."""
    metadata = client.head_object(Bucket=BUCKET, Key=key)["Metadata"]
    client.put_object(Bucket=BUCKET, Key=key, Body=data, Metadata=metadata)


def client(endpoint_url: str) -> Any:
    """A plain client, which knows nothing of our conditions."""
    return boto3.session.Session().client("s3", endpoint_url=endpoint_url)
