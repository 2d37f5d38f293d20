"""What is to be drawn: how many images of each class, and in which files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from fgds_core.data.cells import Cells, cell_quota, filling
from fgds_core.data.imbalance import check_target, quotas
from fgds_core.data.meta import Meta
from fgds_core.errors import InputError
from fgds_core.files import listed
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
    groups: tuple[str, ...] = ()
    """The group that each image is drawn for; empty where groups are not asked for."""

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


def plan_of(meta: Meta, config: SynthesizeConfig) -> Plan:
    """Plans what to draw beside prepared data; see `plan_set`.

    Raises:
        InputError: No class needs an image, or one that does has no real image to condition on, or
            no other class to take variation from.
    """
    real, names = meta.counts["train"], meta.class_names
    cells = None if config.target_per_group is None else meta.cells
    plan = plan_set(real, names, config, cells)
    if config.conditioning != "text":
        alone = [
            n for n, own, new in zip(names, real, plan.wanted, strict=True) if new and not own
        ]
        if alone:
            raise InputError(
                f"synthesize.conditioning: got {config.conditioning}, but the classes "
                f"{listed(alone)} have no real training image to condition on; set it to text, "
                "add images, or leave the classes out of the data"
            )
    if config.embedding_mix == "transfer":
        several = {label for label, own in enumerate(real) if own > 1}
        if any(new and not several - {label} for label, new in enumerate(plan.wanted)):
            raise InputError(
                "synthesize.embedding_mix: got transfer, but no other class has two real training "
                "images whose difference could be transferred; choose another one"
            )
    return plan


def plan_set(
    real: Sequence[int],
    class_names: Sequence[str],
    config: SynthesizeConfig,
    cells: Cells | None = None,
) -> Plan:
    """Plans what to draw so that each class, or each group of it, reaches its target.

    Args:
        real: Real training images of each class, [K].
        class_names: Name of each class, K of them.
        config: The targets and the size of a part.
        cells: Real training images of each class in each group, with a target for groups.

    Returns:
        The plan, without a part for a class that has enough.

    Raises:
        InputError: No class needs an image, or groups shall have some and there are none.
    """
    wanted = _wanted(real, config, cells)
    size = config.images_per_part
    parts: list[Part] = []
    for label, (name, num_images) in enumerate(zip(class_names, wanted, strict=True)):
        groups: tuple[str, ...] = ()
        if cells is not None and num_images:
            groups = tuple(islice(filling(cells[label]), num_images))
        parts += parts_of(Part(label, name, 0, 0, num_images, groups), size)
    parts.sort(key=lambda part: wanted[part.label], reverse=True)
    return Plan(tuple(parts), tuple(class_names), tuple(real), tuple(wanted))


def parts_of(images: Part, size: int) -> Iterator[Part]:
    """Cuts images of one class into parts of a stated size, but for the last one.

    Args:
        images: All of them, with the place of the first part.
        size: Images in one file.
    """
    for place, start in enumerate(range(0, images.num_images, size)):
        yield replace(
            images,
            index=images.index + place,
            first_index=images.first_index + start,
            num_images=min(size, images.num_images - start),
            groups=images.groups[start : start + size],
        )


def _wanted(real: Sequence[int], config: SynthesizeConfig, cells: Cells | None) -> list[int]:
    """Synthetic images of each class, [K]."""
    if (target := config.target_per_group) is None:
        check_target(real, config.target_per_class, config.min_per_class)
        return quotas(real, config.target_per_class, config.min_per_class)
    if cells is None:
        raise InputError(
            f"synthesize.target_per_group: got {target}, but the data have no groups; set it to "
            "null, or name their groups in the section data"
        )
    wanted = [max(cell_quota(counts, target), config.min_per_class) for counts in cells]
    if not any(wanted):
        fewest = min(number for counts in cells for number in counts.values())
        raise InputError(
            f"synthesize.target_per_group is {target}, and even the smallest group has {fewest:,} "
            f"real training images: none needs a synthetic one; set it above {fewest:,}"
        )
    return wanted
