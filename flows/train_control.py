"""The stage train_control: trains on real images alone by the final classifier's recipe.

    python -m flows.train_control

The classifier that the final one is compared with: it differs from that in its images alone.
Writes `models/control/`, `reports/control.json` and `reports/control/`.
"""

from prefect import flow

from fgds_core.classify.config import RetrainConfig, TrainConfig, final_recipe
from tasks.identity.cache import Outputs, content_digests, run
from tasks.watch.progress import accuracy_line, say_result
from tasks.workers.config import ComputeConfig
from tasks.workspace import FIRST, Workspace


@flow(name="train_control")
def train_control(
    seed: int,
    train_baseline: TrainConfig,
    retrain: RetrainConfig,
    compute: ComputeConfig,
    workspace: Workspace = FIRST,
) -> Outputs:
    """Trains the control."""
    from tasks.train_control import train_control_model

    outputs = run(
        train_control_model,
        recipe=final_recipe(train_baseline, retrain.training),
        baseline=train_baseline,
        seed=seed,
        inputs=content_digests(workspace.prepared),
        compute=compute,
        workspace=workspace,
    )
    say_result("train_control", accuracy_line(workspace.real_reports / "control.json"))
    return outputs


if __name__ == "__main__":
    from flows.cli.stage import run_stage

    run_stage(train_control, __doc__)
