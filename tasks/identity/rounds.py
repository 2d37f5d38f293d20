"""What decides the classifiers between the rounds of a set, and the fingerprints made of it."""

from collections.abc import Iterable, Mapping
from typing import Any

from fgds_core.classify.config import RetrainConfig, TrainConfig, final_recipe
from fgds_core.classify.train import read_training
from fgds_core.data.meta import read_meta
from fgds_core.synthesis.plan import Part
from tasks.identity import code
from tasks.identity.drawing import NO_PIXEL, fingerprint
from tasks.workspace import Workspace

TRAINING = "fgds_core.stages.train_guide"
"""The module whose imports are the code that trains them."""


def recipe_between(retrain: RetrainConfig, workspace: Workspace) -> TrainConfig:
    """How the classifiers between rounds are trained: as the final one is.

    Raises:
        InputError: There is no baseline, whose recipe it starts from.
    """
    return final_recipe(read_training(workspace.baseline), retrain.training)


def trained_by(retrain: RetrainConfig, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Everything that decides the classifiers between rounds but the images drawn so far.

    Args:
        retrain: How they learn from synthetic images.
        seed: Of the run.
        workspace: Where the real images and the baseline are.

    Raises:
        InputError: There is no baseline.
    """
    meta = read_meta(workspace.prepared)
    return {
        "training": recipe_between(retrain, workspace).model_dump(mode="json"),
        "retraining": retrain.model_dump(mode="json", exclude={"training"}),
        "seed": seed,
        "real": {split: meta.content_sha256[split] for split in ("train", "val")},
        "code": code.digest(TRAINING, registered=False, without=NO_PIXEL),
    }


def guide_fingerprint(trained_by: Mapping[str, Any], drawn: Iterable[tuple[Part, str]]) -> str:
    """sha256 of what decides the classifier after some rounds.

    Args:
        trained_by: From `trained_by`.
        drawn: Every part of these rounds, and its fingerprint.
    """
    parts = sorted((part.path, part.first_index, part.num_images, made) for part, made in drawn)
    return fingerprint({**trained_by, "parts": parts})
