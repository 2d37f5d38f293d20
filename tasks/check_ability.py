"""The task that checks the generator: what a few drawn images say of each class."""

from pathlib import Path

from fgds_core.ability.record import Ability, write_ability
from fgds_core.stages.check import Places, check_generator
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.record import PartRecord
from tasks.identity.cache import Outputs, stage_task, written
from tasks.watch.progress import say
from tasks.watch.timing import work
from tasks.workers.config import ComputeConfig
from tasks.workers.devices import use_device
from tasks.workspace import Workspace


@stage_task(name="check-generator")
def check_ability(
    recipe: Recipe,
    records: tuple[PartRecord, ...],
    ability: Ability,
    inputs: dict[str, str],
    compute: ComputeConfig,
    workspace: Workspace,
) -> Outputs:
    """Says which classes the generator can draw, by a few images of each.

    Args:
        recipe: How these were drawn.
        records: Of the files they are in; of none there is nothing to say.
        ability: What was checked.
        inputs: Content digests of the prepared data, the judge, the generator and the baseline.
        compute: In no cache key.
        workspace: Where these are, and where the answer goes.
    """
    drawn, out = workspace.checks().synthetic, workspace.ability
    if not records:
        write_ability(out, ability)
        return written(out)
    files: dict[int, list[Path]] = {}
    for record in records:
        files.setdefault(record.label, []).append(drawn / record.path)
    places = Places(
        workspace.prepared,
        files,
        workspace.judge,
        workspace.baseline,
        out,
    )
    say("check", "comparing the images with real ones")
    with work():
        check_generator(
            recipe, ability, places, device=use_device(compute), batch_size=compute.batch_size
        )
    return written(out)
