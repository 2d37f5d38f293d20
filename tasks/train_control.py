"""The task of the stage train_control."""

from functools import partial

from fgds_core.classify.config import TrainConfig
from fgds_core.stages.train_control import train_control
from tasks.identity.cache import Outputs, stage_task
from tasks.training import Training, trained
from tasks.workers.config import ComputeConfig
from tasks.workspace import Workspace


@stage_task(name="train_control")
def train_control_model(
    recipe: TrainConfig,
    baseline: TrainConfig,
    seed: int,
    inputs: dict[str, str],
    compute: ComputeConfig,
    workspace: Workspace,
) -> Outputs:
    """Trains on real images alone by the final recipe, unless the same was done before.

    Args:
        recipe: The final classifier's.
        baseline: The baseline's recipe.
        seed: Seed of the run.
        inputs: Content digests of the prepared data.
        compute: In no cache key.
        workspace: Where the images are and the results go.
    """
    made_from = (recipe, seed, inputs)
    return trained(
        Training(
            "train_control",
            workspace.control,
            workspace.real_reports,
            recipe.total_steps,
            made_from,
        ),
        compute,
        partial(train_control, workspace.prepared, recipe, baseline, seed),
    )
