"""The tasks of the stage synthesize beside drawing: guides between rounds, checks, the index."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgds_core.classify.config import RetrainConfig, TrainConfig
from fgds_core.classify.run import TrainingRun
from fgds_core.data.meta import read_meta
from fgds_core.images.reading import Reading
from fgds_core.stages.train_guide import train_guide
from fgds_core.stages.vet import Gallery, vet
from fgds_core.synthesis.card import write_card
from fgds_core.synthesis.copied import COPIES
from fgds_core.synthesis.excluded import EXCLUDED_NAME, LeftOut, read_seeds, write_excluded
from fgds_core.synthesis.guides import finished_guide
from fgds_core.synthesis.record import PartRecord
from fgds_core.synthesis.rounds import Counts, planned
from fgds_core.synthesis.shards import (
    UNGUIDED_NAME,
    in_order,
    read_parts,
    remove_index,
    write_index,
)
from fgds_core.synthesis.unguided import write_unguided
from fgds_core.synthesis.vetting import JUDGE, read_verdicts, record_path, write_verdicts
from tasks.identity.cache import Outputs, stage_task, written
from tasks.identity.drawing import fingerprint
from tasks.identity.rounds import recipe_between
from tasks.survey import Survey, guide_of
from tasks.training import Training, trained
from tasks.vetting import Check
from tasks.watch.progress import bar
from tasks.watch.timing import work
from tasks.workers.config import ComputeConfig
from tasks.workers.devices import num_loader_workers, use_device
from tasks.workspace import RUNS, Workspace

log = logging.getLogger(__name__)


@stage_task(name="twins")
def write_twins(
    records: tuple[PartRecord, ...],
    class_names: tuple[str, ...],
    workspace: Workspace,
) -> Outputs:
    """Puts images that were drawn without feedback beside the set.

    Args:
        records: Of the files they are in; none where there are no twins.
        class_names: Name of each class.
        workspace: Where the set is.
    """
    out = workspace.synthetic
    write_unguided(workspace.checks().synthetic, records, class_names, out)
    return written(out / UNGUIDED_NAME)


@dataclass(frozen=True)
class Between:
    """The training between two rounds.

    Attributes:
        recipe: The final classifier's.
        retrain: How it learns from synthetic images.
        seed: Of the run.
        quotas: What the set draws, which its errors are told for.
        fingerprint: Of everything that decides the classifier.
    """

    recipe: TrainConfig
    retrain: RetrainConfig
    seed: int
    quotas: Counts
    fingerprint: str


def between(found: Survey, retrain: RetrainConfig, workspace: Workspace) -> Between:
    """The training before a round.

    Args:
        found: The set; the rounds before are known.
        retrain: How it learns from synthetic images.
        workspace: That of the round it guides.
    """
    assert found.trained_by is not None  # of a set in rounds
    return Between(
        recipe_between(retrain, workspace),
        retrain,
        found.rounds[0].recipe.seed,
        planned(found.whole),
        guide_of(found.trained_by, found.rounds[: workspace.drawing - 1]),
    )


@stage_task(name="train-guide", task_run_name="train-guide-of-round-{workspace.drawing}")
def train_guide_model(
    between: Between,
    records: tuple[PartRecord, ...],
    compute: ComputeConfig,
    workspace: Workspace,
) -> Outputs:
    """Trains the classifier that guides a round, unless the same one was trained before.

    Args:
        between: The training.
        records: Of all parts of the rounds so far.
        compute: In no cache key.
        workspace: That of the round it guides.
    """
    out, (folder, *_) = workspace.synthetic, workspace.guides()
    if finished_guide(folder, between.fingerprint) is not None:
        return written(folder)
    log.info("training the classifier that guides round %d", workspace.drawing)
    remove_index(out)
    images, _ = read_parts(out, read_meta(workspace.prepared).class_names, in_order(records))

    def train(models: Path, _: Path, run: TrainingRun) -> None:
        train_guide(
            workspace.prepared,
            images,
            between.quotas,
            between.recipe,
            between.retrain,
            between.seed,
            between.fingerprint,
            models,
            run,
        )

    made_from = (between.retrain, between.seed, {"guide": between.fingerprint})
    training = Training("synthesize", folder, None, between.recipe.total_steps, made_from)
    return trained(training, compute, train)


@stage_task(name="vet", task_run_name="vet-{check.number}")
def vet_images(
    check: Check, records: tuple[PartRecord, ...], compute: ComputeConfig, workspace: Workspace
) -> Outputs:
    """Looks at images that no check has seen, unless the same were checked before.

    Args:
        check: Which images, by whom, and what decides what is found.
        records: Of their parts.
        compute: In no cache key.
        workspace: Where they are.
    """
    out = workspace.synthetic
    path = record_path(out, check.number)
    if read_verdicts(path, check.fingerprint) is not None:
        return written(path)
    log.info("check %d: %s look at %d parts", check.number, check.asked, len(records))
    remove_index(out)
    num_new = sum(part.num_rows for part in records)
    num_real = sum(map(sum, read_meta(workspace.prepared).counts.values()))
    shown = {JUDGE: num_new, COPIES: num_new + num_real}
    with work(), bar("vet", sum(shown[name] for name in check.asked), "images") as seen:
        gallery = Gallery(
            workspace.prepared,
            out,
            workspace.judge,
            RUNS / "vetting",
            check.ways,
            check.tower,
            workspace.baseline,
        )
        reading = Reading(compute.batch_size, num_loader_workers(compute), seen)
        found = vet(records, check.asked, gallery, device=use_device(compute), reading=reading)
    write_verdicts(path, check.fingerprint, found)
    return written(path)


@stage_task(name="synthesize-index")
def write_synthetic_index(
    records: tuple[PartRecord, ...],
    class_names: tuple[str, ...],
    wanted: tuple[int, ...],
    made_by: dict[str, Any],
    left_out: tuple[LeftOut, ...],
    workspace: Workspace,
) -> Outputs:
    """Writes the card and, last, the index: it turns the parts into a synthetic set.

    Args:
        records: Of all parts.
        class_names: Name of each class.
        wanted: Images of each class, [K].
        made_by: Everything that decides what the images show.
        left_out: Those that are left out of training.
        workspace: Where the set is.
    """
    out = workspace.synthetic
    if left_out or (out / EXCLUDED_NAME).exists():
        remove_index(out)  # which knows the table as it was
    excluded = write_excluded(out, left_out, class_names, records)
    card = write_card(out, wanted, read_seeds(out))
    write_index(
        out,
        records,
        class_names=class_names,
        wanted=wanted,
        fingerprint=fingerprint(made_by),
        made_by=made_by,
        excluded=excluded,
    )
    return written(*(out / name for name in (*card, EXCLUDED_NAME)), workspace.synthetic_index)
