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
from fgds_core.classify.forward import autocast
from fgds_core.classify.heads import fold, last_layer
from fgds_core.classify.learner import create_optimizer
from fgds_core.classify.losses import create_loss
from fgds_core.classify.network import Classifier, create_classifier, load_classifier
from fgds_core.classify.phases import PHASES, Stage, second_recipe
from fgds_core.classify.posthoc import POSTHOC
from fgds_core.classify.predict import predict
from fgds_core.classify.priors import Priors
from fgds_core.classify.refit import Examples
from fgds_core.classify.save import save_classifier
from fgds_core.classify.tuning import TUNES
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
    *,
    processes: int = 1,
) -> None:
    """Takes a network like the one to be trained through one step and all that follows training.

    It starts from random weights and sees noise; no random state of the process is changed.

    Args:
        config: The recipe; its network, batch, size and optimiser are tried.
        class_names: Name of each class.
        image_size: Height and width of the training images, in pixels.
        device: Where to compute.
        processes: How many share each micro-batch.

    Raises:
        InputError: If something fails; names the key of the parameters that makes it fail.
    """
    size = config.micro_batch_size // processes
    if not size:
        raise InputError(
            f"compute.training_processes: {processes} processes cannot share the "
            f"{config.micro_batch_size} images they learn from at a time "
            "(train_baseline.batch_size by accumulate_steps); lower it"
        )
    # Images of a step are no more than what one process takes at a time
    recipe = TrainConfig.model_validate(
        {name: getattr(config, name) for name in TrainConfig.model_fields}
        | {"pretrained": "none", "batch_size": size, "accumulate_steps": 1}
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
        "head": ("linear", "linear works"),
        "tune": ("all", "all works"),
        "second_stage": ("none", "none works"),
        "posthoc": ("none", "none works"),
        "precision": ("float32", "float32 works"),
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
    """Steps, features, their Gaussians, the gradient that guides, saving and loading.

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
            config.model,
            config.model_kwargs,
            class_names,
            config.input_size,
            seed=0,
            head=config.head,
        ).to(device)
        _learn_and_correct(classifier, config, size)

        # Average, keep the best
        if config.ema_decay:
            copy.deepcopy(classifier)
        classifier.load_state_dict(copy.deepcopy(classifier.state_dict()))
        classifier.eval()

        # Look at features, guide
        x, labels = _noise(4, size, len(class_names))
        logits, features = predict(classifier, x)
        _check_shapes(logits, features, len(x), len(class_names))
        if _needs_last_layer(config):
            _check_last_layer(classifier, logits, features)
        features = features.nan_to_num()
        fit_class_gaussians([features], labels, len(class_names))
        guided = x.to(device).requires_grad_()
        F.cross_entropy(classifier.logits_and_features(guided)[0], labels.to(device)).backward()  # type: ignore[no-untyped-call]
        if guided.grad is None:
            raise ValueError("its output does not depend on the image by way of gradients")
    _save_and_load(classifier, x, device)


def _learn_and_correct(classifier: Classifier, config: TrainConfig, size: tuple[int, int]) -> None:
    """One step of each stage, and what follows them."""
    device, num_classes = classifier.mean.device, len(classifier.class_names)
    counts = torch.ones(num_classes, dtype=torch.int64)

    def learn(classifier: Classifier, real_alone: bool = False) -> None:
        x, labels = _noise(config.batch_size, size, num_classes)
        groups = torch.zeros_like(labels, device=device)
        batch = Batch(x.to(device), labels.to(device), groups, groups > 0)
        criterion = create_loss(config, Priors(counts, counts[:, None])).to(device)
        optimizer = create_optimizer(classifier, config)
        classifier.train()
        with autocast(config.precision, device):
            logits = classifier(batch.x).float()
        criterion(logits, batch.labels, batch).backward()
        optimizer.step()
        classifier.eval()

    def examine(classifier: Classifier) -> tuple[Examples, Examples]:
        x, _ = _noise(4, size, num_classes)
        labels = torch.tensor([0, 0, 1, 1]) % num_classes
        examples = Examples(predict(classifier, x)[1].nan_to_num(), labels, labels)
        return examples, examples

    with TUNES[config.tune](classifier, config, 0):
        learn(classifier)
    if (phase := PHASES.get(config.second_stage)) is not None:
        phase.run(classifier, Stage(second_recipe(config), 0, learn, examine))
    if (correction := POSTHOC.get(config.posthoc)) is not None:
        layer = last_layer(classifier.network)
        fold(layer, *correction(layer, counts, 1.0))


def _needs_last_layer(config: TrainConfig) -> bool:
    """Whether something looks for the one layer that makes the scores of the features."""
    return (config.head, config.tune, config.second_stage, config.posthoc) != (
        "linear",
        "all",
        "none",
        "none",
    )


def _check_last_layer(classifier: Classifier, logits: Tensor, features: Tensor) -> None:
    with torch.no_grad():
        found = last_layer(classifier.network)(features.to(classifier.mean.device)).cpu()
    if not torch.allclose(found, logits, rtol=1e-2, atol=1e-3, equal_nan=True):
        raise ValueError("its scores are not what its last layer makes of its features")


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
