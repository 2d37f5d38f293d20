"""The criteria by their names in the parameters. Each is loaded when it is chosen."""

from importlib import import_module

from fgds_core.feedback.criterion import Criterion, Needs

CRITERIA = {
    "loss": "fgds_core.feedback.criteria.loss",
    "hardness": "fgds_core.feedback.criteria.hardness",
    "entropy": "fgds_core.feedback.criteria.entropy",
    "disagreement": "fgds_core.feedback.criteria.disagreement",
    "exemplar": "fgds_core.feedback.criteria.exemplar",
    "exemplar_loss": "fgds_core.feedback.criteria.exemplar_loss",
    "exemplar_entropy": "fgds_core.feedback.criteria.exemplar_entropy",
    "influence": "fgds_core.feedback.criteria.influence",
}
"""The module of each criterion; its function has the same name."""


def load_criterion(name: str) -> Criterion:
    """The criterion called `name`, one of `CRITERIA`."""
    criterion: Criterion = getattr(import_module(CRITERIA[name]), name)
    return criterion


def needs_of(name: str) -> Needs:
    """What the criterion called `name` needs: `NEEDS` of its module; without, nothing."""
    needs: Needs = getattr(import_module(CRITERIA[name]), "NEEDS", Needs())
    return needs
