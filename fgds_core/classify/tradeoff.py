"""What a classifier gives of its frequent classes for its rare ones: post-hoc logit adjustment.

A class is favoured by what it was rarer in training: z - tau log pi, with pi its share of the real
training images. Without adjustment tau is 0; 1 suits a classifier that learnt from the images as
they come and is tested on classes that are all as frequent. One that learnt from balanced batches
has such a correction in it, and below 0 some of that is taken back. Which point one wants is a
choice, so it is made on validation images.

B images of a batch, K classes, T strengths.

Source: Menon et al. (2021), Long-tail learning via logit adjustment,
    https://arxiv.org/abs/2007.07314
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fgds_core.classify.metrics import accuracies
from fgds_core.classify.priors import log_prior
from fgds_core.images.dataset import ImageDataset

TAUS = tuple(step / 4 for step in range(-4, 9))
"""The strengths that are tried, from the published one taken back to twice that one."""


class TradeOff:
    """Gathers what a classifier would say at each strength, batch by batch."""

    def __init__(self, counts: Sequence[int]) -> None:
        """Takes the real training images of each class, K of them."""
        self._log_prior = log_prior(torch.tensor(counts))
        self._predicted: list[Tensor] = []

    def add(self, logits: Tensor) -> None:
        """Takes the logits of the next images, [B, K]."""
        adjusted = (logits - tau * self._log_prior.to(logits) for tau in TAUS)
        # Softmax first, as where the metrics come from: of equal probabilities the first counts
        said = [z.softmax(dim=-1).argmax(dim=-1) for z in adjusted]
        self._predicted.append(torch.stack(said, dim=1))  # [B, T]

    def rows(self, images: ImageDataset, bins: Mapping[str, str]) -> list[dict[str, Any]]:
        """`tau`, and `overall`, `many`, `medium` and `few` at that strength, T rows.

        Args:
            images: Those whose logits were taken, in their order.
            bins: Shot bin of each class name.
        """
        actual = images.labels.numpy()  # [N]
        bin_of_image = np.array([bins[name] for name in images.class_names])[actual]  # [N]
        right = torch.cat(self._predicted).numpy() == actual[:, None]  # [N, T]
        return [
            {"tau": tau, **accuracies(right[:, t], bin_of_image)} for t, tau in enumerate(TAUS)
        ]
