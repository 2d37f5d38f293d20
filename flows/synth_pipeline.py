"""All nine stages as one Prefect flow, which is what the deployments run.

    python -m flows.synth_pipeline

Ends in the same state as `dvc repro`: the same bytes, and recorded with DVC, which then has
nothing to do.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from prefect import Flow, flow, tags
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from fgds_core.errors import InputError
from flows.cli.arguments import arguments_of, sections_of
from flows.cli.inputs import check_inputs
from flows.cli.naming import named, pipeline_run_name, tags_of
from flows.cli.params import PARAMS, read_params
from flows.cli.stage import check_wanted, run_pipeline
from tasks.identity import code
from tasks.identity.artifacts import attempt, show_results
from tasks.identity.cache import check_places
from tasks.identity.dvc import record
from tasks.store.bucket import check_store
from tasks.watch.provenance import note_provenance
from tasks.watch.timing import record_stage, work_counted
from tasks.workers.exclusive import exclusive
from tasks.workspace import FIRST

STAGES = (
    "prepare",
    "judge",
    "train_baseline",
    "train_control",
    "adapt",
    "synthesize",
    "assess",
    "retrain",
    "report",
)


NO_RESULT = {"compute", "store"}
"""Sections that change no result; DVC does not compare them."""


@flow(name="synth-pipeline", flow_run_name=pipeline_run_name)
def synth_pipeline(params: str = str(PARAMS), overrides: dict[str, Any] | None = None) -> None:
    """Runs the stages one after the other and records with DVC what `params.yaml` stands for.

    DVC compares stages with `params.yaml` and the code. From the first stage on whose parameters
    differ from those there, or whose code or parameters were edited while the pipeline ran,
    nothing is recorded, and DVC takes these stages for changed.

    Args:
        params: The file of parameters.
        overrides: Values in place of those in the file, by dotted path, for instance
            `{"synthesize.feedback_scale": 0.05}`; checked as strictly as the file.
    """
    everything = read_params(Path(params), overrides or {})
    check_inputs(everything)
    check_store(everything["store"])
    check_places(FIRST.outputs)
    labels = tags_of(everything)
    attempt(lambda: _tag_this_run(labels))
    for name in STAGES:
        code.digest(f"flows.{name}")  # as it is now
    with exclusive(), tags(*labels):
        as_in_dvc = True
        for name in STAGES:
            stage = stage_flow(name)
            sections = sections_of(stage)
            check_wanted(name, everything["synthesize"], everything["generator"], FIRST)
            with _timed(name, everything["compute"].device if "compute" in sections else None):
                stage(**arguments_of(stage, everything, FIRST))
                as_in_dvc = (
                    as_in_dvc
                    and differing(everything).isdisjoint(sections)
                    and not code.has_changed(f"flows.{name}")
                )
                if as_in_dvc:
                    record(name)
        show_results(FIRST)


def differing(params: Mapping[str, Any]) -> set[str]:
    """The sections that decide results and differ from `params.yaml`."""
    try:
        known = read_params(PARAMS)
    except InputError:  # the run has a file of its own
        known = {}
    return {name for name in params if name not in NO_RESULT and params[name] != known.get(name)}


def stage_flow(name: str) -> Flow[..., Any]:
    """The flow of a stage."""
    found: Flow[..., Any] = getattr(import_module(f"flows.{name}"), name)
    return named(found)


def _tag_this_run(labels: set[str]) -> None:
    with get_client(sync_client=True) as client:
        client.update_flow_run(flow_run.id, tags=[*flow_run.tags, *labels])


@contextmanager
def _timed(stage: str, device: str | None) -> Iterator[None]:
    started = time.monotonic()
    with work_counted() as work:
        yield
    seconds = time.monotonic() - started
    record_stage(stage, seconds, work.seconds, per_image_s=work.per_image_s)
    note_provenance(stage, device)


if __name__ == "__main__":
    run_pipeline(synth_pipeline, __doc__)
