"""Variables and limits of the shell: they work, or one message says which is not right."""

import errno
import io
import os
import resource
import signal
import sys
import warnings
from pathlib import Path
from urllib.request import proxy_bypass

import pytest
from prefect.exceptions import TerminationSignal
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from fgds_core.errors import InputError
from flows.cli import environment
from flows.cli.environment import LOOPBACK, prepare, spare_loopback
from flows.cli.server import STARTING, answers, await_server, check_proxies, prefect_server
from flows.cli.stage import _terminate, exit_status, stopped

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"NO_PROXY": "localhost"},
        {"NO_PROXY": "corp.example", "no_proxy": " .example.org , 10.0.0.1"},
        {"no_proxy": "*"},
        {"NO_PROXY": ",,"},
    ],
    ids=str,
)
@pytest.mark.parametrize("proxy", PROXIES)
def test_no_proxy_stands_between_processes_of_this_machine(
    given: dict[str, str], proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx

    monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    spare_loopback()
    for host in LOOPBACK[:2]:
        assert proxy_bypass(host)
    for text in given.values():
        assert text.strip(" ,").split(" , ")[0] in os.environ["NO_PROXY"]
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"]
    with httpx.Client() as client:
        direct = client._transport_for_url(httpx.URL("http://127.0.0.1:4200/api"))
        proxied = client._transport_for_url(httpx.URL("http://example.com"))
    assert type(direct._pool).__name__ == "ConnectionPool"
    if "*" not in given.values() and not proxy.lower().startswith("https"):
        assert type(proxied._pool).__name__ == "HTTPProxy"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("socks4://user:HUSH@host", "is no http:// or https:// address"),
        ("ftp://HUSH", "is no http:// or https:// address"),
        ("http://HUSH:port", "is no http:// or https:// address"),
    ],
)
@pytest.mark.parametrize("name", ["ALL_PROXY", "https_proxy"])
def test_proxies_that_are_none(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"variables {name} {told}") as caught:
        check_proxies()
    assert "HUSH" not in str(caught.value)


def test_a_socks_proxy_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(InputError, match=r"ALL_PROXY names a SOCKS proxy.*pip install socksio"):
        check_proxies()


def test_certificates_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(InputError, match="SSL_CERT_FILE"):
        check_proxies()


@pytest.mark.parametrize(
    "url", ["garbage", "http://", "ftp://host/api", "http://user:HUSH@host:port/api", "http://a b"]
)
def test_an_address_of_a_server_that_is_none(url: str) -> None:
    with (
        temporary_settings({PREFECT_API_URL: url}),
        pytest.raises(InputError, match="PREFECT_API_URL is no address") as caught,
    ):
        await_server()
    assert "HUSH" not in str(caught.value)
    with temporary_settings({PREFECT_API_URL: url}):
        assert answers()  # nothing to wait for


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    with (
        temporary_settings({PREFECT_API_URL: "http://user:HUSH@127.0.0.1:9/api"}),
        pytest.raises(InputError, match=r"answers at http://127\.0\.0\.1:9/api") as caught,
    ):
        await_server(timeout_s=0.1)
    assert "HUSH" not in str(caught.value)


@pytest.mark.parametrize(("starting", "waited"), [(True, [20, 120]), (False, [2, 20])])
def test_only_a_server_that_starts_is_waited_for_long(
    monkeypatch: pytest.MonkeyPatch, starting: bool, waited: list[float]
) -> None:
    timeouts: list[float] = []

    def wait(url: str, *, timeout_s: float) -> None:
        timeouts.append(timeout_s)
        raise RuntimeError("no answer")

    monkeypatch.setattr("flows.cli.server._wait_until_healthy", wait)
    monkeypatch.delenv(STARTING, raising=False)
    if starting:
        monkeypatch.setenv(STARTING, "1")
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(InputError, match="no Prefect server answers"),
    ):
        await_server()
    assert timeouts == waited


def test_a_home_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with (
        temporary_settings({PREFECT_HOME: Path("/proc/none")}),
        pytest.raises(InputError, match=r"cannot write to /proc/none: .*PREFECT_HOME"),
        prefect_server(),
    ):
        pass


def test_settings_with_which_prefect_cannot_be_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from prefect.settings import Settings

    def imported(*_: object, **__: object) -> object:
        return Settings(logging={"level": "HUSH"})

    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "HUSH")
    monkeypatch.setattr("builtins.__import__", _raising(imported, __import__))
    with pytest.raises(SystemExit) as ended:
        environment._check_prefect()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "PREFECT_LOGGING_LEVEL" in said
    assert "HUSH" not in said


def _raising(fail, usual):
    def imported(name, *arguments, **options):
        return (fail if name == "prefect" else usual)(name, *arguments, **options)

    return imported


def test_too_little_address_space(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (3 * 10**9, -1))
    with pytest.raises(SystemExit) as ended:
        prepare()
    assert ended.value.code == 2
    assert "address space of a process to 3.0 GB" in capsys.readouterr().err


def test_names_beyond_ascii_are_written_as_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    environment._write_any_text()
    print("Schäferhund", flush=True)
    assert raw.getvalue() == b"Sch\\xe4ferhund\n"


def test_warnings_are_no_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "warnoptions", ["error"])
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    with warnings.catch_warnings():
        environment._warn_rather_than_fail()
        with warnings.catch_warnings(record=True) as caught:
            warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert len(caught) == 1
    assert os.environ["PYTHONWARNINGS"] == "default"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EACCES, "Permission denied", "flowers/a"), "denied for flowers/a; correct"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "model"), "directory for model"),
        (OSError(errno.ELOOP, "Too many levels", "flowers"), "levels for flowers"),
        (OSError(errno.EIO, "Input/output error", "flowers/b"), "error for flowers/b"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (OSError(errno.ENOSPC, "No space left on device"), "make room"),
        (OSError(errno.EFBIG, "File too large"), "ulimit -f"),
        (MemoryError(), "no memory is left"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "compute.batch_size"),
        (ImportError("libtorch.so: failed to map segment from shared object"), "no memory"),
        (RuntimeError("can't start new thread"), "no memory"),
    ],
    ids=str,
)
def test_what_comes_from_outside_is_a_message(
    error: Exception, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    assert exit_status(fail) == 1
    said = capsys.readouterr().err
    assert told in said
    assert "resume with" in said


@pytest.mark.parametrize(
    "error",
    [
        KeyError("name"),
        FileNotFoundError(errno.ENOENT, "No such file", "data/x"),
        OverflowError("too large"),
        RecursionError("maximum recursion depth exceeded"),
        UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid"),
        PermissionError(errno.EACCES, "Permission denied"),
    ],
    ids=repr,
)
def test_mistakes_of_ours_keep_their_traceback(error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        exit_status(fail)


def test_sigterm_ends_a_run_that_cannot_end_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    armed = []
    monkeypatch.setattr(signal, "alarm", armed.append)
    monkeypatch.setattr(signal, "signal", lambda number, action: armed.append((number, action)))
    with pytest.raises(TerminationSignal):
        _terminate(signal.SIGTERM, None)
    assert armed == [
        (signal.SIGALRM, signal.SIG_DFL),
        60,
        (signal.SIGTERM, signal.SIG_DFL),
    ]


def test_a_stopped_experiment_does_not_promise_to_resume() -> None:
    folder = Path("/fgds/.dvc/tmp/exps/standalone/tmpabc")
    assert "resumes" in stopped(folder)
    assert str(folder) in stopped(folder)
    assert "the same command" in stopped(Path("/fgds"))
