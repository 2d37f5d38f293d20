"""One Prefect server for a whole job, rather than one for each of its processes."""

import atexit
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.error import URLError
from urllib.request import urlopen

from fgds_core.errors import InputError

START_TIMEOUT_S = 120.0
PR_SET_PDEATHSIG = 1
QUIET_S = 20.0
"""How long a start may take before a waiting process says so."""


@contextmanager
def prefect_server(*, wait: bool = True) -> Iterator[str]:
    """Starts a server on a free port of this machine and stops it at the end, come what may.

    Processes started meanwhile use it, through `PREFECT_API_URL`. Where that is set already, the
    server it names is used and left alone.

    Args:
        wait: Whether to wait until it answers; if not, each process does so with
            `await_server`, and the server starts beside their imports.

    Yields:
        The address of the server's API.

    Raises:
        RuntimeError: The server does not start.
    """
    if url := os.environ.get("PREFECT_API_URL"):
        yield url
        return
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "prefect", "server", "start", "--no-ui"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the job; the server stops after it
        preexec_fn=_end_with_parent,
        env={**os.environ, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"},
    )
    try:
        if wait:
            _wait_until_healthy(url, server)
        os.environ["PREFECT_API_URL"] = url
        yield url
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        server.terminate()
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def use_server() -> None:
    """Makes sure of a server: the one that Prefect's settings name, or one of this process's own.

    Prefect would start one by itself, but in this process's group, where Ctrl-C stops it before
    the flow can say how it ended. Its own one stops when the process ends, after Prefect has sent
    the last events.

    Raises:
        InputError: No server answers at the address in the settings.
    """
    from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

    if get_current_settings().api.url is not None:
        await_server()
        return
    until_the_end = ExitStack()
    atexit.register(until_the_end.close)
    url = until_the_end.enter_context(prefect_server())
    until_the_end.enter_context(temporary_settings({PREFECT_API_URL: url}))


def await_server(timeout_s: float = START_TIMEOUT_S) -> None:
    """Waits for the server that Prefect's settings name; returns at once where they name none.

    Raises:
        InputError: No server answers there.
    """
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if url is None:
        return
    try:
        try:
            _wait_until_healthy(url, timeout_s=min(timeout_s, QUIET_S))
        except RuntimeError:
            print(f"waiting for the Prefect server at {url} ...", file=sys.stderr)
            _wait_until_healthy(url, timeout_s=timeout_s)
    except RuntimeError as error:
        raise InputError(
            f"no Prefect server answers at {url} ({error}); start one with `prefect server"
            " start`, correct PREFECT_API_URL, or unset it"
        ) from error


def answers(timeout_s: float = 5) -> bool:
    """Whether the server that Prefect's settings name is there; true where they name none."""
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    try:
        if url is not None:
            _wait_until_healthy(url, timeout_s=timeout_s)
    except RuntimeError:
        return False
    return True


def _end_with_parent() -> None:
    """Has Linux stop this process when its parent dies, even of SIGKILL."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_until_healthy(
    url: str, server: "subprocess.Popen[bytes] | None" = None, timeout_s: float = START_TIMEOUT_S
) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if server is not None and server.poll() is not None:
            raise RuntimeError(
                f"the Prefect server stopped with status {server.returncode} while starting; "
                "`prefect server start` shows why"
            )
        try:
            with urlopen(f"{url}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"no answer within {timeout_s:.0f} s")
