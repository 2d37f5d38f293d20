"""One training of an arm: made of a set, kept as a classifier, evaluated."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.controls import smote
from benchmarks.controls.arms import CONTROL, Arm, arms_of
from benchmarks.controls.audit import audited
from benchmarks.controls.measures import Yardstick, measured
from benchmarks.controls.place import TRAINING, Place, locked
from benchmarks.controls.sets import Made
from fgds_core.assess.features import tower_of
from fgds_core.classify.config import RetrainConfig, TrainConfig, final_recipe
from fgds_core.classify.groups import train_counts
from fgds_core.classify.metrics import evaluate
from fgds_core.classify.network import Classifier, load_classifier
from fgds_core.classify.save import save_classifier
from fgds_core.classify.train import train_classifier
from fgds_core.files import sha256_file
from tasks.identity.code import digest

COLUMNS = {
    "overall": "overall",
    "macro": "macro_accuracy",
    "many": "many",
    "medium": "medium",
    "few": "few",
    "worst_group": "worst_group",
    "worst_tenth": "worst_tenth",
}
"""Column -> its key in the Metrics JSON."""


@dataclass(frozen=True)
class Piece:
    """One training, and the images it is evaluated on.

    Attributes:
        arm: Name of the arm.
        seed: Of the guide, the drawing, weights and batches.
        split: val or test.
    """

    arm: str
    seed: int
    split: str

    @property
    def name(self) -> str:
        """Its key among the runs."""
        return f"{self.arm}, seed {self.seed}, {self.split}"


def recipe_of(place: Place, arm: Arm) -> TrainConfig:
    """How an arm is trained."""
    return final_recipe(place.recipe, arm.training)


def treatment_of(place: Place, arm: Arm) -> RetrainConfig:
    """What an arm does with images that are not of the training split."""
    retrain: RetrainConfig = place.params["retrain"]
    return retrain.model_copy(update={**arm.retrain, "training": {}})


def source(place: Place, arm: Arm, seed: int, made: Made | None) -> str:
    """Digest of all that makes a classifier: code, images and recipe."""
    treated = None if made is None else treatment_of(place, arm).model_dump_json()
    identity = None if made is None else made.identity
    recipe = recipe_of(place, arm).model_dump_json()
    refit = [sha256_file(Path(smote.__file__))] if arm.smote else []
    return place.identity(digest(TRAINING), recipe, treated, identity, seed, *refit)


def make_set(place: Place, piece: Piece) -> Made | None:
    """The images that an arm learns from beside the real ones; drawn if they are not there."""
    arm = arms_of(place)[piece.arm]
    return None if arm.images is None else arm.images.make(place, piece.seed)


def trained(place: Place, piece: Piece, made: Made | None) -> tuple[str, Classifier]:
    """The classifier of a piece, and its source; it is trained if it is not there."""
    return _learned(place, arms_of(place)[piece.arm], piece.seed, made)


def _learned(place: Place, arm: Arm, seed: int, made: Made | None) -> tuple[str, Classifier]:
    made_of = source(place, arm, seed, made)
    folder, real = place.folder / "classifiers" / made_of, place.real
    with locked(folder):
        if not (folder / "config.json").is_file():
            if arm.smote:
                _, classifier = _learned(place, replace(arm, smote=False), seed, made)
                classifier = smote.refitted(classifier, real.train, real.val, seed)
            else:
                treatment = treatment_of(place, arm)
                classifier = train_classifier(
                    real.train,
                    real.val,
                    recipe_of(place, arm),
                    seed,
                    synthetic=None if made is None else made.images,
                    real_share=1.0 if made is None else treatment.real_share,
                    treatment=treatment.treatment,
                )
            counts, bins = place.meta.counts["train"], place.meta.bins
            save_classifier(folder, classifier, real_counts=counts, bins=bins)
    return made_of, load_classifier(folder)


def run(place: Place, piece: Piece) -> dict[str, Any]:
    """Makes one piece: the entry of the runs file, without measures of the set."""
    made = make_set(place, piece)
    made_of, classifier = trained(place, piece, made)
    train, images = place.real.train, place.real.val if piece.split == "val" else place.test
    counts = None
    if train.groups is not None:
        counts = train_counts(train.labels.tolist(), train.groups, train.class_names)
    found = evaluate(classifier, images, place.meta.bins, seed=piece.seed, train_counts=counts)
    recalls = [row["recall"] for row in found.per_class]
    return {
        "arm": piece.arm,
        "seed": piece.seed,
        "split": piece.split,
        "source": made_of,
        "set": None if made is None else made.identity,
        "num_synthetic": 0 if made is None else len(made.images),
        "seconds_per_image": None if made is None else made.seconds_per_image,
        "columns": {
            name: None if found.metrics[key] is None else round(found.metrics[key], 6)
            for name, key in COLUMNS.items()
        },
        "recalls": [None if each is None else round(each, 4) for each in recalls],
    }


def measure(place: Place, piece: Piece) -> dict[str, Any]:
    """The measures of an arm's set, and the audit of the classifier that learned from it.

    Returns:
        `measures`, `audit` and `audit_of_control`, the same of the control; nothing for an arm of
        real images alone.
    """
    made = make_set(place, piece)
    if made is None:
        return {}
    control, unaided = trained(place, Piece(CONTROL, piece.seed, piece.split), None)
    _, classifier = trained(place, piece, made)
    yardstick = Yardstick(
        place.prepared,
        place.guide(place.params, piece.seed),
        tower_of(place.params["generator"]),
        place.params["assess"],
        place.params["judge"].path,
        place.folder / "classifiers" / control,
        piece.seed,
    )
    audit = partial(audited, train=place.real.train, synthetic=made.images, val=place.real.val)
    return {
        "measures": measured(made.images, made.table, yardstick),
        "audit": audit(classifier),
        "audit_of_control": audit(unaided),
    }
