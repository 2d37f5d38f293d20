"""A judge that is loaded: it tells of any images which class each of them shows.

N images, B in a batch, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from fgds_core.errors import InputError
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.loader import batches
from fgds_core.images.pixels import from_uint8
from fgds_core.images.reading import IN_THIS_PROCESS, Reading
from fgds_core.judge.kinds import load_kind
from fgds_core.judge.record import AGAIN, JudgeRecord, Recognised, composed, read_record


@dataclass(frozen=True, eq=False)
class Judge:
    """Says which class an image shows.

    Attributes:
        record: Who it is, and how often it is right.
        device: Where it computes.
        see: What judges; see `kinds.See`.
    """

    record: JudgeRecord
    device: str
    see: Callable[[Tensor, Tensor | None], Tensor] = field(repr=False)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each of the K classes."""
        return self.record.class_names

    @property
    def recognised(self) -> dict[str, Recognised]:
        """By class, the real validation images it was shown and those it took for their class."""
        unseen = (Recognised(0, 0),) * len(self.class_names)
        return dict(zip(self.class_names, self.record.validation or unseen, strict=True))

    @property
    def recall(self) -> dict[str, float | None]:
        """By class, the share of its real validation images it takes for it; None without any."""
        return {name: each.recall for name, each in self.recognised.items()}

    @torch.inference_mode()
    def __call__(self, x: Tensor, without: Tensor | None = None) -> Tensor:
        """Probabilities, [B, K] on its device.

        Args:
            x: Images in [-1, 1] of any size, [B, 3, H, W].
            without: Of training images, the fold that each is in, [B]: a judge of several folds
                asks only the classifier that was trained without it. None for other images.
        """
        return self.see(x.to(self.device), without)

    def passes(
        self,
        images: ImageDataset,
        *,
        folds: Tensor | None = None,
        reading: Reading = IN_THIS_PROCESS,
    ) -> Iterator[tuple[slice, Tensor]]:
        """Rows of a set and their probabilities, batch by batch: [B, K] on the CPU.

        Args:
            images: The set.
            folds: Of training images, the fold that each is in, [N]; None for others.
            reading: How they are read.
        """
        start = 0
        for pixels in batches(images, reading.batch_size, workers=reading.workers):
            rows = slice(start, start + len(pixels))
            without = None if folds is None else folds[rows]
            yield rows, self(from_uint8(pixels.to(self.device)), without).cpu()
            start = rows.stop
            reading.advance(len(pixels))

    def probabilities(
        self,
        images: ImageDataset,
        *,
        folds: Tensor | None = None,
        reading: Reading = IN_THIS_PROCESS,
    ) -> Tensor:
        """Probabilities of a set, [N, K] on the CPU; of large sets take `passes`."""
        found = torch.empty(len(images), len(self.class_names))
        for rows, of_batch in self.passes(images, folds=folds, reading=reading):
            found[rows] = of_batch
        return found


def load_judge(folder: Path, class_names: Sequence[str], device: str = "cpu") -> Judge:
    """Loads the judge that the stage judge left.

    Args:
        folder: What the stage wrote.
        class_names: Of the data, in the order of their labels.
        device: Where it computes.

    Raises:
        InputError: It is missing or damaged, or knows other classes.
    """
    record = read_record(folder)
    if composed(record.class_names) != composed(class_names):
        raise InputError(
            f"the judge in {folder} knows the classes {list(record.class_names)[:5]}, the data has"
            f" {list(class_names)[:5]}; {AGAIN}"
        )
    return awake(folder, record, device)


def awake(folder: Path, record: JudgeRecord, device: str) -> Judge:
    """Loads the networks of a judge.

    Args:
        folder: That of its record.
        record: Who it is; what it recognises need not be known yet.
        device: Where it computes.
    """
    return Judge(record, device, load_kind(record.kind).load(folder, record, device))


def verdict(probabilities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a judge says, in short.

    Args:
        probabilities: Of each class, [B, K].

    Returns:
        The most probable class, its probability, and how much more probable it is than the next
        one, [B] each; with a single class the margin is that probability.
    """
    best = probabilities.topk(min(2, probabilities.shape[1]), dim=-1)
    labels, first = best.indices[:, 0], best.values[:, 0]
    margin = first - best.values[:, 1] if probabilities.shape[1] > 1 else first
    return labels, first, margin
