"""Starts the other processes of a training, and ends them with it, however it ends."""

import multiprocessing
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

import torch

from fgds_core.classify.run import TrainingRun
from fgds_core.classify.team import Team
from fgds_core.errors import InputError
from fgds_core.processes import serve

LONGER_THAN_ANY_STEP = timedelta(days=30)
"""How long a process waits for another, which may be validating; one that dies is seen."""

GRACE_S = 10.0
"""How long the leader may take to see itself that another process has died."""


class Train(Protocol):
    """A training, of which all processes take the same steps."""

    def __call__(self, *, run: TrainingRun) -> object:
        """Trains as `run` says."""


@contextmanager
def together(train: Train, run: TrainingRun) -> Iterator[TrainingRun]:
    """Has other processes take part in a training that is done inside.

    Args:
        train: What all of them do; it can be pickled.
        run: How the training runs, and by how many processes.

    Yields:
        How the training runs in this process.

    Raises:
        InputError: Another process was killed or failed.
    """
    processes = run.processes
    if processes == 1:
        yield run
        return
    context = multiprocessing.get_context("forkserver")  # this process has threads
    context.set_forkserver_preload(["fgds_core.classify.train"])  # imported once for all
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ends:
        meeting, ears = Path(folder) / "meeting", []
        for rank in range(1, processes):
            ear, mouth = context.Pipe(duplex=False)
            team = Team(rank, processes, _device(run, rank))
            process = context.Process(
                target=_follow, args=(train, _quiet(run, team), meeting, mouth), daemon=True
            )
            process.start()
            ends.callback(_end, process)
            mouth.close()
            ears.append(ear)
        watch = _Watch(ears, may_be_stuck=torch.device(run.device).type != "cpu")
        watch.start()
        ends.callback(watch.over.set)
        try:
            with _joined(team := Team(0, processes, run.device), meeting):
                yield replace(run, team=team)
        except RuntimeError as error:
            if watch.seen.wait(GRACE_S):
                raise watch.lost from error
            raise


def _end(process: BaseProcess) -> None:
    process.kill()
    process.join()


def _device(run: TrainingRun, rank: int) -> str | torch.device:
    """The device of a process: each has a GPU of its own, on a CPU all have the same."""
    kind = torch.device(run.device).type
    return run.device if kind == "cpu" else f"{kind}:{rank}"


def _quiet(run: TrainingRun, team: Team) -> TrainingRun:
    """How a training runs in a process that is not its own: it reads the checkpoint, no more."""
    checkpoint = run.checkpoint
    if checkpoint is not None:
        checkpoint = replace(checkpoint, every_s=float("inf"))
    return TrainingRun(
        device=team.device,
        checkpoint=checkpoint,
        compile=run.compile,
        channels_last=run.channels_last,
        team=team,
    )


def _follow(train: Train, run: TrainingRun, meeting: Path, mouth: Connection) -> None:
    """What another process does; at its end it says None, or what went wrong."""
    serve()
    if torch.device(run.device).type == "cuda":
        torch.cuda.set_device(run.device)
    else:
        torch.set_num_threads(max(1, torch.get_num_threads() // run.team.size))
    try:
        with _joined(run.team, meeting):
            train(run=run)
    except InputError as error:
        mouth.send(error)
    except Exception as error:
        mouth.send(_failed(f"failed ({type(error).__name__}: {error})"))
    else:
        mouth.send(None)


def _failed(how: str) -> InputError:
    return InputError(
        f"a process of the training {how}; run again, with fewer of them "
        "(compute.training_processes) if it repeats itself: it goes on from its checkpoint"
    )


@contextmanager
def _joined(team: Team, meeting: Path) -> Iterator[None]:
    """Makes this process one of its team while what is inside is done."""
    from torch import distributed

    on_cpu = torch.device(team.device).type == "cpu"
    with _on_loopback():
        distributed.init_process_group(
            "gloo" if on_cpu else "cpu:gloo,cuda:nccl",
            init_method=meeting.as_uri(),
            rank=team.rank,
            world_size=team.size,
            timeout=LONGER_THAN_ANY_STEP,
        )
    try:
        yield
        team.tell(None)  # nobody leaves before the leader
    finally:
        distributed.destroy_process_group()


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Has gloo, which asks nobody for a password, listen on this machine alone."""
    name = "GLOO_SOCKET_IFNAME"
    loopback = [each for _, each in socket.if_nameindex() if each.startswith("lo")]
    if name in os.environ or not loopback:
        yield
        return
    os.environ[name] = loopback[0]
    try:
        yield
    finally:
        del os.environ[name]


class _Watch(threading.Thread):
    """Sees that another process has failed or died.

    Attributes:
        may_be_stuck: Whether the leader may wait for ever for one that died, as GPUs do; then it
            is ended.
        over: Set by the leader when it is through.
        seen: Set when a process has failed or died.
        lost: What became of it.
    """

    def __init__(self, ears: Sequence[Connection], may_be_stuck: bool) -> None:
        super().__init__(daemon=True)
        self.may_be_stuck = may_be_stuck
        self.over, self.seen = threading.Event(), threading.Event()
        self.lost = _failed("was killed, most likely for want of memory")
        self._ears = list(ears)

    def run(self) -> None:
        """Listens until all have ended well or one has not."""
        while self._ears and not self.seen.is_set():
            for ear in wait(self._ears):
                assert isinstance(ear, Connection)
                self._ears.remove(ear)
                try:
                    said = ear.recv()
                except EOFError:
                    self.seen.set()
                else:
                    if said is not None:
                        self.lost = said
                        self.seen.set()
        if self.may_be_stuck and self.seen.is_set() and not self.over.wait(GRACE_S):
            print(f"error: {self.lost}", file=sys.stderr, flush=True)
            os._exit(1)
