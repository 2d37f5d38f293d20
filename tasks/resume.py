"""Lets a training that was stopped go on, for as long as it is the same training."""

import json
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel

from fgds_core.classify.checkpoint import Checkpoint
from tasks.identity import code
from tasks.workers.config import ComputeConfig

FOLDER = Path(".runs")
"""Beside the outputs: DVC removes those before a stage runs."""


def training_checkpoint(
    stage: str, config: BaseModel, seed: int, inputs: dict[str, str], compute: ComputeConfig
) -> Checkpoint:
    """Where the training of a stage stands.

    Args:
        stage: Its name; each has one such file.
        config: Its section.
        seed: Seed of the run.
        inputs: Content digests of what it reads.
        compute: How often to write, and where it computes, which decides the last bits.
    """
    made_of = [config.model_dump(mode="json"), seed, inputs, compute.device]
    text = json.dumps([*made_of, code.digest(f"flows.{stage}")], sort_keys=True)
    return Checkpoint(
        FOLDER / f"{stage}.checkpoint",
        sha256(text.encode()).hexdigest(),
        compute.checkpoint_every_s,
    )
