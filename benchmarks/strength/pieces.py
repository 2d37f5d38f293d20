"""The pieces of the study: a candidate's images, and how useful a training finds them.

A piece is one training valued on validation images, and is kept as soon as it is there. The
validation images are halved, each class alike: a training chooses its checkpoint by one half and
tells its recalls on both, so what was chosen on one half can be reported on the other.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from benchmarks.controls.place import ROOT, TRAINING, Place, locked
from benchmarks.controls.sets import Drawn
from benchmarks.experiments import write_json
from benchmarks.strength.variants import FACTOR, place_at
from fgds_core.classify.metrics import recall_per_class
from fgds_core.classify.network import Classifier, load_classifier
from fgds_core.classify.predict import predict_logits, predictions
from fgds_core.classify.refit import halves
from fgds_core.classify.save import save_classifier
from fgds_core.classify.train import train_classifier
from fgds_core.data.imbalance import BINS, shot_bins
from fgds_core.files import sha256_tree
from fgds_core.images.dataset import ImageDataset, joined
from tasks.identity.code import digest
from tasks.identity.drawing import drawing_parameters, is_guided

SPLIT_SEED = 0
"""Of the halves of the validation images."""

DRAWING_SEED = 0
"""Of guide and images; of a candidate trainings alone are repeated."""

HEAD_PENALTY = 0.1
"""Inverse strength of the head's penalty; set before anything was measured, and not changed."""

Scales = tuple[float, float, float]
Recalls = dict[str, list[float]]
"""`chosen` and `other`: recall of each class on the half that chose and on the other, [K]."""


@dataclass(frozen=True)
class Candidate:
    """A way to draw.

    Attributes:
        guidance_scale: Of classifier-free guidance.
        embedding_dropout: Share of the image embedding that is dropped; None is text alone.
        scales: Of loss feedback in the classes of the bins many, medium and few; 0 is off.
        target: Real and synthetic images of a class.
    """

    guidance_scale: float
    embedding_dropout: float | None
    scales: Scales
    target: int = 200

    def changes(self, scale: float) -> dict[str, Any]:
        """What differs from the parameters in the classes with this scale."""
        text = self.embedding_dropout is None
        return {
            "synthesize.rounds": 1,
            "synthesize.guidance_scale": self.guidance_scale,
            "synthesize.conditioning": "text" if text else "dual",
            "synthesize.embedding_dropout": self.embedding_dropout or 0.0,
            "synthesize.feedback": "loss" if scale else "none",
            "synthesize.feedback_scale": scale,
            "synthesize.target_per_class": self.target,
        }

    def __str__(self) -> str:
        text = self.embedding_dropout is None
        scales = [f"{scale:g}" for scale in self.scales]
        return (
            f"guidance {self.guidance_scale:g}, "
            f"{'text' if text else f'dropout {self.embedding_dropout:g}'}, "
            f"loss {scales[0] if len(set(scales)) == 1 else '/'.join(scales)}"
            f"{'' if self.target == 200 else f', {self.target} a class'}"
        )


def plain(guidance_scale: float, dropout: float | None, scale: float) -> Candidate:
    """A candidate with one scale for all classes."""
    return Candidate(guidance_scale, dropout, (scale, scale, scale))


@dataclass(frozen=True)
class Piece:
    """One training.

    Attributes:
        candidate: Whose images it learns from beside the real ones; None is real images alone.
        half: Half of the validation images that chooses the checkpoint, 0 or 1.
        seed: Of the training.
        measure: full: a training by the final classifier's recipe; head: the last layer alone, on
            frozen features of the control.
        most: Synthetic images of a class at most; None is all of them.
        factor: The imbalance factor of the real images.
    """

    candidate: Candidate | None
    half: int
    seed: int = 0
    measure: str = "full"
    most: int | None = None
    factor: int = FACTOR

    @property
    def name(self) -> str:
        """Its key among the runs."""
        amount = "" if self.most is None else f", first {self.most}"
        return (
            f"{self.factor}: {self.candidate or 'real alone'}{amount}, {self.measure}, "
            f"half {self.half}, seed {self.seed}"
        )


