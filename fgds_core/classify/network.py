"""The classifier: any timm network together with the data contract it was trained with.

The same `Classifier.preprocess` serves training, evaluation and guidance, so the feedback is that
of the classifier that was trained, at its own resolution and normalisation.
"""

import difflib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from fgds_core.classify.card import CONFIG, read_classifier_config
from fgds_core.classify.heads import head_of, new_head
from fgds_core.errors import InputError

INTERPOLATIONS = ("bilinear", "bicubic")
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class DataContract:
    """What a network expects of its input.

    Attributes:
        input_size: Pixels a side.
        mean: Mean of each channel, of values in [0, 1].
        std: Standard deviation of each channel, of values in [0, 1].
        interpolation: Filter that resizes to `input_size`: bilinear or bicubic.
    """

    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str


class Classifier(nn.Module):
    """A timm network that takes images in [-1, 1] of any size.

    Attributes:
        network: The timm model.
        model: Its name in timm.
        model_kwargs: The arguments beside the number of classes that it was created with.
        class_names: Name of each class, K of them.
        contract: What the network expects of its input.
        temperature: Divides the logits where calibrated probabilities are asked for; `forward`
            does not use it.
        posthoc_tau: Strength of the post-hoc correction in its last layer; None without one.
        learning: Name in the network of the one layer that learns, while the others are frozen.
    """

    network: Any  # timm models share methods that nn.Module does not declare
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        model: str,
        model_kwargs: Mapping[str, Any],
        class_names: Sequence[str],
        contract: DataContract,
        temperature: float = 1.0,
        posthoc_tau: float | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.model = model
        self.model_kwargs = dict(model_kwargs)
        self.class_names = tuple(class_names)
        self.contract = contract
        self.temperature = temperature
        self.posthoc_tau = posthoc_tau
        self.learning: str | None = None
        # Not in the weights file: the contract in config.json is their only source.
        self.register_buffer("mean", torch.tensor(contract.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(contract.std).view(-1, 1, 1), persistent=False)

    @property
    def head(self) -> str:
        """What makes the scores of the features: linear or cosine."""
        return head_of(self.network)

    def train(self, mode: bool = True) -> Self:
        """As of any module, but that frozen layers stay in evaluation mode."""
        super().train(mode and self.learning is None)
        if self.learning is not None:
            self.network.get_submodule(self.learning).train(mode)
        return self

    def preprocess(self, x: Tensor) -> Tensor:
        """Turns images into the network's input, differentiably.

        The whole image is resized (no crop), and values outside [-1, 1] are not clamped: a
        predicted clean image may overshoot, and its gradient shall not vanish there.

        Args:
            x: Images in [-1, 1] of any size, [B, C, H, W].

        Returns:
            Normalised images of the network's input size, [B, C, H', W'].
        """
        size = (self.contract.input_size, self.contract.input_size)
        if x.shape[-2:] != size:
            x = F.interpolate(
                x, size, mode=self.contract.interpolation, align_corners=False, antialias=True
            )  # [B, C, H', W']
        x = x + 1  # a copy, so that the rest may be done in place
        return x.div_(2).sub_(self.mean.to(x)).div_(self.std.to(x))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, K] of images in [-1, 1], [B, C, H, W]."""
        logits: Tensor = self.network(self.preprocess(x))  # [B, K]
        return logits

    def features(self, x: Tensor) -> Tensor:
        """Penultimate features [B, D] of images in [-1, 1], [B, C, H, W]."""
        return self.logits_and_features(x)[1]

    def logits_and_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, K] and penultimate features [B, D] of one pass through the network."""
        maps = self.network.forward_features(self.preprocess(x))
        features: Tensor = self.network.forward_head(maps, pre_logits=True)  # [B, D]
        logits: Tensor = self.network.forward_head(maps)  # [B, K]
        return logits, features


def create_classifier(
    model: str,
    model_kwargs: Mapping[str, Any],
    class_names: Sequence[str],
    input_size: int | None,
    seed: int,
    *,
    pretrained: str = "none",
    head: str = "linear",
) -> Classifier:
    """Creates a classifier with weights drawn from `seed` or pre-trained ones.

    Args:
        model: Name of a timm model.
        model_kwargs: Further arguments of that model, such as `drop_rate`.
        class_names: Name of each class.
        input_size: Pixels a side that images are resized to; None takes the model's own.
        seed: Seed of the initial weights.
        pretrained: `none`, `default` (the weights timm names for this model), a safetensors file,
            or the id of a repository on the Hugging Face hub. The classification layer starts
            afresh unless it has as many classes as `class_names`.
        head: What makes the scores of the features: `linear`, as in timm, or `cosine`.

    Raises:
        InputError: If timm does not know the model or its arguments, or the pre-trained weights
            are absent or do not fit, or the head fits no layer of the model.
    """
    network, contract = _create_network(
        model, model_kwargs, len(class_names), input_size, seed, pretrained
    )
    if head != "linear":
        new_head(network, head, seed)
    return Classifier(
        network, model=model, model_kwargs=model_kwargs, class_names=class_names, contract=contract
    )


