"""A number with its interval and what it rests on, and how it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

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
    values: Array, samples: int, rng: np.random.Generator, weights: Array | None = None
) -> tuple[float, float | None, float | None]:
    """Mean of values [N] and its 95 % percentile bootstrap interval (None with 0 samples).

    With weights [N] images are drawn as before and count by their weights.
    """
    w = np.ones(len(values)) if weights is None else weights  # [N]
    mean = float(np.average(values, weights=w))
    if samples == 0:
        return mean, None, None
    rows = (rng.integers(len(values), size=len(values)) for _ in range(samples))
    means = [np.average(values[chosen], weights=w[chosen]) for chosen in rows]
    low, high = np.percentile(means, [2.5, 97.5])
    return mean, float(low), float(high)


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
