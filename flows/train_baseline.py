"""The stage train_baseline: trains a classifier on the real, imbalanced images alone.

    python -m flows.train_baseline

Writes `models/baseline/`, `reports/baseline.json` and `reports/baseline/`.
"""

from prefect import flow

from fgds_core.classify.config import TrainConfig
from tasks.identity.cache import Outputs, content_digests, run
from tasks.watch.progress import accuracy_line, say_result
from tasks.workers.config import ComputeConfig
from tasks.workspace import FIRST, Workspace


@flow(name="train_baseline")
def train_baseline(
    seed: int,
    train_baseline: TrainConfig,
    compute: ComputeConfig,
    workspace: Workspace = FIRST,
) -> Outputs:
    """Trains the baseline."""
    from tasks.train_baseline import train_baseline_model

    outputs = run(
        train_baseline_model,
        config=train_baseline,
        seed=seed,
        inputs=content_digests(workspace.prepared),
        compute=compute,
        workspace=workspace,
    )
    say_result("train_baseline", accuracy_line(workspace.real_reports / "baseline.json"))
    return outputs


if __name__ == "__main__":
    from flows.cli.stage import run_stage

    run_stage(train_baseline, __doc__)
