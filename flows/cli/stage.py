"""The command line of a stage: reads the parameters, runs the flow, reports mistakes and times."""

import argparse
import errno
import logging
import os
import signal
import sys
import tempfile
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from httpx import TransportError
from prefect import Flow, tags
from prefect.exceptions import PrefectHTTPStatusError, TerminationSignal
from pydantic import BaseModel

from fgds_core.data.cells import names_group
from fgds_core.data.meta import META_NAME, read_meta
from fgds_core.errors import InputError, UnfinishedError
from fgds_core.generators.config import GeneratorConfig
from fgds_core.synthesis.config import SynthesizeConfig
from flows.cli.arguments import arguments_of, sections_of
from flows.cli.durations import with_time
from flows.cli.heartbeat import never_silent
from flows.cli.inputs import check_inputs
from flows.cli.keys import HelpFormatter, describe_keys
from flows.cli.naming import named, tags_of
from flows.cli.options import add_params, add_round
from flows.cli.params import PARAMS, SECTIONS, dump_params, read_params
from flows.cli.server import answers, use_server
from tasks.identity.cache import check_places
from tasks.watch.provenance import PROVENANCE, note_provenance
from tasks.watch.timing import TIMING, process_s, record_stage, work_counted
from tasks.workers.exclusive import exclusive
from tasks.workspace import FIRST, RUNS, Workspace

STOPPED = "What is finished is kept; resume with `dvc repro`, or with the same command."

STOPPED_EXPERIMENT = (
    "This was an experiment in the copy {folder}, and no other run resumes it; docs/experiments.md"
    " says how to finish or remove what is left there."
)

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

UP_TO_SYNTHESIZE = ("judge", "train_baseline", "train_control", "synthesize")
"""Stages that would train for nothing if there is nothing to draw."""

NOT_USABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EIO,
    errno.ESTALE,
)
"""What a file or folder can be to a program that is right; others are mistakes of ours."""

END_S = 60
"""How long a run may take to end after SIGTERM; then the system ends it."""

OUTPUT_FOLDERS = ("data", "models", "reports", str(RUNS))

OF_A_ROUND = ("synthesize", "assess", "retrain", "report")
"""Stages that each round has results of its own from."""


@dataclass(frozen=True)
class Question:
    """What a stage's command answers from the files that are there, in place of running.

    Attributes:
        name: The option that asks it, without hyphens.
        help: What `--help` says of it.
        answer: Called with the stage's sections by name, and the workspace; prints.
    """

    name: str
    help: str
    answer: Callable[[Mapping[str, Any], Workspace], object]


def run_stage(flow: Flow[..., Any], description: str | None, *questions: Question) -> NoReturn:
    """Runs one stage as `python -m flows.<stage>` and exits.

    The exit status is 0, 2 after a mistake in the input, 1 after any other failure.

    Args:
        flow: Its parameters are sections it reads, see `arguments_of`, and the workspace.
        description: What `--help` says first: what is made; how long it takes is added. None
            where Python was told to leave docstrings out.
        questions: What the command answers beside; the last of those asked.
    """
    sections = sections_of(flow)
    options = parser(f"python -m flows.{flow.name}", with_time(description, flow.name), sections)
    for question in questions:
        options.add_argument(f"--{question.name}", action="store_true", help=question.help)
    if flow.name in OF_A_ROUND:
        add_round(options)
    args = options.parse_args()
    workspace = Workspace(vars(args).get("round", 1))
    asked = [question for question in questions if vars(args)[question.name]]
    params = _read(args, sections, None if asked else flow.name)
    if asked:
        sys.exit(exit_status(lambda: asked[-1].answer(params, workspace), flow.name))
    print(f"{flow.name}: starting ...", file=sys.stderr, flush=True)

    def run() -> None:
        everything = read_params(args.params)
        synthesize, generator = everything["synthesize"], everything["generator"]
        check_wanted(flow.name, synthesize, generator, workspace)
        with tags(*tags_of(params)):
            named(flow)(**arguments_of(flow, params, workspace))

    with never_silent(flow.name), work_counted() as work:
        # Heavy, and the server may be starting meanwhile.
        status = exit_status(lambda: import_module(f"tasks.{flow.name}"))
        status = status or guarded(run, workspace)
    if not status:
        place = workspace.reports / TIMING.name
        record_stage(flow.name, process_s(), work.seconds, place, work.per_image_s)
        device = params["compute"].device if "compute" in params else None
        note_provenance(flow.name, device, workspace.reports / PROVENANCE.name)
    _leave(status)


def run_pipeline(flow: Flow[..., Any], description: str | None) -> NoReturn:
    """Runs the flow of all stages as `python -m flows.synth_pipeline` and exits like a stage.

    Args:
        flow: Its one parameter is the path of the parameters.
        description: What `--help` says first.
    """
    args = parser(
        "python -m flows.synth_pipeline", with_time(description), tuple(SECTIONS)
    ).parse_args()
    _read(args, tuple(SECTIONS), flow.fn.__name__)
    with never_silent("synth_pipeline"):
        status = guarded(lambda: flow(params=str(args.params)))
    _leave(status)


