"""Tensors of an adapter at rest, in safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from fgds_core.adapt.record import AGAIN
from fgds_core.errors import InputError


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Writes tensors."""
    from safetensors.torch import save_file

    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Reads tensors.

    Raises:
        InputError: The file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read ({error}); {AGAIN}") from error


def save_weights(network: nn.Module, path: Path) -> None:
    """Writes the weights of a network."""
    save_tensors(network.state_dict(), path)


def load_weights(network: nn.Module, path: Path) -> None:
    """Puts weights into a network, in its own type.

    Raises:
        InputError: The file is missing, damaged, or of another network.
    """
    try:
        network.load_state_dict(load_tensors(path))
    except RuntimeError as error:
        raise InputError(f"{path} does not fit the generator; {AGAIN}") from error
