"""The stage synthesize: fills up every class with synthetic images under classifier feedback.

    python -m flows.synthesize            # flows.plan says before what it costs
    python -m flows.synthesize --status   # how far it is

First it draws a few images of each class and says in `reports/ability.json` whether the generator
can draw it; `synthesize.cannot_draw` says what is done about a class that it cannot. The first
images of a class are drawn without feedback too (`synthesize.unguided_twins`), for the page.

Writes `data/synthetic/<class>/part-*.parquet` and, last, `_index.json`. The unit of work is a part
of a class: finished parts are kept whatever happens, and the same command resumes. In several
rounds (`synthesize.rounds`) a classifier is trained between one and the next, and kept too.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from prefect import flow

from fgds_core.adapt.config import AdaptConfig
from fgds_core.classify.config import RetrainConfig
from fgds_core.errors import InputError
from fgds_core.generators.config import GeneratorConfig
from fgds_core.judge.config import JudgeConfig
from fgds_core.synthesis.config import SynthesizeConfig
from flows.check_ability import check_ability, heed
from flows.draw_round import DrawnRound, draw_round
from flows.draw_twins import draw_twins
from tasks.identity.cache import Outputs, run
from tasks.identity.links import watch_links
from tasks.store.config import StoreConfig
from tasks.watch.journal import journal
from tasks.watch.progress import say_result
from tasks.watch.timing import count_images
from tasks.workers.config import ComputeConfig
from tasks.workspace import FIRST, Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fgds_core.synthesis.vetting import Vetted
    from tasks.survey import Survey


@dataclass(frozen=True)
class DrawingParams:
    """The sections that decide the images; `retrain` those of later rounds."""

    seed: int
    generator: GeneratorConfig
    synthesize: SynthesizeConfig
    retrain: RetrainConfig
    judge: JudgeConfig
    adapt: AdaptConfig


@flow(name="synthesize")
def synthesize(
    params: DrawingParams,
    compute: ComputeConfig,
    store: StoreConfig,
    workspace: Workspace = FIRST,
) -> Outputs:
    """Draws the synthetic set, in one round or several, each guided by a classifier of its own.

    Raises:
        InputError: The generator cannot draw a class, and is to be refused then.
        UnfinishedError: Parts failed; the others are finished. Names the classes.
    """
    from tasks.adapter import drawing_recipe
    from tasks.cost import check_cost
    from tasks.store.bucket import check_store
    from tasks.survey import survey
    from tasks.synthesize import between, train_guide_model, vet_images

    prior = params.generator.prior
    watch_links("synthesize", params.generator.path, None if prior is None else prior.path)
    check_store(store)
    if params.adapt.enabled:
        check_adapter(params, workspace)
    recipe = drawing_recipe(
        params.generator, params.synthesize, params.adapt, params.seed, workspace
    )
    is_limited = compute.max_device_hours is not None
    look = partial(survey, recipe, params.retrain, store, workspace, judge=params.judge)
    found = look(verify=is_limited)
    _check_exclusions(found)
    _check_place(found, workspace)
    check_cost(found, store, compute, workspace)
    heed(check_ability(recipe, found.whole, compute, store, workspace))
    if params.synthesize.cannot_draw == "resample":  # some classes may be filled otherwise now
        found = look()
    draw_twins(recipe, found.rounds[0], compute, store, workspace)

    drawn: list[DrawnRound] = []
    with journal(found.purpose) as note:
        for here in workspace.draws(params.synthesize.rounds):
            if drawn:
                run(
                    train_guide_model,
                    between=between(found, params.retrain, here),
                    records=tuple(record for each in drawn for record in each.records),
                    compute=compute,
                    workspace=here,
                )
                found = look()
                note("round", number=here.drawing)
            drawn.append(draw_round(found.rounds[len(drawn)], compute, store, note))
        while found.vetting is not None:
            for again in found.goes[len(drawn) :]:
                note("round", number=len(drawn) + 1)
                drawn.append(draw_round(again, compute, store, note))
            if (check := found.vetting.next) is None:
                break
            records = [record for each in drawn for record in each.records]
            run(
                vet_images,
                check=check,
                records=tuple(record for record in records if record.path in check.parts),
                compute=compute,
                workspace=workspace,
            )
            found = look()
            for text in _checked(found):
                say_result("synthesize", text)
        outputs = _finish(found, drawn, workspace)
    num_images, seconds = _drawn_now(drawn)
    count_images(num_images, seconds)
    say_result("synthesize", _result(found, num_images, seconds))
    return outputs


def check_adapter(params: DrawingParams, workspace: Workspace) -> None:
    """Refuses to draw with an adapter that has not learnt what the parameters ask for.

    Raises:
        InputError: It is missing, or another one.
    """
    from tasks.adapter import adaptation, is_made

    what = adaptation(params.adapt, params.generator, params.synthesize, params.seed, workspace)
    if not is_made(what, workspace):
        raise InputError(
            f"{workspace.adapter} is missing or has learnt something else than adapt asks for;"
            " make it with `dvc repro adapt`"
        )


def _check_exclusions(found: "Survey") -> None:
    """Refuses to leave out images that the set will not have, as far as that is known yet."""
    from fgds_core.synthesis.excluded import by_hand, check_classes, check_rest

    exclude, class_names = found.rounds[0].recipe.synthesize.exclude, found.whole.class_names
    if not found.is_known:
        check_classes(exclude, class_names)
        return
    left_out, _ = by_hand(exclude, class_names, found.places)
    check_rest(left_out, found.places)


def _check_place(found: "Survey", workspace: Workspace) -> None:
    """Refuses a folder where the set cannot be drawn, and a disk that is too small for it."""
    from fgds_core.synthesis.shards import check_folder
    from tasks.identity.cache import is_cached
    from tasks.space import check_space

    check_folder(workspace.synthetic, [part.path for part in found.parts], is_cached)
    check_space(found.whole, workspace)


def _finish(found: "Survey", drawn: "Sequence[DrawnRound]", workspace: Workspace) -> Outputs:
    """Removes what belongs to no round, and writes the index."""
    from fgds_core.synthesis.excluded import by_hand, check_rest
    from fgds_core.synthesis.guides import remove_foreign_guides
    from fgds_core.synthesis.shards import remove_foreign_parts
    from fgds_core.synthesis.steps import remove_foreign_steps
    from fgds_core.synthesis.vetting import remove_foreign_records
    from tasks.survey import made_by_all
    from tasks.synthesize import write_synthetic_index

    records = tuple(record for each in drawn for record in each.records)
    remove_foreign_parts(workspace.synthetic, records)
    remove_foreign_guides(workspace.synthetic, found.num_rounds)
    remove_foreign_steps(workspace.synthetic, records)
    vetting = found.vetting
    remove_foreign_records(workspace.synthetic, len(vetting.found) if vetting else 0)
    exclude, class_names = found.rounds[0].recipe.synthesize.exclude, found.whole.class_names
    left_out, others = by_hand(exclude, class_names, records)
    left_out += vetting.left_out if vetting else ()
    check_rest(left_out, records)
    for text in others:
        say_result("synthesize", f"warning: {text}")
    return run(
        write_synthetic_index,
        records=records,
        class_names=class_names,
        wanted=found.wanted,
        made_by=made_by_all(found),
        left_out=tuple(left_out),
        workspace=workspace,
    )


def _checked(found: "Survey") -> "Iterator[str]":
    """What the last check has come to: what is left out, and which classes still fail."""
    assert found.vetting is not None
    number, by = len(found.vetting.found), found.vetting.by
    last, names = found.vetting.found[-1], found.whole.class_names
    if "copies" in by:
        ways = found.rounds[0].recipe.synthesize.copies_by
        yield _copies(last, names, number, " or ".join(_WAYS[way] for way in ways))
    if "judge" in by:
        yield _agreement(last, names, number, by["min_agreement"])


_WAYS = {"picture": "the whole picture", "part": "a part of it", "features": "its features"}
"""By what copies are known, in words."""


def _copies(last: "Vetted", names: "Sequence[str]", number: int, ways: str) -> str:
    from fgds_core.synthesis.copied import COPIES
    from fgds_core.synthesis.excluded import counts_by_class

    of_class = counts_by_class(each for each in last.left_out if each.by == COPIES)
    if not of_class:
        return f"check {number}: no new image is taken for a copy of a real one, by {ways}"
    some = [f"{names[label]} ({count:,})" for label, count in of_class.items()]
    text = (
        f"check {number}: {sum(of_class.values()):,} images may be copies of real ones:"
        f" {_first(some)}"
    )
    if last.again:
        return f"{text}; they are left out and others drawn"
    return f"warning: {text}; they are left out, and judge.max_redraws allows no further drawing"


def _agreement(last: "Vetted", names: "Sequence[str]", number: int, least: float) -> str:
    from fgds_core.synthesis.vetting import JUDGE

    below = [
        f"{names[label]} ({each.shown.num_right:,} of {each.shown.num_images:,} images,"
        f" {each.agreement:.2f} of the judge's recall)"
        for label, each in last.standings.items()
        if each.agreement is not None and each.agreement < least
    ]
    left_out = sum(each.by == JUDGE for each in last.left_out)
    if not below:
        return f"check {number}: the judge agrees; {left_out:,} images are left out"
    text = f"check {number}: the judge sees too few of {_first(below)}"
    if last.again:
        return f"{text}; {left_out:,} images are left out and others drawn"
    return f"warning: {text}, and judge.max_redraws allows no further drawing: they stay"


def _first(classes: "Sequence[str]") -> str:
    """The first ten of some classes, and how many more there are."""
    rest = len(classes) - 10
    return ", ".join(classes[:10]) + (f" and {rest:,} more classes" if rest > 0 else "")


def _drawn_now(drawn: "Sequence[DrawnRound]") -> tuple[int, float]:
    """Images that this run has drawn itself, and the seconds they took, part by part."""
    asked = [part for each in drawn for part in each.asked]
    times = [(part.record.num_rows, part.seconds) for part in asked if part.seconds is not None]
    return sum(count for count, _ in times), sum(seconds for _, seconds in times)


def _result(found: "Survey", num_images: int, seconds: float) -> str:
    """What there is now, and what drawing took."""
    num_classes = sum(wanted > 0 for wanted in found.wanted)
    num_drawn, num_parts = sum(found.wanted), len(found.parts)
    there = f"{num_drawn:,} images of {num_classes:,} classes in {num_parts:,} parts"
    there += f" and {found.num_rounds} rounds" if found.num_rounds > 1 else ""
    if not num_images:
        return f"{there}; all of them were there"
    return f"{there}; {num_images:,} drawn now, {seconds / num_images:.2g} s an image"


if __name__ == "__main__":
    from flows.cli.stage import run_stage
    from flows.cli.status import QUESTIONS

    run_stage(synthesize, __doc__, *QUESTIONS)
