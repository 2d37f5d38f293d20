"""Writes a classifier's folder, which `load_classifier` reads."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from fgds_core import __version__
from fgds_core.classify.card import CONFIG
from fgds_core.classify.network import WEIGHTS, Classifier
from fgds_core.files import replacing, write_text


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
        "head": classifier.head,
        "posthoc_tau": classifier.posthoc_tau,
        "real_counts": list(real_counts),
        "bins": dict(bins),
        "core_version": __version__,
        **(extra or {}),
    }
    with replacing(folder / WEIGHTS) as part:
        part.write_bytes(save(_tensors(classifier.network)))
    write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    """The network's weights on the CPU, none of them sharing memory with another."""
    tensors: dict[str, Tensor] = {}
    seen = set()
    for name, t in network.state_dict().items():
        t = t.detach().cpu().contiguous()
        storage = t.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != t.nbytes:
            t = t.clone()  # tied weights and views; safetensors stores each tensor on its own
        seen.add(storage.data_ptr())
        tensors[name] = t
    return tensors
