"""Many items are made by any kind of worker, and a worker's death costs what it had in hand."""

from collections.abc import Callable
from functools import partial
from multiprocessing import get_context, util
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import LocalCluster
from fanned import made, write_one
from micro import ROOT
from prefect import flow
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect_dask import DaskTaskRunner
from pydantic import ValidationError

from fgds_core.errors import InputError
from flows.cli.params import read_params
from tasks.identity.cache import Outputs
from tasks.workers.config import ComputeConfig
from tasks.workers.devices import claim_device, num_training_processes
from tasks.workers.fanout import (
    WorkerLost,
    _on_this_machine,
    make_runner,
    num_at_once,
    run_each,
    runs_here,
)
from tasks.workers.pool import ProcessRunner, end_in_time

THREADS = partial(ThreadPoolTaskRunner, max_workers=2)
PROCESSES = partial(ProcessRunner, max_workers=2)


def compute(**changes: object) -> ComputeConfig:
    params = read_params(ROOT / "params.yaml")
    return ComputeConfig.model_validate(params["compute"].model_dump() | changes)


@flow
def write_many(
    names: list[str], runner: Callable[[], TaskRunner[Any]]
) -> dict[str, tuple[type, bool]]:
    """What became of each, and whether it was remembered."""
    seen: dict[str, tuple[type, bool]] = {}

    def finished(name: str, outcome: object, remembered: bool) -> None:
        assert name not in seen
        seen[name] = type(outcome), remembered

    results = run_each(write_one, {"name": names}, runner, finished)
    assert [type(result) for result in results] == [seen[name][0] for name in names]
    return seen


def test_one_failure_leaves_the_others_finished(prefect_folder: Path) -> None:
    write_many(["one", "broken", "two"], THREADS)
    Path("two").write_text("damaged")
    Path("made.log").unlink()
    assert write_many(["one", "broken", "two"], THREADS) == {
        "one": (Outputs, True),
        "broken": (FloatingPointError, False),
        "two": (Outputs, False),
    }
    assert sorted(made()) == ["broken", "two"]
    assert Path("two").read_text() == "two"


def test_what_a_dead_worker_had_is_given_to_another(prefect_folder: Path) -> None:
    names = ["one", "unlucky", "two", "three"]
    assert write_many(names, PROCESSES) == dict.fromkeys(names, (Outputs, False))
    assert made().count("unlucky") == 2
    assert len(made()) <= len(names) + 2  # two workers, one item each in hand


def test_an_item_that_kills_every_worker_is_given_up_and_the_others_are_made(
    prefect_folder: Path,
) -> None:
    outcome = write_many(["deadly", "one", "two"], partial(ProcessRunner, max_workers=1))
    assert outcome["deadly"] == (WorkerLost, False)
    assert outcome["one"] == outcome["two"] == (Outputs, False)


def test_a_worker_that_dies_while_it_logs_keeps_nobody_from_ending(prefect_folder: Path) -> None:
    names = ["one", "interrupted", "two"]
    assert write_many(names, PROCESSES) == dict.fromkeys(names, (Outputs, False))
    waited_for = [
        each
        for each in util._finalizer_registry.values()
        if each._callback is Queue._finalize_join
    ]
    assert not waited_for  # at the end of this process


def log_and_end(messages: Queue) -> None:
    end_in_time()
    messages.put("started")


def test_a_worker_ends_whoever_holds_the_lock_of_the_log() -> None:
    context = get_context("spawn")
    messages = context.Queue()
    with messages._wlock:
        process = context.Process(target=log_and_end, args=(messages,))
        process.start()
        process.join(60)
        assert process.exitcode == 0


def test_gpus_are_drawn_on_by_a_process_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    for workers, processes in ((1, None), (3, 3), (9, 4)):
        config = compute(workers=workers)
        runner = make_runner(config)
        assert runs_here(config) == isinstance(runner, ThreadPoolTaskRunner) == (not processes)
        if processes:
            assert runner._max_workers == processes
    assert make_runner(compute(workers=9, workers_per_device=2))._max_workers == 8
    assert runs_here(compute(workers=9, device="cuda:1"))  # one GPU, one at a time
    assert make_runner(compute(workers=9, device="cuda:1"))._max_workers == 1
    assert make_runner(compute(workers=9, device="cpu"))._max_workers == 9


def test_processes_that_learn_together_have_a_gpu_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    for wanted, device, number in (
        (None, "auto", 4),
        (3, "auto", 3),
        (1, "cuda:1", 1),
        (None, "cuda:1", 1),
        (None, "cpu", 1),
        (2, "cpu", 2),
    ):
        config = compute(training_processes=wanted, device=device)
        assert num_training_processes(config) == number
    for wanted, device in ((5, "auto"), (2, "cuda:1"), (2, "mps")):
        with pytest.raises(InputError, match=r"^compute\.training_processes: .* lower it"):
            num_training_processes(compute(training_processes=wanted, device=device))


