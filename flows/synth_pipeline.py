"""All six stages as one Prefect flow, which is what the deployments run.

    python -m flows.synth_pipeline

Ends in the same state as `dvc repro`: the same bytes, and recorded with DVC, which then has
nothing to do. About 7 minutes for the embedded default on 2 CPU cores.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from prefect import Flow, flow

from flows.params import PARAMS, read_params
from flows.stage import run_pipeline, sections_of
from tasks.dvc import record
from tasks.store.bucket import check_store
from tasks.timing import record_stage, work_s

STAGES = ("prepare", "train_baseline", "synthesize", "assess", "retrain", "report")


@flow(name="synth-pipeline")
def synth_pipeline(params: str = str(PARAMS)) -> None:
    """Runs the stages one after the other and records each with DVC.

    Args:
        params: The file of parameters. DVC compares stages with `params.yaml`, so those of a run
            with another file are not recorded and count as changed.
    """
    everything = read_params(Path(params))
    check_store(everything["store"])
    for name in STAGES:
        stage = stage_flow(name)
        with _timed(name):
            stage(**{section: everything[section] for section in sections_of(stage)})
            if Path(params) == PARAMS:
                record(name)


def stage_flow(name: str) -> Flow[..., Any]:
    """The flow of a stage."""
    found: Flow[..., Any] = getattr(import_module(f"flows.{name}"), name)
    return found


@contextmanager
def _timed(stage: str) -> Iterator[None]:
    started, worked = time.monotonic(), work_s()
    yield
    record_stage(stage, time.monotonic() - started, work_s() - worked)


if __name__ == "__main__":
    run_pipeline(synth_pipeline, __doc__)
