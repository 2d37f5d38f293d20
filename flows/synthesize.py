"""The stage synthesize: fills up every class with synthetic images under classifier feedback.

    python -m flows.synthesize            # flows.plan says before what it costs
    python -m flows.synthesize --status   # how far it is

Writes `data/synthetic/<class>/part-*.parquet` and, last, `_index.json`. The unit of work is a part
of a class: finished parts are kept whatever happens, and the same command resumes.
"""

from functools import partial
from typing import TYPE_CHECKING

from prefect import flow

from fgds_core.errors import InputError, UnfinishedError
from fgds_core.generators.config import GeneratorConfig
from fgds_core.synthesis.config import SynthesizeConfig
from tasks.identity.cache import Outputs, run
from tasks.identity.links import watch_links
from tasks.store.config import StoreConfig
from tasks.watch.journal import journal
from tasks.watch.progress import bar, say_result
from tasks.workers.config import ComputeConfig
from tasks.workers.fanout import make_runner, run_each, runs_here
from tasks.workspace import FIRST, Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgds_core.synthesis.plan import Part, Plan
    from tasks.synthesize import DrawnPart


@flow(name="synthesize")
def synthesize(
    seed: int,
    generator: GeneratorConfig,
    synthesize: SynthesizeConfig,
    compute: ComputeConfig,
    store: StoreConfig,
    workspace: Workspace = FIRST,
) -> Outputs:
    """Draws the synthetic set, one task per part of a class.

    Raises:
        UnfinishedError: Parts failed; the others are finished. Names the classes.
    """
    from fgds_core.synthesis.recipe import Recipe
    from fgds_core.synthesis.relabel import relabel_parts
    from fgds_core.synthesis.shards import check_folder, remove_foreign_parts
    from tasks.cost import check_cost
    from tasks.identity.cache import is_cached
    from tasks.space import check_space
    from tasks.store.bucket import check_store
    from tasks.store.inputs import share
    from tasks.store.parts import collect, offer
    from tasks.survey import survey
    from tasks.synthesize import DrawnPart, draw_part, write_synthetic_index

    watch_links("synthesize", generator.path)
    check_store(store)
    is_limited = compute.max_device_hours is not None
    found = survey(Recipe(generator, synthesize, seed), store, workspace, verify=is_limited)
    plan, out = found.plan, workspace.synthetic
    check_folder(out, [part.path for part in plan.parts], is_cached)
    check_space(plan, workspace)
    relabel_parts(out, plan.class_names, found.part_fingerprint, found.moved)
    shared = share(store, found.inputs)
    if shared is not None:
        offer(store, plan.parts, found.fingerprints, out)
    sources = found.sources(shared)
    check_cost(found, sources, compute, workspace)

    with (
        bar("synthesize", sum(plan.wanted), "images") as advance,
        journal(found.fingerprint) as note,
    ):
        shown_by_tasks = runs_here(compute)

        drawn_now: list[DrawnPart] = []

        def finished(part: "Part", outcome: object, remembered: bool) -> None:
            if remembered or not shown_by_tasks:
                advance(part.num_images, found=remembered)
            if remembered:
                note("found", part=part.path)
            elif isinstance(outcome, Exception):
                note("failed", part=part.path, error=str(outcome))
            elif isinstance(outcome, DrawnPart):
                drawn_now.append(outcome)

        drawn = run_each(
            draw_part,
            {"part": plan.parts, "fingerprint": found.fingerprints},
            partial(make_runner, compute),
            finished,
            sources=sources,
            compute=compute,
            workspace=workspace,
        )
        failures = [
            (part.class_name, outcome)
            for part, outcome in zip(plan.parts, drawn, strict=True)
            if isinstance(outcome, Exception)
        ]
        if failures:
            raise _unfinished(failures, len(plan.parts))
        records = tuple(part.record for part in drawn if not isinstance(part, Exception))
        if shared is not None:
            records = collect(store, plan.parts, found.fingerprints, out)
        remove_foreign_parts(out, records)
        outputs = run(
            write_synthetic_index,
            records=records,
            class_names=plan.class_names,
            wanted=plan.wanted,
            made_by=found.made_by,
            fingerprint=found.fingerprint,
            workspace=workspace,
        )
    say_result("synthesize", _result(plan, drawn_now))
    return outputs


def _result(planned: "Plan", parts: "Sequence[DrawnPart]") -> str:
    """What there is now, and what drawing took; `parts` are those that this run has asked for."""
    num_classes = sum(wanted > 0 for wanted in planned.wanted)
    num_parts = len(planned.parts)
    there = f"{sum(planned.wanted):,} images of {num_classes:,} classes in {num_parts:,} parts"
    times = [(part.seconds, part.record.num_rows) for part in parts if part.seconds is not None]
    num_images = sum(count for _, count in times)
    if not num_images:
        return f"{there}; all of them were there"
    seconds = sum(time for time, _ in times) / num_images
    return f"{there}; {num_images:,} drawn now, {seconds:.2g} s an image"


def _unfinished(failures: list[tuple[str, Exception]], num_parts: int) -> Exception:
    """One error for all parts that failed, each message once."""
    mistakes = {str(error) for _, error in failures if isinstance(error, InputError)}
    if len(mistakes) == 1 and len(failures) == num_parts:
        return InputError(mistakes.pop())
    classes = list(dict.fromkeys(name for name, _ in failures))
    reasons = list(dict.fromkeys(f"{name}: {error}" for name, error in failures))
    return UnfinishedError(
        f"{len(failures)} of {num_parts} parts failed, in the classes {', '.join(classes)}; the "
        "others are finished and kept:\n"
        + "\n".join(f"  {reason}" for reason in reasons[:10])
        + "\nResume with `dvc repro`, or `python -m flows.synthesize`."
    )


if __name__ == "__main__":
    from flows.cli.stage import run_stage
    from flows.cli.status import QUESTIONS

    run_stage(synthesize, __doc__, *QUESTIONS)
