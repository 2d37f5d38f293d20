"""How a training runs and what it says meanwhile; nothing of it changes a result."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from fgds_core.classify.checkpoint import Checkpoint
from fgds_core.classify.team import ALONE, Team


def unheard(_: object) -> None:
    """Takes the place of one who listens."""


@dataclass(frozen=True)
class TrainingRun:
    """How a training runs and what it says meanwhile.

    Attributes:
        device: Where to compute.
        loader_workers: Processes that read images ahead; 0 reads in the training's own.
        on_epoch: Called after each validation with `epoch` (its number, from 1), `step`,
            `train_loss` (nats, mean since the last one), `val_accuracy`, `val_macro_accuracy`
            (fractions) and `learning_rate`.
        advance: Called after each optimiser step with 1, and once with those of an earlier run.
        checkpoint: Where the training stands is kept there now and then, and a training that
            stands there already goes on, to the same weights. `on_epoch` is called again for what
            came before. The caller removes it.
        compile: Whether `torch.compile` translates the network while it learns.
        channels_last: Whether images, and weights where a CPU forbids it, are channels last too.
        processes: How many learn together; `together` starts the others.
        team: Who they are.
    """

    device: str | torch.device = "cpu"
    loader_workers: int = 0
    on_epoch: Callable[[dict[str, float]], None] = unheard
    advance: Callable[[int], None] = unheard
    checkpoint: Checkpoint | None = None
    compile: bool = False
    channels_last: bool = False
    processes: int = 1
    team: Team = ALONE