def load_classifier(folder: Path, device: str | torch.device = "cpu") -> Classifier:
    """Loads a classifier that `save_classifier` wrote, ready to predict (in evaluation mode).

    Raises:
        InputError: If a file is absent or damaged, timm does not know the model, or the weights do
            not fit it or are not finite.
    """
    config = read_classifier_config(folder)
    path = folder / WEIGHTS
    try:
        network, _ = _create_network(
            config.model,
            config.model_kwargs,
            len(config.class_names),
            config.input_size,
            seed=0,
            pretrained="none",
        )
        if config.head != "linear":
            new_head(network, config.head, seed=0)
    except InputError as error:
        raise InputError(f"{folder / CONFIG}: {error}") from error
    state = _read_weights(path)
    if misfit := _misfit(network, state):
        raise InputError(
            f"the weights in {path} do not fit the model {config.model} with "
            f"{config.model_kwargs} and {len(config.class_names)} classes that "
            f"{folder / CONFIG} names: {misfit}; restore both files or train again"
        )
    network.load_state_dict(state)
    classifier = Classifier(
        network,
        model=config.model,
        model_kwargs=config.model_kwargs,
        class_names=config.class_names,
        contract=DataContract(config.input_size, config.mean, config.std, config.interpolation),
        temperature=config.temperature,
        posthoc_tau=config.posthoc_tau,
    )
    return classifier.to(device).eval()


def _misfit(network: nn.Module, state: Mapping[str, Tensor]) -> str | None:
    """What the first tensor that a network cannot take is; None where all fit."""
    wanted = network.state_dict()
    if absent := sorted(wanted.keys() - state.keys()):
        return f"{len(absent)} tensors are missing, such as {absent[0]}"
    if surplus := sorted(state.keys() - wanted.keys()):
        return f"{len(surplus)} tensors are of no use, such as {surplus[0]}"
    for name, t in wanted.items():
        given = state[name]
        if given.shape != t.shape:
            return f"{name} is {list(given.shape)}, it has to be {list(t.shape)}"
        if given.is_floating_point() != t.is_floating_point() or given.is_complex():
            return f"{name} is of type {given.dtype}, it has to be {t.dtype}"
    return None


@torch.no_grad()
def _create_network(
    model: str,
    model_kwargs: Mapping[str, Any],
    num_classes: int,
    input_size: int | None,
    seed: int,
    pretrained: str,
) -> tuple[nn.Module, DataContract]:
    """Creates the timm network and the data contract that timm states for it."""
    import timm  # Late: importing this module for its types costs no timm

    if not timm.is_model(model):
        known = difflib.get_close_matches(model, timm.list_models(), n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(known)}?" if known else ""
        raise InputError(
            f"timm {timm.__version__} has no model {model!r}{hint} (timm.list_models() lists all)"
        )
    if reserved := sorted(_reserved() & model_kwargs.keys()):
        raise InputError(
            f"model_kwargs of {model} must not set {', '.join(reserved)}: classes and channels "
            "come from the data, sizes from input_size, weights from pretrained alone, and "
            "features are the classifier's own; remove it"
        )
    kwargs = dict(model_kwargs)
    stated = timm.get_pretrained_cfg(model)
    if input_size is not None and stated is not None and stated.fixed_input_size:
        kwargs["img_size"] = input_size
    with torch.random.fork_rng():
        torch.manual_seed(
            seed
        )  # timm draws initial weights from the global generator, forked here
        if pretrained == "default":
            # As a file, else timm would take a pickle or an address where it finds no safetensors
            kwargs["pretrained"] = True
            kwargs["pretrained_cfg_overlay"] = {
                "file": str(_default_weights(model)),
                "custom_load": False,
            }
        try:
            network = timm.create_model(model, num_classes=num_classes, **kwargs)
        except Exception as error:  # timm checks nothing itself: any error may come from a model
            raise InputError(
                f"timm cannot make {model} with model_kwargs {dict(model_kwargs)} and pretrained "
                f"{pretrained}; correct them ({_start(error)})"
            ) from error
    if pretrained not in ("none", "default"):
        _load_pretrained(network, model, pretrained)
    if pretrained != "none":
        _check_finite(network.state_dict(), f"the pre-trained weights {pretrained} of {model}")
    if may_be_channels_last(network):
        # A step takes a sixth less time, a prediction a third (test_resnet, 32 x 32, one CPU core)
        network = network.to(memory_format=torch.channels_last)
    return network, _data_contract(network, model, input_size)


def _reserved() -> set[str]:
    """Arguments of timm that params must not reach: other keys' matters, files and addresses."""
    import timm
    from timm.models import build_model_with_cfg

    loading = {
        name
        for function in (timm.create_model, build_model_with_cfg)
        for name in inspect.signature(function).parameters
    }
    return loading | {
        "num_classes",
        "in_chans",
        "img_size",
        "features_only",
        "out_indices",
        "feature_cls",
        "device",
        "dtype",
    }


