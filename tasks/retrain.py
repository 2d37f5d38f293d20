"""The task of the stage retrain."""

from functools import partial

from fgds_core.classify.config import RetrainConfig, final_recipe
from fgds_core.classify.train import read_training
from fgds_core.stages.retrain import retrain
from tasks.identity.cache import Outputs, stage_task
from tasks.training import Training, trained
from tasks.workers.config import ComputeConfig
from tasks.workspace import Workspace


@stage_task(name="retrain")
def retrain_model(
    config: RetrainConfig,
    seed: int,
    inputs: dict[str, str],
    compute: ComputeConfig,
    workspace: Workspace,
) -> Outputs:
    """Trains on real and synthetic images, unless the same was done before.

    Args:
        config: The share of real images in a batch.
        seed: Seed of the run.
        inputs: Content digests of the prepared data, the synthetic set and the baseline.
        compute: In no cache key.
        workspace: Where the images are and the results go.
    """
    num_steps = final_recipe(read_training(workspace.baseline), config.training).total_steps
    made_from = (config, seed, inputs)
    places = (workspace.prepared, workspace.synthetic, workspace.baseline)
    return trained(
        Training("retrain", workspace.final, workspace.reports, num_steps, made_from),
        compute,
        partial(retrain, *places, config, seed),
    )
