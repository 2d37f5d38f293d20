"""The stage judge: who says what an image shows, beside the classifier that guides it.

    python -m flows.judge
    python -m flows.judge --status

Shows the judge the real validation images, so that later it is known how far it can be believed.
Writes `models/judge/judge.json`, and for a judge of folds their classifiers, of which finished
ones are kept. Seconds, or as many trainings as `judge.folds`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from prefect import flow

from fgds_core.classify.config import RetrainConfig, TrainConfig, final_recipe
from fgds_core.generators.config import GeneratorConfig
from fgds_core.judge.config import JudgeConfig
from fgds_core.judge.record import JudgeRecord, read_record
from tasks.identity.cache import Outputs, content_digests, run
from tasks.identity.links import watch_links
from tasks.watch.progress import say_result
from tasks.workers.config import ComputeConfig
from tasks.workspace import FIRST, Workspace


@dataclass(frozen=True)
class JudgeParams:
    """The sections that decide the judge; the trainings' for one of folds."""

    seed: int
    judge: JudgeConfig
    generator: GeneratorConfig
    train_baseline: TrainConfig
    retrain: RetrainConfig


@flow(name="judge")
def judge(params: JudgeParams, compute: ComputeConfig, workspace: Workspace = FIRST) -> Outputs:
    """Makes the judge, and asks it about real images."""
    from fgds_core.judge.cross_fitted import remove_foreign_folds
    from tasks.judge import calibrate_judge, folds, train_fold_model, who

    watch_links("judge", params.judge.path)
    control = final_recipe(params.train_baseline, params.retrain.training)
    its_folds = folds(params.judge, control, params.seed, workspace)
    for fold in its_folds:
        run(train_fold_model, fold=fold, compute=compute, workspace=workspace)
    remove_foreign_folds(workspace.judge, len(its_folds))
    outputs = run(
        calibrate_judge,
        record=who(params.judge, params.generator, params.seed, its_folds, workspace),
        inputs=content_digests(workspace.prepared),
        compute=compute,
        workspace=workspace,
    )
    for line in results(read_record(workspace.judge)):
        say_result("judge", line)
    return outputs


def results(record: JudgeRecord) -> Sequence[str]:
    """What the judge recognises of real validation images, in a line, and what it cannot tell."""
    of = dict(zip(record.class_names, record.validation, strict=True))
    known = {name: each.recall for name, each in of.items() if each.recall is not None}
    name = record.kind if record.path is None else f"{record.kind} {record.path}"
    remarks = [f"warning: {remark}" for remark in record.remarks]
    if not known:
        return [f"{name}; there are no real validation images to ask it about", *remarks]
    weakest = min(known, key=lambda name: known[name])
    least = of[weakest]
    said = (
        f"{name}: mean recall {100 * sum(known.values()) / len(known):.1f} % of {len(known):,}"
        f" classes on {sum(each.num_images for each in of.values()):,} real validation images;"
        f" least {weakest}: {least.num_right:,} of {least.num_images:,}"
    )
    return [said, *remarks]


if __name__ == "__main__":
    from flows.cli.judge import QUESTIONS
    from flows.cli.stage import run_stage

    run_stage(judge, __doc__, *QUESTIONS)