def may_be_channels_last(network: nn.Module) -> bool:
    """Whether images channels last in memory are safe for a network on a CPU.

    With torch 2.14's oneDNN the weights' gradient of a 1 x 1 convolution with a stride, whose
    number of input channels is no multiple of 16, writes beyond its memory in this format and
    ends the process (RepVGG and MobileOne have one on the three channels of the image).
    """
    return not any(
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and layer.stride != (1, 1)
        and layer.in_channels % 16
        for layer in network.modules()
    )


def _data_contract(network: nn.Module, model: str, input_size: int | None) -> DataContract:
    from timm.data import resolve_model_data_config

    stated = resolve_model_data_config(network)
    interpolation = stated["interpolation"]
    if interpolation not in INTERPOLATIONS:
        raise InputError(
            f"{model} is trained with {interpolation} interpolation, which has no gradient here; "
            f"choose a model trained with one of {', '.join(INTERPOLATIONS)}"
        )
    return DataContract(
        input_size or stated["input_size"][-1],
        tuple(stated["mean"]),
        tuple(stated["std"]),
        interpolation,
    )


def _load_pretrained(network: nn.Module, model: str, pretrained: str) -> None:
    """Loads pre-trained weights; only the classification layer may be absent or misshapen."""
    is_here = pretrained.endswith(".safetensors") or Path(pretrained).exists()
    state = read_tensors(
        Path(pretrained) if is_here else _from_hub(pretrained, ()),
        f"name a safetensors file of {model} as train_baseline.pretrained, or none",
    )
    heads = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    prefixes = tuple(f"{name}." for name in ([heads] if isinstance(heads, str) else heads))
    shapes = {name: t.shape for name, t in network.state_dict().items()}
    fitting = {
        name: t
        for name, t in state.items()
        if not (name.startswith(prefixes) and t.shape != shapes.get(name))
    }
    try:
        absent = [
            name
            for name in network.load_state_dict(fitting, strict=False).missing_keys
            if not name.startswith(prefixes)
        ]
    except RuntimeError as error:
        raise InputError(
            f"the pre-trained weights {pretrained} do not fit {model} ({_start(error)}); give "
            "the weights of this model, or use none"
        ) from error
    if absent:
        raise InputError(
            f"the pre-trained weights {pretrained} do not fit {model}: they lack {len(absent)} of "
            f"its tensors, such as {absent[0]}; give the weights of this model, or use none"
        )


def _default_weights(model: str) -> Path:
    """The safetensors file of the weights that timm names for a model, from the hub."""
    import timm

    stated = timm.get_pretrained_cfg(model)
    if stated is None or not stated.hf_hub_id:
        raise InputError(
            f"timm names no pre-trained weights on the Hugging Face hub for {model}; give a "
            "safetensors file as pretrained, or none to start from random weights"
        )
    return _from_hub(stated.hf_hub_id, filter(None, [stated.hf_hub_filename]))


def _from_hub(repository: str, names: Iterable[str]) -> Path:
    """A weights file of a repository on the Hugging Face hub; safetensors, never a pickle.

    Args:
        repository: Its id, with `@revision` where it is not the newest.
        names: File names that are tried before the usual ones; others than safetensors are not.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    identity, _, revision = repository.partition("@")
    usual = (WEIGHTS, "open_clip_model.safetensors")
    for name in [*(n for n in names if n.endswith(".safetensors")), *usual]:
        try:
            return Path(hf_hub_download(identity, name, revision=revision or None))
        except LocalEntryNotFoundError as error:  # also an EntryNotFoundError, but of the network
            cause: Exception = error
            break
        except EntryNotFoundError as error:
            cause = error
        except (OSError, ValueError, RuntimeError) as error:
            cause = error
            break
    raise InputError(
        f"the pre-trained weights {repository!r} are neither a safetensors file here nor to be "
        f"had as one from the Hugging Face hub ({_start(cause)}); correct the path or the id, "
        "or use none"
    ) from cause


def _check_finite(state: Mapping[str, Tensor], whose: str) -> None:
    for name, t in state.items():
        if t.is_floating_point() and not torch.isfinite(t).all():
            raise InputError(f"{whose} are not finite: {name} holds NaN or infinite values")


def read_tensors(path: Path, remedy: str) -> dict[str, Tensor]:
    """Reads a safetensors file of finite numbers.

    Raises:
        InputError: If it is absent, damaged or holds NaN or infinite values; ends with the remedy.
    """
    if not path.is_file():
        raise InputError(f"there are no weights at {path}; {remedy}")
    try:
        state: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is no intact safetensors file ({error}); {remedy}") from error
    try:
        _check_finite(state, f"the tensors in {path}")
    except InputError as error:
        raise InputError(f"{error}; {remedy}") from None
    return state


def _read_weights(path: Path) -> dict[str, Tensor]:
    return read_tensors(path, "restore the file or train again")


def _start(error: Exception) -> str:
    """The start of an error that may list a hundred tensors."""
    return " ".join(str(error).split())[:300]
