"""Twins of a few images of each class without feedback, for the page."""

from typing import TYPE_CHECKING

from flows.draw_round import draw_round
from tasks.identity.cache import run
from tasks.store.config import StoreConfig
from tasks.watch.progress import say
from tasks.workers.config import ComputeConfig
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from fgds_core.synthesis.recipe import Recipe
    from fgds_core.synthesis.record import PartRecord
    from tasks.round import Round


def draw_twins(
    recipe: "Recipe",
    first: "Round",
    compute: ComputeConfig,
    store: StoreConfig,
    workspace: Workspace,
) -> None:
    """Draws the first images of each class without feedback, and puts them beside the set.

    Args:
        recipe: How the set is drawn.
        first: What is drawn first of it.
        compute: The workers.
        store: Where parts of other workers are.
        workspace: That of the set.

    Raises:
        InputError: They cannot be drawn.
        UnfinishedError: Some failed.
    """
    from tasks.synthesize import write_twins
    from tasks.twins import survey_twins

    found = survey_twins(recipe, first, store, workspace, verify=True)
    records: tuple[PartRecord, ...] = ()
    if found.plan.parts:
        if found.left:
            say("twins", f"{sum(found.plan.wanted):,} images without feedback, for the page")
        records = draw_round(found, compute, store, lambda what, **values: None).records
    run(
        write_twins,
        records=records,
        class_names=found.plan.class_names,
        workspace=workspace,
    )
