"""The classifier: any timm network together with the data contract it was trained with.

The same `Classifier.preprocess` serves training, evaluation and guidance, so the feedback is that
of the classifier that was trained, at its own resolution and normalisation.
"""

import difflib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from fgds_core import __version__
from fgds_core.errors import InputError

INTERPOLATIONS = ("bilinear", "bicubic")
WEIGHTS = "model.safetensors"
CONFIG = "config.json"


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
    ) -> None:
        super().__init__()
        self.network = network
        self.model = model
        self.model_kwargs = dict(model_kwargs)
        self.class_names = tuple(class_names)
        self.contract = contract
        self.temperature = temperature
        # Not in the weights file: the contract in config.json is their only source.
        self.register_buffer("mean", torch.tensor(contract.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(contract.std).view(-1, 1, 1), persistent=False)

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
        return ((x + 1) / 2 - self.mean.to(x)) / self.std.to(x)

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

    Raises:
        InputError: If timm does not know the model or its arguments, or the pre-trained weights
            are absent or do not fit.
    """
    network, contract = _create_network(
        model, model_kwargs, len(class_names), input_size, seed, pretrained
    )
    return Classifier(
        network, model=model, model_kwargs=model_kwargs, class_names=class_names, contract=contract
    )


def save_classifier(
    folder: Path,
    classifier: Classifier,
    *,
    real_counts: Sequence[int],
    bins: Mapping[str, str],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Writes `model.safetensors` and, last, `config.json`: all that is needed to feed it.

    Args:
        folder: Where to write; created if absent.
        classifier: The classifier.
        real_counts: Real training images of each class, in the order of its class names.
        bins: Shot bin of each class name.
        extra: Further entries of `config.json`, such as how it was trained.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contract = classifier.contract
    config = {
        "model": classifier.model,
        "model_kwargs": classifier.model_kwargs,
        "class_names": list(classifier.class_names),
        "input_size": contract.input_size,
        "mean": list(contract.mean),
        "std": list(contract.std),
        "interpolation": contract.interpolation,
        "temperature": classifier.temperature,
        "real_counts": list(real_counts),
        "bins": dict(bins),
        "core_version": __version__,
        **(extra or {}),
    }
    state = {
        name: t.detach().cpu().contiguous() for name, t in classifier.network.state_dict().items()
    }
    part = folder / f"{WEIGHTS}.part"
    save_file(state, part)
    os.replace(part, folder / WEIGHTS)
    part = folder / f"{CONFIG}.part"
    part.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    os.replace(part, folder / CONFIG)


def read_classifier_config(folder: Path) -> dict[str, Any]:
    """Reads the `config.json` that `save_classifier` wrote.

    Raises:
        InputError: If it is absent, is no JSON object or lacks an entry.
    """
    path = folder / CONFIG
    remedy = "train the baseline again, or give the folder of a finished one"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"there is no classifier in {folder}: {path} is missing; {remedy}"
        ) from None
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}); {remedy}") from error
    wanted = {"model", "model_kwargs", "class_names", "input_size", "mean", "std", "interpolation"}
    if not isinstance(config, dict) or (absent := wanted - config.keys()):
        lacking = ", ".join(sorted(absent)) if isinstance(config, dict) else "every entry"
        raise InputError(f"{path} lacks {lacking}; {remedy}")
    return config


def load_classifier(folder: Path, device: str | torch.device = "cpu") -> Classifier:
    """Loads a classifier that `save_classifier` wrote, ready to predict (in evaluation mode).

    Raises:
        InputError: If a file is absent or damaged, timm does not know the model, or the weights do
            not fit it.
    """
    config = read_classifier_config(folder)
    path = folder / WEIGHTS
    network, _ = _create_network(
        config["model"],
        config["model_kwargs"],
        len(config["class_names"]),
        config["input_size"],
        seed=0,
        pretrained="none",
    )
    state = _read_weights(path)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            f"the weights in {path} do not fit the model {config['model']} with "
            f"{config['model_kwargs']} and {len(config['class_names'])} classes that "
            f"{folder / CONFIG} names; restore both files or train again ({_start(error)})"
        ) from error
    classifier = Classifier(
        network,
        model=config["model"],
        model_kwargs=config["model_kwargs"],
        class_names=config["class_names"],
        contract=DataContract(
            config["input_size"],
            tuple(config["mean"]),
            tuple(config["std"]),
            config["interpolation"],
        ),
        temperature=config.get("temperature", 1.0),
    )
    return classifier.to(device).eval()


@torch.no_grad()
def predict(
    classifier: Classifier, images: Tensor, *, batch_size: int = 500
) -> tuple[Tensor, Tensor]:
    """Logits and penultimate features of many images, in evaluation mode.

    Args:
        classifier: The classifier, on the device where it shall compute; its mode is kept.
        images: Images in [-1, 1], [N, C, H, W].
        batch_size: Images a pass.

    Returns:
        Logits [N, K] and features [N, D], both on the CPU.
    """
    was_training = classifier.training
    classifier.eval()
    batches = [
        classifier.logits_and_features(batch.to(classifier.mean.device))
        for batch in torch.split(images, batch_size)
    ]
    classifier.train(was_training)
    logits, features = zip(*batches, strict=True)
    return torch.cat(logits).cpu(), torch.cat(features).cpu()


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
    reserved = {"num_classes", "in_chans", "img_size", "pretrained"} & model_kwargs.keys()
    if reserved:
        raise InputError(
            f"model_kwargs of {model} must not set {', '.join(sorted(reserved))}: classes and "
            "channels come from the data, the rest from input_size and pretrained; remove it"
        )
    kwargs = dict(model_kwargs)
    stated = timm.get_pretrained_cfg(model)
    if input_size is not None and stated is not None and stated.fixed_input_size:
        kwargs["img_size"] = input_size
    with torch.random.fork_rng():
        torch.manual_seed(
            seed
        )  # timm draws initial weights from the global generator, forked here
        try:
            network = timm.create_model(
                model, pretrained=pretrained == "default", num_classes=num_classes, **kwargs
            )
        except Exception as error:  # timm checks nothing itself: any error may come from a model
            cause = (
                f"the pre-trained weights that timm names for {model} are not to be had; give a "
                "safetensors file, or none to start from random weights"
                if pretrained == "default" and isinstance(error, OSError | RuntimeError)
                else f"timm cannot make {model} with model_kwargs {dict(model_kwargs)}; correct "
                "or remove them"
            )
            raise InputError(f"{cause} ({_start(error)})") from error
    if pretrained not in ("none", "default"):
        _load_pretrained(network, model, pretrained)
    # A step takes a sixth less time, a prediction a third (test_resnet, 32 x 32, one CPU core)
    network = network.to(memory_format=torch.channels_last)
    return network, _data_contract(network, model, input_size)


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
    if pretrained.endswith(".safetensors") or Path(pretrained).exists():
        state = _read_weights(Path(pretrained))
    else:
        from timm.models import load_state_dict_from_hf

        try:
            state = load_state_dict_from_hf(pretrained, weights_only=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"the pre-trained weights {pretrained!r} are neither a safetensors file here nor "
                f"to be had from the Hugging Face hub ({_start(error)}); correct the path or the "
                "id, or use none"
            ) from error
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


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = load_file(path)
        return state
    except FileNotFoundError:
        raise InputError(
            f"there are no weights at {path}; restore the file or train again"
        ) from None
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} is no intact safetensors file ({error}); restore it or train again"
        ) from error


def _start(error: Exception) -> str:
    """The start of an error that may list a hundred tensors."""
    return " ".join(str(error).split())[:300]