def guarded(run: Callable[[], object], workspace: Workspace = FIRST) -> int:
    """Runs a flow once the workspace and the server are ready for it; see `exit_status`."""
    _keep_prefect_quiet()

    def checked() -> None:
        check_writable()
        check_places(workspace.outputs)
        with exclusive():
            use_server()
            run()

    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        return exit_status(checked)
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_status(run: Callable[[], object], heard_as: str | None = None) -> int:
    """Runs something; a mistake in the input is shown as its message, without a traceback.

    Args:
        run: What is run.
        heard_as: What says now and then that it still works, see `never_silent`; None where
            something else does.

    Returns:
        0, 2 after an `InputError`, 1 after an `UnfinishedError`, 128 and the signal's number when
        it was stopped.
    """
    try:
        with nullcontext() if heard_as is None else never_silent(heard_as):
            run()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except UnfinishedError as error:
        print(f"unfinished: {error}", file=sys.stderr)
        return 1
    except (TransportError, PrefectHTTPStatusError) as error:
        print(f"unfinished: the Prefect server fails ({error}). {stopped()}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, TerminationSignal) as error:
        print(f"stopped. {stopped()}", file=sys.stderr)
        number = error.signal if isinstance(error, TerminationSignal) else signal.SIGINT
        return 128 + number
    except Exception as error:
        if not (reason := outside_reason(error)):
            raise
        print(f"unfinished: {reason}. {stopped()}", file=sys.stderr)
        return 1
    return 0


def stopped(folder: Path | None = None) -> str:
    """What is said of a run that ended early: where its work is, and how to resume."""
    folder = Path.cwd() if folder is None else folder
    if ".dvc/tmp/exps" in folder.as_posix():
        return STOPPED_EXPERIMENT.format(folder=folder)
    return STOPPED


def outside_reason(error: BaseException) -> str | None:
    """What outside of the program an error comes from, and what to do; None where it is ours."""
    if isinstance(error, OSError):
        where = "" if error.filename is None else f" for {error.filename}"
        if error.errno in DISK_FULL:
            return f"{error.strerror}{where}; make room"
        if error.errno == errno.EFBIG:
            return f"{error.strerror}{where}; raise the limit on the size of a file (`ulimit -f`)"
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return f"{error.strerror}; raise the limit on open files (`ulimit -n`)"
        if error.errno in NOT_USABLE and where:
            return f"{error.strerror}{where}; correct its permissions or what it is"
    text = str(error)
    if isinstance(error, RuntimeError) and text.startswith("DataLoader worker"):
        return (
            f"a process that reads images has died ({text.partition(chr(10))[0].strip()}), most"
            " likely for want of memory; use fewer (compute.loader_workers), or none (0)"
        )
    out_of_memory = isinstance(error, MemoryError) or any(
        sign in text
        for sign in (
            "out of memory",
            "can't allocate memory",
            "not enough memory",
            "Cannot allocate memory",
            "failed to map segment",
            "can't start new thread",
        )
    )
    if out_of_memory and isinstance(error, MemoryError | RuntimeError | ImportError | OSError):
        return (
            f"no memory is left ({text.partition(chr(10))[0][:200] or 'MemoryError'}); lower"
            " compute.batch_size, compute.micro_batch, compute.workers or"
            " train_baseline.batch_size, or raise the limit of this machine or shell"
        )
    return None


def _leave(status: int) -> NoReturn:
    """Exits; at once if the server is gone, which Prefect would try for minutes to tell events."""
    if not answers():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _terminate(number: int, frame: object) -> NoReturn:
    # A thread that imports a library cannot be interrupted, and the end would wait for it.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(END_S)
    signal.signal(number, signal.SIG_DFL)  # asked again, it ends at once
    raise TerminationSignal(number)


def check_wanted(
    stage: str, config: SynthesizeConfig, generator: GeneratorConfig, workspace: Workspace
) -> None:
    """Refuses data that nothing, or not what is asked for, could be added to.

    Before a network is trained on them.

    Args:
        stage: The one that is about to start.
        config: Says how many images each class or group shall have, and how conditioned.
        generator: Its prompts may name groups.
        workspace: Where the prepared images are.

    Raises:
        InputError: No class needs a synthetic image, one has no real image to condition on,
            there are fewer images than rounds, or the data have no groups.
    """
    if stage not in UP_TO_SYNTHESIZE or not (workspace.prepared / META_NAME).is_file():
        return
    from fgds_core.synthesis.plan import plan_of
    from fgds_core.synthesis.rounds import check_rounds

    meta = read_meta(workspace.prepared)
    check_rounds(plan_of(meta, config), config.rounds)
    if names_group(generator.prompts) and meta.groups is None:
        raise InputError(
            "generator.prompts: got {group}, but the data have no groups; leave it out, or name "
            "their groups in the section data"
        )


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


class _Parser(argparse.ArgumentParser):
    """Adds the keys of the sections to its help, when that is asked for."""

    sections: tuple[str, ...] = ()

    def format_help(self) -> str:
        try:
            values = read_params(PARAMS)
        except InputError:
            values = {}
        tree = {
            name: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
            for name, value in values.items()
        }
        return f"{super().format_help()}\n{describe_keys(self.sections, tree)}\n"


def parser(prog: str, description: str, sections: tuple[str, ...]) -> argparse.ArgumentParser:
    """A parser with the options all flows share; its help lists the keys of the sections."""
    parser = _Parser(
        prog=prog,
        description=description,
        formatter_class=HelpFormatter,
    )
    parser.sections = sections
    add_params(parser)
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
        if error is not None and outside_reason(error):
            return False
        return not record.getMessage().startswith(
            (
                *("Finished in state Failed", "Finished in state Crashed", "Crash detected!"),
                "Service 'EventsWorker' failed",
            )
        )


def _keep_prefect_quiet() -> None:
    for logger in (logging.getLogger(), logging.getLogger("prefect._internal")):
        for handler in logger.handlers:
            handler.addFilter(_Duplicates())
