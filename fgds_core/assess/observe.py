"""One pass over a set of images: what each network says of them.

Every image is decoded once, whatever is asked of it, and a batch is all that memory holds of them:
features go to disk as they come, and of the answers a few numbers an image stay.

N images, B in a batch, D features, K classes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fgds_core.assess.features import Extractor
from fgds_core.assess.vectors import Features, write_vectors
from fgds_core.classify.network import Classifier
from fgds_core.feedback.criteria.entropy import entropy
from fgds_core.feedback.criteria.loss import loss
from fgds_core.feedback.criterion import NOTHING, Seen
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.loader import batches
from fgds_core.images.pixels import from_uint8
from fgds_core.images.reading import IN_THIS_PROCESS, Reading
from fgds_core.judge.judge import verdict

CRITERIA = {"entropy": entropy, "loss": loss}
"""What says how hard an image is to the baseline, in nats."""


@dataclass(frozen=True, eq=False)
class Observed:
    """What the networks say of a set of images.

    Attributes:
        images: The set, N images.
        features: Of each image, [N, D].
        answers: Further answers by name, [N] each: of the baseline `predicted` (the class it
            sees) and each of `CRITERIA`, of the judge `judge_label`, `judge_probability` and
            `judge_margin`.
    """

    images: ImageDataset
    features: Features
    answers: dict[str, NDArray[Any]]

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class of each image, [N]."""
        labels: NDArray[np.int64] = self.images.labels.numpy()
        return labels


def observe(
    images: ImageDataset,
    path: Path,
    extract: Extractor,
    *,
    baseline: Classifier | None = None,
    judge: Callable[[Tensor], Tensor] | None = None,
    reading: Reading = IN_THIS_PROCESS,
) -> Observed:
    """Shows a set to the networks.

    Args:
        images: The set, at least one image.
        path: Where the features are kept.
        extract: The feature space. Where it is the baseline's own, one pass serves for both.
        baseline: Says how hard the images are; None does not.
        judge: Images in [-1, 1], [B, 3, H, W] -> how probable it holds each class, [B, K]; None
            is not asked.
        reading: How they are read.

    Raises:
        InputError: An image is damaged, or the disk has no room for the features.
    """
    answers: dict[str, NDArray[Any]] = {}  # [N] each

    def keep(rows: slice, **values: Tensor) -> None:
        # In one array each: a small tensor kept for every batch would keep the heap from shrinking
        for name, value in values.items():
            of_batch = value.cpu().numpy()  # [B]
            if name not in answers:
                answers[name] = np.empty(len(images), of_batch.dtype)
            answers[name][rows] = of_batch

    @torch.inference_mode()
    def features(x: Tensor, rows: slice) -> NDArray[np.float32]:
        """Asks all networks about the images of some rows; answers their features, [B, D]."""
        found = None
        if baseline is not None:
            logits, penultimate = baseline.logits_and_features(x)  # [B, K], [B, D]
            seen = Seen(logits.float().cpu(), penultimate.float().cpu())
            labels = images.labels[rows]
            keep(rows, predicted=logits.argmax(dim=-1))
            keep(rows, **{name: value(seen, labels, NOTHING) for name, value in CRITERIA.items()})
            if extract.classifier is baseline:
                found = penultimate
        if judge is not None:
            label, probability, margin = verdict(judge(x))
            keep(rows, judge_label=label, judge_probability=probability, judge_margin=margin)
        if found is None:
            found = extract.embed(x)
        values: NDArray[np.float32] = found.float().cpu().numpy()
        return values

    def every_batch() -> Iterator[NDArray[np.float32]]:
        start = 0
        for pixels in batches(images, reading.batch_size, workers=reading.workers):
            rows = slice(start, start + len(pixels))
            yield features(from_uint8(pixels.to(extract.device)), rows)
            start = rows.stop
            reading.advance(len(pixels))

    vectors = write_vectors(path, len(images), every_batch())
    return Observed(
        images,
        Features.of(vectors, extract.device),
        answers,
    )
