"""What a training may end with: a second stage, most often of the last layer alone.

N images, B of them in a batch, K classes, D features.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fgds_core.classify.config import TrainConfig
from fgds_core.classify.heads import (
    NO_BIAS,
    LastLayer,
    fold,
    last_layer,
    new_head,
    replace_layer,
)
from fgds_core.classify.network import Classifier
from fgds_core.classify.predict import predictions
from fgds_core.classify.refit import Examples, cells_of, refitted
from fgds_core.classify.run import TrainingRun
from fgds_core.classify.tuning import TUNES, frozen
from fgds_core.errors import InputError
from fgds_core.images.dataset import ImageDataset


@dataclass(frozen=True, eq=False)
class Stage:
    """What a second stage has to work with.

    Attributes:
        config: The recipe: its steps are those of the second stage, its sampling class-balanced.
        seed: Seed of whatever is new.
        learn: Lets what is not frozen learn on the training images, or on the real ones of them
            alone; leaves the best weights by validation.
        examine: Features of the two halves of the validation images, for phases that ask for
            them: the one to fit on, the one to choose by.
    """

    config: TrainConfig
    seed: int
    learn: Callable[[Classifier, bool], None]
    examine: Callable[[Classifier], tuple[Examples, Examples]]


def crt(classifier: Classifier, stage: Stage) -> None:
    """Classifier re-training: a new last layer on frozen features, of class-balanced batches.

    Source: Kang et al. (2020), https://arxiv.org/abs/1910.09217
    """
    layer = new_head(classifier.network, classifier.head, stage.seed)
    with frozen(classifier, but=layer):
        stage.learn(classifier, False)


class Scaled(nn.Module):
    """A layer whose scores are multiplied by one learnt number a class, at first 1."""

    def __init__(self, layer: LastLayer) -> None:
        super().__init__()
        self.layer = layer
        self.scale = nn.Parameter(torch.ones_like(layer.weight[:, 0]))

    def forward(self, features: Tensor) -> Tensor:
        """Scores [B, K] of features, [B, D]."""
        scores: Tensor = self.layer(features) * self.scale
        return scores


def lws(classifier: Classifier, stage: Stage) -> None:
    """Learnable weight scaling: one number a class on the frozen network, of balanced batches.

    It ends up in the weights of the last layer.

    Source: Kang et al. (2020), https://arxiv.org/abs/1910.09217
    """
    network = classifier.network
    layer = last_layer(network)
    scaled = Scaled(layer)
    replace_layer(network, layer, scaled)
    with frozen(classifier, but=scaled):
        layer.requires_grad_(False)
        stage.learn(classifier, False)
    replace_layer(network, scaled, layer)
    scale = scaled.scale.detach()
    fold(layer, scale, torch.zeros_like(scale))


def last_layer_real(classifier: Classifier, stage: Stage) -> None:
    """The last layer goes on, on real images alone; its features stay as synthetic ones shaped.

    Source: Kirichenko et al. (2023), https://arxiv.org/abs/2204.02937, for real in place of
        group-balanced images
    """
    with frozen(classifier, but=last_layer(classifier.network)):
        stage.learn(classifier, True)


def real(classifier: Classifier, stage: Stage) -> None:
    """All that learnt before goes on, on real images alone."""
    with TUNES[stage.config.tune](classifier, stage.config, stage.seed):
        stage.learn(classifier, True)


def dfr(classifier: Classifier, stage: Stage) -> None:
    """Deep feature reweighting: a new linear layer fitted on validation images, see `refitted`.

    It learns from the labels of half of the validation images. The other half, and it alone, chose
    the checkpoint before, chooses the strength of the penalty here, and what comes after: tau and
    the temperature. So no image chooses a layer that was fitted on it.

    Source: Kirichenko et al. (2023), https://arxiv.org/abs/2204.02937
    """
    fit, choose = stage.examine(classifier)
    weight, bias = refitted(fit, choose, len(classifier.class_names), stage.seed)
    layer = new_head(classifier.network, "linear", stage.seed)
    if layer.bias is None:
        raise InputError(NO_BIAS)
    layer.weight.data.copy_(weight)
    layer.bias.data.copy_(bias)


@dataclass(frozen=True)
class Phase:
    """A second stage.

    Attributes:
        run: Changes the classifier.
        fits_on_validation: Whether half of the validation images are for it to learn from; the
            others choose. Such a phase makes no optimiser steps.
    """

    run: Callable[[Classifier, Stage], None]
    fits_on_validation: bool = False


PHASES: dict[str, Phase] = {
    "crt": Phase(crt),
    "lws": Phase(lws),
    "last_layer_real": Phase(last_layer_real),
    "dfr": Phase(dfr, fits_on_validation=True),
    "real": Phase(real),
}
"""Name -> the second stage."""


def second_recipe(config: TrainConfig) -> TrainConfig:
    """The recipe of a second stage: class-balanced, and the warm-up in proportion to its steps."""
    steps = config.second_stage_steps
    changes = {
        "num_steps": steps,
        "warmup_steps": config.warmup_steps * steps // config.num_steps,
        "sampling": "class_balanced",
    }
    return config.model_copy(update=changes)


def examine(
    fit: ImageDataset, choose: ImageDataset, run: TrainingRun, classifier: Classifier
) -> tuple[Examples, Examples]:
    """The features of two sets of images, see `Stage`."""

    def seen(images: ImageDataset) -> Examples:
        blocks = predictions(classifier, images, workers=run.loader_workers)
        features = torch.cat([features.float() for _, features in blocks])  # [N, D]
        by_worst = images.groups is not None
        return Examples(features, images.labels, cells_of(images), by_worst)

    return seen(fit), seen(choose)
