"""The tasks of the stage adapt: the generator learns, or it is said that it does not."""

import hashlib
import json
import time
from pathlib import Path

from fgds_core.ability.record import Ability, write_ability
from fgds_core.adapt.adaptation import Adaptation
from fgds_core.adapt.record import OFF, AdapterRecord, write_record
from fgds_core.classify.checkpoint import Checkpoint
from fgds_core.errors import InputError
from fgds_core.generators.config import GeneratorConfig
from fgds_core.stages import adapt as stage
from tasks.identity import code
from tasks.identity.cache import Outputs, replaced, stage_task, written
from tasks.watch.progress import bar, say
from tasks.watch.timing import work
from tasks.workers.config import ComputeConfig
from tasks.workers.devices import use_device
from tasks.workspace import RUNS, Workspace

STAGE = "fgds_core.stages.adapt"
"""The module whose imports are the code that learns."""


def seconds(what: Adaptation, compute: ComputeConfig, workspace: Workspace) -> float:
    """What learning takes at most, by a few steps; those of the decoder count like the others.

    Args:
        what: What is to be learnt.
        compute: The device.
        workspace: Where the real images are.
    """
    started = time.perf_counter()
    one = stage.seconds_a_step(what, workspace.prepared, use_device(compute))
    loading = time.perf_counter() - started
    return loading + one * (what.config.num_steps + what.config.decoder_steps)


def check_hours(seconds: float, limit: float) -> None:
    """Refuses to learn for too long.

    Args:
        seconds: From `seconds`.
        limit: In device-hours.

    Raises:
        InputError: It takes more.
    """
    if seconds > 3600 * limit:
        raise InputError(
            f"adapt takes about {seconds / 3600:.3g} device-hours at most, more than the limit of"
            f" {limit:g}; raise the limit (compute.max_device_hours), or lower adapt.num_steps or"
            " adapt.batch_size"
        )


@stage_task(name="adapt-unchecked")
def write_unchecked(config: GeneratorConfig, workspace: Workspace) -> Outputs:
    """Says that the generator check was not asked what it is to learn.

    Args:
        config: The generator.
        workspace: Where that is said.
    """
    out = workspace.unadapted().ability
    write_ability(out, Ability(0, config.path, "keep", ""))
    return written(out)


@stage_task(name="adapt-nothing")
def write_nothing(what: Adaptation | None, workspace: Workspace) -> Outputs:
    """Says that the generator is drawn with as it is.

    Args:
        what: What was to be learnt, no class; None where learning is off.
        workspace: Where the adapter goes.
    """
    record = OFF
    if what is not None:
        remark = "the generator check doubts none of the classes: nothing was learnt"
        record = AdapterRecord(True, made_by=what.made_by, remarks=(remark,))
    with replaced(workspace.adapter) as place:
        folder = place(workspace.adapter)
        folder.mkdir()
        write_record(folder, record)
    return written(workspace.adapter)


@stage_task(name="adapt")
def adapt_generator(what: Adaptation, compute: ComputeConfig, workspace: Workspace) -> Outputs:
    """Lets the generator learn, unless it has learnt the same before.

    Args:
        what: What is to be learnt.
        compute: In no cache key.
        workspace: Where the real images are and the adapter goes.
    """
    checkpoints = [_checkpoint(what, compute, name) for name in ("denoiser", "decoder")]
    config = what.config
    with (
        replaced(workspace.adapter) as place,
        work(),
        bar("adapt", config.num_steps + config.decoder_steps, "steps") as advance,
    ):
        folder = place(workspace.adapter)
        folder.mkdir()
        stage.adapt(
            what,
            workspace.prepared,
            folder,
            device=use_device(compute),
            advance=advance,
            checkpoints=stage.Checkpoints(*checkpoints),
            heard=lambda text: say("adapt", text),
        )
    for checkpoint in checkpoints:
        checkpoint.remove()
    return written(workspace.adapter)


def _checkpoint(what: Adaptation, compute: ComputeConfig, name: str) -> Checkpoint:
    """Lets a training that was stopped go on, for as long as it is the same training."""
    decides = [what.made_by, compute.device, code.digest(STAGE)]
    key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    path = RUNS / Path(f"adapter-{name}.checkpoint")
    return Checkpoint(path, key, compute.checkpoint_every_s)
