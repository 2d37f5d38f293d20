"""The temperature that makes a classifier's probabilities honest, fitted on validation images."""

import math

from torch import Tensor
from torch.nn import functional as F

from fgds_core.classify.network import Classifier
from fgds_core.classify.predict import predict_logits
from fgds_core.classify.run import TrainingRun
from fgds_core.images.dataset import ImageDataset

TEMPERATURES = (0.05, 20.0)
"""Range of the fitted temperature; without errors on validation its optimum would be 0."""


def calibrated(classifier: Classifier, val: ImageDataset, run: TrainingRun) -> Classifier:
    """Fits the temperature on validation images; the classifier in evaluation mode."""
    logits = predict_logits(classifier, val, workers=run.loader_workers)
    classifier.temperature = fit_temperature(logits, val.labels)
    return classifier.eval()


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature whose division of the logits minimises the negative log-likelihood.

    Args:
        logits: Class scores on data not trained on, [N, K].
        labels: True classes, [N].

    Returns:
        A value within `TEMPERATURES`; above 1 where the classifier is over-confident.

    Source: Guo et al. (2017), On Calibration of Modern Neural Networks,
        https://arxiv.org/abs/1706.04599
    """
    from scipy.optimize import minimize_scalar

    scores = logits.double()

    def nll(log_temperature: float) -> float:
        return F.cross_entropy(scores / math.exp(log_temperature), labels).item()

    low, high = (math.log(t) for t in TEMPERATURES)
    return math.exp(minimize_scalar(nll, bounds=(low, high), method="bounded").x)
