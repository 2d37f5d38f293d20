"""Whatever happens to the stage synthesize, the same command ends with the same bytes."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from disturbed import WORKERS, Case, Process, until
from micro import contents, set_params
from s3 import BUCKET, Network, damage, objects

from fgds_core.images.table import column_values, read_table
from fgds_core.synthesis.record import sidecar_path

DASK = {
    "cluster_class": "dask.distributed.LocalCluster",
    "cluster_kwargs": {},
    "adapt": None,
}
RESUME = "resume with `dvc repro`"


def assert_whole(case: Case, redone: int = WORKERS) -> None:
    """The set has the bytes of an undisturbed run, and little was made again."""
    assert contents(case.out) == case.whole
    assert 0 <= case.drawings() - case.parts_planned <= redone


@pytest.mark.case("SIGKILL of the flow")
def test_a_killed_flow(case: Case) -> None:
    case.interrupted().kill_all()
    assert not (case.out / "_index.json").exists()
    case.run()
    assert_whole(case)


@pytest.mark.slow
@pytest.mark.case("SIGKILL of a worker process")
def test_a_killed_worker_process(case: Case) -> None:
    set_params(case.folder, {"compute": {"device": "auto"}})
    run = case.interrupted(fault="two gpus")
    workers = run.children("spawn_main")
    assert len(workers) == WORKERS
    case.wait_for_another_drawing(workers[0], run)
    os.kill(workers[0], signal.SIGKILL)
    case.ended(run, 0)
    assert_whole(case)


@pytest.mark.slow
@pytest.mark.case("SIGKILL of the Prefect server")
def test_a_killed_server(case: Case) -> None:
    run = case.interrupted(server=False)
    os.killpg(run.children("prefect", "server", "start")[0], signal.SIGKILL)
    status = run.end(timeout=120)
    assert "Traceback" not in run.said, run.said
    if status:
        assert "the Prefect server fails" in run.said
        assert RESUME in run.said
        case.run()
    assert_whole(case)


@pytest.fixture
def cluster(case: Case) -> Iterator[tuple[Process, list[Process]]]:
    """A Dask scheduler with two workers of one process each, which the case's flow uses."""
    at = ("--scheduler-file", str(case.logs / "scheduler.json"))
    quiet = ("--host", "127.0.0.1", "--no-dashboard")
    scheduler = case.start("distributed.cli.dask_scheduler", *at, *quiet, "--port", "0")
    until(lambda: "Scheduler at:" in scheduler.said, scheduler)
    (address,) = re.findall(r"Scheduler at: *(\S+)", scheduler.said)
    one = ("--nthreads", "1", "--no-nanny")
    workers = [
        case.start("distributed.cli.dask_worker", *at, *quiet, *one) for _ in range(WORKERS)
    ]
    set_params(case.folder, {"compute": {"runner": "dask", "dask": DASK | {"address": address}}})
    return scheduler, workers


@pytest.mark.slow
@pytest.mark.case("SIGKILL of a Dask worker")
def test_a_killed_dask_worker(case: Case, cluster: tuple[Process, list[Process]]) -> None:
    _, workers = cluster
    run = case.interrupted()
    case.wait_for_another_drawing(workers[0].pid, run)
    workers[0].kill_all()
    case.ended(run, 0)
    assert_whole(case)


@pytest.mark.slow
@pytest.mark.case("SIGKILL of the Dask scheduler")
def test_a_killed_dask_scheduler(case: Case, cluster: tuple[Process, list[Process]]) -> None:
    scheduler, _ = cluster
    run = case.interrupted()
    scheduler.kill_all()
    said = case.ended(run, 1)
    assert RESUME in said.replace("Resume", "resume")
    set_params(case.folder, {"compute": {"runner": "local"}})
    case.run()
    assert_whole(case)


@pytest.mark.slow
@pytest.mark.case("SIGTERM")
def test_sigterm(case: Case) -> None:
    run = case.interrupted()
    run.terminate()
    assert RESUME in case.ended(run, 128 + signal.SIGTERM)
    case.run()
    assert_whole(case)