class OutOfTime(Exception):
    """The processor time is spent; what was made is kept."""


class Study:
    """Makes pieces and keeps them.

    Args:
        kept: Their file.
        seconds: Processor time after which no new piece is begun.
    """

    def __init__(self, kept: Path, seconds: float = float("inf")) -> None:
        self.kept, self.until = kept, time.process_time() + seconds
        self.runs: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}

    def recalls(self, piece: Piece) -> Recalls:
        """What a piece found; it is made if it is not there or was made of something else.

        Raises:
            OutOfTime: The time is spent, and the piece is not there.
        """
        made_of, run = source(piece), self.runs.get(piece.name)
        if run is None or run["source"] != made_of:
            if time.process_time() > self.until:
                raise OutOfTime
            started = time.process_time()
            found = make(piece)
            seconds = round(time.process_time() - started, 1)
            run = {**asdict(piece), "source": made_of, "recalls": found, "cpu_seconds": seconds}
            self.runs[piece.name] = run
            write_json(self.kept, self.runs)
            print(f"{piece.name}: {100 * mean(found['chosen']):.1f} %, {seconds} s", flush=True)
        found = run["recalls"]
        return {"chosen": list(found["chosen"]), "other": list(found["other"])}


def source(piece: Piece) -> str:
    """Digest of what a piece is made of.

    The code that draws is left out: an edit there changes no image without a parameter that says
    so, and should not undo hours of measuring. Remove the pieces where one does.
    """
    place = place_at(piece.factor)
    made_of: list[object] = [digest(TRAINING), place.recipe.model_dump_json()]
    if piece.measure == "head":
        made_of += ["head", HEAD_PENALTY]
    if piece.candidate is not None:
        made_of += [place.params["retrain"].model_dump_json(), DRAWING_SEED]
        made_of += [_generator(str(ROOT / place.params["generator"].path))]
        for scale in piece.candidate.scales:
            params = place.changed(piece.candidate.changes(scale))
            config = params["synthesize"]
            made_of += [json.dumps(drawing_parameters(config), sort_keys=True)]
            if is_guided(config):
                made_of += [params["train_baseline"].model_dump_json()]
    return sha256(place.identity(*made_of).encode()).hexdigest()[:20]


@cache
def _generator(path: str) -> str:
    return sha256_tree(Path(path))


def make(piece: Piece) -> Recalls:
    """Draws what is missing, trains, and values."""
    place = place_at(piece.factor)
    of_halves = _halves(place)
    if piece.candidate is None:
        return value(control(piece.factor, piece.half, piece.seed), of_halves, piece.half)
    synthetic = images(place, piece.candidate, piece.most)
    if piece.measure == "head":
        frozen = control(piece.factor, piece.half, piece.seed)
        return head(frozen, place.real.train, synthetic, of_halves, piece.half)
    return value(train(place, piece, synthetic), of_halves, piece.half)


def train(place: Place, piece: Piece, synthetic: ImageDataset | None) -> Classifier:
    """One training, its checkpoint chosen by one half of the validation images."""
    how = place.params["retrain"]
    return train_classifier(
        place.real.train,
        _halves(place)[piece.half],
        place.recipe,
        piece.seed,
        synthetic=synthetic,
        real_share=1.0 if synthetic is None else how.real_share,
        treatment=how.treatment,
    )


@cache
def control(factor: int, half: int, seed: int) -> Classifier:
    """The classifier of real images alone; it is trained if it is not there."""
    place = place_at(factor)
    made_of = (digest(TRAINING), place.recipe.model_dump_json(), SPLIT_SEED, half, seed)
    folder = place.folder / "halves" / place.identity(*made_of)
    with locked(folder):
        if not (folder / "config.json").is_file():
            made = train(place, Piece(None, half, seed, factor=factor), None)
            counts, bins = place.meta.counts["train"], place.meta.bins
            save_classifier(folder, made, real_counts=counts, bins=bins)
    return load_classifier(folder)


