"""A glance at what the generator can draw, before a run checks it: for the plan.

It draws what the check would, of the classes that want most images, for a short while, and keeps
nothing. It needs no classifier.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from fgds_core.ability.record import Ability, read_ability
from fgds_core.adapt.recipe import adapts
from fgds_core.errors import InputError
from fgds_core.stages.check import Places, check_generator
from fgds_core.synthesis.models import load_models
from fgds_core.synthesis.part import write_part
from fgds_core.synthesis.plan import Part, Plan
from fgds_core.synthesis.recipe import Recipe
from tasks.ability import check_plan, unguided
from tasks.workers.config import ComputeConfig
from tasks.workers.devices import use_device
from tasks.workers.worker import adapted_models
from tasks.workspace import Workspace

GLANCE_S = 30.0
"""Seconds of drawing after which no further class is begun."""


@dataclass(frozen=True)
class Glance:
    """What a glance has shown.

    Attributes:
        ability: What it says of the classes it has drawn.
        num_left: Classes that only the check itself will look at.
    """

    ability: Ability
    num_left: int


def glance(recipe: Recipe, whole: Plan, compute: ComputeConfig, workspace: Workspace) -> Glance:
    """Draws the images of the check of some classes and compares them with real ones.

    Args:
        recipe: How the set is drawn.
        whole: The set, of which a check draws something.
        compute: The device and the size of a batch.
        workspace: Where the real images, the judge and the baseline are; without the latter two
            less can be told.

    Raises:
        InputError: Something is missing, there is no device, or they cannot be drawn.
    """
    recipe, config = unguided(recipe), recipe.synthesize

    def first(part: Part) -> tuple[int, int]:
        return -whole.wanted[part.label], part.label

    parts = sorted(check_plan(whole, config.check_images).parts, key=first)
    device = use_device(compute)
    models = load_models(recipe, workspace.prepared, (), device, micro_batch=compute.micro_batch)
    # Those that have learnt may take the place of the others, which come before them
    parts.sort(key=lambda part: adapts(recipe, part.class_name))
    files: dict[int, list[Path]] = {}
    learnt = False
    with TemporaryDirectory(prefix="fgds-glance-") as folder:
        out, started = Path(folder), time.monotonic()
        for part in parts:
            if adapts(recipe, part.class_name) and not learnt:
                models, learnt = adapted_models(models, recipe, compute, workspace), True
            try:
                record = write_part(part, recipe, models, "", out, batch_size=compute.batch_size)
            except (FloatingPointError, RuntimeError) as error:  # not finite, or out of memory
                raise InputError(
                    f"the check cannot draw {part.num_images} images of class"
                    f" {part.class_name!r}: {error}"
                ) from error
            files[part.label] = [out / record.path]
            if time.monotonic() - started >= GLANCE_S:
                break
        places = Places(
            workspace.prepared, files, workspace.judge, workspace.baseline, out / "ability.json"
        )
        asked = Ability(config.check_images, recipe.generator.path, config.cannot_draw, "")
        check_generator(recipe, asked, places, device=device, batch_size=compute.batch_size)
        return Glance(read_ability(places.record), len(parts) - len(files))
