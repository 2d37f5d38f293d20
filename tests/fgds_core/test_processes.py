import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import count
from multiprocessing import get_context
from operator import neg

import psutil
import pytest

from fgds_core.errors import InputError
from fgds_core.processes import Pool, Workers, num_cores


def begun(workers):
    """Has the processes started, so that nothing is done here."""
    workers.start()
    workers._begun.result()


def test_without_processes_all_is_done_here():
    with Workers(lambda item: os.getpid(), 1) as workers:
        workers.start()
        assert list(workers.map("ab")) == [("a", os.getpid()), ("b", os.getpid())]


def test_where_no_process_can_be_started_all_is_done_here(monkeypatch, caplog):
    def refused(executor, *arguments):
        raise OSError("AF_UNIX path too long")

    monkeypatch.setattr(ProcessPoolExecutor, "submit", refused)
    with Workers(neg, 2) as workers:
        workers.start()
        workers.start()
        assert list(workers.map([1, 2])) == [(1, -1), (2, -2)]
    (said,) = caplog.messages
    assert "AF_UNIX path too long" in said


def test_results_come_in_order_and_few_items_are_taken_ahead():
    taken = count()
    items = (next(taken) for _ in range(40))
    with Workers(neg, 2) as workers:
        assert next(workers.map(items)) == (0, 0)  # here, before any process has started
        begun(workers)
        for expected, (item, result) in enumerate(workers.map(items), start=1):
            assert (item, result) == (expected, -expected)
            ahead = next(taken) - expected
            taken = count(expected + ahead)
            assert ahead <= 3 * 2
    assert 1 <= num_cores() <= (os.cpu_count() or 1)


def test_a_process_that_is_killed_is_one_clear_message():
    with Workers(os._exit, 2) as workers:
        begun(workers)
        with pytest.raises(InputError, match=r"was killed.*compute\.loader_workers"):
            list(workers.map([9]))


def test_a_mistake_in_a_process_is_the_same_mistake_here():
    with Workers(neg, 2) as workers:
        begun(workers)
        with pytest.raises(TypeError, match="bad operand type"):
            list(workers.map(["a"]))


STARTS = """
import time
from operator import neg
from fgds_core.processes import Workers
with Workers(neg, 2) as workers:
    workers.start()
    workers._begun.result()
    print("begun", flush=True)
    time.sleep(60)
"""


def test_processes_end_with_whoever_started_them():
    with subprocess.Popen([sys.executable, "-c", STARTS], stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"begun\n"
        started = psutil.Process(parent.pid).children(recursive=True)
        parent.send_signal(signal.SIGKILL)
    assert len(started) >= 3
    with suppress(psutil.NoSuchProcess):
        _, alive = psutil.wait_procs(started, timeout=30)
        assert not alive


def test_an_item_that_comes_while_a_process_dies_is_answered():
    class LastMoment(dict):
        """Takes the second item just after the process was killed, when it was seen if it can."""

        def __setitem__(self, number, item):
            if number == 1:
                os.kill(victim, signal.SIGKILL)
                until = time.monotonic() + 1
                while not pool._broken and time.monotonic() < until:
                    time.sleep(0.01)
                time.sleep(0.1)
            super().__setitem__(number, item)

    with Pool(1, mp_context=get_context("forkserver")) as pool:
        pool._pending_work_items = LastMoment()
        victim = pool.submit(os.getpid).result()
        with pytest.raises(BrokenProcessPool):
            pool.submit(os.getpid).result(timeout=60)
