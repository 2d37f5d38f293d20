"""The stage adapt: the generator learns classes that it cannot draw, from real training images.

    python -m flows.adapt

Off unless `adapt.enabled`. Writes `models/adapter`: what the denoiser, words of the text encoder
and perhaps the decoder have learnt, and in `adapter.json` from what. Validation and test images
are not read; held-out training images say when to stop. A run that was stopped goes on.
"""

from dataclasses import dataclass

from prefect import flow

from fgds_core.adapt.config import AdaptConfig
from fgds_core.adapt.record import AdapterRecord, read_record
from fgds_core.generators.config import GeneratorConfig
from fgds_core.synthesis.config import SynthesizeConfig
from tasks.identity.cache import Outputs, run
from tasks.identity.links import watch_links
from tasks.watch.progress import say_result
from tasks.workers.config import ComputeConfig
from tasks.workspace import FIRST, Workspace


@dataclass(frozen=True)
class AdaptParams:
    """The sections that decide the adapter; of `synthesize` what the generator is told."""

    seed: int
    adapt: AdaptConfig
    generator: GeneratorConfig
    synthesize: SynthesizeConfig


@flow(name="adapt")
def adapt(params: AdaptParams, compute: ComputeConfig, workspace: Workspace = FIRST) -> Outputs:
    """Lets the generator learn, where that is asked for.

    Raises:
        InputError: There is no such class, or it takes longer than allowed.
    """
    from tasks.adapt import adapt_generator, check_hours, seconds, write_off
    from tasks.adapter import adaptation, is_made

    if not params.adapt.enabled:
        outputs = run(write_off, workspace=workspace)
        say_result("adapt", "off: the generator draws as it is")
        return outputs
    watch_links("adapt", params.generator.path)
    what = adaptation(params.adapt, params.generator, params.synthesize, params.seed, workspace)
    limit = compute.max_device_hours
    if limit is not None and not is_made(what, workspace):
        check_hours(seconds(what, compute, workspace), limit)
    outputs = run(adapt_generator, what=what, compute=compute, workspace=workspace)
    say_result("adapt", result(read_record(workspace.adapter)))
    return outputs


def result(record: AdapterRecord) -> str:
    """What was learnt, in a line."""
    assert record.denoiser is not None
    looks = record.denoiser.looks
    best = next(look for look in looks if look.step == record.denoiser.best_step)
    said = (
        f"learnt {len(record.classes):,} classes from {record.num_learnt:,} training images in"
        f" {best.step:,} steps ({looks[-1].step:,} taken)"
    )
    if best.held_out is not None:
        said += (
            f"; loss of {record.num_held_out:,} held-out images {looks[0].held_out:.3f} ->"
            f" {best.held_out:.3f}"
        )
    return said + "".join(f"; {remark}" for remark in record.remarks)


if __name__ == "__main__":
    from flows.cli.stage import run_stage

    run_stage(adapt, __doc__)
