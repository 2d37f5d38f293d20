"""What a synthetic set consists of, what of it is there and what is left to draw.

One answer for the flow that draws it, for its plan and for its status.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fgds_core.classify.config import RetrainConfig
from fgds_core.judge.config import JudgeConfig
from fgds_core.synthesis.excluded import Place
from fgds_core.synthesis.guides import finished_guide
from fgds_core.synthesis.plan import Part, Plan
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.rounds import Errors, plan_round
from fgds_core.synthesis.vetting import JUDGE
from tasks.identity.drawing import fingerprint
from tasks.identity.rounds import guide_fingerprint, trained_by
from tasks.plan import read_plan
from tasks.round import Round, survey_round
from tasks.store.config import StoreConfig
from tasks.vetting import Foreseen, Vetting, check_judge, checks_of, foresee, survey_vetting
from tasks.workspace import Workspace


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
        vetting: What checks have found so far, and what is drawn for that; None without checks.
        foreseen: What later checks may have drawn again; None if nothing may be.
    """

    whole: Plan
    rounds: tuple[Round, ...]
    plans: tuple[Plan, ...]
    trained_by: dict[str, Any] | None
    num_rounds: int
    vetting: Vetting | None = None
    foreseen: Foreseen | None = None

    @property
    def goes(self) -> tuple[Round, ...]:
        """All that can be drawn now: the rounds, then what takes the place of images left out."""
        return self.rounds + (self.vetting.again if self.vetting else ())

    @property
    def parts(self) -> tuple[Part, ...]:
        """Those that are known, in the order of the run."""
        return tuple(part for plan in self.all_plans for part in plan.parts)

    @property
    def all_plans(self) -> tuple[Plan, ...]:
        """Of the rounds, and of what takes the place of images left out."""
        return self.plans + tuple(each.plan for each in self.goes[len(self.rounds) :])

    @property
    def wanted(self) -> tuple[int, ...]:
        """Images of each class in the parts that are known, [K]."""
        plans = (plan.wanted for plan in self.all_plans)
        return tuple(sum(own) for own in zip(*plans, strict=True))

    @property
    def left(self) -> tuple[Part, ...]:
        """The known parts that are still to draw, in the order of the run."""
        later = (plan.parts for plan in self.plans[len(self.rounds) :])
        of_rounds = (each.left for each in self.goes)
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
        return not self.num_trainings and (self.vetting is None or self.vetting.next is None)

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the images of the parts that are known lie, or will."""
        return tuple(
            Place(part.label, part.first_index, part.num_images, made)
            for each in self.goes
            for part, made in each.drawn
        )

    @property
    def purpose(self) -> str:
        """Digest of what the set follows from: known before its classifiers are."""
        first = dict(self.rounds[0].made_by)
        if self.trained_by is not None:
            quotas = self.rounds[0].recipe.synthesize.round_quotas
            first["rounds"] = [self.num_rounds, quotas, self.trained_by]
        if self.vetting is not None:
            first["vetting"] = self.vetting.by
        return fingerprint(first)


OWN = ("guide", "cells")
"""What a round may have of its own."""


def made_by_all(found: Survey) -> dict[str, Any]:
    """Everything that decides the images of a set, for its index.

    Args:
        found: The set, all of whose rounds are known; the first says what they have in common.
    """
    first = dict(found.rounds[0].made_by)
    if len(found.rounds) > 1:
        first["rounds"] = [
            {"wanted": list(each.plan.wanted)}
            | {key: each.made_by[key] for key in OWN if key in each.made_by}
            for each in found.rounds
        ]
    if found.vetting is not None:
        again = [
            {
                "wanted": list(each.plan.wanted),
                "feedback_scale": each.recipe.synthesize.feedback_scale,
            }
            | {key: each.made_by[key] for key in OWN if key in each.made_by}
            for each in found.vetting.again
        ]
        first["vetting"] = {**found.vetting.by, "again": again}
    return first


def survey(
    recipe: Recipe,
    retrain: RetrainConfig,
    store: StoreConfig,
    workspace: Workspace,
    *,
    judge: JudgeConfig | None = None,
    verify: bool = False,
) -> Survey:
    """Compares the set that a recipe asks for with what is there; changes nothing.

    Args:
        recipe: How the images are drawn.
        retrain: How the classifiers between rounds are trained.
        store: Where parts of other workers are, if not all in this workspace.
        workspace: Where the set and what it is drawn from are.
        judge: Who checks the images, and what follows; None looks at no check.
        verify: Whether to compare the sha256 of every part, as a run does, rather than to believe
            the record beside it.

    Raises:
        InputError: An input or the judge is missing, no class needs an image, there are fewer
            images than rounds, or the store is out of reach.
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
    vetting = foreseen = None
    if judge is not None and (asked := checks_of(config, judge)):
        if JUDGE in asked:
            check_judge(workspace)
        if len(rounds) == config.rounds:
            vetting = survey_vetting(rounds, judge, store, verify=verify)
        number = sum(
            count
            for name, count in zip(whole.class_names, whole.wanted, strict=True)
            if name not in rounds[0].resampled
        )
        foreseen = foresee(asked, number, judge, workspace, vetting, config.copies_by)
    return Survey(whole, tuple(rounds), tuple(plans), trained, config.rounds, vetting, foreseen)


def guide_of(trained_by: Mapping[str, Any], rounds: Sequence[Round]) -> str:
    """Fingerprint of the classifier that learns from some rounds, the first ones."""
    return guide_fingerprint(trained_by, (part for each in rounds for part in each.drawn))
