"""Criteria: what a classifier finds useful in an image, one value per image, larger = more wanted.

One module each, loaded when it is chosen.

Source: Askari Hemmat et al. (2024), Feedback-guided Data Synthesis for Imbalanced Classification,
https://arxiv.org/abs/2310.00158, section 3.
"""

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from torch import Tensor

from fgds_core.feedback.gaussians import ClassGaussians


class Seen(NamedTuple):
    """What a classifier, or a committee of M, makes of a batch of images."""

    logits: Tensor
    """Class scores, [B, K]; of a committee the logarithm of its members' mean probability."""
    features: Tensor
    """Penultimate features, [B, D]; of a committee those of its members side by side."""
    members: Tensor | None = None
    """Log-probabilities of each member of a committee, [M, B, K]; None where one classifier
    judges."""


Criterion = Callable[[Seen, Tensor, ClassGaussians | None], Tensor]
"""(what the classifier sees, labels [B], class Gaussians) -> one value per image, [B]."""

CRITERIA = {
    "loss": "fgds_core.feedback.criteria.loss",
    "hardness": "fgds_core.feedback.criteria.hardness",
    "entropy": "fgds_core.feedback.criteria.entropy",
    "disagreement": "fgds_core.feedback.criteria.disagreement",
}
"""The module of each criterion by its name in the parameters; its function has the same name."""

OF_A_COMMITTEE = ("disagreement",)
"""Criteria that compare classifiers, and say nothing of one alone."""


def load_criterion(name: str) -> Criterion:
    """The criterion called `name`, one of `CRITERIA`."""
    criterion: Criterion = getattr(import_module(CRITERIA[name]), name)
    return criterion
