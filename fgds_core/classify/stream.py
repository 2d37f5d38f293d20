"""The batches of a training, read and changed at random."""

from collections import deque
from collections.abc import Iterator

import torch

from fgds_core.classify.batches import BATCH_SOURCES, Batch, TrainingImages
from fgds_core.classify.config import TrainConfig
from fgds_core.classify.run import TrainingRun
from fgds_core.images.augment import Changes, draw_changes, erase_, move
from fgds_core.images.loader import load
from fgds_core.images.pixels import from_uint8


def training_batches(
    training: TrainingImages,
    config: TrainConfig,
    rng: torch.Generator,
    run: TrainingRun = TrainingRun(),
    *,
    skip: int = 0,
) -> Iterator[Batch]:
    """Yields the batches of a whole training, changed at random, on its device.

    Args:
        training: The images.
        config: The recipe.
        rng: Draws the batches and what happens to their images, in turn, so that they are the same
            however far ahead the images are read.
        run: Where to, and by how many processes.
        skip: Batches that were learnt from before: they are drawn, their images not read.
    """
    planned: deque[tuple[int, list[int], Changes]] = deque()

    def plan() -> Iterator[list[int]]:
        for number, rows in enumerate(BATCH_SOURCES[config.sampling](training, config, rng)):
            changes = draw_changes(len(rows), config, rng)
            if number >= skip:
                planned.append((number, rows, changes))
                yield rows

    for pixels in load(training.images, plan(), workers=run.loader_workers):
        number, rows, changes = planned.popleft()
        x = from_uint8(move(pixels, changes).to(run.device))  # [B, C, H, W]
        yield training.batch(rows, erase_(x, changes), number / config.num_steps)
