"""What a synthetic set consists of, what of it is there and what is left to draw.

One answer for the flow that draws it, for its plan and for its status.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from fgds_core.ability.record import read_ability
from fgds_core.classify.config import RetrainConfig
from fgds_core.data.meta import META_NAME, read_meta
from fgds_core.data.splits import class_digests
from fgds_core.errors import InputError
from fgds_core.synthesis.config import SynthesizeConfig
from fgds_core.synthesis.excluded import Place
from fgds_core.synthesis.finished import finished_at
from fgds_core.synthesis.guides import finished_guide
from fgds_core.synthesis.plan import Part, Plan, plan_of
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.relabel import Relabelled, relabelled_parts
from fgds_core.synthesis.rounds import Errors, check_rounds, plan_round, planned
from tasks.identity.drawing import (
    RESAMPLED,
    fingerprint,
    input_digests,
    made_by,
    part_fingerprint,
)
from tasks.identity.rounds import guide_fingerprint, trained_by
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
        resampled = frozenset(self.made_by.get(RESAMPLED, {}))
        inputs, code = fingerprint(self.inputs), self.made_by["code"]
        return Sources(self.recipe, inputs, code, store, resampled)

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


@dataclass(frozen=True)
class Survey:
    """What a set consists of, as far as it is known, and what of it is there.

    Attributes:
        whole: What would be drawn at once; the rounds have as many images.
        rounds: Those whose classifier is there; the first always is one of them.
        plans: Of these, and of further ones if their numbers follow from no classifier.
        trained_by: Everything that decides the classifiers between rounds but the images, see
            `identity.rounds`; None of a set that is drawn at once.
        num_rounds: How many there are.
    """

    whole: Plan
    rounds: tuple[Round, ...]
    plans: tuple[Plan, ...]
    trained_by: dict[str, Any] | None
    num_rounds: int

    @property
    def parts(self) -> tuple[Part, ...]:
        """Those that are known, in the order of the run."""
        return tuple(part for plan in self.plans for part in plan.parts)

    @property
    def wanted(self) -> tuple[int, ...]:
        """Images of each class in the rounds that are known, [K]."""
        return tuple(sum(own) for own in zip(*(plan.wanted for plan in self.plans), strict=True))

    @property
    def left(self) -> tuple[Part, ...]:
        """The known parts that are still to draw, in the order of the run."""
        later = (plan.parts for plan in self.plans[len(self.rounds) :])
        of_rounds = (each.left for each in self.rounds)
        return tuple(part for parts in (*of_rounds, *later) for part in parts)

    @property
    def unplanned(self) -> int:
        """Images of rounds of which nobody knows yet which classes they draw."""
        return sum(self.whole.wanted) - sum(sum(plan.wanted) for plan in self.plans)

    @property
    def num_trainings(self) -> int:
        """Classifiers between rounds that are still to train."""
        return self.num_rounds - len(self.rounds)

    @property
    def is_known(self) -> bool:
        """Whether all its parts are known."""
        return not self.num_trainings

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the images of the rounds that are known lie, or will."""
        return tuple(
            Place(part.label, part.first_index, part.num_images, made)
            for each in self.rounds
            for part, made in each.drawn
        )

    @property
    def purpose(self) -> str:
        """Digest of what the set follows from: known before its classifiers are."""
        first = self.rounds[0].made_by
        if self.trained_by is None:
            return fingerprint(first)
        quotas = self.rounds[0].recipe.synthesize.round_quotas
        return fingerprint({**first, "rounds": [self.num_rounds, quotas, self.trained_by]})


def made_by_rounds(rounds: Sequence[Round]) -> dict[str, Any]:
    """Everything that decides the images of a set, for its index.

    Args:
        rounds: All of them; the first says what they have in common.
    """
    first = rounds[0].made_by
    if len(rounds) == 1:
        return first
    own = ("guide", "cells")  # what a round may have of its own
    return {
        **first,
        "rounds": [
            {"wanted": list(each.plan.wanted)}
            | {key: each.made_by[key] for key in own if key in each.made_by}
            for each in rounds
        ],
    }


def survey(
    recipe: Recipe,
    retrain: RetrainConfig,
    store: StoreConfig,
    workspace: Workspace,
    *,
    verify: bool = False,
) -> Survey:
    """Compares the set that a recipe asks for with what is there; changes nothing.

    Args:
        recipe: How the images are drawn.
        retrain: How the classifiers between rounds are trained.
        store: Where parts of other workers are, if not all in this workspace.
        workspace: Where the set and what it is drawn from are.
        verify: Whether to compare the sha256 of every part, as a run does, rather than to believe
            the record beside it.

    Raises:
        InputError: An input is missing, no class needs an image, there are fewer images than
            rounds, or the store is out of reach.
    """
    config = recipe.synthesize
    whole = read_plan(config, workspace)
    trained = trained_by(retrain, recipe.seed, workspace) if config.rounds > 1 else None
    rounds: list[Round] = []
    plans: list[Plan] = []
    errors: Errors | None = None
    for here in workspace.draws(config.rounds):
        is_known = True
        if trained is not None and here.drawing > 1:
            errors = None
            if len(rounds) == len(plans):
                errors = finished_guide(here.guides()[0], guide_of(trained, rounds))
            is_known = errors is not None
        if not is_known and config.round_quotas != "even":
            break
        plan = plan_round(whole, plans, config, errors)
        plans.append(plan)
        if is_known:
            rounds.append(survey_round(recipe, plan, store, here, verify=verify))
    return Survey(whole, tuple(rounds), tuple(plans), trained, config.rounds)


def guide_of(trained_by: Mapping[str, Any], rounds: Sequence[Round]) -> str:
    """Fingerprint of the classifier that learns from some rounds, the first ones."""
    return guide_fingerprint(trained_by, (part for each in rounds for part in each.drawn))


def survey_round(
    recipe: Recipe,
    plan: Plan,
    store: StoreConfig,
    workspace: Workspace,
    *,
    verify: bool = False,
) -> Round:
    """Compares a round with what is there; changes nothing.

    Args:
        recipe: How the images are drawn.
        plan: Which ones.
        store: Where parts of other workers are, if not all in this workspace.
        workspace: Where the set is, and the classifier that guides the round.
        verify: As in `survey`.

    Raises:
        InputError: An input is missing, or the store is out of reach.
    """
    inputs = input_digests(recipe, workspace)
    origin = made_by(recipe, inputs, workspace)
    if (names := resampled(recipe.synthesize, workspace)) and workspace.stage == "synthesize":
        real = class_digests(workspace.prepared, "train")
        origin[RESAMPLED] = {name: real[name] for name in plan.class_names if name in names}
    if workspace.drawing > 1 and "cells" in origin and recipe.synthesize.round_quotas != "even":
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


def read_plan(config: SynthesizeConfig, workspace: Workspace) -> Plan:
    """Plans the synthetic set for the prepared data, as if it were drawn at once.

    Raises:
        InputError: There are no prepared data, no class needs an image, or there are fewer images
            than rounds.
    """
    check_prepared(workspace)
    plan = plan_of(read_meta(workspace.prepared), config)
    check_rounds(plan, config.rounds)
    return plan


def check_prepared(workspace: Workspace) -> None:
    """Refuses a workspace without prepared data.

    Raises:
        InputError: There are none.
    """
    if not (workspace.prepared / META_NAME).is_file():
        raise InputError(f"{workspace.prepared} is missing; make it with `dvc repro prepare`")
