"""The stage synthesize: fills up every class with synthetic images under classifier feedback.

    python -m flows.synthesize            # flows.plan says before what it costs
    python -m flows.synthesize --status   # how far it is

Writes `data/synthetic/<class>/part-*.parquet` and, last, `_index.json`. The unit of work is a part
of a class: finished parts are kept whatever happens, and the same command resumes.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import flow

from fgds_core.errors import InputError, UnfinishedError
from fgds_core.generators.config import GeneratorConfig
from fgds_core.synthesis.config import SynthesizeConfig
from tasks.identity.cache import Outputs, run
from tasks.identity.links import watch_links
from tasks.layout import SYNTHETIC
from tasks.store.config import StoreConfig
from tasks.watch.journal import journal
from tasks.watch.progress import bar, say_result
from tasks.workers.config import ComputeConfig
from tasks.workers.fanout import make_runner, run_each, runs_here

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
) -> Outputs:
    """Draws the synthetic set, one task per part of a class.

    Raises:
        UnfinishedError: Parts failed; the others are finished. Names the classes.
    """
    from fgds_core.synthesis.relabel import relabel_parts
    from fgds_core.synthesis.shards import check_folder, remove_foreign_parts
    from tasks.identity.cache import is_cached
    from tasks.identity.drawing import (
        fingerprint,
        input_digests,
        made_by,
        part_fingerprint,
        part_fingerprints,
    )
    from tasks.plan import check_cost
    from tasks.store.inputs import share
    from tasks.store.parts import collect, offer
    from tasks.synthesize import (
        DrawnPart,
        check_space,
        draw_part,
        plan,
        sources_of,
        write_synthetic_index,
    )

    watch_links("synthesize", generator.path)
    inputs = input_digests(generator, synthesize)
    origin = made_by(generator, synthesize, seed, inputs)
    planned = plan(synthesize)
    check_folder(Path(SYNTHETIC), [part.path for part in planned.parts], is_cached)
    check_space(planned)
    relabel_parts(Path(SYNTHETIC), planned.class_names, partial(part_fingerprint, origin))
    fingerprints = part_fingerprints(origin, planned)
    shared = share(store, inputs)
    if shared is not None:
        offer(store, planned.parts, fingerprints, Path(SYNTHETIC))
    sources = sources_of(inputs, origin, shared)
    check_cost(planned.parts, fingerprints, generator, synthesize, seed, sources, compute)

    with (
        bar("synthesize", sum(planned.wanted), "images") as advance,
        journal(fingerprint(origin)) as note,
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
            "part",
            planned.parts,
            partial(make_runner, compute),
            finished,
            generator=generator,
            config=synthesize,
            seed=seed,
            beside={"fingerprint": fingerprints},
            sources=sources,
            compute=compute,
        )
        failures = [
            (part.class_name, outcome)
            for part, outcome in zip(planned.parts, drawn, strict=True)
            if isinstance(outcome, Exception)
        ]
        if failures:
            raise _unfinished(failures, len(planned.parts))
        records = tuple(part.record for part in drawn if not isinstance(part, Exception))
        if shared is not None:
            records = collect(store, planned.parts, fingerprints, Path(SYNTHETIC))
        remove_foreign_parts(Path(SYNTHETIC), records)
        outputs = run(
            write_synthetic_index,
            records=records,
            class_names=planned.class_names,
            wanted=planned.wanted,
            made_by=origin,
            fingerprint=fingerprint(origin),
        )
    say_result("synthesize", _result(planned, drawn_now))
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
