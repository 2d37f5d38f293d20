"""The task of the stage train_control."""

from functools import partial

from fgds_core.classify.config import TrainBaselineConfig
from fgds_core.stages.train_control import train_control
from tasks.identity.cache import Outputs, stage_task
from tasks.training import Training, trained
from tasks.workers.config import ComputeConfig
from tasks.workspace import Workspace


@stage_task(name="train_control")
def train_control_model(
    config: TrainBaselineConfig,
    seed: int,
    inputs: dict[str, str],
    compute: ComputeConfig,
    workspace: Workspace,
) -> Outputs:
    """Trains on real images alone in class-balanced batches, unless the same was done before.

    Args:
        config: Architecture, budget and recipe.
        seed: Seed of the run.
        inputs: Content digests of the prepared data.
        compute: In no cache key.
        workspace: Where the images are and the results go.
    """
    made_from = (config, seed, inputs)
    return trained(
        Training(
            "train_control", workspace.control, workspace.real_reports, config.num_steps, made_from
        ),
        compute,
        partial(train_control, workspace.prepared, config, seed),
    )
