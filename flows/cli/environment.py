"""Makes the variables of the environment fit for the libraries that read them.

Runs before any of these libraries is imported. What it sets, the processes of the run inherit:
the Prefect server, workers, the stages that DVC starts.
"""

import contextlib
import io
import logging
import os
import resource
import sys
import warnings
from types import TracebackType
from typing import NoReturn

LOOPBACK = ("127.0.0.1", "localhost", "::1")


MIN_ADDRESS_SPACE = 8 * 10**9
"""Bytes; the libraries alone take 5 GB of addresses, of which most are never used."""


def prepare() -> None:
    """Sets what has to be set; exits with status 2 and a message where that does not help."""
    sys.excepthook = _one_line_when_stopped
    _check_address_space()
    os.environ.setdefault("DO_NOT_TRACK", "1")  # Prefect
    _log_where_it_is_read()
    if sys.stderr is not None and not sys.stderr.isatty():  # moving bars are unreadable in a log
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # diffusers and transformers
    spare_loopback()
    _write_any_text()
    _warn_rather_than_fail()
    if any(name.upper().startswith("PREFECT_") for name in os.environ):
        _check_prefect()


def _one_line_when_stopped(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """What ends a process is shown as ever, but for Ctrl-C: while libraries are imported, too."""
    if issubclass(kind, KeyboardInterrupt):
        print("stopped. What is finished is kept; the same command resumes.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _log_where_it_is_read() -> None:
    """Gives a run's page its log; on the console the stages show their progress themselves."""
    if "PREFECT_LOGGING_LEVEL" not in os.environ:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
    for name in ("fgds_core", "tasks", "flows"):
        logging.getLogger(name).setLevel(logging.INFO)


def _check_address_space() -> None:
    """Refuses a limit under which the libraries cannot be imported, or hang half imported."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < MIN_ADDRESS_SPACE:
        _leave(
            f"this shell limits the address space of a process to {limit / 1e9:.1f} GB, and the"
            f" libraries need {MIN_ADDRESS_SPACE / 1e9:.0f} GB, most of which is never used; raise"
            " it with `ulimit -v unlimited`"
        )


def spare_loopback() -> None:
    """Has no proxy stand between the processes of this machine; keeps the user's exceptions."""
    given = [os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY")]
    hosts = [host.strip() for text in given for host in text.split(",") if host.strip()]
    text = "*" if "*" in hosts else ",".join(dict.fromkeys([*hosts, *LOOPBACK]))
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = text  # some libraries read one only


def _write_any_text() -> None:
    """Writes what the terminal cannot show, such as a class's name in ASCII, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _warn_rather_than_fail() -> None:
    """Keeps warnings of the libraries from being errors, in this process and those it starts."""
    if any(option.startswith("error") for option in sys.warnoptions):
        warnings.simplefilter("default")
        os.environ["PYTHONWARNINGS"] = "default"


def _check_prefect() -> None:
    """Refuses settings with which Prefect cannot even be imported."""
    from pydantic import ValidationError

    said = io.StringIO()  # which may repeat the value of any variable
    try:
        with contextlib.redirect_stderr(said):
            from prefect import flow  # noqa: F401
        print(said.getvalue(), end="", file=sys.stderr)
    except ValidationError as error:
        names = sorted(name for name in os.environ if name.upper().startswith("PREFECT_"))
        reasons = [
            f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}"
            for mistake in error.errors(include_input=False, include_context=False)
            if mistake["type"] != "default_factory_not_called"
        ]
        _leave(
            f"Prefect's settings are not right: {'; '.join(reasons)}; correct or unset the"
            f" variable among {', '.join(names)}"
        )


def _leave(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)
