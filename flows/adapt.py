"""The stage adapt: the generator learns classes that it cannot draw, from real training images.

    python -m flows.adapt

Off unless `adapt.enabled`. By default it learns the classes that the generator check refuses or
doubts, which is asked first and answers in `reports/ability_before.json`. Writes `models/adapter`:
what the denoiser, words of the text encoder and perhaps the decoder have learnt, and in
`adapter.json` from what. Nothing is learnt from validation and test images; held-out training
images say when to stop. A run that was stopped goes on.
"""

from dataclasses import dataclass

from prefect import flow

from fgds_core.ability.record import Ability, findings
from fgds_core.adapt.config import AdaptConfig
from fgds_core.adapt.record import AdapterRecord, read_record
from fgds_core.generators.config import GeneratorConfig
from fgds_core.synthesis.config import SynthesizeConfig
from flows.check_ability import check_ability
from tasks.identity.cache import Outputs, run
from tasks.identity.links import watch_links
from tasks.store.config import StoreConfig
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
def adapt(
    params: AdaptParams,
    compute: ComputeConfig,
    store: StoreConfig,
    workspace: Workspace = FIRST,
) -> Outputs:
    """Lets the generator learn, where that is asked for.

    Raises:
        InputError: There is no such class, or it takes longer than allowed.
    """
    from tasks.adapt import adapt_generator, check_hours, seconds, write_nothing, write_unchecked
    from tasks.adapter import adaptation, is_made

    if params.adapt.enabled and params.adapt.classes == "needed":
        for line in findings(check_before(params, compute, store, workspace)):
            say_result("check", line)
    else:
        run(write_unchecked, config=params.generator, workspace=workspace)
    if not params.adapt.enabled:
        outputs = run(write_nothing, what=None, workspace=workspace)
        say_result("adapt", "off: the generator draws as it is")
        return outputs
    watch_links("adapt", params.generator.path)
    what = adaptation(params.adapt, params.generator, params.synthesize, params.seed, workspace)
    if not what.classes:
        outputs = run(write_nothing, what=what, workspace=workspace)
        say_result("adapt", "nothing to learn: the check doubts none of the classes")
        return outputs
    limit = compute.max_device_hours
    if limit is not None and not is_made(what, workspace):
        check_hours(seconds(what, compute, workspace), limit)
    outputs = run(adapt_generator, what=what, compute=compute, workspace=workspace)
    say_result("adapt", result(read_record(workspace.adapter)))
    return outputs


def check_before(
    params: AdaptParams, compute: ComputeConfig, store: StoreConfig, workspace: Workspace
) -> Ability:
    """What the generator check says of the generator as it is."""
    from fgds_core.synthesis.recipe import Recipe
    from tasks.plan import read_plan

    recipe = Recipe(params.generator, params.synthesize, params.seed)
    plan = read_plan(params.synthesize, workspace)
    return check_ability(recipe, plan, compute, store, workspace.unadapted())


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