@pytest.mark.case("Ctrl-C")
def test_ctrl_c(case: Case) -> None:
    run = case.interrupted()
    os.killpg(run.pid, signal.SIGINT)  # a terminal sends it to the whole group
    said = case.ended(run, 128 + signal.SIGINT)
    assert RESUME in said
    assert "Crash detected" not in said
    assert "ERROR" not in said
    case.run()
    assert_whole(case)


@pytest.fixture
def small_disk(case: Case, tmp_path: Path) -> Iterator[Path]:
    """The case's clone on a file system of its own with few megabytes to spare."""
    disk = tmp_path / "disk"
    disk.mkdir()
    used = sum(path.stat().st_size for path in case.folder.rglob("*")) >> 20
    mount = ["mount", "-t", "tmpfs", "-o", f"size={used + 16}m", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        yield disk
        return
    case.move_to(disk / "clone")
    yield disk
    case.close()
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(filler: Path) -> None:
    """Writes a file as long as there is space, by smaller and smaller blocks."""
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass


@pytest.mark.slow
@pytest.mark.case("disk full")
def test_a_full_disk(case: Case, small_disk: Path) -> None:
    if not os.path.ismount(small_disk):
        pytest.skip("not run: a small disk can be mounted by root alone")
    run = case.interrupted(server=False, PREFECT_HOME=".prefect")  # its database is here too
    filler = small_disk / "filler"
    fill(filler)
    said = case.ended(run, 1)
    assert "no space left" in said.lower()
    assert RESUME in said.replace("Resume", "resume")
    filler.unlink()
    case.run()
    assert_whole(case)


def truncate(case: Case) -> None:
    part = case.parts()[3]
    os.truncate(part, part.stat().st_size // 2)


def flip_a_bit(case: Case) -> None:
    part = case.parts()[3]
    damaged = bytearray(part.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    part.write_bytes(damaged)


def remove(case: Case) -> None:
    case.parts()[3].unlink()


def sidecar(part: Path) -> Path:
    return part.parent / Path(sidecar_path(part.name)).name


def bring_a_foreign_one(case: Case) -> None:
    first, *_, last = case.parts()
    shutil.copyfile(first, last.with_name("part-00099.parquet"))
    shutil.copyfile(sidecar(first), last.with_name(".part-00099.json"))


def put_another_in_its_place(case: Case) -> None:
    first, *_, last = case.parts()
    shutil.copyfile(first, last)
    shutil.copyfile(sidecar(first), sidecar(last))


def halve_the_index(case: Case) -> None:
    index = case.out / "_index.json"
    half = index.read_bytes()[: index.stat().st_size // 2]
    index.write_bytes(half)
    index.with_name("_index.json.part").write_bytes(half)


def corrupt_the_result_store(case: Case) -> None:
    records = sorted(p for p in (case.folder / ".prefect" / "storage").rglob("*") if p.is_file())
    assert records
    for place, record in enumerate(records):
        text = record.read_bytes()
        record.write_bytes((b"", text[: len(text) // 2], b"\0\xff not JSON")[place % 3])


def delete_the_cache(case: Case) -> None:
    shutil.rmtree(case.folder / ".prefect")


def damaged(name: str, damage: Callable[[Case], None], redone: int, slow: bool = True) -> object:
    marks = [pytest.mark.case(name, finished=True), *([pytest.mark.slow] * slow)]
    return pytest.param(damage, redone, marks=marks, id=name)


@pytest.mark.parametrize(
    ("damage", "redone"),
    [
        damaged("truncated part", truncate, 1),
        damaged("bit-flipped part", flip_a_bit, 1, slow=False),
        damaged("missing part", remove, 1),
        damaged("foreign part", bring_a_foreign_one, 0, slow=False),
        damaged("another part in a part's place", put_another_in_its_place, 1),
        damaged("half-written index", halve_the_index, 0),
        damaged("corrupt Prefect result store", corrupt_the_result_store, 0, slow=False),
        damaged("deleted cache", delete_the_cache, 0),
    ],
)
def test_what_is_damaged_is_mended(
    case: Case, damage: Callable[[Case], None], redone: int
) -> None:
    damage(case)
    case.run()
    assert_whole(case, redone)


@pytest.mark.slow
@pytest.mark.case("class that raises in 1 of 10 images")
def test_a_class_that_raises(case: Case) -> None:
    run = case.start(fault="raises")
    assert run.end() == 1
    said = run.said  # with a traceback: nobody knows this error
    assert "3 of 20 parts failed, in the classes dog" in said
    assert RESUME in said.replace("Resume", "resume")
    assert len(case.parts()) == 17
    case.run()
    assert_whole(case, redone=3)


@pytest.mark.slow
@pytest.mark.case("NaN images, finite at the second attempt")
def test_images_that_are_not_finite_once(case: Case) -> None:
    case.run(fault="nan once")
    drawn = contents(case.out)
    changed = [name for name in case.whole if drawn[name] != case.whole[name]]
    parts = [name for name in changed if name.endswith(".parquet")]
    assert len(parts) == 3
    assert drawn.keys() == case.whole.keys()
    for name in parts:
        rows = read_table(case.out / name)
        indices, attempts, scales = (
            column_values(rows, column) for column in ("index", "attempt", "feedback_scale")
        )
        assert attempts == [int(index % 10 == 3) for index in indices]
        assert scales == [0.05 / 2**attempt for attempt in attempts]
    (case.out / parts[0]).unlink()
    case.run(fault="nan once")
    assert contents(case.out) == drawn  # the retries are reproducible too


@pytest.mark.slow
@pytest.mark.case("NaN images in every attempt")
def test_images_that_are_never_finite(case: Case) -> None:
    said = case.run(status=1, fault="nan always")
    assert "3 of 20 parts failed, in the classes dog" in said
    assert "not finite after 3 attempts" in said
    case.run()
    assert_whole(case, redone=3)


@pytest.fixture
def store(case: Case, network: Network) -> Network:
    """The way to an S3 bucket in which the case keeps its parts."""
    set_params(case.folder, {"store": {"url": f"s3://{BUCKET}/runs", "endpoint_url": network.url}})
    return network


@pytest.mark.slow
@pytest.mark.case("S3: errors, throttling, connections that break")
def test_a_store_that_fails_now_and_then(case: Case, store: Network) -> None:
    store.faults = ["none", "503", "none", "drop", "none", "500", "lost", "none", "cut"] * 20
    case.run()
    assert len(store.requests) > len(case.parts())
    assert_whole(case, redone=0)


@pytest.mark.slow
@pytest.mark.case("S3 out of reach in mid-run")
def test_a_store_that_goes_away(case: Case, store: Network) -> None:
    run = case.interrupted()
    store.always = "drop"
    said = case.ended(run, 1)
    assert RESUME in said.replace("Resume", "resume")
    store.always = None
    case.run()
    assert_whole(case)


@pytest.mark.slow
@pytest.mark.case("S3: damaged parts, and an empty workspace", finished=True)
def test_what_is_damaged_in_the_store_is_drawn_again(case: Case, store: Network, s3: Any) -> None:
    shutil.rmtree(case.folder / ".prefect")  # of a run without the store
    case.run()
    shutil.rmtree(case.out)
    keys = sorted(key for key in objects(s3) if "/parts/" in key)
    part = next(key for key in keys if key.endswith(".parquet"))
    record = next(key for key in reversed(keys) if key.endswith(".json"))
    damage(s3, part, objects(s3)[part][:-9])
    damage(s3, record, b"{")
    case.run()
    assert_whole(case, redone=2)


@pytest.mark.case("two runs at once in one folder")
def test_two_runs_at_once(case: Case) -> None:
    first = case.interrupted()
    os.kill(first.pid, signal.SIGSTOP)  # else it may be done before the other one has started
    try:
        said = case.run(status=2)
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert f"process {first.pid} on" in said
    case.ended(first, 0)
    assert_whole(case, redone=0)


@pytest.mark.slow
@pytest.mark.case("configuration A, then B, then A", finished=True)
def test_a_then_b_then_a(case: Case) -> None:
    set_params(case.folder, {"synthesize": {"embedding_dropout": 0.5}})
    case.run()
    assert contents(case.out).keys() == case.whole.keys()
    assert contents(case.out) != case.whole
    set_params(case.folder, {"synthesize": {"embedding_dropout": 0.9}})
    case.parts_planned = 20
    case.run()
    assert_whole(case, redone=20)  # B's parts took the place of A's