def test_how_many_work_side_by_side_is_known_where_it_can_be() -> None:
    section = {
        "address": None,
        "cluster_class": "dask.distributed.LocalCluster",
        "cluster_kwargs": {"n_workers": 3},
        "adapt": None,
    }
    assert num_at_once(compute(device="cpu", workers=5)) == 5
    assert num_at_once(compute(device="cpu", workers=5, runner="dask", dask=section)) == 3
    for unknown in ({"address": "tcp://host:8786"}, {"adapt": {"minimum": 1, "maximum": 3}}):
        assert num_at_once(compute(runner="dask", dask=section | unknown)) == 1


def test_clusters_are_named_by_parameters_alone() -> None:
    section = {
        "address": None,
        "cluster_class": "dask.distributed.LocalCluster",
        "cluster_kwargs": {"n_workers": 3},
        "adapt": {"minimum": 1, "maximum": 3},
    }
    runner = make_runner(compute(runner="dask", dask=section))
    assert isinstance(runner, DaskTaskRunner)
    assert runner.cluster_kwargs["n_workers"] == 3
    assert runner.adapt_kwargs == {"minimum": 1, "maximum": 3}
    section |= {"cluster_class": "dask_nowhere.Cluster"}
    with pytest.raises(ValidationError, match="cluster_class must be one of"):
        compute(runner="dask", dask=section)
    section |= {"allowed_cluster_classes": ["dask_nowhere.Cluster"]}
    with pytest.raises(InputError, match=r"cluster_class: there is no dask_nowhere\.Cluster"):
        make_runner(compute(runner="dask", dask=section))


@pytest.mark.parametrize(
    ("cluster_class", "given", "asked"),
    [
        ("dask.distributed.LocalCluster", {"dashboard_address": ":8787"}, "dashboard_address"),
        ("dask_cuda.LocalCUDACluster", {"dashboard_address": None}, "dashboard_address"),
        (
            "dask_jobqueue.SLURMCluster",
            {"scheduler_options": {"dashboard_address": ":8787"}},
            "scheduler_options",
        ),
    ],
)
def test_dashboards_listen_on_loopback_unless_asked(
    cluster_class: str, given: dict[str, Any], asked: str
) -> None:
    section = {"address": None, "cluster_class": cluster_class, "adapt": None}
    config = compute(runner="dask", dask={**section, "cluster_kwargs": {}}).dask
    assert "127.0.0.1:0" in str(_on_this_machine(config))
    config = compute(runner="dask", dask={**section, "cluster_kwargs": given}).dask
    assert _on_this_machine(config)[asked] == given[asked]


def test_nothing_of_a_local_cluster_is_open_to_others() -> None:
    section = {
        "address": None,
        "cluster_class": "dask.distributed.LocalCluster",
        "cluster_kwargs": {"n_workers": 1, "threads_per_worker": 1, "processes": False},
        "adapt": None,
    }
    here = psutil.Process()
    before = {(c.laddr, c.status) for c in here.net_connections()}
    with LocalCluster(**_on_this_machine(compute(runner="dask", dask=section).dask)):
        opened = {(c.laddr, c.status) for c in here.net_connections()} - before
    listening = {address.ip for address, status in opened if status == psutil.CONN_LISTEN}
    assert listening <= {"127.0.0.1"}


@pytest.fixture
def _two_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Properties:
        def __init__(self, number: int) -> None:
            self.uuid = f"gpu-{number}"

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_properties", Properties)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.mark.usefixtures("_two_gpus")
def test_no_two_workers_get_one_gpu_unless_asked() -> None:
    claimed = [claim_device(compute()) for _ in range(2)]
    assert [device.name for device in claimed] == ["cuda:0", "cuda:1"]
    with pytest.raises(InputError, match=r"all 2 GPUs .*compute\.workers_per_device"):
        claim_device(compute())
    assert claim_device(compute(workers_per_device=2)).name == "cuda:0"
    assert claim_device(compute(device="cuda:0")).name == "cuda:0"  # who names one means it


@pytest.mark.usefixtures("_two_gpus")
def test_the_gpu_of_a_dead_worker_is_free_again() -> None:
    claimed = claim_device(compute())
    assert claimed.name == "cuda:0"
    claimed.lock.release()  # as the system does when a process ends
    assert claim_device(compute()).name == "cuda:0"
