"""Gaussians of the classes over a classifier's features: what `hardness` measures against."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fgds_core.classify.network import read_tensors
from fgds_core.errors import InputError
from fgds_core.files import replacing

FEATURE_STATISTICS = "feature_statistics.safetensors"


@dataclass(frozen=True)
class ClassGaussians:
    """A Gaussian per class over the penultimate features, with one covariance for all classes."""

    means: Tensor
    """[K, D]"""
    precision: Tensor
    """Inverse of the shared covariance, [D, D]."""
    log_det: Tensor
    """Logarithm of the determinant of the covariance, scalar."""
    shrinkage: Tensor
    """How far the covariance was pulled towards a multiple of the identity, scalar in [0, 1]."""

    def to(self, device: torch.device | str) -> "ClassGaussians":
        """Moves every tensor to a device."""
        return ClassGaussians(*(t.to(device) for t in self._tensors().values()))

    def save(self, path: Path) -> None:
        """Writes the tensors as safetensors."""
        from safetensors.torch import save

        with replacing(path) as part:
            part.write_bytes(save({name: t.contiguous() for name, t in self._tensors().items()}))

    @classmethod
    def load(cls, path: Path) -> "ClassGaussians":
        """Reads what `save` wrote.

        Raises:
            InputError: If the file is missing or does not hold class Gaussians.
        """
        remedy = "train the baseline again"
        tensors = read_tensors(path, remedy)
        means = tensors.get("means", torch.empty(0))
        width = means.shape[-1] if means.ndim == 2 else 0
        shapes = {
            "means": (len(means), width),
            "precision": (width, width),
            "log_det": (),
            "shrinkage": (),
        }
        given = {name: tuple(t.shape) for name, t in tensors.items()}
        if given != shapes or not all(t.is_floating_point() for t in tensors.values()):
            raise InputError(
                f"{path} holds no feature statistics of a classifier: it has to hold floating "
                f"point tensors of the shapes {shapes}, it holds {given}; {remedy}"
            )
        return cls(**tensors)

    def _tensors(self) -> dict[str, Tensor]:
        return {
            "means": self.means,
            "precision": self.precision,
            "log_det": self.log_det,
            "shrinkage": self.shrinkage,
        }
