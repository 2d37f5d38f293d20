"""Which images of a set are drawn without feedback too, and what of that is there."""

from collections.abc import Collection

from fgds_core.synthesis.config import SynthesizeConfig
from fgds_core.synthesis.plan import Part, Plan
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.strength import for_class
from tasks.ability import unguided
from tasks.identity.drawing import is_guided
from tasks.round import Round, survey_round
from tasks.store.config import StoreConfig
from tasks.workspace import Workspace

MOST_CLASSES = 1000
"""Classes that have twins, at most."""

PLACE = 1
"""Which part of its class they are, beside the images of the check, which are part 0."""


def twins_plan(first: Plan, config: SynthesizeConfig, without: Collection[str] = ()) -> Plan:
    """The first images of each class that feedback guides.

    Args:
        first: What is drawn first of the set.
        config: How it is drawn, and how many twins a class has.
        without: Names of classes that have none, for real images fill them.
    """
    own: dict[int, Part] = {}
    for part in first.parts if is_guided(config) and config.unguided_twins else ():
        guided = is_guided(for_class(config, first.real[part.label]))
        if guided and not part.first_index and part.class_name not in without:
            number = min(config.unguided_twins, part.num_images)
            groups = part.groups[:number]
            own[part.label] = Part(part.label, part.class_name, PLACE, 0, number, groups)
    most = sorted(own, key=lambda label: (-first.wanted[label], label))[:MOST_CLASSES]
    parts = tuple(own[label] for label in sorted(most))
    wanted = [own[label].num_images if label in most else 0 for label in range(len(first.wanted))]
    return Plan(parts, first.class_names, first.real, tuple(wanted))


def survey_twins(
    recipe: Recipe, first: Round, store: StoreConfig, workspace: Workspace, *, verify: bool = False
) -> Round:
    """Compares the twins of a set with what is there of them; changes nothing.

    They are drawn like the images of the check and beside these: a worker has the networks, and a
    later run finds them again.

    Args:
        recipe: How the set is drawn.
        first: What is drawn first of it.
        store: Where parts of other workers are, if not all in this workspace.
        workspace: That of the set.
        verify: As in `survey`.
    """
    plan = twins_plan(first.plan, recipe.synthesize, first.resampled)
    here = workspace.checks()
    return survey_round(unguided(recipe), plan, store, here, verify=verify, in_place=True)
