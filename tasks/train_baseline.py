"""The task of the stage train_baseline."""

from pathlib import Path

from fgds_core.baseline import train_baseline
from fgds_core.config.compute import ComputeConfig
from fgds_core.config.train_baseline import TrainBaselineConfig
from tasks.cache import Outputs, clear, stage_task, written
from tasks.curves import curves
from tasks.devices import use_device
from tasks.layout import BASELINE, PREPARED, REPORTS
from tasks.progress import bar
from tasks.timing import work

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
    clear(*OWNED)
    with (
        work(),
        bar("train_baseline", config.num_steps, "steps") as advance,
        curves(f"{REPORTS}/baseline/live") as on_epoch,
    ):
        train_baseline(
            Path(PREPARED),
            config,
            seed,
            Path(BASELINE),
            Path(REPORTS),
            device=use_device(compute),
            on_epoch=on_epoch,
            advance=advance,
        )
    return written(*OWNED)
