"""The tasks of the stage judge: each of its trainings, and what the judge recognises."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fgds_core.classify.config import TrainConfig
from fgds_core.classify.run import TrainingRun
from fgds_core.data.meta import read_meta
from fgds_core.generators.config import GeneratorConfig
from fgds_core.images.reading import Reading
from fgds_core.judge.config import JudgeConfig
from fgds_core.judge.cross_fitted import fold_folder, is_finished
from fgds_core.judge.kinds import load_kind
from fgds_core.judge.record import RECORD, JudgeRecord
from fgds_core.stages.judge import calibrate, num_shown
from fgds_core.stages.train_fold import recipe_of_folds, train_fold
from tasks.identity import code
from tasks.identity.cache import Outputs, content_digests, replaced, stage_task, written
from tasks.identity.generator import hub_commit
from tasks.training import Training, trained
from tasks.watch.progress import bar, say
from tasks.watch.timing import work
from tasks.workers.config import ComputeConfig
from tasks.workers.devices import num_loader_workers, use_device
from tasks.workspace import Workspace

TRAINING = "fgds_core.stages.train_fold"
"""The module whose imports are the code that trains the classifiers of folds."""


@dataclass(frozen=True)
class Fold:
    """A training without a fold of the training images.

    Attributes:
        number: The fold that is left out, from 0.
        num_folds: How many there are.
        recipe: How it is trained.
        seed: Of the run.
        fingerprint: Of everything that decides the classifier.
    """

    number: int
    num_folds: int
    recipe: TrainConfig
    seed: int
    fingerprint: str

    def folder(self, workspace: Workspace) -> Path:
        """Where its classifier lies."""
        return fold_folder(workspace.judge, self.number)


def folds(
    config: JudgeConfig, control: TrainConfig, seed: int, workspace: Workspace
) -> tuple[Fold, ...]:
    """The trainings that a judge needs; none for one that is trained elsewhere.

    Args:
        config: The section judge.
        control: The control's recipe.
        seed: Of the run.
        workspace: Where the real images are; of them the training images count alone.

    Raises:
        InputError: There are no prepared data.
    """
    if not load_kind(config.kind).is_trained:
        return ()
    recipe = recipe_of_folds(control)
    decides = {
        "training": recipe.model_dump(mode="json"),
        "seed": seed,
        "num_folds": config.folds,
        "real": read_meta(workspace.prepared).content_sha256["train"],
        "code": code.digest(TRAINING),
    }
    return tuple(
        Fold(number, config.folds, recipe, seed, _digest({**decides, "fold": number}))
        for number in range(config.folds)
    )


def is_trained(fold: Fold, workspace: Workspace) -> bool:
    """Whether the classifier of a fold is there and whole."""
    return is_finished(fold.folder(workspace), fold.fingerprint)


@stage_task(name="judge-fold", task_run_name="judge-fold-{fold.number}")
def train_fold_model(fold: Fold, compute: ComputeConfig, workspace: Workspace) -> Outputs:
    """Trains without a fold, unless the same was done before.

    Args:
        fold: The training.
        compute: In no cache key.
        workspace: Where the images are and the classifier goes.
    """
    folder = fold.folder(workspace)
    if is_trained(fold, workspace):
        return written(folder)
    say("judge", f"training without fold {fold.number + 1} of {fold.num_folds}")

    def train(models: Path, _: Path, run: TrainingRun) -> None:
        train_fold(
            workspace.prepared,
            fold.number,
            fold.num_folds,
            fold.recipe,
            fold.seed,
            fold.fingerprint,
            models,
            run,
        )

    made_from = (fold.recipe, fold.seed, {"fold": fold.fingerprint})
    return trained(
        Training("judge", folder, None, fold.recipe.total_steps, made_from), compute, train
    )


def who(
    config: JudgeConfig,
    generator: GeneratorConfig,
    seed: int,
    folds: Sequence[Fold],
    workspace: Workspace,
) -> JudgeRecord:
    """Who judges, and by what bytes, before it is asked.

    Args:
        config: The section judge.
        generator: Its prompts, and its tower where that judges.
        seed: Of the run.
        folds: The trainings it consists of.
        workspace: Where the prepared data are.
    """
    meta = read_meta(workspace.prepared)
    kind = load_kind(config.kind)
    record = kind.who(config, generator, meta.class_names, meta.groups or ())
    decides = {"prompts": record.prompts, "groups": record.groups, "classes": meta.class_names}
    by: dict[str, object] = {"folds": [fold.fingerprint for fold in folds]}
    if record.path is not None and Path(record.path).is_dir():
        by = {"networks": content_digests(record.path)[record.path]}
    elif record.path is not None:
        by = {"networks": hub_commit(record.path, record.revision)}
    return replace(record, seed=seed, judged_by=_digest(decides | by))


def _digest(decides: Mapping[str, object]) -> str:
    """sha256 of what decides a classifier or a judge."""
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


@stage_task(name="judge")
def calibrate_judge(
    record: JudgeRecord, inputs: dict[str, str], compute: ComputeConfig, workspace: Workspace
) -> Outputs:
    """Shows the judge real images and writes what it recognised, unless that was done before.

    Args:
        record: Who it is.
        inputs: Content digests of the prepared data.
        compute: In no cache key.
        workspace: Where the images are and the record goes.
    """
    owned = workspace.judge / RECORD
    shown = num_shown(workspace.prepared, record)
    with replaced(owned) as place, work(), bar("judge", shown, "images") as advance:
        say("judge", f"reading the networks of the judge ({record.kind})")
        calibrate(
            workspace.prepared,
            record,
            workspace.judge,
            place(owned).parent,
            device=use_device(compute),
            reading=Reading(compute.batch_size, num_loader_workers(compute), advance),
        )
    return written(owned)
