"""What the tasks that train a classifier have in common."""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from fgds_core.classify.checkpoint import Checkpoint
from fgds_core.classify.run import TrainingRun, unheard
from tasks.identity import code
from tasks.identity.cache import Outputs, replaced, written
from tasks.watch.curves import curves
from tasks.watch.progress import bar
from tasks.watch.timing import work
from tasks.workers.config import ComputeConfig
from tasks.workers.devices import num_loader_workers, num_training_processes, use_device
from tasks.workspace import RUNS

Train = Callable[[Path, Path, TrainingRun], object]
"""Trains and writes: the network into the first folder, the reports, if any, into the second."""


@dataclass(frozen=True)
class Training:
    """One training of a stage.

    Attributes:
        stage: Its name.
        model: Where the classifier goes; its last part names the reports.
        reports: The folder of the reports; None for a classifier that none are written of.
        num_steps: Optimiser steps.
        made_from: The section, the seed and the content digests that decide the result.
    """

    stage: str
    model: Path
    reports: Path | None
    num_steps: int
    made_from: tuple[BaseModel, int, Mapping[str, str]]

    @property
    def owned(self) -> tuple[Path, ...]:
        """The places that belong to the training alone."""
        if self.reports is None:
            return (self.model,)
        name = self.model.name
        reports = (name, f"{name}.json", f"{name}.metrics.json")
        return (self.model, *(self.reports / report for report in reports))


def trained(training: Training, compute: ComputeConfig, train: Train) -> Outputs:
    """Trains with a bar, curves and a checkpoint; the results replace old ones when whole.

    Args:
        training: What is trained and where it goes.
        compute: Where it computes; changes no result.
        train: Called once.

    Returns:
        What was written.
    """
    checkpoint = checkpoint_of(training, compute)
    with (
        replaced(*training.owned) as place,
        work(),
        bar(training.stage, training.num_steps, "steps") as advance,
        _curves(training, place) as on_epoch,
    ):
        train(
            place(training.model),
            place(training.model if training.reports is None else training.owned[1]).parent,
            TrainingRun(
                device=use_device(compute),
                loader_workers=num_loader_workers(compute),
                on_epoch=on_epoch,
                advance=advance,
                checkpoint=checkpoint,
                compile=compute.compile,
                channels_last=compute.channels_last,
                processes=num_training_processes(compute),
            ),
        )
    checkpoint.remove()
    return written(*training.owned)


def _curves(
    training: Training, place: Callable[[Path], Path]
) -> AbstractContextManager[Callable[[Mapping[str, float]], None]]:
    """Keeps the curves with the reports, where there are some."""
    if training.reports is None:
        return nullcontext(unheard)
    return curves(str(place(training.owned[1]) / "live"))


def checkpoint_of(training: Training, compute: ComputeConfig) -> Checkpoint:
    """Lets a training that was stopped go on, for as long as it is the same training."""
    config, seed, inputs = training.made_from
    # Where and how it computes decides the last bits
    processes = num_training_processes(compute)
    how = [compute.device, compute.compile, compute.channels_last, processes]
    made_from = [config.model_dump(mode="json"), seed, dict(inputs), *how]
    text = json.dumps([*made_from, code.digest(f"flows.{training.stage}")], sort_keys=True)
    return Checkpoint(
        RUNS / f"{'-'.join(training.model.parts)}.checkpoint",  # each round has its own
        hashlib.sha256(text.encode()).hexdigest(),
        compute.checkpoint_every_s,
    )
