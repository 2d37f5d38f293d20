"""What has to be known before the numbers are believed, from what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fgds_core.report import numbers
from fgds_core.report.gains import guesses, per_class
from fgds_core.report.inputs import ReportInputs
from fgds_core.report.shortcut import sent_to_synthetic

TINY = 10
"""Test images of a class below which nothing is said of it alone."""

EXPECTED_COPIES = 0.01
"""The share of genuine images that the search for copies would suspect, too."""


@dataclass(frozen=True)
class Caution:
    """A warning.

    Attributes:
        kind: A word for programs: `guessing`, `cannot_draw`, `images`, `guidance_idle`,
            `guidance_wild`, `copies`, `tiny`, `shortcut` or `leak`.
        text: For people.
    """

    kind: str
    text: str


def cautions(inputs: ReportInputs) -> list[Caution]:
    """All that this run has, the gravest first."""
    return [
        *_guessing(inputs),
        *_ability(inputs),
        *_images(inputs),
        *_shortcut(inputs),
        *_tiny(inputs),
    ]


def _guessing(inputs: ReportInputs) -> Iterator[Caution]:
    answers = inputs.answers
    if guesses(answers, "final"):
        yield Caution(
            "guessing",
            "The final classifier's answers could be guesses (permutation test of its mean "
            "recall, 5 %): no difference counts as a gain.",
        )
    features = inputs.synthetic["feature_space"]["name"]
    if features == "classifier" and guesses(answers, "baseline"):
        yield Caution(
            "guessing", "The baseline guesses: measures in its features say nothing of the images."
        )


def _ability(inputs: ReportInputs) -> Iterator[Caution]:
    """What the generator check said, however the run went on."""
    ability = inputs.ability
    if ability is None:
        return
    everything = (*ability["classes"], *ability["groups"], *ability.get("cells", ()))
    failing = [each for each in everything if each["can_draw"] is False]
    if not failing:
        return
    reasons = "; ".join(f"{reason} ({words})" for reason, words in failing[0]["reasons"].items())
    filled = ""
    if ability["cannot_draw"] == "resample":  # which fills whole classes
        whole = all(each in ability["classes"] for each in failing)
        filled = ", which real images fill" if whole else "; real images fill the classes of these"
    yield Caution(
        "cannot_draw",
        f"The generator cannot draw {numbers.names([each['name'] for each in failing])}{filled}; "
        f"{failing[0]['name']}: {reasons}.",
    )


def _images(inputs: ReportInputs) -> Iterator[Caution]:
    found = inputs.synthetic
    said = [str(text) for text in found.get("warnings", ())]
    for text in said:
        yield Caution(_kind(text), _sentence(text))
    copies = found.get("copy_rate")
    if copies and copies["low"] is not None and copies["low"] > EXPECTED_COPIES:
        yield Caution(
            "copies",
            f"{numbers.percent(copies['value'])} % of the synthetic images lie nearer to a "
            f"training image than real images do, {numbers.percent(EXPECTED_COPIES, 0)} % would "
            "by chance: look for copies among the pictures.",
        )
    if not any(_kind(text).startswith("guidance") for text in said):
        yield from _guidance(found["guidance"])
    overlaps = inputs.meta.overlaps or {}
    leaked = {pair: n for pair, n in overlaps.items() if "test" in pair.split("-") and n}
    if leaked and not overlaps.get("dropped"):
        where = numbers.names(
            [f"{numbers.count(n, 'image')} in {pair}" for pair, n in leaked.items()]
        )
        yield Caution("leak", f"Test images occur in other splits: {where}.")


def _kind(text: str) -> str:
    """What a warning of the assessment is about."""
    if "uidance" not in text:
        return "images"
    return "guidance_idle" if "nothing" in text else "guidance_wild"


def _guidance(health: dict[str, Any]) -> Iterator[Caution]:
    if set(health["feedback"]) <= {"none"}:
        return
    guided, skipped = health["guided_steps"], health["skipped_steps"]
    if not guided:
        yield Caution("guidance_idle", "Guidance did nothing: no step of any image was pushed.")
    elif skipped and skipped > guided:
        yield Caution(
            "guidance_idle",
            f"Guidance left more steps alone ({numbers.number(skipped)} an image) than it pushed "
            f"({numbers.number(guided)}): its target was reached from the start.",
        )
    if health["nonfinite_steps"] or health["redrawn_images"]:
        yield Caution(
            "guidance_wild",
            f"Guidance ran away: {numbers.count(health['nonfinite_steps'], 'step')} had no finite "
            f"gradient, {numbers.count(health['redrawn_images'], 'image')} had to be drawn again.",
        )


def _shortcut(inputs: ReportInputs) -> Iterator[Caution]:
    sent = sent_to_synthetic(inputs.answers, inputs.real_counts, inputs.synthetic_counts)
    if sent is None or not sent.is_suspicious:
        return
    shares = [numbers.percent(each / sent.num_images) for each in (sent.control, sent.final)]
    yield Caution(
        "shortcut",
        f"A shortcut is likely: the final classifier takes {shares[1]} % of the test images of "
        f"mostly real classes for mostly synthetic ones, the control {shares[0]} %, and recall of "
        f"these rose by less ({numbers.points(sent.recall_gain)} points). It may know synthetic "
        "images by what they look like, not by what they show.",
    )


def _tiny(inputs: ReportInputs) -> Iterator[Caution]:
    tested = per_class(inputs.answers).tolist()
    tiny = [
        f"{name} ({num})"
        for num, name in sorted(zip(tested, inputs.answers.class_names, strict=True))
        if num < TINY
    ]
    if tiny:
        yield Caution(
            "tiny",
            f"{numbers.count(len(tiny), 'class', 'classes')} of {len(tested):,} "
            f"{'has' if len(tiny) == 1 else 'have'} fewer than {TINY} test images, which decide "
            f"nothing: {numbers.names(tiny)}.",
        )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?', '!')) else '.'}"
