"""The generator check: a few drawn images of each class beside real ones, before many are drawn.

Classes are taken one after the other, and of each a few hundred images at most are in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fgds_core.ability.evidence import (
    MIN_REAL,
    Array,
    Compared,
    Evidence,
    Verdict,
    compare,
    judged,
    judged_cell,
    judged_group,
)
from fgds_core.ability.spaces import Space
from fgds_core.data.splits import RealImages
from fgds_core.images.dataset import ImageDataset, joined
from fgds_core.images.reading import Reading
from fgds_core.judge.judge import Judge

MAX_REAL = 100
"""Real images of a class that drawn ones are compared with."""

CELL_IMAGES = 8
"""Images of a class in one group below which nothing could be told of it there."""

ENOUGH = 10
"""Validation images of a class below which its training images are taken beside them."""


@dataclass(frozen=True, eq=False)
class Witnesses:
    """Who looks at the images.

    Attributes:
        spaces: Feature spaces, at least one.
        judge: Says what it sees; None where there is none.
        unknown: Class -> what of its name the text encoder does not know, in words.
        unknown_groups: The same of groups, where prompts name them.
    """

    spaces: Sequence[Space]
    judge: Judge | None
    unknown: Mapping[str, str] = field(default_factory=dict)
    unknown_groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Checked:
    """What the check says of a class, of a group over all classes, or of a class in a group.

    Attributes:
        name: Of the class or group, or of both.
        evidence: What is known.
        verdict: Whether it can be drawn.
    """

    name: str
    evidence: Evidence
    verdict: Verdict


def check(
    drawn: Callable[[int], ImageDataset | None],
    real: RealImages,
    witnesses: Witnesses,
    seed: int,
    *,
    batch_size: int = 64,
) -> tuple[list[Checked], list[Checked], list[Checked]]:
    """Checks the classes of which some images were drawn.

    Args:
        drawn: Class -> the images drawn of it; None where none were.
        real: The real images; validation ones are compared with, test ones never.
        witnesses: Who looks at them.
        seed: Of the run, for random subsets of the real images.
        batch_size: Images a pass.

    Returns:
        What is said of each class, of each group over all classes: how many of its images are
        far, each beside real ones of its own class and group; and of each class in each group,
        where neither the one nor the other fails.
    """
    classes: list[Checked] = []
    groups: dict[str, _Group] = {}
    cells: list[tuple[str, str, Checked]] = []
    for label, name in enumerate(real.val.class_names):
        images = drawn(label)
        if images is None:
            continue
        reference = reference_of(real, label)
        evidence, compared = examine(
            name, images, reference, witnesses, np.random.default_rng([seed, label]), batch_size
        )
        classes.append(Checked(name, evidence, judged(name, evidence)))
        for place, group in enumerate(images.groups or ()):
            of_group = groups.setdefault(group, _Group())
            of_group.num_images += 1
            of_group.classes.add(name)
            of_group.far.update(key for key, each in compared.items() if each.far[place])
            of_group.spaces.update(compared)
        if images.groups is not None:
            cells += [(name, *each) for each in _cells(name, images.groups, compared)]
    of_groups = [_judged_group(name, each, witnesses) for name, each in groups.items()]
    failing = {each.name for each in (*classes, *of_groups) if each.verdict.can_draw is False}
    of_cells = [cell for name, group, cell in cells if not {name, group} & failing]
    return classes, of_groups, of_cells


def _cells(
    name: str, groups: Sequence[str], compared: Mapping[str, Compared]
) -> Iterator[tuple[str, Checked]]:
    """What a class's images of each group say, beside real ones of the class in that group.

    Args:
        name: Of the class.
        groups: That of each drawn image, [N].
        compared: What each feature space says of them.
    """
    of_image = np.array(groups)
    for group in dict.fromkeys(groups):
        here = of_image == group
        beside = [each.num_real[here][0] for each in compared.values() if each.of_group[here][0]]
        evidence = Evidence(
            num_images=int(here.sum()),
            num_real=int(min(beside, default=0)),
            num_validation=0,
            far={key: int(each.far[here].sum()) for key, each in compared.items() if beside},
            variety={},
            seen=None,
            recognised=(0, 0),
        )
        yield group, Checked(f"{name}, {group}", evidence, judged_cell(evidence))


@dataclass(frozen=True, eq=False)
class Reference:
    """Real images of a class.

    Attributes:
        images: All of them, validation images first.
        num_validation: How many of them are validation images; the others train.
    """

    images: ImageDataset
    num_validation: int


def reference_of(real: RealImages, label: int) -> Reference:
    """The validation images of a class; where they are few, its training images too."""
    own = _spread(real.val.of_class(label))
    if len(own) >= ENOUGH:
        return Reference(own, len(own))
    return Reference(joined(own, _spread(real.train.of_class(label))), len(own))


def _spread(images: ImageDataset) -> ImageDataset:
    """At most `MAX_REAL` of some images, evenly from first to last."""
    if len(images) <= MAX_REAL:
        return images
    return images.select(np.linspace(0, len(images) - 1, MAX_REAL).astype(int).tolist())


def examine(
    name: str,
    images: ImageDataset,
    reference: Reference,
    witnesses: Witnesses,
    rng: np.random.Generator,
    batch_size: int = 64,
) -> tuple[Evidence, dict[str, Compared]]:
    """What some drawn images say of a class.

    Args:
        name: Of the class.
        images: Drawn of it, N of them.
        reference: Real ones.
        witnesses: Who looks at them.
        rng: Draws subsets of the real images.
        batch_size: Images a pass.

    Returns:
        What is known, and what each feature space says, where anything can be compared.
    """
    compared: dict[str, Compared] = {}
    for space in witnesses.spaces:
        if len(reference.images) < MIN_REAL:
            continue
        real, drawn = (space.features(s, batch_size).numpy() for s in (reference.images, images))
        groups = reference.images.groups, images.groups
        found = compare_within(real, drawn, groups, rng, space)
        if found is not None:
            compared[space.name] = found
    judge = witnesses.judge
    recognised = (0, 0)
    if judge is not None:
        of_class = judge.recognised[name]
        recognised = (of_class.num_images, of_class.num_right)
    evidence = Evidence(
        num_images=len(images),
        num_real=len(reference.images),
        num_validation=reference.num_validation,
        far={key: int(each.far.sum()) for key, each in compared.items()},
        variety={key: each.variety for key, each in compared.items()},
        seen=None if judge is None else _seen(judge, images, batch_size),
        recognised=recognised,
        unknown=witnesses.unknown.get(name),
    )
    return evidence, compared


def compare_within(
    real: Array,
    drawn: Array,
    groups: tuple[Sequence[str] | None, Sequence[str] | None],
    rng: np.random.Generator,
    space: Space,
) -> Compared | None:
    """As `compare`, but each image beside real ones of its own group where there are enough.

    Args:
        real: Features, [M, D].
        drawn: Features, [N, D].
        groups: Those of the real and of the drawn images; None without groups.
        rng: Draws subsets of the real images.
        space: The feature space.
    """
    whole = compare(real, drawn, rng, slack=space.slack)
    if whole is None or groups[0] is None or groups[1] is None:
        return whole
    of_real, of_drawn = np.array(groups[0]), np.array(groups[1])
    far, num_real, of_group = whole.far.copy(), whole.num_real.copy(), whole.of_group.copy()
    for group in np.unique(of_drawn):
        here = of_drawn == group
        own = compare(real[of_real == group], drawn[here], rng, slack=space.slack)
        if own is not None:
            far[here], num_real[here], of_group[here] = own.far, own.num_real, True
    return Compared(far, whole.variety, num_real, of_group)


def _seen(judge: Judge, images: ImageDataset, batch_size: int) -> dict[str, int]:
    """What a judge sees in images: class -> how many, the most frequent first."""
    labels = judge.probabilities(images, reading=Reading(batch_size)).argmax(dim=-1).tolist()
    return dict(Counter(judge.class_names[label] for label in labels).most_common())


@dataclass(eq=False)
class _Group:
    """The images drawn for a group, over all classes."""

    num_images: int = 0
    far: Counter[str] = field(default_factory=Counter)
    spaces: set[str] = field(default_factory=set)
    classes: set[str] = field(default_factory=set)


def _judged_group(name: str, found: _Group, witnesses: Witnesses) -> Checked:
    evidence = Evidence(
        num_images=found.num_images,
        num_real=0,
        num_validation=0,
        far={key: found.far[key] for key in sorted(found.spaces)},
        variety={},
        seen=None,
        recognised=(0, 0),
        unknown=witnesses.unknown_groups.get(name),
    )
    return Checked(name, evidence, judged_group(evidence))
