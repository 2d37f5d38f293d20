"""A number with its interval and what it rests on, and how it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from fgds_core.assess.vectors import Array

T = TypeVar("T")


@dataclass(frozen=True)
class Estimate:
    """A measure with its 95 % interval; without a value, `reason` says why.

    `effective_real` is how many equal images the weighted real ones count for; None if they have
    no weights.
    """

    value: float | None
    low: float | None
    high: float | None
    num_real: int
    num_synthetic: int
    reason: str | None = None
    effective_real: float | None = None

    def entry(self) -> dict[str, Any]:
        """As JSON; `reason` without a value, `effective_real` where there are weights."""
        return {
            key: value
            for key, value in asdict(self).items()
            if value is not None or key not in ("reason", "effective_real")
        }


def mean_interval(
    values: Array, samples: int, rng: np.random.Generator
) -> tuple[float, float | None, float | None]:
    """Mean of values [N] and its 95 % percentile bootstrap interval (None with 0 samples)."""
    mean = float(values.mean())
    if samples == 0:
        return mean, None, None
    rows = (rng.integers(len(values), size=len(values)) for _ in range(samples))
    means = [values[chosen].mean() for chosen in rows]
    low, high = np.percentile(means, [2.5, 97.5])
    return mean, float(low), float(high)


def spread_interval(
    value: float, variance: float, freedom: int, num_images: float | None
) -> tuple[float, float]:
    """The 95 % interval of a number whose variance was estimated.

    Args:
        value: The number.
        variance: Its variance.
        freedom: Degrees of freedom of that, for Student's t.
        num_images: For a share the images that it is of: the interval is Wilson's of as many as
            would give this variance. One image is added to both variances, for a share of 0 or 1
            has none. None is a number that is at least 0.

    Source: Wilson (1927), https://doi.org/10.1080/01621459.1927.10502953; Korn and Graubard
        (1998), Confidence intervals for proportions with small expected number of positive counts
    """
    t = float(student_t.ppf(0.975, freedom))
    if num_images is None:
        half = t * variance**0.5
        return max(0.0, value - half), value + half
    plain = (value * (1 - value) + 1 / num_images) / num_images
    design = max(1.0, (variance + 1 / num_images**2) / plain)
    n = num_images / design
    middle = (value + t**2 / (2 * n)) / (1 + t**2 / n)
    half = t / (1 + t**2 / n) * (value * (1 - value) / n + t**2 / (4 * n**2)) ** 0.5
    return max(0.0, min(value, middle - half)), min(1.0, max(value, middle + half))


def mean_of(values: NDArray[Any]) -> float | None:
    """The mean of values, [N]; None without any."""
    return float(values.mean()) if len(values) else None


def rounded(value: T, digits: int = 6) -> T:
    """Rounds every float inside dicts and lists to significant digits; other values are kept."""
    result: Any = value
    if isinstance(value, Mapping):
        result = {key: rounded(item, digits) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        result = [rounded(item, digits) for item in value]
    elif isinstance(value, float):
        result = float(f"{value:.{digits}g}")
    return result  # type: ignore[no-any-return]