def images(place: Place, candidate: Candidate, most: int | None) -> ImageDataset:
    """A candidate's images; those are drawn that are not there.

    Classes of one scale are of one set, which candidates share that differ in other classes.
    """
    sets = []
    bins = shot_bins(place.meta.counts["train"])
    for scale in dict.fromkeys(candidate.scales):
        named = {name for name, own in zip(BINS, candidate.scales, strict=True) if own == scale}
        labels = {label for label, name in enumerate(bins) if name in named}
        drawn = Drawn(candidate.changes(scale), most=most)
        found = drawn.make(place, DRAWING_SEED).images
        rows = [row for row, label in enumerate(found.labels.tolist()) if label in labels]
        sets.append(found.select(rows))
    whole = sets[0]
    for one in sets[1:]:
        whole = joined(whole, one)
    return whole


def _halves(place: Place) -> tuple[ImageDataset, ImageDataset]:
    return halves(place.real.val, SPLIT_SEED)


def value(
    classifier: Classifier, of_halves: tuple[ImageDataset, ImageDataset], half: int
) -> Recalls:
    """Recalls of a classifier whose checkpoint was chosen by one of the halves."""
    answers = [predict_logits(classifier, each).argmax(dim=-1) for each in of_halves]
    return _told(answers, of_halves, half)


def _told(
    answers: Sequence[Tensor], of_halves: tuple[ImageDataset, ImageDataset], half: int
) -> Recalls:
    found = [
        [round(row["recall"], 6) for row in recall_per_class(each, of.labels, of.class_names)]
        for each, of in zip(answers, of_halves, strict=True)
    ]
    return {"chosen": found[half], "other": found[1 - half]}


def head(
    frozen: Classifier,
    real: ImageDataset,
    synthetic: ImageDataset,
    of_halves: tuple[ImageDataset, ImageDataset],
    half: int,
) -> Recalls:
    """Recalls of a last layer that learns from real and synthetic images on frozen features."""
    x = np.concatenate([features(frozen, each) for each in (real, synthetic)])  # [N, D]
    labels = torch.cat([real.labels, synthetic.labels]).numpy()  # [N]
    is_synthetic = np.repeat([False, True], [len(real), len(synthetic)])  # [N]
    scaler = StandardScaler().fit(x)
    layer = LogisticRegression(C=HEAD_PENALTY, max_iter=500)
    layer.fit(scaler.transform(x), labels, sample_weight=class_weights(labels, is_synthetic))
    answers = [layer.predict(scaler.transform(features(frozen, each))) for each in of_halves]
    return _told([torch.from_numpy(each) for each in answers], of_halves, half)


def features(classifier: Classifier, of: ImageDataset) -> NDArray[np.float32]:
    """Penultimate features, [N, D]."""
    found: NDArray[np.float32] = torch.cat(
        [each for _, each in predictions(classifier, of)]
    ).numpy()
    return found


def class_weights(
    labels: NDArray[np.int64], is_synthetic: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Weights by which all classes weigh alike, and so do the sources within a class, [N].

    Args:
        labels: Classes, [N].
        is_synthetic: Which images are synthetic, [N].

    Returns:
        Their mean is 1.
    """
    weights = np.zeros(len(labels))
    for label in np.unique(labels):
        cells = [(labels == label) & source for source in (is_synthetic, ~is_synthetic)]
        there = [cell for cell in cells if cell.any()]
        for cell in there:
            weights[cell] = 1 / (len(there) * cell.sum())
    weights *= len(labels) / weights.sum()
    return weights


def mean(recalls: Sequence[float], classes: Sequence[int] | None = None) -> float:
    """Mean recall over all classes, or over some."""
    chosen = range(len(recalls)) if classes is None else classes
    return float(np.mean([recalls[label] for label in chosen]))
