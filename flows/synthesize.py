"""The stage synthesize: fills up every class with synthetic images under classifier feedback.

    python -m flows.synthesize

Writes `data/synthetic/<class>/part-*.parquet` and, last, `index.json`. The unit of work is a part
of a class: finished parts are kept whatever happens, and the same command resumes. About two
minutes for the 1,163 images of the embedded default on 2 CPU cores.
"""

from pathlib import Path

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from fgds_core.config.compute import ComputeConfig
from fgds_core.config.generator import GeneratorConfig
from fgds_core.config.store import StoreConfig
from fgds_core.config.synthesize import SynthesizeConfig
from fgds_core.errors import InputError, UnfinishedError
from tasks.cache import Outputs, content_digests, run, run_each
from tasks.generator import generator_digests
from tasks.layout import BASELINE, PREPARED, SYNTHETIC
from tasks.progress import bar


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
    from tasks.store.inputs import share
    from tasks.store.parts import collect
    from tasks.synthesize import (
        check_space,
        draw_part,
        fingerprint,
        made_by,
        plan,
        write_synthetic_index,
    )

    inputs = content_digests(PREPARED, BASELINE) | generator_digests(generator)
    if synthesize.judge is not None:
        inputs |= content_digests(synthesize.judge)
    origin = made_by(generator, synthesize, seed, inputs)
    planned = plan(synthesize)
    check_space(planned)
    shared = share(store, inputs)

    with (
        bar("synthesize", sum(planned.wanted), "images") as advance,
        ThreadPoolTaskRunner(max_workers=compute.workers) as runner,
    ):
        drawn = run_each(
            draw_part,
            "part",
            planned.parts,
            runner,
            remembered=lambda part: advance(part.num_images),
            generator=generator,
            config=synthesize,
            seed=seed,
            fingerprint=fingerprint(origin),
            compute=compute,
            store=shared,
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
        records = collect(store, planned.parts, fingerprint(origin), Path(SYNTHETIC))

    return run(
        write_synthetic_index,
        records=records,
        class_names=planned.class_names,
        wanted=planned.wanted,
        made_by=origin,
        fingerprint=fingerprint(origin),
    )


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
    from flows.stage import run_stage

    run_stage(synthesize, __doc__)
