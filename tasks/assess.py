"""The task of the stage assess."""

from pathlib import Path

from fgds_core.assess import assess
from fgds_core.config.assess import AssessConfig
from fgds_core.config.compute import ComputeConfig
from fgds_core.config.generator import GeneratorConfig
from fgds_core.shards import read_index
from fgds_core.splits import read_meta
from tasks.cache import Outputs, replaced, stage_task, written
from tasks.devices import use_device
from tasks.layout import BASELINE, PREPARED, REPORTS, SYNTHETIC
from tasks.progress import bar
from tasks.timing import work

OWNED = (f"{REPORTS}/synthetic.json", f"{REPORTS}/synthetic.metrics.json", f"{REPORTS}/assess")


@stage_task(name="assess")
def assess_synthetic(
    generator: GeneratorConfig,
    config: AssessConfig,
    seed: int,
    inputs: dict[str, str],
    compute: ComputeConfig,
) -> Outputs:
    """Measures the synthetic set against real validation images, unless that was done before.

    Args:
        generator: Its CLIP tower may serve as feature space.
        config: What is measured, and how.
        seed: Seed of the run.
        inputs: Content digests of the prepared data, the synthetic set, the baseline and the
            generator.
        compute: In no cache key.
    """
    meta = read_meta(Path(PREPARED))
    num_real = sum(meta.counts["train"]) + sum(meta.counts["val"])
    num_synthetic = sum(read_index(Path(SYNTHETIC)).wanted)
    with (
        replaced(*OWNED) as place,
        work(),
        bar("assess", num_real + num_synthetic, "images") as advance,
    ):
        assess(
            Path(PREPARED),
            Path(SYNTHETIC),
            Path(BASELINE),
            generator,
            config,
            seed,
            place(OWNED[0]).parent,
            device=use_device(compute),
            batch_size=compute.batch_size,
            advance=advance,
        )
    return written(*OWNED)
