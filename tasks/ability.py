"""What is drawn to check the generator, and what is known of the last check."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import cycle, islice

from fgds_core.ability.check import CELL_IMAGES
from fgds_core.ability.record import Ability, read_ability
from fgds_core.errors import InputError
from fgds_core.synthesis.plan import Part, Plan
from fgds_core.synthesis.recipe import Recipe
from tasks.identity.cache import content_digests
from tasks.identity.drawing import fingerprint
from tasks.round import Round, survey_round
from tasks.store.config import StoreConfig
from tasks.workspace import Workspace

FIRST_INDEX = 1_000_000_000
"""Place in its class of the first image of a check: none of a set has its seed."""


AGAIN = 2
"""Which part of its class a second look is, behind the first (0) and the twins (1)."""


def unguided(recipe: Recipe) -> Recipe:
    """The recipe that a check draws by: the run's, without feedback."""
    alone = recipe.synthesize.model_copy(update={"feedback": "none", "rounds": 1})
    return replace(recipe, synthesize=alone)


def check_plan(whole: Plan, check_images: int) -> Plan:
    """What a check draws: as many images of each class that the set draws some of.

    With groups enough for each of them, but for those beyond what the set draws itself.

    Args:
        whole: The set.
        check_images: Images of each class; 0 is none.
    """
    parts = tuple(_check_parts(whole, check_images)) if check_images else ()
    drawn = {part.label: part.num_images for part in parts}
    wanted = [drawn.get(label, 0) for label in range(len(whole.class_names))]
    return Plan(parts, whole.class_names, whole.real, tuple(wanted))


def _check_parts(whole: Plan, check_images: int) -> Iterator[Part]:
    groups: dict[int, dict[str, None]] = {}
    for part in sorted(whole.parts, key=lambda part: part.first_index):
        groups.setdefault(part.label, {}).update(dict.fromkeys(part.groups))
    for label in sorted(groups):
        number = max(check_images, min(CELL_IMAGES * len(groups[label]), whole.wanted[label]))
        own = tuple(islice(cycle(groups[label]), number)) if groups[label] else ()
        yield Part(label, whole.class_names[label], 0, FIRST_INDEX, number, own)


def second_look(first: Plan, names: Collection[str]) -> Plan:
    """As many images again of the classes that are in doubt.

    Args:
        first: What the check has drawn.
        names: Of the classes.
    """
    parts = tuple(
        replace(part, index=AGAIN, first_index=part.first_index + part.num_images)
        for part in first.parts
        if part.class_name in names
    )
    drawn = {part.label: part.num_images for part in parts}
    wanted = tuple(drawn.get(label, 0) for label in range(len(first.class_names)))
    return Plan(parts, first.class_names, first.real, wanted)


def survey_check(
    recipe: Recipe, plan: Plan, store: StoreConfig, workspace: Workspace, *, verify: bool = False
) -> Round:
    """Compares what a check draws with what is there of it; changes nothing.

    Args:
        recipe: How the set is drawn.
        plan: From `check_plan` or `second_look`.
        store: Where parts of other workers are, if not all in this workspace.
        workspace: That of the set.
        verify: As in `survey`.
    """
    return survey_round(unguided(recipe), plan, store, workspace.checks(), verify=verify)


def check_inputs(found: Round, workspace: Workspace) -> dict[str, str]:
    """Content digests of all that the check reads beside its own images."""
    judge = [workspace.judge] if workspace.judge.is_dir() else []
    return found.inputs | content_digests(*judge)


def ability_of(recipe: Recipe, found: Round, inputs: dict[str, str]) -> Ability:
    """What is about to be checked.

    Args:
        recipe: How the set is drawn.
        found: What the check draws.
        inputs: From `check_inputs`.
    """
    config = recipe.synthesize
    decides = {"inputs": inputs, "drawn": list(found.fingerprints), "images": config.check_images}
    return Ability(
        config.check_images, recipe.generator.path, config.cannot_draw, fingerprint(decides)
    )


def last_check(ability: Ability, workspace: Workspace) -> Ability | None:
    """The last check, if it was of the same images, networks and real images.

    Args:
        ability: From `ability_of`.
        workspace: Where its record lies.
    """
    try:
        found = read_ability(workspace.ability)
    except InputError:
        return None
    return found if found.fingerprint == ability.fingerprint else None
