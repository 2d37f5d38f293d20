"""The task that draws a part: of a set, of its twins, or of what a generator is checked by."""

import logging
import time
from dataclasses import dataclass
from functools import partial

from fgds_core.synthesis.finished import finished_part
from fgds_core.synthesis.part import write_part
from fgds_core.synthesis.plan import Part
from fgds_core.synthesis.record import PartRecord, sidecar_path
from fgds_core.synthesis.resample import write_resampled
from fgds_core.synthesis.shards import (
    remove_index,
)
from fgds_core.synthesis.watched import watched
from tasks.identity.cache import Outputs, stage_task, written
from tasks.space import check_room
from tasks.store.parts import fetch_part, send_part
from tasks.watch.progress import advance
from tasks.watch.timing import work
from tasks.workers.config import ComputeConfig
from tasks.workers.worker import Sources, this_worker
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DrawnPart(Outputs):
    """The files of a part, and its record for the index.

    Attributes:
        record: For the index.
        seconds: What drawing took; None for a part that was there.
    """

    record: PartRecord
    seconds: float | None


@stage_task(name="synthesize", task_run_name="synthesize-{part.class_name}-{part.index}")
def draw_part(
    part: Part,
    fingerprint: str,
    sources: Sources,
    compute: ComputeConfig,
    workspace: Workspace,
) -> DrawnPart:
    """Draws one part of a class, unless the same one was drawn before.

    Args:
        part: Which images.
        fingerprint: Of everything that decides what they show.
        sources: In no cache key, for they are those of all classes.
        compute: In no cache key.
        workspace: Where the part goes.
    """
    out, seconds = workspace.synthetic, None
    record = finished_part(part, fingerprint, out)
    if record is None and sources.store is not None:
        record = fetch_part(sources.store.config, part, fingerprint, out)
    if record is not None:
        advance("synthesize", part.num_images, found=True)
    else:
        worker = this_worker()
        models = worker.models(sources, compute, workspace, part.class_name)
        check_room(part, workspace)
        log.info("drawing %s", part.path)
        with work(), worker.turn(models.generator.device):
            started = time.monotonic()
            remove_index(out)
            if part.class_name in sources.resampled:
                seed = sources.recipe.seed
                record = write_resampled(part, models.real, seed, fingerprint, out)
                advance("synthesize", part.num_images)
            else:
                models, done = watched(
                    models, part, fingerprint, out, partial(advance, "synthesize")
                )
                record = write_part(
                    part,
                    sources.recipe,
                    models,
                    fingerprint,
                    out,
                    batch_size=compute.batch_size,
                    micro_batch=compute.micro_batch,
                    advance=done,
                )
            seconds = time.monotonic() - started
    if sources.store is not None:
        record = send_part(sources.store.config, part, record, out)
    outputs = written(out / record.path, out / sidecar_path(record.path))
    return DrawnPart(outputs.owned, outputs.files, record, seconds)
