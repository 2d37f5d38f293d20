"""How strong feedback is in a class: the scale of the run times the factor of the class's bin."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fgds_core.data.imbalance import shot_bins

if TYPE_CHECKING:
    from fgds_core.synthesis.config import SynthesizeConfig


def factors(config: "SynthesizeConfig", real: Sequence[int]) -> list[float]:
    """The share of `feedback_scale` in each class, [K].

    Args:
        config: How images are drawn.
        real: Real training images of each class, [K].
    """
    return [getattr(config.feedback_factors, name) for name in shot_bins(real)]


def for_class(config: "SynthesizeConfig", num_real: int) -> "SynthesizeConfig":
    """How the images of a class with so many real training images are drawn."""
    (factor,) = factors(config, [num_real])
    if factor == 1:
        return config
    return config.model_copy(update={"feedback_scale": factor * config.feedback_scale})
