"""Can a linear probe tell synthetic from real images of one class?

N real images, M synthetic images, D features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FOLDS = 5
FEWEST = 20
"""Images of a class that are needed of either kind."""


def probe_auc(
    real: NDArray[np.float64],
    real_labels: NDArray[np.int64],
    synthetic: NDArray[np.float64],
    labels: NDArray[np.int64],
) -> float | None:
    """Area under the ROC curve of a cross-validated logistic probe, mean over classes.

    The probe of each class is told real from synthetic images of that class, so that what it finds
    says nothing of which classes have many synthetic ones. Either kind counts the same.

    Args:
        real: Features of real images, [N, D].
        real_labels: Their classes, [N].
        synthetic: Features of synthetic images, [M, D].
        labels: Their classes, [M].

    Returns:
        0.5 where they cannot be told apart, 1 where they always can; None where no class has
        enough images of both kinds.

    Source: Lopez-Paz and Oquab (2017), https://arxiv.org/abs/1610.06545
    """
    found = []
    for k in np.intersect1d(real_labels, labels):
        of_real, of_synthetic = real[real_labels == k], synthetic[labels == k]
        if min(len(of_real), len(of_synthetic)) >= FEWEST:
            found.append(_auc(of_real, of_synthetic))
    return float(np.mean(found)) if found else None


def _auc(real: NDArray[np.float64], synthetic: NDArray[np.float64]) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = np.concatenate([real, synthetic])  # [N + M, D]
    is_synthetic = np.arange(len(x)) >= len(real)  # [N + M]
    probe = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    return float(cross_val_score(probe, x, is_synthetic, cv=folds, scoring="roc_auc").mean())
