"""Which of a classifier's weights learn: all, the last layer, or low-rank updates.

What does not learn stays in evaluation mode: batch norms keep their statistics, and nothing is
dropped.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import nn

from fgds_core.classify.config import TrainConfig
from fgds_core.classify.heads import last_layer, name_of
from fgds_core.classify.network import Classifier
from fgds_core.errors import InputError

Tune = Callable[[Classifier, TrainConfig, int], AbstractContextManager[None]]
"""(classifier, recipe, seed) -> a context in which some of its weights learn."""


@contextmanager
def frozen(classifier: Classifier, but: nn.Module) -> Iterator[None]:
    """Within it one layer of a classifier learns and nothing else.

    Args:
        classifier: The classifier.
        but: The layer of its network that learns.
    """
    learnt = [p for p in classifier.network.parameters() if p.requires_grad]
    classifier.network.requires_grad_(False)
    but.requires_grad_(True)
    classifier.learning = name_of(classifier.network, but)
    try:
        yield
    finally:
        classifier.learning = None
        for p in learnt:
            p.requires_grad_(True)


@contextmanager
def everything(classifier: Classifier, config: TrainConfig, seed: int) -> Iterator[None]:
    """All weights learn."""
    yield


@contextmanager
def head(classifier: Classifier, config: TrainConfig, seed: int) -> Iterator[None]:
    """A linear probe: the last layer learns, of features that stay as they are."""
    with frozen(classifier, but=last_layer(classifier.network)):
        yield


@contextmanager
def lora(classifier: Classifier, config: TrainConfig, seed: int) -> Iterator[None]:
    """The last layer learns, and for each other one an update of rank `lora_rank`.

    The layers are the linear ones, or in a network without any the convolutions that are not
    grouped. At the end the updates are added to the weights, so that the network is as before.

    Source: Hu et al. (2022), https://arxiv.org/abs/2106.09685
    """
    from peft import LoraConfig, LoraModel  # Late: it brings transformers along

    network, layer = classifier.network, last_layer(classifier.network)
    names = _adapted(network, layer)
    rank = config.lora_rank
    settings = LoraConfig(
        r=rank, lora_alpha=rank, target_modules="|".join(re.escape(name) for name in names)
    )
    with frozen(classifier, but=layer):
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            updates = LoraModel(network, settings, "default")
        layer.requires_grad_(True)  # peft freezes what it knows nothing of
        yield
        classifier.network = updates.merge_and_unload()


def _adapted(network: nn.Module, last: nn.Module) -> list[str]:
    """Names of the layers that get low-rank updates; no subclass, for it may compute otherwise."""
    linear = [n for n, m in network.named_modules() if type(m) is nn.Linear and m is not last]
    if linear:
        return linear
    convolutions = [
        n for n, m in network.named_modules() if type(m) is nn.Conv2d and m.groups == 1
    ]
    if not convolutions:
        raise InputError(
            f"{type(network).__name__} has no linear layer and no convolution for tune lora to "
            "adapt; set tune to head or all, or choose another model"
        )
    return convolutions


TUNES: dict[str, Tune] = {"all": everything, "head": head, "lora": lora}
"""Name -> which weights learn."""
