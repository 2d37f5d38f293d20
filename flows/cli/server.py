"""One Prefect server for a whole job, rather than one for each of its processes."""

import atexit
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from fgds_core.errors import InputError

START_TIMEOUT_S = 120.0
PR_SET_PDEATHSIG = 1
QUIET_S = 20.0
"""How long a start may take before a waiting process says so."""

STARTING = "FGDS_SERVER_STARTS"
"""Variable by which a job tells its processes that it has only just started their server."""

NAMED_TIMEOUT_S = 20.0
NAMED_QUIET_S = 2.0
"""The same for a server that somebody else runs, who may have named one that is gone."""


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
        InputError: The server does not start.
    """
    check_proxies()
    if url := os.environ.get("PREFECT_API_URL"):
        yield url
        return
    _check_home()
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
            try:
                _wait_until_healthy(url, server)
            except RuntimeError as error:
                raise InputError(
                    f"{error}; its files are in {_home()}, which PREFECT_HOME names"
                ) from None
        os.environ["PREFECT_API_URL"] = url
        os.environ[STARTING] = "1"
        yield url
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        os.environ.pop(STARTING, None)
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


def check_proxies() -> None:
    """Refuses proxies and certificates in the environment that no client can use.

    Raises:
        InputError: Names the variables; they may hold a password.
    """
    import httpx

    try:
        httpx.Client().close()
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        names = [name for name in os.environ if name.upper().endswith("_PROXY")]
        names = [name for name in names if name.upper() != "NO_PROXY"]
        why = "names a SOCKS proxy, for which the package socksio is missing"
        if not isinstance(error, ImportError):
            why = "is no http:// or https:// address"
        raise InputError(
            f"one of the variables {', '.join(sorted(names))} {why}; unset or correct it, or"
            " `pip install socksio`"
        ) from None
    except OSError as error:
        raise InputError(
            f"SSL_CERT_FILE or SSL_CERT_DIR names no certificates ({error.strerror or 'damaged'});"
            " unset or correct it"
        ) from None


def check_address(url: str) -> None:
    """Refuses an address of a server that is none.

    Raises:
        InputError: Does not repeat it: it may hold a password.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for a port that is no number
        whole = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        whole = False
    if not whole or not url.isprintable() or " " in url:
        raise InputError(
            "PREFECT_API_URL is no address such as http://127.0.0.1:4200/api; correct or unset it"
        )


def _check_home() -> None:
    """Refuses a folder in which the server cannot keep its database."""
    home = Path(_home())
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise InputError(
            f"cannot write to {home.resolve()}: {error.strerror}; the Prefect server keeps its"
            " database there: correct its permissions, or name another folder in PREFECT_HOME"
        ) from None


def _home() -> str:
    from prefect.settings import get_current_settings

    return str(get_current_settings().home)


def await_server(timeout_s: float | None = None) -> None:
    """Waits for the server that Prefect's settings name; returns at once where they name none.

    Args:
        timeout_s: How long; None is shorter for a server that was running before this job.

    Raises:
        InputError: No server answers there.
    """
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if url is None:
        return
    check_address(url)
    check_proxies()
    starts = STARTING in os.environ
    if timeout_s is None:
        timeout_s = START_TIMEOUT_S if starts else NAMED_TIMEOUT_S
    try:
        try:
            quiet_s = QUIET_S if starts else NAMED_QUIET_S
            _wait_until_healthy(url, timeout_s=min(timeout_s, quiet_s))
        except RuntimeError:
            print(f"waiting for the Prefect server at {_shown(url)} ...", file=sys.stderr)
            _wait_until_healthy(url, timeout_s=timeout_s)
    except RuntimeError as error:
        raise InputError(
            f"no Prefect server answers at {_shown(url)} ({error}); start one with `prefect server"
            " start`, correct PREFECT_API_URL, or unset it"
        ) from error


def answers(timeout_s: float = 5) -> bool:
    """Whether the server that Prefect's settings name is there; true where they name none."""
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    try:
        if url is not None:
            check_address(url)
            _wait_until_healthy(url, timeout_s=timeout_s)
    except InputError:  # there never was one
        return True
    except RuntimeError:
        return False
    return True


def _shown(url: str) -> str:
    """An address without user and password."""
    return re.sub(r"//\S*@", "//", url)


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
        except (URLError, OSError, HTTPException):
            time.sleep(0.2)
    raise RuntimeError(f"no answer within {timeout_s:.0f} s")
