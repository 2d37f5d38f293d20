"""Fits the Gaussians of the classes to features of real images."""

import torch
from torch import Tensor

from fgds_core.feedback.gaussians import ClassGaussians


def fit_class_gaussians(features: Tensor, labels: Tensor, num_classes: int) -> ClassGaussians:
    """Fits the class means and one shared covariance, shrunk after Ledoit and Wolf.

    A rare class has fewer images than there are feature dimensions, so a covariance of its own
    would be singular; the shared, shrunk one has an inverse with three images a class as well.

    Args:
        features: Penultimate features of real training images, [N, D].
        labels: Their classes, [N].
        num_classes: K; a class without images gets the mean of all features.

    Returns:
        The statistics in float32.

    Source: Ledoit and Wolf (2004), https://doi.org/10.1016/S0047-259X(03)00096-4
    """
    from sklearn.covariance import LedoitWolf

    features = features.detach().double().cpu()
    labels = labels.cpu()
    counts = torch.bincount(labels, minlength=num_classes)  # [K]
    sums = features.new_zeros(num_classes, features.shape[1]).index_add_(0, labels, features)
    means = torch.where(
        counts[:, None] > 0, sums / counts[:, None].clamp(min=1), features.mean(dim=0)
    )  # [K, D]

    estimate = LedoitWolf(assume_centered=True).fit((features - means[labels]).numpy())
    covariance = torch.from_numpy(estimate.covariance_)  # [D, D]
    # The floor keeps features without any spread (units that are always 0) invertible.
    floor = 1e-6 * covariance.diagonal().mean().clamp(min=1e-6)
    covariance = covariance + floor * torch.eye(len(covariance), dtype=torch.float64)
    root = torch.linalg.cholesky(covariance)
    return ClassGaussians(
        means=means.float(),
        precision=torch.cholesky_inverse(root).float(),
        log_det=(2 * root.diagonal().log().sum()).float(),
        shrinkage=torch.tensor(float(estimate.shrinkage_)),
    )
