"""Vetting a set: images that fail a check are left out, and others drawn in their place.

After all rounds a judge, which is not the guide, looks at every image. Where it sees the intended
class in fewer of a class's images than `judge.min_agreement`, as a share of its recall on real
validation images, those in which it sees another one are left out, the class's feedback scale is
halved, and as many images are drawn with the next free indices of the class. These are looked at
in turn, at most `judge.max_redraws` times. Other checks leave single images out whatever the
others are like, such as copies of real ones; their places are taken at the scale as it is.

No part is written again: what takes a place has parts of its own. What checks said is kept in
records beside the parts, from which all else follows.

K classes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from fgds_core.errors import InputError
from fgds_core.files import read_json, write_json
from fgds_core.judge.agreement import share_of_recall
from fgds_core.judge.config import JudgeConfig
from fgds_core.judge.record import Recognised
from fgds_core.synthesis.excluded import LeftOut
from fgds_core.synthesis.plan import Part, Plan, parts_of
from fgds_core.synthesis.recipe import Recipe

VETTING = "_vetting"
"""Folder of the records below the set; readers of Parquet folders pass over it."""

JUDGE = "judge"
"""Who leaves out images in which it sees another class."""

SHARE = 0.5
"""Of the feedback scale that is left after each time."""

Reasons = Mapping[int, str]
"""Index of an image within its class -> why it fails."""


@dataclass(frozen=True)
class Verdict:
    """What the checks say of images of one class that none has looked at before.

    Attributes:
        num_images: How many there are.
        unlike: Those in which the judge sees another class.
        away: Those that are left out whatever the others are like, by the check's name.
    """

    num_images: int
    unlike: Reasons
    away: Mapping[str, Reasons]


Verdicts = Mapping[int, Verdict]
"""Class -> what the checks say of its new images; a class without any is missing."""


@dataclass(frozen=True)
class Standing:
    """How a class stands after a check.

    Attributes:
        shown: Images that were not left out before or by other checks, and those of them in which
            the judge sees the class.
        agreement: Their share, as a share of the judge's recall; None where it cannot tell.
        num_left_out: Images that this check leaves out.
        halvings: How often its feedback scale has been halved, this time included.
    """

    shown: Recognised
    agreement: float | None
    num_left_out: int
    halvings: int


@dataclass(frozen=True)
class Vetted:
    """What follows from one check.

    Attributes:
        standings: By class, of those that have images.
        left_out: Images that this check leaves out.
        again: Of each class the groups of the images that are drawn in their place ("" without
            groups), with how often the feedback scale of the class has been halved.
    """

    standings: Mapping[int, Standing]
    left_out: tuple[LeftOut, ...]
    again: Mapping[int, tuple[int, tuple[str, ...]]]


def vetted(
    verdicts: Sequence[Verdicts],
    real: Sequence[Recognised],
    config: JudgeConfig,
    groups: Callable[[int, int], str] = lambda label, index: "",
) -> Iterator[Vetted]:
    """What follows from each check in turn.

    Args:
        verdicts: What each has said, from the first.
        real: What the judge has recognised of real validation images, [K].
        config: The least agreement, and how often images are drawn again at most.
        groups: The group that an image is drawn for, of label and index.

    Yields:
        For each check what it leaves out and what is drawn again; nothing after the last time.
    """
    agreeing: dict[int, int] = {}
    doubtful: dict[int, dict[int, str]] = {}  # kept, though the judge sees another class
    halvings: dict[int, int] = {}
    for number, said in enumerate(verdicts):
        standings: dict[int, Standing] = {}
        left_out: list[LeftOut] = []
        again: dict[int, tuple[int, tuple[str, ...]]] = {}
        is_last = number == config.max_redraws
        for label in sorted(agreeing.keys() | said.keys()):
            verdict = said.get(label, Verdict(0, {}, {}))
            mine: list[LeftOut] = []
            gone: set[int] = set()
            for by, reasons in verdict.away.items():
                new = {index: why for index, why in reasons.items() if index not in gone}
                mine += [LeftOut(label, index, by, why) for index, why in new.items()]
                gone |= new.keys()
            unlike = {i: why for i, why in verdict.unlike.items() if i not in gone}
            doubtful.setdefault(label, {}).update(unlike)
            agreeing[label] = agreeing.get(label, 0) + verdict.num_images - len(unlike) - len(gone)
            right, wrong = agreeing[label], doubtful[label]
            shown = Recognised(right + len(wrong), right)
            agreement = share_of_recall([shown], [real[label]]).value
            if agreement is not None and agreement < config.min_agreement and not is_last:
                mine += [LeftOut(label, index, JUDGE, why) for index, why in wrong.items()]
                halvings[label] = halvings.get(label, 0) + 1
                doubtful[label] = {}
            standings[label] = Standing(shown, agreement, len(mine), halvings.get(label, 0))
            if mine and not is_last:
                of = sorted(groups(label, each.index) for each in mine)
                again[label] = (halvings.get(label, 0), tuple(of))
            left_out += mine
        yield Vetted(standings, tuple(sorted(left_out)), again)


def plans_again(
    vetted: Vetted, whole: Plan, before: Sequence[Plan], images_per_part: int
) -> Iterator[tuple[int, Plan]]:
    """What is drawn in the place of images that were left out.

    Args:
        vetted: What follows from a check.
        whole: Of the set.
        before: All that was drawn so far.
        images_per_part: Most images in one file.

    Yields:
        How often the feedback scale is halved, and the plan of the images drawn with it.
    """
    there = [sum(counts) for counts in zip(*(plan.wanted for plan in before), strict=True)]
    files = [0] * len(there)
    for plan in before:
        for part in plan.parts:
            files[part.label] += 1
    for halvings in sorted({times for times, _ in vetted.again.values()}):
        wanted, parts = [0] * len(there), list[Part]()
        for label, (times, groups) in vetted.again.items():
            if times == halvings:
                wanted[label] = len(groups)
                named = groups if any(groups) else ()
                name = whole.class_names[label]
                new = Part(label, name, files[label], there[label], len(groups), named)
                parts += parts_of(new, images_per_part)
        parts.sort(key=lambda part: wanted[part.label], reverse=True)
        yield halvings, Plan(tuple(parts), whole.class_names, whole.real, tuple(wanted))


def weaker(recipe: Recipe, halvings: int) -> Recipe:
    """The recipe at a halved feedback scale; the same where no classifier guides."""
    config = recipe.synthesize
    if not halvings or config.feedback == "none":
        return recipe
    scale = config.feedback_scale * SHARE**halvings
    return replace(recipe, synthesize=config.model_copy(update={"feedback_scale": scale}))


def group_of(plans: Sequence[Plan]) -> Callable[[int, int], str]:
    """Tells the group that an image is drawn for; "" without groups."""
    groups = {
        (part.label, part.first_index + place): group
        for plan in plans
        for part in plan.parts
        for place, group in enumerate(part.groups)
    }
    return lambda label, index: groups.get((label, index), "")


def judged(
    label: int, indices: Sequence[int], probabilities: Tensor, class_names: Sequence[str]
) -> Verdict:
    """What a judge says of images of one class.

    Args:
        label: The class.
        indices: Their places within it, [B].
        probabilities: Of each class, [B, K].
        class_names: Name of each class.
    """
    sure, seen = (each.tolist() for each in probabilities.max(dim=1))  # [B], [B]
    unlike = {
        index: f"the judge sees {class_names[its]} ({probability:.2f})"
        for index, its, probability in zip(indices, seen, sure, strict=True)
        if its != label
    }
    return Verdict(len(indices), unlike, {})


def joined(first: Verdict | None, second: Verdict) -> Verdict:
    """What is said of images that two verdicts are on."""
    if first is None:
        return second
    away = {
        by: {**first.away.get(by, {}), **second.away.get(by, {})}
        for by in dict.fromkeys((*first.away, *second.away))
    }
    number = first.num_images + second.num_images
    return Verdict(number, {**first.unlike, **second.unlike}, away)


def record_path(out: Path, number: int) -> Path:
    """Where the record of a check lies.

    Args:
        out: Folder of the synthetic set.
        number: Of the check, from 1.
    """
    return out / VETTING / f"{number}.json"


def write_verdicts(path: Path, fingerprint: str, verdicts: Verdicts) -> None:
    """Writes what a check has said.

    Args:
        path: From `record_path`.
        fingerprint: Of everything that decides it.
        verdicts: By class.
    """
    classes = {
        str(label): {
            "num_images": each.num_images,
            "unlike": _texts(each.unlike),
            "away": {by: _texts(reasons) for by, reasons in each.away.items()},
        }
        for label, each in verdicts.items()
    }
    write_json(path, {"fingerprint": fingerprint, "classes": classes})


def read_verdicts(path: Path, fingerprint: str) -> Verdicts | None:
    """What a check has said; None if it is missing, damaged or another one, and is to be made.

    Args:
        path: From `record_path`.
        fingerprint: Of everything that decides it.
    """
    try:
        value = read_json(path, "vet the set again")
        found = {
            int(label): Verdict(
                int(each["num_images"]),
                _reasons(each["unlike"]),
                {str(by): _reasons(reasons) for by, reasons in each["away"].items()},
            )
            for label, each in value["classes"].items()
        }
        return found if value["fingerprint"] == fingerprint else None
    except (InputError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return None


def remove_foreign_records(out: Path, number: int) -> None:
    """Removes the records of checks that the set has not had.

    Args:
        out: Folder of the synthetic set.
        number: How many checks it has had.
    """
    kept = {record_path(out, each) for each in range(1, number + 1)}
    folder = out / VETTING
    for path in folder.glob("*"):
        if path not in kept:
            path.unlink()
    if folder.is_dir() and not number:
        folder.rmdir()


def _texts(reasons: Reasons) -> dict[str, str]:
    return {str(index): why for index, why in sorted(reasons.items())}


def _reasons(texts: Mapping[str, str]) -> dict[int, str]:
    return {int(index): str(why) for index, why in texts.items()}
