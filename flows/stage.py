"""The command line of a stage: reads the parameters, runs the flow, reports mistakes and times."""

import argparse
import errno
import inspect
import logging
import os
import signal
import sys
import tempfile
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from httpx import TransportError
from prefect import Flow
from prefect.exceptions import PrefectHTTPStatusError, TerminationSignal

from fgds_core.errors import InputError, UnfinishedError
from flows.inputs import check_inputs
from flows.params import PARAMS, SECTIONS, dump_params, keys, read_params
from flows.server import answers, use_server
from tasks.exclusive import exclusive
from tasks.timing import process_s, record_stage, work_s

STOPPED = "What is finished is kept; resume with `dvc repro`, or with the same command."

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

OUTPUT_FOLDERS = ("data", "models", "reports", ".runs")


@dataclass(frozen=True)
class Question:
    """What a stage's command answers from the files that are there, in place of running.

    Attributes:
        name: The option that asks it, without hyphens.
        help: What `--help` says of it.
        answer: Called with the stage's sections by name; prints.
    """

    name: str
    help: str
    answer: Callable[..., object]


def run_stage(flow: Flow[..., Any], description: str, *questions: Question) -> NoReturn:
    """Runs one stage as `python -m flows.<stage>` and exits.

    The exit status is 0, 2 after a mistake in the input, 1 after any other failure.

    Args:
        flow: Its parameters have the names of the sections it reads.
        description: What `--help` says first: what is made, how long it takes.
        questions: What the command answers beside; the last of those asked.
    """
    sections = sections_of(flow)
    options = parser(f"python -m flows.{flow.name}", description, sections)
    for question in questions:
        options.add_argument(f"--{question.name}", action="store_true", help=question.help)
    args = options.parse_args()
    asked = [question for question in questions if vars(args)[question.name]]
    params = _read(args, sections, None if asked else flow.name)
    if asked:
        sys.exit(exit_status(lambda: asked[-1].answer(**params)))
    import_module(f"tasks.{flow.name}")  # heavy, and the server may be starting meanwhile
    status = guarded(lambda: flow(**params))
    if not status:
        record_stage(flow.name, process_s(), work_s())
    _leave(status)


def run_pipeline(flow: Flow[..., Any], description: str) -> NoReturn:
    """Runs the flow of all stages as `python -m flows.synth_pipeline` and exits like a stage.

    Args:
        flow: Its one parameter is the path of the parameters.
        description: What `--help` says first.
    """
    args = parser("python -m flows.synth_pipeline", description, tuple(SECTIONS)).parse_args()
    _read(args, tuple(SECTIONS), flow.fn.__name__)
    _leave(guarded(lambda: flow(params=str(args.params))))


def sections_of(flow: Flow[..., Any]) -> tuple[str, ...]:
    """The sections of the parameters that a stage's flow reads: the names of its parameters."""
    return tuple(inspect.signature(flow.fn).parameters)


def guarded(run: Callable[[], object]) -> int:
    """Runs a flow once the workspace and the server are ready for it; see `exit_status`."""
    _keep_prefect_quiet()

    def checked() -> None:
        check_writable()
        with exclusive():
            use_server()
            run()

    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        return exit_status(checked)
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_status(run: Callable[[], object]) -> int:
    """Runs something; a mistake in the input is shown as its message, without a traceback.

    Returns:
        0, 2 after an `InputError`, 1 after an `UnfinishedError`, 128 and the signal's number when
        it was stopped.
    """
    try:
        run()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except UnfinishedError as error:
        print(f"unfinished: {error}", file=sys.stderr)
        return 1
    except (TransportError, PrefectHTTPStatusError) as error:
        print(f"unfinished: the Prefect server fails ({error}). {STOPPED}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        where = "" if error.filename is None else f" for {error.filename}"
        print(f"unfinished: {error.strerror}{where}; make room. {STOPPED}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, TerminationSignal) as error:
        print(f"stopped. {STOPPED}", file=sys.stderr)
        number = error.signal if isinstance(error, TerminationSignal) else signal.SIGINT
        return 128 + number
    return 0


def _leave(status: int) -> NoReturn:
    """Exits; at once if the server is gone, which Prefect would try for minutes to tell events."""
    if not answers():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _terminate(number: int, frame: object) -> NoReturn:
    raise TerminationSignal(number)


def check_writable(folders: tuple[str, ...] = OUTPUT_FOLDERS) -> None:
    """Refuses a workspace where outputs cannot be written, before anything expensive.

    Raises:
        InputError: A folder cannot be made or written to.
    """
    for folder in folders:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise InputError(
                f"cannot write to {Path(folder).resolve()}: {error.strerror}; the stages put "
                "their outputs there: correct its permissions, free space, or start elsewhere"
            ) from error


def parser(prog: str, description: str, sections: tuple[str, ...]) -> argparse.ArgumentParser:
    """A parser with the options all flows share; its help lists the keys of the sections."""
    lines = ["parameters:"]
    for section in sections:
        lines += [f"  {key.path}\n      {key.description}" for key in keys(section)]
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog="\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--params", type=Path, default=PARAMS, metavar="FILE", help="parameters (params.yaml)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="check and print the parameters, run nothing"
    )
    return parser


def _read(
    args: argparse.Namespace, sections: tuple[str, ...], stage: str | None
) -> Mapping[str, Any]:
    """The sections a flow wants; exits after a mistake in any section, and after a dry run.

    Args:
        args: From the command line.
        sections: The flow's.
        stage: What is to run, and whose inputs are checked therefore; None checks none.
    """
    try:
        everything = read_params(args.params)
        if stage is not None:
            check_inputs(everything, stage, dry=args.dry_run)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    params = {section: everything[section] for section in SECTIONS if section in sections}
    if args.dry_run:
        print(dump_params(params), end="")
        sys.exit(0)
    return params


class _Duplicates(logging.Filter):
    """Drops what the libraries say on the console about errors that the command reports."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, InputError | UnfinishedError | FloatingPointError):
            return False
        if error is not None and record.name.startswith("prefect.flow_runs"):
            return False  # Python shows the same traceback once more
        if isinstance(error, OSError | CancelledError) and record.name.startswith("distributed"):
            return False  # a scheduler that is gone
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return False
        return not record.getMessage().startswith(
            ("Finished in state Failed", "Service 'EventsWorker' failed")
        )


def _keep_prefect_quiet() -> None:
    for logger in (logging.getLogger(), logging.getLogger("prefect._internal")):
        for handler in logger.handlers:
            handler.addFilter(_Duplicates())
