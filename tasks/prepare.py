"""The task of the stage prepare."""

from pathlib import Path

from fgds_core.config.compute import ComputeConfig
from fgds_core.config.data import DataConfig
from fgds_core.config.prepare import PrepareConfig
from fgds_core.prepare import prepare
from fgds_core.sources import open_source
from tasks.cache import Outputs, stage_task, written
from tasks.layout import PREPARED
from tasks.progress import bar
from tasks.timing import work


@stage_task(name="prepare")
def prepare_data(
    data: DataConfig, config: PrepareConfig, inputs: dict[str, str], compute: ComputeConfig
) -> Outputs:
    """Checks the real images and writes `data/prepared`, unless the same was done before.

    Args:
        data: Where the raw images are.
        config: What is done to them.
        inputs: Content digests of the raw images.
        compute: In no cache key.
    """
    num_images = sum(open_source(data).num_images.values())
    with work(), bar("prepare", num_images, "images") as advance:
        prepare(data, config, Path(PREPARED), advance=advance)
    return written(PREPARED)
