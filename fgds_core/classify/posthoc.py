"""Corrections of a trained classifier for imbalance, folded into its last layer.

Each multiplies the score of every class by a factor and adds an offset. How strong it is, tau, is
chosen on validation images.

K classes.
"""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from fgds_core.classify.heads import LastLayer, fold, last_layer
from fgds_core.classify.metrics import macro_accuracy
from fgds_core.classify.network import Classifier
from fgds_core.classify.predict import predict_logits
from fgds_core.classify.priors import log_prior
from fgds_core.images.dataset import ImageDataset

logger = logging.getLogger(__name__)

TAUS = tuple(n / 10 for n in range(21))
"""The strengths that are tried."""

Correction = Callable[[LastLayer, Tensor, float], tuple[Tensor, Tensor]]
"""(last layer, real training images of each class [K], tau) -> factor [K] and offset [K]."""


def logit_adjustment(layer: LastLayer, counts: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """Scores z become z - tau log pi, where pi is a class's share of the real training images.

    A class without any counts as one of one image.

    Source: Menon et al. (2021), https://arxiv.org/abs/2007.07314
    """
    log_p = log_prior(counts)  # [K]
    return torch.ones_like(log_p), -tau * log_p


def tau_normalization(layer: LastLayer, counts: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """Weights w of a class become w / ||w||^tau, its bias 0; the counts play no part.

    Weights that are all 0, as those of an L1 regression may be, stay so.

    Source: Kang et al. (2020), https://arxiv.org/abs/1910.09217
    """
    norms = layer.weight.detach().cpu().double().norm(dim=1)  # [K]
    factor = torch.where(norms > 0, norms, 1.0) ** -tau
    bias = torch.zeros_like(norms) if layer.bias is None else layer.bias.detach().cpu().double()
    return factor, -factor * bias


POSTHOC: dict[str, Correction] = {
    "logit_adjustment": logit_adjustment,
    "tau_normalization": tau_normalization,
}
"""Name -> the correction."""


def correct(
    classifier: Classifier, name: str, counts: Tensor, val: ImageDataset, *, workers: int = 0
) -> None:
    """Corrects a classifier by the tau of the best macro accuracy on validation images.

    Of equally good ones it is the smallest.

    Args:
        classifier: The classifier; its last layer is changed, and `posthoc_tau` set.
        name: Name in `POSTHOC`.
        counts: Real training images of each class, [K].
        val: Validation images.
        workers: Processes that read images ahead.

    Raises:
        InputError: The network has no single linear layer there, or one without a bias.
    """
    layer, correction = last_layer(classifier.network), POSTHOC[name]
    logits = predict_logits(classifier, val, workers=workers).double()  # [N, K]

    def accuracy(tau: float) -> float:
        factor, offset = correction(layer, counts.cpu(), tau)
        return macro_accuracy((factor * logits + offset).argmax(dim=-1), val.labels)

    accuracies = {tau: accuracy(tau) for tau in TAUS}
    tau = max(TAUS, key=lambda each: accuracies[each])  # the first of equals
    fold(layer, *correction(layer, counts.cpu(), tau))
    classifier.posthoc_tau = tau
    logger.info("%s: tau %.1f, validation macro accuracy %.4f", name, tau, accuracies[tau])
