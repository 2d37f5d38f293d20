"""The task of the stage retrain."""

from pathlib import Path

from fgds_core.config.compute import ComputeConfig
from fgds_core.config.retrain import RetrainConfig
from fgds_core.retrain import retrain
from fgds_core.train import read_training
from tasks.cache import Outputs, clear, stage_task, written
from tasks.curves import curves
from tasks.devices import use_device
from tasks.layout import BASELINE, FINAL, PREPARED, REPORTS, SYNTHETIC
from tasks.progress import bar
from tasks.timing import work

OWNED = (FINAL, f"{REPORTS}/final", f"{REPORTS}/final.json", f"{REPORTS}/final.metrics.json")


@stage_task(name="retrain")
def retrain_model(
    config: RetrainConfig, seed: int, inputs: dict[str, str], compute: ComputeConfig
) -> Outputs:
    """Trains on real and synthetic images, unless the same was done before.

    Args:
        config: The share of real images in a batch.
        seed: Seed of the run.
        inputs: Content digests of the prepared data, the synthetic set and the baseline.
        compute: In no cache key.
    """
    clear(*OWNED)
    with (
        work(),
        bar("retrain", read_training(Path(BASELINE)).num_steps, "steps") as advance,
        curves(f"{REPORTS}/final/live") as on_epoch,
    ):
        retrain(
            Path(PREPARED),
            Path(SYNTHETIC),
            Path(BASELINE),
            config,
            seed,
            Path(FINAL),
            Path(REPORTS),
            device=use_device(compute),
            on_epoch=on_epoch,
            advance=advance,
        )
    return written(*OWNED)
