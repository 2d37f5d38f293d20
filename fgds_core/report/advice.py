"""What to do next, from what was measured: each step with its reason and perhaps a command."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fgds_core.data.imbalance import BINS
from fgds_core.report import numbers
from fgds_core.report.cautions import Caution
from fgds_core.report.compare import Change
from fgds_core.report.inputs import ReportInputs

NAMED = 5
"""Classes that a step names, at most."""

POWER = (1.96 + 0.84) ** 2
"""Squared sum of the normal quantiles of a two-sided test at 5 % and of a power of 80 %."""


@dataclass(frozen=True)
class Step:
    """Something to do.

    Attributes:
        do: What, as an imperative.
        because: The measurement that speaks for it.
        command: What does it, or begins it; None where it is done away from the computer.
    """

    do: str
    because: str
    command: str | None = None


def steps(
    inputs: ReportInputs,
    stance: str,
    changes: Sequence[Change],
    cautions: Sequence[Caution],
) -> list[Step]:
    """What to do next, the most urgent first.

    Args:
        inputs: What was measured.
        stance: What the verdict says of the run: `helped`, `traded`, `harmed` or `undecided`.
        changes: Final minus control: overall, of each bin, of each class.
        cautions: The warnings of the run.
    """
    kinds = {each.kind for each in cautions}
    return [
        *_about_images(
            kinds,
            inputs.params.get("synthesize", {}).get("feedback_scale", 0.01),
            has_learnt="adapter" in inputs.made_by,
        ),
        *_about_the_run(stance, changes, kinds, inputs.synthetic_counts),
        *_about_more(inputs, stance, changes),
    ]


def _about_images(kinds: set[str], scale: float, *, has_learnt: bool) -> Iterator[Step]:
    if "guessing" in kinds:
        yield Step(
            "Train longer, or on more real images, before anything else",
            "a classifier that guesses can neither guide nor judge",
        )
    if "cannot_draw" in kinds and not has_learnt:
        yield Step(
            "Let the generator learn these classes from your training images, or take one that"
            " knows them (docs/generators.md)",
            "it cannot draw some of them",
            "dvc exp run -S adapt.enabled=true",
        )
    elif "images" in kinds or "cannot_draw" in kinds:
        yield Step(
            "Look at the pictures, and take another generator if it cannot draw these classes",
            "the synthetic images do not look like real ones",
        )
    if "copies" in kinds:
        yield Step(
            "Look at the suspected copies below, and leave out what is one",
            "more images than chance explains lie next to a training image",
        )
    for kind, factor, why in (
        ("guidance_idle", 2, "guidance did nothing"),
        ("guidance_wild", 0.5, "guidance ran away"),
    ):
        if kind in kinds:
            yield Step(
                "Change synthesize.feedback_scale, and compare by validation images",
                why,
                f"dvc exp run -S synthesize.feedback_scale={factor * scale:g}",
            )
    if "leak" in kinds:
        yield Step(
            "Leave copies of test images out of training",
            "accuracy on images that were learned by heart is too high",
            "dvc exp run -S prepare.overlaps=drop",
        )


def _about_the_run(
    stance: str, changes: Sequence[Change], kinds: set[str], drawn: Mapping[str, int]
) -> Iterator[Step]:
    lost = [c for c in changes if c.of == "class" and c.stands_out and c.lost > c.won]
    names = [each.name for each in sorted(lost, key=lambda each: each.difference or 0.0)]
    if stance == "harmed":
        yield Step(
            "Stop: use the control, models/control",
            "it is the better classifier on the same test images",
        )
    elif stance == "traded":
        yield Step(
            "Decide which classes matter: the curve of frequent against rare shows the choice",
            "rare classes gained and others paid",
            "dvc exp run -S train_baseline.posthoc=logit_adjustment",
        )
        yield from _about_losers(names, drawn)
    elif stance == "helped":
        but = f", but {numbers.names(names, NAMED)} lost: decide whether they matter"
        yield Step(
            "Use the final classifier, models/final",
            f"it gained beyond chance and no bin paid{but if names else ''}",
        )
        yield from _about_losers(names, drawn)
    if stance == "undecided" and "guessing" not in kinds:
        needed = _images_needed(changes[0])
        yield Step(
            "Repeat it with other seeds, or with more test images"
            + (f" (about {needed:,} to tell a difference of this size)" if needed else ""),
            "what differs is within chance",
            "dvc exp run -S seed=1",
        )
    elif "shortcut" not in kinds and stance in ("helped", "traded"):
        yield Step(
            "Repeat it with another seed before you rely on it",
            "the intervals are over test images of one training",
            "dvc exp run -S seed=1",
        )


def _about_losers(names: Sequence[str], drawn: Mapping[str, int]) -> Iterator[Step]:
    """Of classes that lost, those that have less than a quarter of the most synthetic images."""
    least = max(10, max(drawn.values()) // 4)
    few = [name for name in names if drawn[name] < least]
    if few:
        yield Step(
            f"Raise the target for {numbers.names(few, NAMED)}, too",
            "lost beyond chance, and got few synthetic images or none while others got many",
            f"dvc exp run -S synthesize.min_per_class={least}",
        )


def _images_needed(change: Change) -> int | None:
    """Test images with which a difference as large would be seen four times in five, in tens.

    Source: Connor (1987), https://doi.org/10.2307/2531961 (sample size of McNemar's test)
    """
    difference, differ = change.won - change.lost, change.won + change.lost
    if not difference:
        return None
    needed = POWER * differ * change.num_images / difference**2
    return 10 * math.ceil(needed / 10) if needed < 1e6 else None


def _about_more(inputs: ReportInputs, stance: str, changes: Sequence[Change]) -> Iterator[Step]:
    if (worth := inputs.worth) is not None:
        yield from _about_worth(worth, inputs, stance)
        return
    low = _weakest(inputs, changes)
    if low:
        yield Step(
            f"Photograph more of {numbers.names(low, NAMED)}",
            "rare, and known worst to the final classifier; what photographs would add is not "
            "measured",
            "python -m flows.worth",
        )


def _about_worth(worth: Mapping[str, Any], inputs: ReportInputs, stance: str) -> Iterator[Step]:
    pay = [each for each in worth["units"] if (each["doubling"]["low"] or 0.0) > 0]
    if pay:
        best = pay[0]
        yield Step(
            f"Photograph more of {numbers.names([each['unit'] for each in pay], NAMED)}",
            f"twice its {best['real']:,} real images would add "
            f"{numbers.points(best['doubling']['value'])} points to {best['unit']} "
            f"({numbers.within(best['doubling']['low'], best['doubling']['high'])})",
        )
    grows = [
        name for name in BINS if (worth["bins"].get(name, {}).get("more", {}).get("low") or 0) > 0
    ]
    if grows and stance != "harmed":
        target = inputs.params.get("synthesize", {}).get("target_per_class")
        doubled = 2 * target if isinstance(target, int) else 400
        yield Step(
            f"Raise the target for {numbers.names([f'{name}-shot classes' for name in grows])}",
            f"{worth['num_more']:,} more synthetic images would add as much as "
            f"{numbers.images(worth['bins'][grows[0]]['more'])} real ones a rare {worth['unit']}",
            f"dvc exp run -S synthesize.target_per_class={doubled}",
        )
    elif not grows and worth["bins"]:
        yield Step(
            "Do not draw more of the same",
            "more synthetic images would add nothing that can be told from chance",
        )


def _weakest(inputs: ReportInputs, changes: Sequence[Change]) -> list[str]:
    """Rare classes that even the final classifier knows worst, a tenth of them, at least one."""
    rare = [
        (change.accuracies[1], change.name)
        for change in changes
        if change.of == "class" and change.num_images and inputs.meta.bins[change.name] != "many"
    ]
    ordered = sorted((accuracy, name) for accuracy, name in rare if accuracy is not None)
    return [name for _, name in ordered[: max(1, min(NAMED, len(ordered) // 10))]]
