"""The measures by name: each says one thing of some synthetic images beside real ones.

Another measure is a function of a `Sample` and a line in `MEASURES`. Its value is then in
`measures.json`, `per_class.csv`, `synthetic.json` and on the page.

N real images, M synthetic images, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgds_core.assess import fidelity
from fgds_core.assess.config import AssessConfig
from fgds_core.assess.estimates import Estimate, mean_interval
from fgds_core.assess.vectors import Array, Features


@dataclass(frozen=True, eq=False)
class Sample:
    """Some synthetic images and the real ones that they should look like.

    Attributes:
        real: Features of the real images, [N, D].
        synthetic: Features of the synthetic ones, [M, D].
        weights: Of the real images, [N]; None is equal ones.
        answers: What is known of each synthetic image, [M] each, NaN where nothing is: `copy`
            and, where there is a judge, `agreement` are 1 or 0; `entropy` and `loss` of the
            baseline are in nats.
        config: What is measured, and how.
        rng: Draws subsets and resamples, for one measure after the other.
    """

    real: Features
    synthetic: Features
    weights: Array | None
    answers: Mapping[str, Array]
    config: AssessConfig
    rng: np.random.Generator = field(repr=False)

    @cached_property
    def prdc(self) -> dict[str, Estimate]:
        """Precision, recall, density and coverage, which share their distances."""
        return fidelity.prdc(
            self.real,
            self.synthetic,
            nearest_k=self.config.nearest_k,
            min_images=self.config.min_images,
            has_interval=self.config.bootstrap_samples > 0,
            rng=self.rng,
            weights=self.weights,
        )


@dataclass(frozen=True)
class Measure:
    """A number that says something of synthetic images.

    Attributes:
        label: Its name for people.
        hint: What to know about it, in a few words.
        of: Takes it; None where it was not asked for.
        in_features: Whether it is taken in a feature space, and means what that means.
    """

    label: str
    hint: str
    of: Callable[[Sample], Estimate | None]
    in_features: bool = True


def measured(
    sample: Sample, feature_space: str, meaningless: str | None
) -> dict[str, dict[str, Any] | None]:
    """Every measure of a sample as JSON, None for what was not asked.

    Args:
        sample: The images.
        feature_space: Name of their features.
        meaningless: Why these features tell nothing; None if they do.
    """
    entries: dict[str, dict[str, Any] | None] = {}
    for name, measure in MEASURES.items():
        if measure.in_features and meaningless is not None:
            sizes = len(sample.real), len(sample.synthetic)
            estimate: Estimate | None = Estimate(None, None, None, *sizes, reason=meaningless)
        else:
            estimate = measure.of(sample)
        space = {"feature_space": feature_space} if measure.in_features else {}
        entries[name] = None if estimate is None else estimate.entry() | space
    return entries


def _fid(sample: Sample) -> Estimate:
    return fidelity.fid(
        sample.real,
        sample.synthetic,
        min_images=sample.config.min_images_fid,
        blocks=sample.config.fid_blocks,
        rng=sample.rng,
        weights=sample.weights,
    )


def _kid(sample: Sample) -> Estimate:
    return fidelity.kid(
        sample.real,
        sample.synthetic,
        min_images=sample.config.min_images,
        subsets=sample.config.kid_subsets,
        subset_size=sample.config.kid_subset_size,
        rng=sample.rng,
        weights=sample.weights,
    )


def _prdc(name: str, sample: Sample) -> Estimate:
    return sample.prdc[name]


def _copy_rate(sample: Sample) -> Estimate:
    return _share(sample, "copy", len(sample.real))


def _label_agreement(sample: Sample) -> Estimate | None:
    asked = "agreement" in sample.answers and len(sample.synthetic) > 0
    return _share(sample, "agreement", 0) if asked else None


def _share(sample: Sample, answer: str, num_real: int) -> Estimate:
    """Share of a yes among the images that have this answer, with its interval."""
    values: NDArray[Any] = sample.answers[answer].astype(np.float64)
    values = values[~np.isnan(values)]
    if len(values) < sample.config.min_images:
        reason = f"needs {sample.config.min_images} images with an answer, there are {len(values)}"
        return Estimate(None, None, None, num_real, len(values), reason)
    interval = mean_interval(values, sample.config.bootstrap_samples, sample.rng)
    return Estimate(*interval, num_real, len(values))


# In the order in which they draw from the sample's rng: another one is added at the end.
MEASURES = {
    "fid": Measure("FID", "lower is closer to real", _fid),
    "kid": Measure("KID", "lower is closer to real", _kid),
    "precision": Measure("Precision", "share that looks real", partial(_prdc, "precision")),
    "recall": Measure("Recall", "share of real images within reach", partial(_prdc, "recall")),
    "density": Measure("Density", "1 is as dense as real", partial(_prdc, "density")),
    "coverage": Measure(
        "Coverage", "share of real neighbourhoods reached", partial(_prdc, "coverage")
    ),
    "copy_rate": Measure("Near copies", "0.01 is what real images have", _copy_rate),
    "label_agreement": Measure(
        "Label agreement", "the judge sees the intended class", _label_agreement, in_features=False
    ),
}
