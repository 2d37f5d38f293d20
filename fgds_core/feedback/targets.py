"""How useful real images are: what guidance may stop at."""

import torch
from torch import Tensor

from fgds_core.feedback.criteria import CRITERIA, load_criterion
from fgds_core.feedback.critic import Critic, Feedback
from fgds_core.feedback.gaussians import ClassGaussians


@torch.no_grad()
def criteria_on_real(
    classifier: Critic,
    gaussians: ClassGaussians,
    images: Tensor,
    labels: Tensor,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
) -> dict[str, dict[str, list[float | None]]]:
    """Measures how useful real images are by each criterion: how hard "as hard as real" is.

    Args:
        classifier: The baseline in evaluation mode.
        gaussians: Its class Gaussians.
        images: Real validation images in [-1, 1], [N, 3, H, W].
        labels: Their classes, [N].
        batch_size: Images at a time.
        device: Where the classifier computes.

    Returns:
        Entries for the baseline's `config.json`: under `criterion_on_real` and
        `criterion_on_real_calibrated` the mean of each criterion per class, [K], null for a class
        without images.
    """
    counts = torch.bincount(labels, minlength=len(classifier.class_names))  # [K]
    entries: dict[str, dict[str, list[float | None]]] = {key: {} for key in KEYS.values()}
    for calibrated, key in KEYS.items():
        for name in CRITERIA:
            feedback = Feedback(load_criterion(name), classifier, gaussians, calibrated)
            batches = zip(
                torch.split(images, batch_size), torch.split(labels, batch_size), strict=True
            )
            values = torch.cat(
                [feedback(x.to(device), y.to(device)).cpu() for x, y in batches]
            ).double()  # [N], at rest like the labels
            sums = values.new_zeros(len(counts)).index_add_(0, labels, values)
            entries[key][name] = [
                float(total / count) if count else None
                for total, count in zip(sums, counts, strict=True)
            ]
    return entries


KEYS = {False: "criterion_on_real", True: "criterion_on_real_calibrated"}
"""Entries of the baseline's `config.json`, by whether the logits are calibrated."""
