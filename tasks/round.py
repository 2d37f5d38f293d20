"""One go at drawing: what it consists of, and what of it is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from fgds_core.ability.record import read_ability
from fgds_core.data.splits import class_digests
from fgds_core.errors import InputError
from fgds_core.synthesis.config import SynthesizeConfig
from fgds_core.synthesis.finished import finished_at
from fgds_core.synthesis.plan import Part, Plan
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.relabel import Relabelled, relabelled_parts
from fgds_core.synthesis.rounds import planned
from tasks.identity.drawing import (
    RESAMPLED,
    fingerprint,
    input_digests,
    made_by,
    part_fingerprint,
)
from tasks.store.config import StoreConfig
from tasks.store.inputs import Shared
from tasks.store.parts import stored
from tasks.workers.worker import Sources
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Round:
    """What a round of a set consists of, and what of it is there.

    Attributes:
        recipe: How its images are drawn.
        plan: Its parts.
        workspace: Where the set is, and the classifier that guides this round.
        inputs: Content digest of all that drawing reads, by path.
        made_by: Everything that decides what the images show, see `identity.drawing`.
        fingerprints: Of each part of the plan.
        here: Path -> when it was finished, in seconds since 1970, of the parts in the workspace.
        stored: The same of the parts in the store.
        moved: Finished parts of other class names that a run gives their place and label of now.
    """

    recipe: Recipe
    plan: Plan
    workspace: Workspace
    inputs: dict[str, str]
    made_by: dict[str, Any]
    fingerprints: tuple[str, ...]
    here: Mapping[str, float]
    stored: Mapping[str, float]
    moved: tuple[Relabelled, ...]

    def part_fingerprint(self, label: int, class_names: Sequence[str]) -> str:
        """Of the parts of one class, if the classes had these names."""
        return part_fingerprint(self.made_by, label, class_names)

    def sources(self, store: Shared | None = None) -> Sources:
        """What workers have to have to draw it; `store` is where they find it."""
        inputs, code = fingerprint(self.inputs), self.made_by["code"]
        return Sources(self.recipe, inputs, code, store, self.resampled)

    @property
    def resampled(self) -> frozenset[str]:
        """The classes that real images fill."""
        return frozenset(self.made_by.get(RESAMPLED, {}))

    @property
    def drawn(self) -> tuple[tuple[Part, str], ...]:
        """Its parts with their fingerprints."""
        return tuple(zip(self.plan.parts, self.fingerprints, strict=True))

    @property
    def left(self) -> tuple[Part, ...]:
        """The parts that are still to draw, in the order of the run."""
        moved = {(new.path, new.before.first_index, new.before.num_rows) for new in self.moved}
        return tuple(
            part
            for part in self.plan.parts
            if part.path not in self.here
            and part.path not in self.stored
            and (part.path, part.first_index, part.num_images) not in moved
        )


def survey_round(
    recipe: Recipe,
    plan: Plan,
    store: StoreConfig,
    workspace: Workspace,
    *,
    verify: bool = False,
    in_place: bool = False,
) -> Round:
    """Compares a round with what is there; changes nothing.

    Args:
        recipe: How the images are drawn.
        plan: Which ones.
        store: Where parts of other workers are, if not all in this workspace.
        workspace: Where the set is, and the classifier that guides the round.
        verify: As in `survey`.
        in_place: Whether its images take the place of others, and their groups.

    Raises:
        InputError: An input is missing, or the store is out of reach.
    """
    inputs = input_digests(recipe, workspace)
    origin = made_by(recipe, inputs, workspace)
    if (names := resampled(recipe.synthesize, workspace)) and workspace.stage == "synthesize":
        real = class_digests(workspace.prepared, "train")
        origin[RESAMPLED] = {name: real[name] for name in plan.class_names if name in names}
    by_error = workspace.drawing > 1 and recipe.synthesize.round_quotas != "even"
    if "cells" in origin and (by_error or in_place):
        origin["cells"] = cells_of(plan)
    fingerprint_of = cache(partial(part_fingerprint, origin))
    fingerprints = tuple(fingerprint_of(part.label, plan.class_names) for part in plan.parts)
    here = {
        part.path: at
        for part, its_own in zip(plan.parts, fingerprints, strict=True)
        if (at := finished_at(part, its_own, workspace.synthetic, verify=verify)) is not None
    }
    moved = relabelled_parts(workspace.synthetic, plan.class_names, fingerprint_of, here)
    there = stored(store, plan.parts, fingerprints)
    return Round(recipe, plan, workspace, inputs, origin, fingerprints, here, there, tuple(moved))


def resampled(config: SynthesizeConfig, workspace: Workspace) -> frozenset[str]:
    """The classes that real images fill, by the last check of the generator."""
    if config.cannot_draw != "resample" or not config.check_images:
        return frozenset()
    try:
        return read_ability(workspace.ability).resampled
    except InputError:  # not checked yet
        return frozenset()


def cells_of(plan: Plan) -> dict[str, list[Any]]:
    """For which groups the images of each class are drawn, where errors have shared them out.

    Returns:
        Class name -> index of its first image, and each group in order with its images.
    """
    first: dict[int, int] = {}
    for part in plan.parts:
        first[part.label] = min(part.first_index, first.get(part.label, part.first_index))
    return {
        plan.class_names[label]: [first[label], [list(pair) for pair in own.items()]]
        for label, own in enumerate(planned(plan))
        if own
    }
