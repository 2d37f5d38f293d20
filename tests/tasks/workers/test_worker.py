"""A process that draws: what it holds, and whose code it draws by."""

import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from micro import ROOT, generator_config, synthesize_config

import tasks.workers.worker
from fgds_core.errors import InputError
from fgds_core.synthesis.recipe import Recipe
from flows.cli.params import read_params
from tasks.identity.drawing import drawing_code
from tasks.workers.devices import ClaimedDevice
from tasks.workers.worker import Sources, Worker, this_worker
from tasks.workspace import FIRST

RECIPE = Recipe(generator_config("generator"), synthesize_config(), 0)
COMPUTE = read_params(ROOT / "params.yaml")["compute"]


@pytest.fixture
def sources() -> Sources:
    return Sources(RECIPE, "inputs", drawing_code(RECIPE))


class Models:
    """Stands for what takes memory."""

    def __init__(self, device: str) -> None:
        self.device = device


def test_a_worker_with_other_code_draws_nothing(sources: Sources) -> None:
    with pytest.raises(InputError, match=r"has other code than the flow.*start it again"):
        Worker().models(replace(sources, code="of yesterday"), COMPUTE, FIRST)


@pytest.mark.parametrize(("device", "most"), [("cuda:0", 1), ("cpu", 3)])
def test_threads_of_a_worker_never_draw_on_one_gpu_at_once(device: str, most: int) -> None:
    worker, lock = Worker(), threading.Lock()
    drawing, seen = [0], []

    def draw(_: int) -> None:
        with worker.turn(torch.device(device)):
            with lock:
                drawing[0] += 1
                seen.append(drawing[0])
            time.sleep(0.2)
            with lock:
                drawing[0] -= 1

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(draw, range(3)))
    assert max(seen) == most


def test_a_worker_that_lives_on_keeps_its_gpu_and_the_models_of_one_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sources: Sources
) -> None:
    claims, loaded = [], []

    def claim(compute: object) -> ClaimedDevice:
        claims.append(compute)
        return ClaimedDevice("cuda:3")

    def load(recipe: Recipe, prepared: Path, guide: Path, device: str, **_: object) -> Models:
        assert not any(before() for before in loaded)  # it had let go of the others
        models = Models(device)
        loaded.append(weakref.ref(models))
        return models

    monkeypatch.setattr(tasks.workers.worker, "use_device", lambda compute: "cuda")
    monkeypatch.setattr(tasks.workers.worker, "claim_device", claim)
    monkeypatch.setattr(tasks.workers.worker, "load_models", load)
    worker = Worker()
    for hours in (None, 100.0, 100.0):  # the third run loads nothing
        compute = COMPUTE.model_copy(update={"max_device_hours": hours})
        assert worker.models(sources, compute, FIRST).device == "cuda:3"
    assert (len(claims), len(loaded)) == (1, 2)
    worker.models(sources, compute, FIRST.next())
    monkeypatch.chdir(tmp_path)
    worker.models(sources, compute, FIRST.next())
    assert (len(claims), len(loaded)) == (1, 4)


def test_all_threads_of_a_process_are_one_worker() -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: this_worker(), range(100)))) == 1
