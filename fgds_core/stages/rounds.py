"""A synthetic set in rounds, from the first image to its index: draw, train, draw.

The flow of the stage synthesize does the same with workers, a store and a bar.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fgds_core.classify.config import RetrainConfig, TrainConfig
from fgds_core.classify.run import TrainingRun
from fgds_core.data.meta import read_meta
from fgds_core.stages.train_guide import train_guide
from fgds_core.synthesis.finished import finished_part
from fgds_core.synthesis.guides import finished_guide, guide_folder
from fgds_core.synthesis.models import load_models
from fgds_core.synthesis.part import write_part
from fgds_core.synthesis.plan import Plan, plan_of
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.record import PartRecord
from fgds_core.synthesis.rounds import Errors, check_rounds, plan_round, planned
from fgds_core.synthesis.shards import in_order, read_parts, write_index


def draw_in_rounds(
    prepared: Path,
    guides: Sequence[Path],
    recipe: Recipe,
    training: TrainConfig,
    retrain: RetrainConfig,
    out: Path,
    *,
    fingerprint: str,
    made_by: Mapping[str, Any] = MappingProxyType({}),
    batch_size: int = 50,
    micro_batch: int | None = None,
    run: TrainingRun = TrainingRun(),
) -> tuple[Plan, ...]:
    """Draws the `recipe.synthesize.rounds` rounds of a set into a folder.

    Parts and classifiers that an earlier call has finished are kept, if it had this fingerprint.

    Args:
        prepared: The output of the stage prepare.
        guides: Folder of the classifier that guides the first round, whose place the one between
            rounds takes; the others of a committee stay.
        recipe: How images are drawn, in how many rounds, by which quotas.
        training: The recipe of the classifiers between rounds, such as
            `final_recipe(baseline, retrain.training)`.
        retrain: How they learn from synthetic images.
        out: Gets the set and, below `_rounds`, those classifiers.
        fingerprint: Of everything that decides the set; every part is marked with it.
        made_by: What the fingerprint is made of, for the index.
        batch_size: Images drawn together.
        micro_batch: Of these, decoded and classified at a time; None is all.
        run: Where and how all of it runs.

    Returns:
        What each round has drawn.

    Raises:
        InputError: An input is missing or does not fit, or there are fewer images than rounds.
    """
    config, meta = recipe.synthesize, read_meta(prepared)
    whole = plan_of(meta, config)
    check_rounds(whole, config.rounds)
    quotas = planned(whole)
    plans: list[Plan] = []
    records: list[PartRecord] = []
    errors: Errors | None = None
    for number in range(1, config.rounds + 1):
        if number > 1:
            guide = guide_folder(out, number)
            errors = finished_guide(guide, fingerprint)
            if errors is None:
                so_far, _ = read_parts(out, whole.class_names, in_order(records))
                errors = train_guide(
                    prepared,
                    so_far,
                    quotas,
                    training,
                    retrain,
                    recipe.seed,
                    fingerprint,
                    guide,
                    run,
                )
            guides = (guide, *guides[1:])
        plans.append(plan_round(whole, plans, config, errors))
        found = [finished_part(part, fingerprint, out) for part in plans[-1].parts]
        if None in found:
            models = load_models(recipe, prepared, guides, run.device, micro_batch=micro_batch)
        records += [
            record
            or write_part(
                part,
                recipe,
                models,
                fingerprint,
                out,
                batch_size=batch_size,
                micro_batch=micro_batch,
            )
            for part, record in zip(plans[-1].parts, found, strict=True)
        ]
    write_index(
        out,
        records,
        class_names=whole.class_names,
        wanted=[sum(own) for own in zip(*(plan.wanted for plan in plans), strict=True)],
        fingerprint=fingerprint,
        made_by=made_by,
    )
    return tuple(plans)
