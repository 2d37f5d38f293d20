"""The last layer of a network, which makes one score a class of its features.

B images, K classes, D features.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fgds_core.errors import InputError

COSINE_SCALE = 30.0
"""What a cosine head multiplies its cosines by, that of LDAM."""

NO_BIAS = (
    "the network's last layer has no bias, which posthoc logit_adjustment and second_stage dfr "
    "change; set the one that is chosen to none, or choose another model"
)


class CosineLinear(nn.Module):
    """Scores a class by the angle between the features and the direction of its weights.

    A score is `scale` times the cosine of that angle, plus `bias`. Both are buffers, for training
    does not change them: they take up what is folded into the layer, see `fold`.

    Source: Gidaris and Komodakis (2018), https://arxiv.org/abs/1804.09458; the scale is that of
        Cao et al. (2019), https://arxiv.org/abs/1906.07413
    """

    scale: Tensor
    bias: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.register_buffer("scale", torch.full((out_features,), COSINE_SCALE))
        self.register_buffer("bias", torch.zeros(out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new directions, all equally likely; nothing is folded in any more."""
        nn.init.normal_(self.weight)
        nn.init.constant_(self.scale, COSINE_SCALE)
        nn.init.zeros_(self.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Scores [B, K] of features, [B, D]."""
        cosines = F.linear(F.normalize(features, dim=-1), F.normalize(self.weight, dim=-1))
        return self.scale * cosines + self.bias  # [B, K]


LastLayer = nn.Linear | CosineLinear

HEADS: dict[str, Callable[[int, int], LastLayer]] = {"linear": nn.Linear, "cosine": CosineLinear}
"""Name -> the layer, of the numbers of features and classes."""


def last_layer(network: nn.Module) -> LastLayer:
    """The one layer that makes the scores of the features.

    Raises:
        InputError: The network has none, or several.
    """
    ask = getattr(network, "get_classifier", None)
    layer = None if ask is None else ask()
    if not isinstance(layer, LastLayer):
        raise InputError(
            f"{type(network).__name__} has no single linear layer that makes its scores, which "
            "head, tune, second_stage and posthoc change; set these keys of train_baseline to "
            "linear, all, none and none, or choose another model"
        )
    return layer


def head_of(network: nn.Module) -> str:
    """The name in `HEADS` of what makes a network's scores."""
    is_cosine = any(isinstance(layer, CosineLinear) for layer in network.modules())
    return "cosine" if is_cosine else "linear"


def replace_layer(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Puts a layer where another one stands in a network."""
    network.set_submodule(name_of(network, old), new)


def name_of(network: nn.Module, layer: nn.Module) -> str:
    """Where a layer stands in a network, as `get_submodule` wants it."""
    names = (name for name, each in network.named_modules() if each is layer)
    return str(next(names))


def new_head(network: nn.Module, head: str, seed: int) -> LastLayer:
    """Gives a network a new last layer, which it returns.

    Args:
        network: The network; it keeps the device of its last layer.
        head: Name in `HEADS`.
        seed: Seed of the layer's weights, of which no random state moves.

    Raises:
        InputError: The network has no single linear layer there.
    """
    old = last_layer(network)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        new = HEADS[head](old.in_features, old.out_features).to(old.weight)
    if old.bias is None and isinstance(new, nn.Linear):
        new.bias = None
    replace_layer(network, old, new)
    return new


@torch.no_grad()
def fold(layer: LastLayer, factor: Tensor, offset: Tensor) -> None:
    """Changes a layer so that its scores z, [B, K], become `factor * z + offset`.

    Args:
        layer: The layer; changed in place.
        factor: [K].
        offset: [K].

    Raises:
        InputError: The layer has no bias that could take up the offset.
    """
    if isinstance(layer, CosineLinear):
        layer.scale.mul_(factor.to(layer.scale))
    else:
        layer.weight.mul_(factor.to(layer.weight)[:, None])  # [K, D]
    if layer.bias is not None:
        layer.bias.mul_(factor.to(layer.bias)).add_(offset.to(layer.bias))
    elif offset.any():
        raise InputError(NO_BIAS)
