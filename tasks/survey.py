"""What a synthetic set consists of, what of it is there and what is left to draw.

One answer for the flow that draws it, for its plan and for its status.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from fgds_core.data.meta import META_NAME, read_meta
from fgds_core.errors import InputError
from fgds_core.synthesis.config import SynthesizeConfig
from fgds_core.synthesis.finished import finished_at
from fgds_core.synthesis.plan import Part, Plan, plan_of
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.relabel import Relabelled, relabelled_parts
from tasks.identity.drawing import (
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
class Survey:
    """What a set consists of, and what of it is there.

    Attributes:
        recipe: How its images are drawn.
        plan: Its parts.
        inputs: Content digest of all that drawing reads, by path.
        made_by: Everything that decides what the images show, see `identity.drawing`.
        fingerprints: Of each part of the plan.
        here: Path -> when it was finished, in seconds since 1970, of the parts in the workspace.
        stored: The same of the parts in the store.
        moved: Finished parts of other class names that a run gives their place and label of now.
    """

    recipe: Recipe
    plan: Plan
    inputs: dict[str, str]
    made_by: dict[str, Any]
    fingerprints: tuple[str, ...]
    here: Mapping[str, float]
    stored: Mapping[str, float]
    moved: tuple[Relabelled, ...]

    @property
    def fingerprint(self) -> str:
        """Of the whole set."""
        return fingerprint(self.made_by)

    def part_fingerprint(self, label: int, class_names: Sequence[str]) -> str:
        """Of the parts of one class, if the classes had these names."""
        return part_fingerprint(self.made_by, label, class_names)

    def sources(self, store: Shared | None = None) -> Sources:
        """What workers have to have to draw it; `store` is where they find it."""
        return Sources(self.recipe, fingerprint(self.inputs), self.made_by["code"], store)

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


def survey(
    recipe: Recipe, store: StoreConfig, workspace: Workspace, *, verify: bool = False
) -> Survey:
    """Compares the set that a recipe asks for with what is there; changes nothing.

    Args:
        recipe: How the images are drawn.
        store: Where parts of other workers are, if not all in this workspace.
        workspace: Where the set and what it is drawn from are.
        verify: Whether to compare the sha256 of every part, as a run does, rather than to believe
            the record beside it.

    Raises:
        InputError: An input is missing, no class needs an image, or the store is out of reach.
    """
    check_prepared(workspace)
    inputs = input_digests(recipe, workspace)
    origin = made_by(recipe, inputs, workspace)
    fingerprint_of = cache(partial(part_fingerprint, origin))
    meta = read_meta(workspace.prepared)
    plan = plan_of(meta, recipe.synthesize)
    fingerprints = tuple(fingerprint_of(part.label, plan.class_names) for part in plan.parts)
    here = {
        part.path: at
        for part, its_own in zip(plan.parts, fingerprints, strict=True)
        if (at := finished_at(part, its_own, workspace.synthetic, verify=verify)) is not None
    }
    moved = relabelled_parts(workspace.synthetic, plan.class_names, fingerprint_of, here)
    there = stored(store, plan.parts, fingerprints)
    return Survey(recipe, plan, inputs, origin, fingerprints, here, there, tuple(moved))


def read_plan(config: SynthesizeConfig, workspace: Workspace) -> Plan:
    """Plans the synthetic set for the prepared data.

    Raises:
        InputError: There are no prepared data, or no class needs an image.
    """
    check_prepared(workspace)
    meta = read_meta(workspace.prepared)
    return plan_of(meta, config)


def check_prepared(workspace: Workspace) -> None:
    """Refuses a workspace without prepared data.

    Raises:
        InputError: There are none.
    """
    if not (workspace.prepared / META_NAME).is_file():
        raise InputError(f"{workspace.prepared} is missing; make it with `dvc repro prepare`")
