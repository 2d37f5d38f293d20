"""What checks have found in a set, and what is drawn in the place of what they leave out."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fgds_core.data.meta import read_meta
from fgds_core.errors import InputError
from fgds_core.files import read_json
from fgds_core.generators.config import GeneratorConfig
from fgds_core.judge.config import JudgeConfig
from fgds_core.judge.record import RECORD, Recognised, read_record
from fgds_core.synthesis.config import SynthesizeConfig
from fgds_core.synthesis.copied import COPIES
from fgds_core.synthesis.excluded import LeftOut
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.vetting import (
    JUDGE,
    Verdicts,
    Vetted,
    group_of,
    plans_again,
    read_verdicts,
    record_path,
    vetted,
    weaker,
)
from tasks.identity import code
from tasks.identity.cache import content_digests
from tasks.identity.drawing import NO_PIXEL, fingerprint
from tasks.identity.generator import generator_digests
from tasks.round import Round, survey_round
from tasks.store.config import StoreConfig
from tasks.workspace import Workspace

CHECKING = "fgds_core.synthesis.vetting"
"""The module whose imports are the code that checks, but for the search for copies."""

SEARCHING = "fgds_core.synthesis.copied"
"""The module whose imports are the code that looks for copies."""

SEEING = ("fgds_core.ability.spaces", "fgds_core.assess.observe")
"""Those whose imports are the code that takes features, where copies are known by them."""


@dataclass(frozen=True)
class Check:
    """A look at images that no check has seen before.

    Attributes:
        number: From 1.
        parts: Paths of the parts that hold them.
        asked: Which checks are made, see `checks_of`.
        ways: By what copies are known.
        tower: The generator whose vision tower sees the images; None where no features count.
        fingerprint: Of everything that decides what it finds.
    """

    number: int
    parts: tuple[str, ...]
    asked: tuple[str, ...]
    ways: tuple[str, ...]
    tower: GeneratorConfig | None
    fingerprint: str


@dataclass(frozen=True)
class Vetting:
    """What checks have found in a set so far.

    Attributes:
        by: What decides them, for the index.
        found: What follows from each that was made.
        again: What is drawn in the place of images that were left out.
        next: The check that is to be made when all of that is drawn; None after the last.
    """

    by: dict[str, Any]
    found: tuple[Vetted, ...]
    again: tuple[Round, ...]
    next: Check | None

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """The images that checks leave out."""
        return tuple(sorted(image for each in self.found for image in each.left_out))


def checks_of(config: SynthesizeConfig, judge: JudgeConfig) -> tuple[str, ...]:
    """What images are checked by before they are learnt from: the judge, the search for copies."""
    asked = {JUDGE: judge.min_agreement > 0, COPIES: config.copies == "redraw"}
    return tuple(name for name, is_asked in asked.items() if is_asked)


def survey_vetting(
    rounds: Sequence[Round], judge: JudgeConfig, store: StoreConfig, *, verify: bool = False
) -> Vetting:
    """Follows the checks of a set as far as they were made; changes nothing.

    Args:
        rounds: All rounds of the set.
        judge: Who judges, and what follows.
        store: Where parts of other workers are, if not all in this workspace.
        verify: As in `survey`.

    Raises:
        InputError: There is no judge, though it is asked.
    """
    last = rounds[-1]
    workspace, whole = last.workspace, rounds[0].plan
    asked = checks_of(rounds[0].recipe.synthesize, judge)
    by, real = _by(asked, judge, rounds[0], len(whole.class_names))
    goes, again = list(rounds), list[Round]()
    said: list[Verdicts] = []
    found: tuple[Vetted, ...] = ()
    new = tuple(rounds)
    while True:
        check = _check(len(said) + 1, by, goes, new)
        verdicts = read_verdicts(record_path(workspace.synthetic, check.number), check.fingerprint)
        if verdicts is None:
            return Vetting(by, found, tuple(again), check)
        said.append(verdicts)
        plans = [each.plan for each in goes]
        found = tuple(vetted(said, real, judge, group_of(plans)))
        new = tuple(
            survey_round(
                weaker(rounds[0].recipe, halvings),
                plan,
                store,
                workspace,
                verify=verify,
                in_place=True,
            )
            for halvings, plan in plans_again(
                found[-1], whole, plans, rounds[0].recipe.synthesize.images_per_part
            )
        )
        if not new:
            return Vetting(by, found, tuple(again), None)
        goes += new
        again += new


def _by(
    asked: Sequence[str], judge: JudgeConfig, first: Round, num_classes: int
) -> tuple[dict[str, Any], Sequence[Recognised]]:
    """What decides the checks, and what the judge recognises of real images of each class."""
    by: dict[str, Any] = {}
    workspace, recipe = first.workspace, first.recipe
    real: Sequence[Recognised] = (Recognised(0, 0),) * num_classes
    if JUDGE in asked:
        record = read_record(workspace.judge)
        by, real = (
            {"judge": record.judged_by, "min_agreement": judge.min_agreement},
            record.validation,
        )
    if COPIES in asked:
        by[COPIES] = dict(read_meta(workspace.prepared).content_sha256)
        by |= _known_by(recipe, workspace)
    return {**by, "max_redraws": judge.max_redraws}, real


def _known_by(recipe: Recipe, workspace: Workspace) -> dict[str, Any]:
    """By what copies are known and what takes their features, where that is not the default."""
    config, found = recipe.synthesize, dict[str, Any]()
    ways = sorted(set(config.copies_by))
    if ways != sorted(type(config).model_fields["copies_by"].default):
        found["copies_by"] = ways
    if "features" in ways:
        found["features"] = generator_digests(recipe.generator) | content_digests(
            workspace.baseline
        )
    return found


@dataclass(frozen=True)
class Foreseen:
    """What checks that are still to be made may have drawn again.

    Attributes:
        num_new: Images that the next check will look at.
        num_images: Images that the set shall have.
        times: How often images may still be drawn again.
        share: Of images like these, those that checks have left out; None where nobody knows.
    """

    num_new: int
    num_images: int
    times: int
    share: float | None

    @property
    def at_most(self) -> int:
        """Images that are drawn again if all fail every time."""
        return self.times * self.num_images

    @property
    def expected(self) -> int | None:
        """Images that are drawn again if the share stays what it was; None where it is unknown."""
        if self.share is None:
            return None
        return ceil(sum(self.num_new * self.share**time for time in range(1, self.times + 1)))


def foresee(
    asked: Sequence[str],
    wanted: int,
    judge: JudgeConfig,
    workspace: Workspace,
    vetting: Vetting | None = None,
    ways: Collection[str] = ("picture", "part"),
) -> Foreseen | None:
    """What will be drawn again, before it is known; None if nothing may be.

    Args:
        asked: Which checks are made, see `checks_of`.
        wanted: Images of the set, without those of classes that real images fill.
        judge: The least agreement, and how often images are drawn again at most.
        workspace: Where the last set was measured.
        vetting: What checks have found so far; None if none was made.
        ways: By what copies are known.
    """
    made = vetting.found if vetting else ()
    times = judge.max_redraws - len(made)
    if not asked or times <= 0 or (vetting is not None and vetting.next is None):
        return None
    if not made:
        share = share_of_last_set(asked, judge, workspace, ways)
        return Foreseen(wanted, wanted, times, share)
    looked = wanted + sum(sum(map(_size, each.again.values())) for each in made[:-1])
    gone = sum(len(each.left_out) for each in made)
    new = sum(map(_size, made[-1].again.values()))
    return Foreseen(new, wanted, times, gone / looked)


def _size(again: tuple[int, tuple[str, ...]]) -> int:
    return len(again[1])


def share_of_last_set(
    asked: Sequence[str], judge: JudgeConfig, workspace: Workspace, ways: Collection[str]
) -> float | None:
    """The share of the last set's images that checks would leave out, by what assess measured.

    Args:
        asked: Which checks.
        judge: The least agreement.
        workspace: Where its reports are.
        ways: By what copies are known.

    Returns:
        None where there is no report, or one that does not tell.
    """
    folder = workspace.reports / "assess"
    try:
        measures = read_json(folder / "measures.json", "assess again")
        left_out = measures.get("left_out", {})
        gone = sum(left_out.get(name, 0) for name in asked)
        number = measures["num_synthetic"] + sum(left_out.values())
        if COPIES in asked:
            rows = pq.read_table(folder / "copies.parquet", columns=["class", "index", "way"])
            seen = rows.filter(pc.field("way").isin(list(ways))).to_pylist()
            gone += len({(each["class"], each["index"]) for each in seen})
        if JUDGE in asked:
            for of_class in measures["per_class"].values():
                agreement = of_class["judge"]["agreement_of_recall"]["value"]
                if agreement is not None and agreement < judge.min_agreement:
                    right = of_class["label_agreement"]["value"]
                    gone += round((1 - right) * of_class["num_synthetic"])
        return gone / number if number else None
    except (InputError, OSError, KeyError, TypeError, ValueError, pa.ArrowException):
        return None  # not measured, or by an earlier version


def check_judge(workspace: Workspace) -> None:
    """Refuses to check images where there is no judge.

    Raises:
        InputError: There is none.
    """
    if not (workspace.judge / RECORD).is_file():
        raise InputError(
            f"{workspace.judge} is missing, and judge.min_agreement asks for it; make it with `dvc"
            " repro judge`, or set judge.min_agreement to 0 (no check)"
        )


def _check(
    number: int, by: Mapping[str, Any], goes: Sequence[Round], new: Sequence[Round]
) -> Check:
    """The check of some images, after all that was drawn so far."""
    drawn = sorted(
        (part.path, part.first_index, part.num_images, made)
        for each in goes
        for part, made in each.drawn
    )
    decides = {
        **{name: by[name] for name in (JUDGE, COPIES, "copies_by", "features") if name in by},
        "parts": drawn,
        "code": code.digest(CHECKING, registered=False, without=NO_PIXEL),
    }
    if COPIES in by:
        seeing = SEEING if "features" in by else ()
        decides["search"] = code.digest(SEARCHING, *seeing, registered=False, without=NO_PIXEL)
    paths = sorted(
        part.path
        for each in new
        for part in each.plan.parts
        if part.class_name not in each.resampled  # which are real images
    )
    asked = tuple(name for name in (JUDGE, COPIES) if name in by)
    recipe = goes[0].recipe
    ways = tuple(sorted(set(recipe.synthesize.copies_by)))
    tower = recipe.generator if "features" in by else None
    return Check(number, tuple(paths), asked, ways, tower, fingerprint(decides))
