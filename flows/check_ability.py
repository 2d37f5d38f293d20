"""The generator check: whether the classes can be drawn, before many images of them are.

It looks at a generator that has learnt something, and before that to say what it is to learn.
"""

from typing import TYPE_CHECKING

from fgds_core.errors import InputError
from flows.draw_round import draw_round
from tasks.identity.cache import run
from tasks.store.config import StoreConfig
from tasks.watch.progress import say, say_result
from tasks.workers.config import ComputeConfig
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from fgds_core.ability.record import Ability
    from fgds_core.synthesis.plan import Plan
    from fgds_core.synthesis.recipe import Recipe
    from fgds_core.synthesis.record import PartRecord
    from tasks.round import Round


def check_ability(
    recipe: "Recipe",
    whole: "Plan",
    compute: ComputeConfig,
    store: StoreConfig,
    workspace: Workspace,
) -> "Ability":
    """Draws a few images of each class and says which it can draw.

    Args:
        recipe: How the set is drawn.
        whole: The set.
        compute: The workers.
        store: Where parts of other workers are.
        workspace: That of the set.
    """
    from fgds_core.ability.record import read_ability
    from fgds_core.files import listed
    from tasks.ability import ability_of, check_inputs, check_plan, second_look, survey_check
    from tasks.check_ability import check_ability

    config = recipe.synthesize
    first = check_plan(whole, config.check_images)
    found = survey_check(recipe, first, store, workspace, verify=True)
    inputs = check_inputs(found, workspace)
    asked = ability_of(recipe, found, inputs)

    def draw(some: "Round") -> "tuple[PartRecord, ...]":
        num_images, num_classes = sum(some.plan.wanted), sum(map(bool, some.plan.wanted))
        of = "1 class" if num_classes == 1 else f"{num_classes:,} classes"
        say("check", f"{num_images:,} images of {of}, without feedback")
        return draw_round(some, compute, store, lambda what, **values: None).records

    def said(records: "tuple[PartRecord, ...]") -> "Ability":
        run(
            check_ability,
            recipe=found.recipe,
            records=records,
            ability=asked,
            inputs=inputs,
            compute=compute,
            workspace=workspace,
        )
        return read_ability(workspace.ability)

    records = draw(found) if first.parts else ()
    ability = said(records)
    if doubtful := ability.in_doubt:
        say("check", f"in doubt: {listed(doubtful)}; a second look")
        plan = second_look(first, doubtful)
        more = survey_check(recipe, plan, store, workspace, verify=True)
        ability = said((*records, *draw(more)))
    return ability


def heed(ability: "Ability") -> None:
    """Says what a check has found, and stops where that is asked for.

    Raises:
        InputError: A class cannot be drawn, and `synthesize.cannot_draw` is refuse.
    """
    from fgds_core.ability.record import findings, refusal

    if ability.failing and ability.cannot_draw == "refuse":
        raise InputError(refusal(ability))
    for line in findings(ability):
        say_result("check", line)
