"""The tables of accuracy: by bin, by class and by group, each with intervals and test counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fgds_core.classify import groups as of_groups
from fgds_core.report import numbers
from fgds_core.report.compare import Change
from fgds_core.report.confusions import Confusion
from fgds_core.report.gains import (
    STAGES,
    Answers,
    Verdict,
    Worst,
    class_rows,
    guesses,
    standing_out,
    verdict,
    worst_group,
)
from fgds_core.report.summary import Row, is_left_out, shown
from fgds_core.report.verdict import LABELS, Claim, claim

LISTED = 8
"""Classes that gained, and that lost, and mistakes of either kind that a list has at most."""

GROUPS_LISTED = 12
"""The groups that the final classifier knows worst, as many as a list has."""


@dataclass(frozen=True)
class Line:
    """A row of the summary, or of a class, as the page shows it.

    Attributes:
        row: Its numbers.
        label: Its name for people.
        verdict: What its change means; `same` is grey.
    """

    row: Row
    label: str
    verdict: Verdict

    @property
    def shown(self) -> dict[str, str]:
        """Its numbers as text."""
        return {name: numbers.typeset(text) for name, text in shown(self.row).items()}


def headline_lines(rows: Sequence[Row], *, final_guesses: bool) -> list[Line]:
    """The rows of the summary that the data has."""
    return [
        Line(row, LABELS[row.bin], verdict(row, final_guesses=final_guesses))
        for row in rows
        if not is_left_out(row)
    ]


def class_lines(answers: Answers, *, final_guesses: bool) -> list[Line]:
    """A line for each class; its change counts only if it stands out among all classes."""
    out = standing_out(answers)
    return [
        Line(row, row.bin, verdict(row, is_noise=not stands_out, final_guesses=final_guesses))
        for row, stands_out in zip(class_rows(answers), out, strict=True)
    ]


def rarest_first(lines: Sequence[Line], counts: Mapping[str, int]) -> list[Line]:
    """All classes, rarest first; of equally rare ones those that changed more come first.

    Args:
        lines: Of all classes.
        counts: Real training images of each class name.
    """
    return sorted(lines, key=lambda line: (counts[line.label], -_change(line), line.label))


def chosen_classes(lines: Sequence[Line], counts: Mapping[str, int], most: int) -> list[str]:
    """The classes whose pictures are kept: all, or those that matter, rarest first.

    Half of the places are for the rarest, a quarter each for the largest gains and losses among
    the others, by the end of the interval that is nearer to zero: a few images that happen to
    agree are no large change.

    Args:
        lines: Of all classes.
        counts: Real training images of each class name.
        most: How many may be shown.
    """
    rarest = rarest_first(lines, counts)
    if len(lines) <= most:
        return [line.label for line in rarest]
    each = most // 4
    first, others = rarest[: most - 2 * each], rarest[most - 2 * each :]
    gains = sorted(others, key=lambda line: -(line.row.low or 0.0))[:each]
    rest = [line for line in others if line not in gains]
    losses = sorted(rest, key=lambda line: line.row.high or 0.0)[:each]
    kept = {line.label for line in (*first, *gains, *losses)}
    return [line.label for line in rarest if line.label in kept]


def _change(line: Line) -> float:
    return abs(line.row.gain or 0.0)


@dataclass(frozen=True)
class Comparison:
    """Two classifiers as the page compares them.

    Attributes:
        first: Name of the one.
        second: Name of the other.
        sets: What changed overall and in the bins.
        num_tested: Classes with test images.
        num_beyond: Classes that gained, and lost, beyond chance.
        lists: The largest gains, and losses, of classes: beyond chance first.
    """

    first: str
    second: str
    sets: list[Claim]
    num_tested: int
    num_beyond: dict[Verdict, int]
    lists: dict[Verdict, list[Claim]]


def comparison(answers: Answers, changed: Sequence[Change]) -> Comparison:
    """Compares two classifiers.

    Args:
        answers: The answers on the test images.
        changed: Their changes, overall first.
    """
    first, second = changed[0].first, changed[0].second
    guessed = guesses(answers, second)
    claims = [claim(change, guesses=guessed) for change in changed]
    of_classes = [c for c in claims if c.change.of == "class" and c.change.num_images]

    def largest(sign: int) -> list[Claim]:
        moved = [c for c in of_classes if sign * (c.change.won - c.change.lost) > 0]
        return sorted(moved, key=lambda c: (c.meaning == "same", -_size(c.change)))[:LISTED]

    kinds: tuple[Verdict, Verdict] = ("gain", "loss")
    return Comparison(
        first,
        second,
        [each for each in claims if each.change.of != "class"],
        len(of_classes),
        {kind: sum(c.meaning == kind for c in of_classes) for kind in kinds},
        {kind: largest(sign) for kind, sign in zip(kinds, (1, -1), strict=True)},
    )


def _size(change: Change) -> float:
    """How large a change of a class is, were there two more images that change nothing."""
    return abs(change.won - change.lost) / (change.num_images + 2)


def mistakes(found: Sequence[Confusion]) -> dict[Verdict, tuple[int, list[Confusion]]]:
    """Mistakes that the final classifier makes less often, and more often: how many, and some."""
    fewer = [each for each in found if each.change < 0]
    more = [each for each in found if each.change > 0]
    return {"gain": (len(fewer), fewer[:LISTED]), "loss": (len(more), more[:LISTED])}


def worst_groups(answers: Answers) -> dict[str, Worst | None]:
    """The group that each classifier is worst at."""
    return {name: worst_group(answers, name) for name in STAGES}


@dataclass(frozen=True)
class GroupLine:
    """A class within a group.

    Attributes:
        name: Class and group.
        num_train: Real training images.
        num_images: Test images.
        recalls: Of each classifier, a fraction.
        low: Lower end of the exact 95 % interval of the final classifier's.
        high: Upper end.
    """

    name: tuple[str, str]
    num_train: int
    num_images: int
    recalls: dict[str, float]
    low: float
    high: float


def group_lines(answers: Answers) -> list[GroupLine]:
    """The groups that the final classifier knows worst; none for data without groups."""
    groups = answers.groups
    if groups is None:
        return []
    recalls = {
        name: {
            (row["class"], row["group"]): row["recall"]
            for row in of_groups.rows(groups.hits(answers.right(name)), groups)
        }
        for name in STAGES
    }
    worst = of_groups.rows(groups.hits(answers.right("final")), groups)[:GROUPS_LISTED]
    return [
        GroupLine(
            name=(pair := (row["class"], row["group"])),
            num_train=row["num_train"],
            num_images=row["num_images"],
            recalls={name: of_pair[pair] for name, of_pair in recalls.items()},
            low=row["low"],
            high=row["high"],
        )
        for row in worst
    ]
