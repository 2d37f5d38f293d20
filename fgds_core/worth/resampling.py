"""What the trainings came to, and what they might have come to with other chance.

Two things of chance are drawn again: the validation images, the same ones for all trainings, and
what sets trainings on the same share apart (subsample, weights, batches).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fgds_core.worth.curves import Floats
from fgds_core.worth.subsamples import SHARES, Subsample


@dataclass(frozen=True)
class Measured:
    """What the trainings came to, of the units of one bin.

    Attributes:
        subsamples: The trainings, [T].
        right: Whether each validation image was recognised, [T, V].
        unit_of_image: The place of each validation image's unit, [V].
        counts: Real training images of each unit, [U].
    """

    subsamples: tuple[Subsample, ...]
    right: NDArray[np.bool_]
    unit_of_image: NDArray[np.int64]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Errors:
    """Mean error of each unit at each of the J shares.

    Attributes:
        measured: As it was, [J, U].
        resampled: With other chance, [B, J, U].
        variances: Of these means over trainings, [J].
    """

    measured: Floats
    resampled: Floats
    variances: Floats


def resampled_errors(
    measured: Measured, resamples: int, rng: np.random.Generator
) -> tuple[Errors, Errors]:
    """The errors over shares of the real images, and over shares of the synthetic ones.

    Args:
        measured: Of two trainings for each share or more.
        resamples: B.
        rng: Draws the chance; one validation set serves both.
    """
    right = [
        measured.right[:, measured.unit_of_image == unit].astype(np.float64)  # [T, V]
        for unit in range(len(measured.counts))
    ]
    recalls = np.empty((1 + resamples, len(measured.subsamples), len(measured.counts)))
    for unit, answers in enumerate(right):
        number = answers.shape[1]
        drawn = rng.multinomial(number, np.full(number, 1 / number), size=resamples) / number
        recalls[0, :, unit] = answers.mean(1)
        recalls[1:, :, unit] = drawn @ answers.T

    def errors_at(shares: Sequence[tuple[float, float]]) -> Errors:
        seeds = [_places(measured.subsamples, *share) for share in shares]
        return _errors_at(recalls, seeds, _share_of_trainings(right, seeds), rng)

    return errors_at([(share, 0.0) for share in SHARES]), errors_at([(1.0, x) for x in SHARES])


def _places(subsamples: Sequence[Subsample], real: float, synthetic: float) -> list[int]:
    """The trainings on some shares of the images."""
    return [t for t, s in enumerate(subsamples) if (s.real, s.synthetic) == (real, synthetic)]


def _share_of_trainings(right: Sequence[Floats], seeds: Sequence[Sequence[int]]) -> float:
    """How much of the variance between trainings is of them as a whole, at least 0.

    The rest are images that this training knows and that one does not, as many in each. Drawing
    images again draws that, too, and to draw it twice would be too much.

    Args:
        right: Answers by unit, U of [T, V].
        seeds: The trainings at each share.

    Source: Owen (2007), The Pigeonhole Bootstrap, https://arxiv.org/abs/0712.1111
    """
    between = within = 0.0
    for answers in right:
        for trainings in seeds:
            y = answers[list(trainings)]  # [R, V]
            both = y - y.mean(1, keepdims=True) - y.mean(0) + y.mean()
            between += y.mean(1).var(ddof=1)
            within += (both**2).sum() / (len(y) - 1) / y.shape[1] ** 2
    return 0.0 if between <= within else 1 - within / between


def _errors_at(
    recalls: Floats, seeds: Sequence[Sequence[int]], of_trainings: float, rng: np.random.Generator
) -> Errors:
    """Errors at some shares, with the differences between trainings drawn again.

    The residuals are those of all shares, each in units of its share's spread, for few seeds say
    little of one share's; and a share's spread, larger with fewer images, is taken halfway to the
    mean of all. A residual keeps the units of its training together. How wide they spread is
    itself no surer than so few of them make it (a scaled inverse chi-squared, as in Student's t).
    """
    of_share = [recalls[:, list(trainings)] for trainings in seeds]  # J of [1 + B, R, U]
    means = np.stack([1 - each.mean(1) for each in of_share], axis=1)  # [1 + B, J, U]
    residuals = [each[0] - each[0].mean(0) for each in of_share]  # J of [R, U]
    own = np.array([(each**2).sum(0).mean() / (len(each) - 1) for each in residuals])  # [J]
    halfway = np.maximum((own + own.mean()) / 2, _LEAST_VARIANCE)
    spread = np.sqrt(halfway)[:, None]  # [J, 1]
    pool = np.concatenate([each / by for each, by in zip(residuals, spread, strict=True)])
    freedom = len(pool) - len(seeds)
    resamples, number = len(recalls) - 1, len(residuals[-1])
    unsure = np.sqrt(of_trainings * len(pool) / rng.chisquare(freedom, size=(resamples, 1, 1)))
    drawn = rng.integers(len(pool), size=(resamples, len(seeds), number))
    resampled = np.clip(means[1:] + unsure * spread * pool[drawn].mean(2), 0, 1)
    return Errors(means[0], resampled, halfway / number)


_LEAST_VARIANCE = 1e-6
"""Of a recall: trainings that agree by chance do not make a curve exact."""
