"""The task of the stage prepare."""

from fgds_core.data.config import DataConfig, PrepareConfig
from fgds_core.data.prepare import prepare
from fgds_core.data.sources import Source
from tasks.identity.cache import Outputs, stage_task, written
from tasks.watch.progress import bar
from tasks.watch.timing import work
from tasks.workers.config import ComputeConfig
from tasks.workers.devices import num_loader_workers
from tasks.workspace import Workspace


@stage_task(name="prepare")
def prepare_data(
    data: DataConfig,
    config: PrepareConfig,
    inputs: dict[str, str],
    source: Source,
    compute: ComputeConfig,
    workspace: Workspace,
) -> Outputs:
    """Checks the real images and writes `data/prepared`, unless the same was done before.

    Args:
        data: Where the raw images are.
        config: What is done to them.
        inputs: Content digests of the raw images.
        source: The same, opened; in no cache key.
        compute: In no cache key.
        workspace: Where the prepared images go.
    """
    num_images = sum(source.num_images.values())
    with work(), bar("prepare", num_images, "images") as advance:
        workers = num_loader_workers(compute)
        prepare(data, config, workspace.prepared, source=source, workers=workers, advance=advance)
    return written(workspace.prepared)
