"""The task of the stage train_baseline."""

from pathlib import Path

from fgds_core.classify.config import TrainBaselineConfig
from fgds_core.stages.train_baseline import train_baseline
from tasks.identity.cache import Outputs, replaced, stage_task, written
from tasks.layout import BASELINE, PREPARED, REPORTS
from tasks.resume import training_checkpoint
from tasks.watch.curves import curves
from tasks.watch.progress import bar
from tasks.watch.timing import work
from tasks.workers.config import ComputeConfig
from tasks.workers.devices import use_device

OWNED = (
    BASELINE,
    f"{REPORTS}/baseline",
    f"{REPORTS}/baseline.json",
    f"{REPORTS}/baseline.metrics.json",
)


@stage_task(name="train_baseline")
def train_baseline_model(
    config: TrainBaselineConfig, seed: int, inputs: dict[str, str], compute: ComputeConfig
) -> Outputs:
    """Trains the baseline on real images alone, unless the same was done before.

    Args:
        config: Architecture, budget, recipe and sampling.
        seed: Seed of the run.
        inputs: Content digests of the prepared data.
        compute: In no cache key.
    """
    checkpoint = training_checkpoint("train_baseline", config, seed, inputs, compute)
    with (
        replaced(*OWNED) as place,
        work(),
        bar("train_baseline", config.num_steps, "steps") as advance,
        curves(str(place(f"{REPORTS}/baseline") / "live")) as on_epoch,
    ):
        train_baseline(
            Path(PREPARED),
            config,
            seed,
            place(BASELINE),
            place(f"{REPORTS}/baseline.json").parent,
            device=use_device(compute),
            on_epoch=on_epoch,
            advance=advance,
            checkpoint=checkpoint,
        )
    checkpoint.remove()
    return written(*OWNED)
