"""What of a denoiser learns, and how that is kept: low-rank updates, or all weights.

Source: Hu et al. (2021), https://arxiv.org/abs/2106.09685
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fgds_core.adapt.weights import load_weights, save_weights
from fgds_core.errors import InputError
from fgds_core.generators.family import Component

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
"""Linear layers of attention, as diffusers names them."""

LORA_FILE = "pytorch_lora_weights.safetensors"
"""What diffusers calls them; its pipelines load the file."""

NETWORK_FILE = "network.safetensors"

NAME = "fgds"


@dataclass(frozen=True)
class Method:
    """One way to learn.

    Attributes:
        begin: (network, rank, seed) makes what learns; returns its parameters.
        save: (network, folder) writes what was learnt.
        load: (network, folder) puts it into a network, which is as fast afterwards as before.
    """

    begin: Callable[[Component, int, int], list[nn.Parameter]]
    save: Callable[[Component, Path], None]
    load: Callable[[Component, Path], None]


def _begin_lora(network: Component, rank: int, seed: int) -> list[nn.Parameter]:
    from peft import LoraConfig

    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(ATTENTION))
    devices = [network.device] if network.device.type == "cuda" else []
    with torch.random.fork_rng(devices):  # peft draws from the global generator
        torch.manual_seed(seed)
        network.add_adapter(config, adapter_name=NAME)
    return [p for p in network.parameters() if p.requires_grad]


def _save_lora(network: Component, folder: Path) -> None:
    network.save_lora_adapter(str(folder), adapter_name=NAME, weight_name=LORA_FILE)


def _load_lora(network: Component, folder: Path) -> None:
    try:
        network.load_lora_adapter(
            str(folder),
            prefix=None,
            weight_name=LORA_FILE,
            adapter_name=NAME,
            local_files_only=True,
            use_safetensors=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise InputError(
            f"{folder / LORA_FILE} does not fit the generator ({error}); run the stage adapt again"
        ) from error
    network.fuse_lora(adapter_names=[NAME])
    network.unload_lora()


def _begin_full(network: Component, rank: int, seed: int) -> list[nn.Parameter]:
    network.requires_grad_(True)
    return list(network.parameters())


METHODS = {
    "lora": Method(_begin_lora, _save_lora, _load_lora),
    "full": Method(
        _begin_full,
        lambda network, folder: save_weights(network, folder / NETWORK_FILE),
        lambda network, folder: load_weights(network, folder / NETWORK_FILE),
    ),
}
"""Ways to learn, by their names in the parameters."""
