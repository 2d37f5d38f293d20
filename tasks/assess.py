"""The task of the stage assess."""

from fgds_core.assess.config import AssessConfig
from fgds_core.data.meta import read_meta
from fgds_core.generators.config import GeneratorConfig
from fgds_core.images.reading import Reading
from fgds_core.stages.assess import assess
from fgds_core.synthesis.shards import read_index
from tasks.identity.cache import Outputs, replaced, stage_task, written
from tasks.watch.progress import bar, say
from tasks.watch.timing import work
from tasks.workers.config import ComputeConfig
from tasks.workers.devices import num_loader_workers, use_device
from tasks.workspace import Workspace


@stage_task(name="assess")
def assess_synthetic(
    generator: GeneratorConfig,
    config: AssessConfig,
    seed: int,
    inputs: dict[str, str],
    compute: ComputeConfig,
    workspace: Workspace,
) -> Outputs:
    """Measures the synthetic set against real validation images, unless that was done before.

    Args:
        generator: Its CLIP tower may serve as feature space.
        config: What is measured, and how.
        seed: Seed of the run.
        inputs: Content digests of the prepared data, the synthetic set, the baseline, the judge
            and the generator.
        compute: In no cache key.
        workspace: Where the images are and the measures go.
    """
    reports = workspace.reports
    owned = [reports / name for name in ("synthetic.json", "synthetic.metrics.json", "assess")]
    meta = read_meta(workspace.prepared)
    num_real = sum(map(sum, meta.counts.values()))  # test images are searched for copies
    num_synthetic = read_index(workspace.synthetic).num_kept
    with (
        replaced(*owned) as place,
        work(),
        bar("assess", num_real + num_synthetic, "images") as advance,
    ):
        say("assess", f"reading the images and the network of the features ({config.features})")
        assess(
            workspace.prepared,
            workspace.synthetic,
            workspace.baseline,
            generator,
            config,
            seed,
            place(owned[0]).parent,
            judge=workspace.judge,
            device=use_device(compute),
            reading=Reading(compute.batch_size, num_loader_workers(compute), advance),
        )
    return written(*owned)
