"""What is to be drawn: how many images of each class, and in which files."""

from collections.abc import Sequence
from dataclasses import dataclass

from fgds_core.data.imbalance import check_target, quotas
from fgds_core.synthesis.config import SynthesizeConfig
from fgds_core.synthesis.record import part_path


@dataclass(frozen=True)
class Part:
    """A run of images of one class that share a file."""

    label: int
    class_name: str
    index: int
    """Place of the part within its class."""
    first_index: int
    """Index of its first image within the class."""
    num_images: int

    @property
    def path(self) -> str:
        """Where it lies in the synthetic set, POSIX form."""
        return part_path(self.label, self.class_name, self.index)


@dataclass(frozen=True)
class Plan:
    """What a synthetic set consists of.

    Attributes:
        parts: Of the class with most to draw first, so that none is left over at the end.
        class_names: Name of each of the K classes.
        real: Real training images of each class, [K].
        wanted: Synthetic images of each class, [K].
    """

    parts: tuple[Part, ...]
    class_names: tuple[str, ...]
    real: tuple[int, ...]
    wanted: tuple[int, ...]


def plan_set(real: Sequence[int], class_names: Sequence[str], config: SynthesizeConfig) -> Plan:
    """Plans what to draw so that each class reaches its target.

    Args:
        real: Real training images of each class, [K].
        class_names: Name of each class, K of them.
        config: The target and the size of a part.

    Returns:
        The plan, without a part for a class that has enough.

    Raises:
        InputError: If no class needs an image.
    """
    check_target(real, config.target_per_class, config.min_per_class)
    wanted = quotas(real, config.target_per_class, config.min_per_class)
    size = config.images_per_part
    parts = [
        Part(label, name, first // size, first, min(size, num_images - first))
        for label, (name, num_images) in enumerate(zip(class_names, wanted, strict=True))
        for first in range(0, num_images, size)
    ]
    parts.sort(key=lambda part: wanted[part.label], reverse=True)
    return Plan(tuple(parts), tuple(class_names), tuple(real), tuple(wanted))
