"""The task of the stage train_control."""

from pathlib import Path

from fgds_core.classify.config import TrainBaselineConfig
from fgds_core.stages.train_control import train_control
from tasks.identity.cache import Outputs, replaced, stage_task, written
from tasks.layout import CONTROL, PREPARED, REPORTS
from tasks.resume import training_checkpoint
from tasks.watch.curves import curves
from tasks.watch.progress import bar
from tasks.watch.timing import work
from tasks.workers.config import ComputeConfig
from tasks.workers.devices import use_device

OWNED = (
    CONTROL,
    f"{REPORTS}/control",
    f"{REPORTS}/control.json",
    f"{REPORTS}/control.metrics.json",
)


@stage_task(name="train_control")
def train_control_model(
    config: TrainBaselineConfig, seed: int, inputs: dict[str, str], compute: ComputeConfig
) -> Outputs:
    """Trains on real images alone in class-balanced batches, unless the same was done before.

    Args:
        config: Architecture, budget and recipe.
        seed: Seed of the run.
        inputs: Content digests of the prepared data.
        compute: In no cache key.
    """
    checkpoint = training_checkpoint("train_control", config, seed, inputs, compute)
    with (
        replaced(*OWNED) as place,
        work(),
        bar("train_control", config.num_steps, "steps") as advance,
        curves(str(place(f"{REPORTS}/control") / "live")) as on_epoch,
    ):
        train_control(
            Path(PREPARED),
            config,
            seed,
            place(CONTROL),
            place(f"{REPORTS}/control.json").parent,
            device=use_device(compute),
            on_epoch=on_epoch,
            advance=advance,
            checkpoint=checkpoint,
        )
    checkpoint.remove()
    return written(*OWNED)
