"""The batches of a training, read, changed and mixed at random."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fgds_core.classify.batches import BATCH_SOURCES, Batch, TrainingImages
from fgds_core.classify.config import TrainConfig
from fgds_core.classify.mixing import Mixture, create_mixer
from fgds_core.classify.run import TrainingRun
from fgds_core.classify.transforms import TransformedImages, create_transform, draw_seeds
from fgds_core.images.augment import Changes, draw_changes, erase_, move
from fgds_core.images.loader import load
from fgds_core.images.pixels import from_uint8


@dataclass(frozen=True, eq=False)
class _Planned:
    """A batch that is being read.

    Attributes:
        number: Its place in the training, from 0.
        rows: Of its images, of B.
        mixture: How they are mixed; None mixes none.
        changes: Of all images that are read for it, of B and those that are only mixed in.
    """

    number: int
    rows: list[int]
    mixture: Mixture | None
    changes: Changes


def training_batches(
    training: TrainingImages,
    config: TrainConfig,
    rng: torch.Generator,
    run: TrainingRun = TrainingRun(),
    *,
    skip: int = 0,
) -> Iterator[Batch]:
    """Yields the batches of a whole training, changed at random, on its device.

    Where several processes learn together, one reads them for all.

    Args:
        training: The images.
        config: The recipe.
        rng: Draws the batches and what happens to their images, in turn, so that they are the same
            however far ahead the images are read.
        run: Where to, and by how many processes.
        skip: Batches that were learnt from before: they are drawn, their images not read.
    """
    images, workers = training.images, run.loader_workers
    transform = create_transform(config, images.size)
    within_source = training.treatment.mix_within_source
    mixer = create_mixer(config, images.labels, training.num_real, within_source, training.groups)
    planned: deque[_Planned] = deque()

    def plan() -> Iterator[list[tuple[int, int]]]:
        for number, rows in enumerate(BATCH_SOURCES[config.sampling](training, config, rng)):
            mixture = None if mixer is None else mixer.draw(rows, rng)
            read = rows if mixture is None else rows + mixture.extra
            changes = draw_changes(len(read), config, rng)
            seeds = [0] * len(read) if transform is None else draw_seeds(len(read), rng)
            if number >= skip:
                planned.append(_Planned(number, rows, mixture, changes))
                yield list(zip(read, seeds, strict=True))

    if transform is None:
        pixels = load(images, ([row for row, _ in batch] for batch in plan()), workers=workers)
    else:
        pixels = load(TransformedImages(images, transform), plan(), workers=workers)

    def read() -> Iterator[Batch]:
        for each in pixels:
            batch = planned.popleft()
            x = from_uint8(move(each, batch.changes).to(run.device))  # [B + E, C, H, W]
            progress = batch.number / config.num_steps
            yield _mixed(training, batch, erase_(x, batch.changes), progress)

    return run.team.share(read())


def _mixed(training: TrainingImages, batch: _Planned, x: Tensor, progress: float) -> Batch:
    """A batch of what was read for it, mixed where it shall be."""
    if batch.mixture is None:
        return training.batch(batch.rows, x, progress)
    x, share = batch.mixture(x)  # [B, C, H, W], [B]
    partner = training.batch(batch.mixture.partners, x, progress)
    return replace(training.batch(batch.rows, x, progress), share=share, partner=partner)
