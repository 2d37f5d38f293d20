"""What the generator check says of each class, as the page shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fgds_core.report import numbers
from fgds_core.report.inputs import ReportInputs

VERDICTS = {True: "yes", False: "no", None: "cannot tell"}
"""Whether it can be drawn, in words."""

IN_DOUBT = "in doubt"
"""What is said where more images might show that it cannot."""

DONE = {
    "refuse": "A class that cannot be drawn stops the run.",
    "resample": "Classes that cannot be drawn are filled with real images drawn again.",
    "keep": "Classes that cannot be drawn are drawn as they are.",
}
"""What is done then, by `synthesize.cannot_draw`."""


@dataclass(frozen=True)
class Said:
    """What the check says of a class or group.

    Attributes:
        name: Of the class or group.
        verdict: Of `VERDICTS`, or `IN_DOUBT`.
        because: Why not, or what could not be told; empty where there is nothing to say.
        images: Drawn and real ones that were compared.
        seen: How many of the drawn ones the judge takes for the class.
        recall: How often it knows real ones of it; None where it was not asked.
        far: How many are far from real ones, of each feature space.
        variety: How they differ beside the least varied real ones, of each feature space.
    """

    name: str
    verdict: str
    because: str
    images: str
    seen: str
    recall: float | None
    far: str
    variety: str


@dataclass(frozen=True)
class Able:
    """What the check says of all of them.

    Attributes:
        generator: Its path or id.
        check_images: Drawn of each class.
        num_able: Classes that it can draw.
        num_classes: Classes that were checked.
        before: What it could draw before it learnt, in words; None where nothing was checked then.
        done: What is done about the others.
        lines: Classes, then groups, then the pairs of both of which there is something to say;
            those that cannot be drawn first.
        num_able_cells: Classes in a group that it can draw.
        num_cells: Those that were checked; 0 where the data have no groups.
    """

    generator: str
    check_images: int
    num_able: int
    num_classes: int
    before: str | None
    done: str
    lines: list[Said]
    num_able_cells: int
    num_cells: int


def able(inputs: ReportInputs) -> Able | None:
    """The check; None where nothing was checked."""
    ability = inputs.ability
    if ability is None or not ability["check_images"]:
        return None
    cells = ability.get("cells", ())
    told = [each for each in cells if each["can_draw"] is not True or each.get("doubts")]
    rows = [
        each
        for kind in (ability["classes"], ability["groups"], told)
        for each in sorted(kind, key=_order)
    ]
    return Able(
        generator=ability["generator"],
        check_images=ability["check_images"],
        num_able=sum(each["can_draw"] is True for each in ability["classes"]),
        num_classes=len(ability["classes"]),
        before=_before(inputs.ability_before),
        done=DONE[ability["cannot_draw"]],
        lines=[_said(each) for each in rows],
        num_able_cells=sum(each["can_draw"] is True for each in cells),
        num_cells=len(cells),
    )


def _before(ability: Mapping[str, Any] | None) -> str | None:
    if ability is None or not ability["check_images"]:
        return None
    of_classes = ability["classes"]
    able = sum(each["can_draw"] is True for each in of_classes)
    learnt = sum(each["doubtful"] for each in of_classes)
    return (
        f"Before it learnt from your training images it could draw {able:,} of"
        f" {len(of_classes):,}; it learnt the {learnt:,} that the check refused or doubted."
    )


def _order(each: Mapping[str, Any]) -> int:
    return {False: 0, None: 2, True: 3}[each["can_draw"]] - 2 * bool(each.get("doubts"))


def _said(each: Mapping[str, Any]) -> Said:
    reasons = [f"{reason} ({words})" for reason, words in each["reasons"].items()]
    doubts = each.get("doubts", ())
    seen = each.get("seen")
    number = each.get("num_images")
    return Said(
        name=each["name"],
        verdict=IN_DOUBT if doubts else VERDICTS[each["can_draw"]],
        because="; ".join([*reasons, *doubts, *each["remarks"]]),
        images=f"{numbers.count(number)} and {numbers.count(each.get('num_real'))}",
        seen=numbers.MISSING
        if seen is None
        else f"{seen.get(each['name'], 0):,} of {sum(seen.values()):,}",
        recall=each.get("recall"),
        far=_spaces({name: f"{n:,} of {number:,}" for name, n in each.get("far", {}).items()}),
        variety=_spaces(
            {name: numbers.number(value) for name, value in each.get("variety", {}).items()}
        ),
    )


def _spaces(of_space: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {text}" for name, text in of_space.items()) or numbers.MISSING
