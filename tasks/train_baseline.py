"""The task of the stage train_baseline."""

from functools import partial

from fgds_core.classify.config import TrainConfig
from fgds_core.stages.train_baseline import train_baseline
from tasks.identity.cache import Outputs, stage_task
from tasks.training import Training, trained
from tasks.workers.config import ComputeConfig
from tasks.workspace import Workspace


@stage_task(name="train_baseline")
def train_baseline_model(
    config: TrainConfig,
    seed: int,
    inputs: dict[str, str],
    compute: ComputeConfig,
    workspace: Workspace,
) -> Outputs:
    """Trains the baseline on real images alone, unless the same was done before.

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
            "train_baseline",
            workspace.baseline,
            workspace.real_reports,
            config.total_steps,
            made_from,
        ),
        compute,
        partial(train_baseline, workspace.prepared, config, seed),
    )
