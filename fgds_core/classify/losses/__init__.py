"""What a training lowers: a loss of the logits of one batch, by name."""

import inspect
from collections.abc import Callable

import torch

from fgds_core.classify.config import TrainConfig
from fgds_core.classify.losses.cross_entropy import CrossEntropy
from fgds_core.classify.losses.effective_number import ClassBalancedFocal
from fgds_core.classify.losses.group_dro import GroupDRO
from fgds_core.classify.losses.label_aware_smoothing import LabelAwareSmoothing
from fgds_core.classify.losses.ldam import LDAM
from fgds_core.classify.losses.logit_adjustment import BalancedSoftmax, LogitAdjustment
from fgds_core.classify.losses.loss import Loss, Reduction
from fgds_core.classify.priors import Priors

__all__ = ["LOSSES", "Loss", "Reduction", "check_loss", "create_loss"]

LOSSES: dict[str, Callable[..., Loss]] = {
    "cross_entropy": CrossEntropy,
    "balanced_softmax": BalancedSoftmax,
    "logit_adjustment": LogitAdjustment,
    "ldam": LDAM,
    "class_balanced_focal": ClassBalancedFocal,
    "label_aware_smoothing": LabelAwareSmoothing,
    "group_dro": GroupDRO,
}
"""Name -> its class; it is given `priors`, `label_smoothing` and the recipe's `loss_kwargs`."""


def create_loss(config: TrainConfig, priors: Priors) -> Loss:
    """The loss of a recipe.

    Raises:
        ValueError: It takes no such argument, or not such a value; see `check_loss`.
        InputError: It needs groups, and the images have none.
    """
    kind = LOSSES[config.loss]
    return kind(priors=priors, label_smoothing=config.label_smoothing, **config.loss_kwargs)


def check_loss(config: TrainConfig) -> None:
    """Tries the further arguments of a recipe's loss, and their values on counts made up.

    Raises:
        ValueError: The loss takes no argument of that name, or not such a value; names those it
            takes.
    """
    known = inspect.signature(LOSSES[config.loss]).parameters.keys()
    taken = known - {"priors", "label_smoothing"}
    if strangers := sorted(config.loss_kwargs.keys() - taken):
        names = ", ".join(sorted(taken)) or "no further argument"
        raise ValueError(f"{config.loss} has no argument {strangers[0]}; it takes {names}")
    create_loss(config, Priors(torch.tensor([2, 1]), torch.tensor([[1, 1], [1, 0]])))
