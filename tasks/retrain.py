"""The task of the stage retrain."""

from pathlib import Path

from fgds_core.classify.config import RetrainConfig
from fgds_core.classify.train import read_training
from fgds_core.stages.retrain import retrain
from tasks.identity.cache import Outputs, replaced, stage_task, written
from tasks.layout import BASELINE, FINAL, PREPARED, REPORTS, SYNTHETIC
from tasks.resume import training_checkpoint
from tasks.watch.curves import curves
from tasks.watch.progress import bar
from tasks.watch.timing import work
from tasks.workers.config import ComputeConfig
from tasks.workers.devices import use_device

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
    checkpoint = training_checkpoint("retrain", config, seed, inputs, compute)
    with (
        replaced(*OWNED) as place,
        work(),
        bar("retrain", read_training(Path(BASELINE)).num_steps, "steps") as advance,
        curves(str(place(f"{REPORTS}/final") / "live")) as on_epoch,
    ):
        retrain(
            Path(PREPARED),
            Path(SYNTHETIC),
            Path(BASELINE),
            config,
            seed,
            place(FINAL),
            place(f"{REPORTS}/final.json").parent,
            device=use_device(compute),
            on_epoch=on_epoch,
            advance=advance,
            checkpoint=checkpoint,
        )
    checkpoint.remove()
    return written(*OWNED)
