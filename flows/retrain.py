"""The stage retrain: trains a classifier on real and synthetic images.

    python -m flows.retrain

Writes `models/final/`, `reports/final.json` and `reports/final/`.
"""

from prefect import flow

from fgds_core.classify.config import RetrainConfig
from tasks.identity.cache import Outputs, content_digests, run
from tasks.watch.progress import accuracy_line, say_result
from tasks.workers.config import ComputeConfig
from tasks.workspace import FIRST, Workspace


@flow(name="retrain")
def retrain(
    seed: int, retrain: RetrainConfig, compute: ComputeConfig, workspace: Workspace = FIRST
) -> Outputs:
    """Trains the final classifier."""
    from tasks.retrain import retrain_model

    outputs = run(
        retrain_model,
        config=retrain,
        seed=seed,
        inputs=content_digests(workspace.prepared, workspace.synthetic_index, workspace.baseline),
        compute=compute,
        workspace=workspace,
    )
    say_result("retrain", accuracy_line(workspace.reports / "final.json"))
    return outputs


if __name__ == "__main__":
    from flows.cli.stage import run_stage

    run_stage(retrain, __doc__)
