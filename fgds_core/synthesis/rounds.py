"""Drawing in rounds: which images each round draws, once the classifiers between them are known.

A set of R rounds has as many images as one that is drawn at once, N / R in each round. A class's
images go on being counted where the round before ended, and an image follows from its place
there; so rounds share one folder and one index.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from fgds_core.errors import InputError
from fgds_core.synthesis.config import SynthesizeConfig
from fgds_core.synthesis.plan import Part, Plan, parts_of

Counts = Sequence[Mapping[str, int]]
"""Images of each class by the group they are drawn for, [K]; of all under "" without groups."""

Errors = Sequence[Mapping[str, float]]
"""Share of real validation images that a classifier gets wrong, as in `Counts`."""

MOST = 2
"""No class, or group of it, gets more than so many times its quota by its errors: one that a
classifier can hardly learn would else take all."""


def check_rounds(whole: Plan, rounds: int) -> None:
    """Refuses more rounds than there are images.

    Args:
        whole: What would be drawn at once.
        rounds: How many there shall be.

    Raises:
        InputError: A round would be empty.
    """
    if rounds > (number := sum(whole.wanted)):
        raise InputError(
            f"synthesize.rounds: got {rounds}, but there are {number:,} images to draw in all;"
            f" set it to {number} or less"
        )


def sizes(num_images: int, rounds: int) -> tuple[int, ...]:
    """Images of each round, the last ones the larger where they cannot be equal."""
    return tuple(num_images * (r + 1) // rounds - num_images * r // rounds for r in range(rounds))


def plan_round(
    whole: Plan, before: Sequence[Plan], config: SynthesizeConfig, errors: Errors | None = None
) -> Plan:
    """Plans the round after some others.

    With even quotas the rounds have together, for each class and group, the images that would be
    drawn at once. By errors they have as many in all.

    Args:
        whole: What would be drawn at once.
        before: The rounds so far, from the first.
        config: The number of rounds, the rule of their quotas, and the size of a part.
        errors: Of the classifier that has learnt from the rounds before, for what `planned` says
            of `whole`; the first round needs none, and neither does an even one.

    Raises:
        ValueError: There is no further round, or errors are wanted and not given.
    """
    if len(before) >= config.rounds:
        raise ValueError(f"there are {config.rounds} rounds, and {len(before)} were before")
    number = sizes(sum(whole.wanted), config.rounds)[len(before)]
    there = [sum(counts) for counts in zip(*(plan.wanted for plan in before), strict=True)]
    there = there or [0] * len(whole.wanted)  # images of each class so far, [K]
    if not before or config.round_quotas == "even":
        left = [wanted - drawn for wanted, drawn in zip(whole.wanted, there, strict=True)]
        wanted = apportion(number, left, left)
        order = _groups(whole)
        groups = [
            order[label][drawn : drawn + new]
            for label, (drawn, new) in enumerate(zip(there, wanted, strict=True))
        ]
    elif errors is None:
        raise ValueError(f"round {len(before) + 1} goes by errors, and none are given")
    else:
        quotas = quotas_by_error(number, planned(whole), _sum(whole, before), errors)
        wanted = [sum(own.values()) for own in quotas]
        groups = [
            tuple(group for group, new in own.items() for _ in range(new) if group)
            for own in quotas
        ]
    parts: list[Part] = []
    for label, name in enumerate(whole.class_names):
        if wanted[label]:
            files = sum(part.label == label for plan in before for part in plan.parts)
            new = Part(label, name, files, there[label], wanted[label], groups[label])
            parts += parts_of(new, config.images_per_part)
    parts.sort(key=lambda part: wanted[part.label], reverse=True)
    return Plan(tuple(parts), whole.class_names, whole.real, tuple(wanted))


def certain_rounds(whole: Plan, config: SynthesizeConfig) -> tuple[Plan, ...]:
    """The rounds whose numbers follow from no classifier: all where they are even, or the first.

    Args:
        whole: What would be drawn at once.
        config: As in `plan_round`.
    """
    plans: list[Plan] = []
    for _ in range(config.rounds if config.round_quotas == "even" else 1):
        plans.append(plan_round(whole, plans, config))
    return tuple(plans)


def planned(plan: Plan) -> list[dict[str, int]]:
    """What a plan draws of each class, by group; see `Counts`."""
    counts: list[dict[str, int]] = [{} for _ in plan.class_names]
    for part in plan.parts:
        own = counts[part.label]
        for group in part.groups or [""] * part.num_images:
            own[group] = own.get(group, 0) + 1
    return counts


def quotas_by_error(
    number: int, quotas: Counts, drawn: Counts, errors: Errors
) -> list[dict[str, int]]:
    """Shares out the images of a round by quota times error.

    A class without errors gets none, and none gets more than `MOST` times its quota in all the
    rounds so far. Where no class has errors, and for what is left when all that have some are at
    that limit, quotas alone decide.

    Args:
        number: Images to share out, no more than the quotas have left.
        quotas: Images of all rounds, if they were even.
        drawn: Those so far.
        errors: From 0 to 1, for everything that has a quota.

    Returns:
        The images of this round; they add up to `number`.
    """
    places = [(label, group) for label, own in enumerate(quotas) for group in own]
    quota = [quotas[label][group] for label, group in places]
    room = [
        MOST * most - drawn[label].get(group, 0)
        for (label, group), most in zip(places, quota, strict=True)
    ]
    weights = [
        most * Fraction(errors[label][group])
        for (label, group), most in zip(places, quota, strict=True)
    ]
    able = sum(free for free, weight in zip(room, weights, strict=True) if weight)
    first = apportion(min(number, able), weights, room)
    room = [free - new for free, new in zip(room, first, strict=True)]
    rest = apportion(number - sum(first), quota, room)
    shared: list[dict[str, int]] = [{} for _ in quotas]
    for (label, group), new, more in zip(places, first, rest, strict=True):
        shared[label][group] = new + more
    return shared


def apportion(number: int, weights: Sequence[int | Fraction], room: Sequence[int]) -> list[int]:
    """Shares out whole things by weight: the method of largest remainders, within limits.

    Who would get more than there is room for gets that, and the others share the rest. Of equal
    remainders the first gets one more.

    Args:
        number: Things to share out, no more than there is room for where a weight is above 0.
        weights: At least 0, [K].
        room: Most that each takes, [K].

    Returns:
        Shares that add up to `number`, [K]; 0 where the weight is.

    Raises:
        ValueError: There is too little room.

    Source: Hamilton's method; Balinski and Young (2001), Fair Representation
    """
    shares = [0] * len(weights)
    open_ = [k for k, weight in enumerate(weights) if weight > 0 and room[k] > 0]
    if number > sum(room[k] for k in open_):
        raise ValueError(f"{number} are to be shared out, there is room for fewer")
    while open_ and number:
        total = sum(weights[k] for k in open_)
        exact = {k: Fraction(number * weights[k], 1) / total for k in open_}
        full = [k for k in open_ if exact[k] >= room[k]]
        if full:
            for k in full:
                shares[k] = room[k]
                number -= room[k]
            open_ = [k for k in open_ if k not in set(full)]
            continue
        for k in open_:
            shares[k] = int(exact[k])
        rest = number - sum(shares[k] for k in open_)
        by_remainder = sorted(open_, key=lambda k: shares[k] - exact[k])
        for k in by_remainder[:rest]:
            shares[k] += 1
        break
    return shares


def error_rates(
    right: Sequence[bool],
    labels: Sequence[int],
    groups: Sequence[str] | None,
    quotas: Counts,
) -> list[dict[str, float]]:
    """How often a classifier is wrong, for everything that has a quota.

    Args:
        right: Whether it is right about each validation image, [N].
        labels: Their classes, [N].
        groups: Their groups, [N]; None for data without groups.
        quotas: What images are drawn for, [K].

    Returns:
        From 0 to 1. A group of a class that has no validation image has the error of the class,
        and a class without any the mean of the others' (1 where no class has one).
    """
    wrong: dict[tuple[int, str | None], list[bool]] = {}
    for place, label in enumerate(labels):
        wrong.setdefault((label, None), []).append(not right[place])
        if groups is not None:
            wrong.setdefault((label, groups[place]), []).append(not right[place])
    rates = {key: sum(values) / len(values) for key, values in wrong.items()}
    of_classes = [rate for (_, group), rate in rates.items() if group is None]
    mean = sum(of_classes) / len(of_classes) if of_classes else 1.0
    return [
        {group: rates.get((k, group or None), rates.get((k, None), mean)) for group in own}
        for k, own in enumerate(quotas)
    ]


def _groups(plan: Plan) -> list[tuple[str, ...]]:
    """The group of each image of each class, in their order; empty without groups."""
    order: list[list[str]] = [[] for _ in plan.class_names]
    for part in sorted(plan.parts, key=lambda part: part.first_index):
        order[part.label] += part.groups
    return [tuple(groups) for groups in order]


def _sum(whole: Plan, plans: Sequence[Plan]) -> list[dict[str, int]]:
    """What some plans draw together, for everything that `whole` draws."""
    counts = [dict.fromkeys(own, 0) for own in planned(whole)]
    for plan in plans:
        for total, own in zip(counts, planned(plan), strict=True):
            for group, number in own.items():
                total[group] += number
    return counts
