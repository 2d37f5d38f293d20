"""The check at rest: `ability.json`, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgds_core.errors import InputError
from fgds_core.files import read_json, write_json

if TYPE_CHECKING:
    from fgds_core.ability.check import Checked

RECORD = "ability.json"

AGAIN = "run the stage synthesize again"

SHOWN = 5
"""Classes that a message names with their reasons; of the others it names the number."""

DIGITS = 3


@dataclass(frozen=True)
class Said:
    """What the check says of a class or group, or of both together.

    Attributes:
        name: Of the class or group.
        can_draw: None where nothing could be told.
        reasons: Why not; the reason -> in words.
        remarks: What could not be told and why, in words.
        doubts: What more images might show to be a reason, in words.
    """

    name: str
    can_draw: bool | None
    reasons: Mapping[str, str]
    remarks: tuple[str, ...]
    doubts: tuple[str, ...] = ()

    @property
    def is_doubtful(self) -> bool:
        """Whether it cannot be drawn, or so it seems though chance may explain it."""
        return self.can_draw is False or bool(self.doubts)


@dataclass(frozen=True)
class Ability:
    """What is known of a generator and these classes.

    Attributes:
        check_images: Images drawn of each class; 0 where nothing was checked.
        generator: Its path or id.
        cannot_draw: What is done about classes that it cannot draw.
        fingerprint: Of all that decides what the check says.
        classes: Those of which images are drawn.
        groups: Those that images are drawn for, over all classes.
        cells: Classes in such groups, where neither class nor group fails as a whole.
    """

    check_images: int
    generator: str
    cannot_draw: str
    fingerprint: str
    classes: tuple[Said, ...] = ()
    groups: tuple[Said, ...] = ()
    cells: tuple[Said, ...] = ()

    @property
    def failing(self) -> tuple[Said, ...]:
        """The classes, then the groups, then the classes in a group, that it cannot draw."""
        return tuple(each for each in self.all if each.can_draw is False)

    @property
    def in_doubt(self) -> tuple[str, ...]:
        """The classes of which more images might show that it cannot draw them."""
        return tuple(each.name for each in self.classes if each.doubts)

    @property
    def all(self) -> tuple[Said, ...]:
        """Classes, groups and classes in a group."""
        return self.classes + self.groups + self.cells

    @property
    def doubtful(self) -> tuple[str, ...]:
        """Names of the classes that it cannot draw, or perhaps cannot."""
        return tuple(each.name for each in self.classes if each.is_doubtful)

    @property
    def resampled(self) -> frozenset[str]:
        """The classes that real images fill in place of drawn ones."""
        if self.cannot_draw != "resample":
            return frozenset()
        return frozenset(each.name for each in self.classes if each.can_draw is False)


def write_ability(
    path: Path,
    ability: Ability,
    classes: Sequence[Checked] = (),
    groups: Sequence[Checked] = (),
    cells: Sequence[Checked] = (),
) -> None:
    """Writes the check.

    Args:
        path: The file.
        ability: What was checked; its classes and groups are those that follow.
        classes: What is said of each class.
        groups: The same of groups.
        cells: The same of classes in a group.
    """
    value: dict[str, Any] = {
        "check_images": ability.check_images,
        "generator": ability.generator,
        "cannot_draw": ability.cannot_draw,
        "fingerprint": ability.fingerprint,
        "classes": [_row(each) for each in classes],
        "groups": [_row(each) for each in groups],
    }
    if cells:
        value["cells"] = [_row(each) for each in cells]
    write_json(path, value)


def _row(checked: Checked) -> dict[str, Any]:
    found, verdict = checked.evidence, checked.verdict
    shown, right = found.recognised
    doubts = {"doubts": list(verdict.doubts)} if verdict.doubts else {}
    return {
        "name": checked.name,
        "can_draw": verdict.can_draw,
        "doubtful": verdict.is_doubtful,
        "reasons": dict(verdict.reasons),
        "remarks": list(verdict.remarks),
        **doubts,
        "num_images": found.num_images,
        "num_real": found.num_real,
        "num_validation": found.num_validation,
        "far": dict(found.far),
        "variety": {space: round(value, DIGITS) for space, value in found.variety.items()},
        "seen": None if found.seen is None else dict(found.seen),
        "recall": round(right / shown, DIGITS) if shown else None,
    }


def read_ability(path: Path) -> Ability:
    """Reads the check.

    Raises:
        InputError: It is missing or damaged.
    """
    value = read_json(path, AGAIN)
    try:
        return Ability(
            check_images=int(value["check_images"]),
            generator=str(value["generator"]),
            cannot_draw=str(value["cannot_draw"]),
            fingerprint=str(value["fingerprint"]),
            classes=_said(value["classes"]),
            groups=_said(value["groups"]),
            cells=_said(value.get("cells", ())),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error!r}); {AGAIN}") from error


def _said(rows: Sequence[Mapping[str, Any]]) -> tuple[Said, ...]:
    return tuple(
        Said(
            str(row["name"]),
            row["can_draw"],
            dict(row["reasons"]),
            tuple(row["remarks"]),
            tuple(row.get("doubts", ())),
        )
        for row in rows
    )


def findings(ability: Ability) -> Iterator[str]:
    """What the check found, a line each: how many can be drawn, and each that cannot."""
    if not ability.check_images:
        yield "the generator was not checked (synthesize.check_images is 0)"
        return
    able = sum(each.can_draw is True for each in ability.classes)
    yield f"{ability.generator} can draw {able:,} of {len(ability.classes):,} classes"
    if ability.cells:
        able = sum(each.can_draw is True for each in ability.cells)
        yield f"and {able:,} of {len(ability.cells):,} pairs of these classes and a group"
    unknown = [each for each in ability.classes if each.can_draw is None]
    if unknown:
        yield f"of {_named(unknown)} nothing could be told: {'; '.join(unknown[0].remarks)}"
    if partly := [each for each in ability.classes if each.can_draw and each.remarks]:
        yield f"note on {_named(partly)}: {'; '.join(partly[0].remarks)}"
    failing = ability.failing
    for each in failing[:SHOWN]:
        yield f"warning: it cannot draw {each.name!r}: {reasons_of(each)}"
    if rest := failing[SHOWN:]:
        yield f"warning: nor can it draw {_named(rest)}"
    if doubtful := [each for each in ability.all if each.doubts]:
        yield (
            f"in doubt: {_named(doubtful)}; {doubtful[0].name!r}: {'; '.join(doubtful[0].doubts)};"
            " more images (synthesize.check_images) might tell"
        )
    if ability.resampled:
        yield f"real images fill {len(ability.resampled):,} classes in place of drawn ones"


def reasons_of(said: Said) -> str:
    """Why a class cannot be drawn, in words."""
    return "; ".join(f"{reason} ({words})" for reason, words in said.reasons.items())


def refusal(ability: Ability) -> str:
    """What a user is told who asked to be stopped.

    Args:
        ability: With at least one class or group that cannot be drawn.
    """
    failing = ability.failing
    lines = [f"  {each.name}: {reasons_of(each)}" for each in failing[:SHOWN]]
    if rest := failing[SHOWN:]:
        lines.append(f"  and {_named(rest)}")
    num_classes = sum(each.can_draw is False for each in ability.classes)
    what = f"{num_classes:,} of {len(ability.classes):,} classes"
    if rest_of_them := len(failing) - num_classes:
        kinds = "group or pair" if rest_of_them == 1 else "groups or pairs"
        also = f"{rest_of_them:,} {kinds} of class and group"
        what = f"{what} and {also}" if num_classes else also
    return (
        f"synthesize.cannot_draw: the generator {ability.generator} cannot draw {what}, and"
        " nothing was drawn:\n" + "\n".join(lines) + "\nLook at them with"
        " `python -m flows.preview` and name a generator that knows them (generator.path), or let"
        " it learn them from your training images (adapt.enabled: true), or set"
        " synthesize.cannot_draw to resample, which fills these classes with real images drawn"
        " again, or to keep, which draws them as they are and warns on the page"
    )


def _named(several: Sequence[Said]) -> str:
    names = ", ".join(repr(each.name) for each in several[:SHOWN])
    rest = len(several) - SHOWN
    return f"{names} and {rest:,} more" if rest > 0 else names
