"""What is known of the training images before the first step: counts of the real ones, always.

K classes, G groups.
"""

from dataclasses import dataclass

from torch import Tensor

from fgds_core.classify.batches import TrainingImages


@dataclass(frozen=True, eq=False)
class Priors:
    """Counts of real training images; synthetic ones change none of them.

    Attributes:
        counts: Real training images of each class, int64, [K].
        group_counts: Those of each class in each group, groups numbered as in `Batch.groups`,
            int64, [K, G]; None for images without groups.
    """

    counts: Tensor
    group_counts: Tensor | None

    @property
    def sizes(self) -> Tensor:
        """The counts as float64, [K]; a class without real images counts as one with a single."""
        return at_least_one(self.counts)


def at_least_one(counts: Tensor) -> Tensor:
    """Counts as float64, [K]; 0, of which there is no logarithm, becomes 1."""
    return counts.clamp(min=1).double()


def log_prior(counts: Tensor) -> Tensor:
    """Logarithm of each class's share of the real training images, float64, [K].

    Args:
        counts: Real training images of each class, [K]; see `at_least_one`.
    """
    n = at_least_one(counts)  # [K]
    return (n / n.sum()).log()


def priors_of(training: TrainingImages) -> Priors:
    """The counts of the real ones of some training images."""
    num_classes = len(training.images.class_names)
    labels = training.images.labels[: training.num_real]
    group_counts = None
    if training.groups is not None:
        num_groups = int(training.groups.max()) + 1
        cells = labels * num_groups + training.groups[: training.num_real]
        group_counts = cells.bincount(minlength=num_classes * num_groups).view(-1, num_groups)
    return Priors(labels.bincount(minlength=num_classes), group_counts)
