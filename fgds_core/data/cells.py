"""Cells: the images of one class in one group (context), such as cars in autumn.

Published sets have cells without any training image. They are the worst groups, and synthetic
images can be drawn for them like for the others.
"""

import string
from collections.abc import Iterable, Iterator, Mapping, Sequence

Cells = Sequence[Mapping[str, int]]
"""Real training images of each class in each group, by the name of the group, [K]; each class has
all groups of the data, in one order."""


def cell_quota(counts: Mapping[str, int], target_per_group: int) -> int:
    """Synthetic images that the cells of one class need to reach the target.

    Args:
        counts: Its real training images in each group.
        target_per_group: Images wanted in a cell, real and synthetic together.
    """
    return sum(max(target_per_group - count, 0) for count in counts.values())


def filling(counts: Mapping[str, int]) -> Iterator[str]:
    """For which group each synthetic image of a class is drawn, without end.

    The next image goes to the emptiest cell, of equally empty ones to the first. So cells fill up
    from the least, and with a higher target every image keeps its group.

    Args:
        counts: Real training images of the class in each group, at least one group.
    """
    level = min(counts.values())
    while True:
        yield from (group for group, count in counts.items() if count <= level)
        level += 1


def names_group(prompts: Iterable[str]) -> bool:
    """Whether a template of prompts names the group of an image."""
    parts = (part for prompt in prompts for part in string.Formatter().parse(prompt))
    return any(name == "group" for _, name, _, _ in parts)
