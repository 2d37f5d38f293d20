"""A trial of a training before it starts: what could go wrong at its end goes wrong here.

Networks of timm differ in more than their names say: some take no batch of one image, some no
small ones, some have no features to offer. A trial takes one of the size, batch and device that
are asked for through all that a stage does with it.
"""

import copy
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from fgds_core.classify.batches import Batch
from fgds_core.classify.config import TrainConfig
from fgds_core.classify.learner import create_optimizer
from fgds_core.classify.losses import Priors, create_loss
from fgds_core.classify.network import Classifier, create_classifier, load_classifier
from fgds_core.classify.predict import predict
from fgds_core.classify.save import save_classifier
from fgds_core.errors import InputError
from fgds_core.feedback.fit import fit_class_gaussians


@lru_cache(maxsize=64)
def _succeeded(
    recipe: str, class_names: tuple[str, ...], size: tuple[int, int], device: str
) -> bool:
    """Remembers the trials of a process, for what is tried once needs no second trial."""
    train_a_little(TrainConfig.model_validate_json(recipe), class_names, size, device)
    return True


def try_training(
    config: TrainConfig,
    class_names: Sequence[str],
    image_size: tuple[int, int],
    device: str | torch.device,
) -> None:
    """Takes a network like the one to be trained through one step and all that follows training.

    It starts from random weights and sees noise; no random state of the process is changed.

    Args:
        config: The recipe; its network, batch, size and optimiser are tried.
        class_names: Name of each class.
        image_size: Height and width of the training images, in pixels.
        device: Where to compute.

    Raises:
        InputError: If something fails; names the key of the parameters that makes it fail.
    """
    recipe = TrainConfig.model_validate(
        {name: getattr(config, name) for name in TrainConfig.model_fields} | {"pretrained": "none"}
    )

    def attempt(tried: TrainConfig) -> Exception | None:
        try:
            _succeeded(tried.model_dump_json(), tuple(class_names), image_size, str(device))
        except Exception as error:  # networks of timm fail in every way there is
            return error
        return None

    error = attempt(recipe)
    if error is None:
        return
    cause = " ".join(str(error).split())[:300]
    others: dict[str, tuple[object, str]] = {
        "batch_size": (2, "2 works"),
        "input_size": (None, "null, the network's own size, works"),
        "model_kwargs": ({}, "{} works"),
    }
    for key, (value, remedy) in others.items():
        if getattr(recipe, key) == value:
            continue
        # In a batch of 2, for a large one may take long
        tried = recipe.model_copy(update={"batch_size": 2, key: value})
        if attempt(tried) is None:
            raise InputError(
                f"train_baseline.{key}: {config.model} cannot be trained with "
                f"{getattr(recipe, key)} ({cause}); {remedy}"
            ) from error
    if isinstance(error, InputError):
        raise error
    raise InputError(
        f"train_baseline.model: {config.model} cannot be trained here, with another batch_size, "
        f"input_size or model_kwargs neither ({cause}); choose another network, docs/networks.md "
        "lists those that work"
    ) from error


def train_a_little(
    config: TrainConfig, class_names: Sequence[str], size: tuple[int, int], device: str
) -> None:
    """One step, features, their Gaussians, the gradient that guides, saving and loading.

    Args:
        config: The recipe.
        class_names: Name of each class.
        size: Height and width of the images, in pixels.
        device: Where to compute.

    Raises:
        Exception: Whatever the network lets through.
        ValueError: If what it gives has not the shape that later stages need.
    """
    devices = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices), torch.enable_grad():
        classifier = create_classifier(
            config.model, config.model_kwargs, class_names, config.input_size, seed=0
        ).to(device)
        optimizer = create_optimizer(classifier, config)

        # Learn
        x, labels = _noise(config.batch_size, size, len(class_names))
        classifier.train()
        x = x.to(device)
        batch = Batch(
            x, labels.to(device), None, torch.zeros(len(x), dtype=torch.bool, device=x.device)
        )
        priors = Priors(torch.ones(len(class_names), dtype=torch.int64), None)
        loss = create_loss(config, priors).to(device)(classifier(x), batch.labels, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        del optimizer, batch, loss

        # Average, keep the best
        if config.ema_decay:
            copy.deepcopy(classifier)
        classifier.load_state_dict(copy.deepcopy(classifier.state_dict()))
        classifier.eval()

        # Look at features, guide
        x, labels = _noise(4, size, len(class_names))
        _check_shapes(*predict(classifier, x), len(x), len(class_names))
        features = predict(classifier, x)[1].nan_to_num()
        fit_class_gaussians([features], labels, len(class_names))
        guided = x.to(device).requires_grad_()
        F.cross_entropy(classifier.logits_and_features(guided)[0], labels.to(device)).backward()  # type: ignore[no-untyped-call]
        if guided.grad is None:
            raise ValueError("its output does not depend on the image by way of gradients")
    _save_and_load(classifier, x, device)


def _noise(num_images: int, size: tuple[int, int], num_classes: int) -> tuple[Tensor, Tensor]:
    """Noise in [-1, 1], [B, 3, H, W], and labels in turn, [B]."""
    x = torch.rand(num_images, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return x, torch.arange(num_images) % num_classes


def _check_shapes(logits: Tensor, features: Tensor, num_images: int, num_classes: int) -> None:
    if list(logits.shape) != [num_images, num_classes]:
        raise ValueError(
            f"its output for {num_images} images of {num_classes} classes is "
            f"{list(logits.shape)}, not one score per class"
        )
    if features.ndim != 2:
        raise ValueError(
            f"its features before the last layer are {list(features.shape)}, not one row per image"
        )


def _save_and_load(classifier: Classifier, x: Tensor, device: str) -> None:
    before = predict(classifier, x)[0]
    with tempfile.TemporaryDirectory() as folder:
        save_classifier(Path(folder), classifier, real_counts=[1] * before.shape[1], bins={})
        after = predict(load_classifier(Path(folder), device), x)[0]
    if not torch.allclose(before, after, rtol=1e-2, atol=1e-3, equal_nan=True):
        raise ValueError("its predictions change when it is saved and loaded")
