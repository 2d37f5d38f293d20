"""What the run cost, and what guidance did for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fgds_core.report import numbers
from fgds_core.report.inputs import ReportInputs


@dataclass(frozen=True)
class StageCost:
    """The last run of a stage.

    Attributes:
        name: Of the stage.
        total_s: Seconds from start to end.
        work_s: Of these, work; the rest is start-up and bookkeeping.
        per_image_s: Seconds of a device for each image of those that were drawn here last; None
            where none was, and of a stage that draws nothing.
        peak_gb: Most memory at once; None where it was not noted.
    """

    name: str
    total_s: float
    work_s: float
    per_image_s: float | None
    peak_gb: float | None


@dataclass(frozen=True)
class Cost:
    """All stages.

    Attributes:
        stages: In the order in which they ran.
        total_s: Seconds of all of them.
        device_hours: Hours of work, all stages together, of one device.
        peak_gb: Most memory at once; None where it was not noted.
    """

    stages: list[StageCost]
    total_s: float
    device_hours: float
    peak_gb: float | None


def cost(inputs: ReportInputs) -> Cost | None:
    """What the stages took; None where no time was noted."""
    timing = inputs.timing
    if timing is None or not timing.get("stages"):
        return None
    stages = [
        StageCost(
            name,
            times["total_s"],
            times["work_s"],
            times.get("per_image_s"),
            times.get("peak_rss_gb"),
        )
        for name, times in timing["stages"].items()
    ]
    return Cost(
        stages,
        timing.get("total_s", sum(stage.total_s for stage in stages)),
        sum(stage.work_s for stage in stages) / 3600,
        timing.get("peak_rss_gb"),
    )


def agreement(of_class: Mapping[str, Any]) -> float | None:
    """Share of the images of a class that the judge takes for it, of its own recall where known.

    Args:
        of_class: Its entry in `measures.json`.
    """
    heard = (of_class.get("judge") or {}).get("agreement_of_recall") or {}
    entry = heard if heard.get("value") is not None else of_class.get("label_agreement") or {}
    value: float | None = entry.get("value")
    return value


@dataclass(frozen=True)
class Quality:
    """A measure of the synthetic set, with its interval or why it has no value."""

    label: str
    hint: str
    value: float | None
    low: float | None
    high: float | None
    rests: str
    reason: str | None


def quality(measures: Mapping[str, Any]) -> list[Quality]:
    """The measures of the whole set, in their order.

    Args:
        measures: The content of `measures.json`.
    """
    return [_quality(measures[its["name"]], its) for its in measures["shown"]]


def _quality(entry: Mapping[str, Any] | None, its: Mapping[str, str]) -> Quality:
    label, hint = its["label"], its["hint"]
    if entry is None:
        return Quality(label, hint, None, None, None, "", "no judge was asked")
    rests = numbers.count(entry["num_synthetic"], "synthetic image")
    if entry["num_real"]:
        rests = f"{numbers.count(entry['num_real'])} real, {rests}"
    if entry.get("effective_real"):
        rests += f"; weighted, the real ones count for {entry['effective_real']:,.0f}"
    return Quality(
        label, hint, entry["value"], entry["low"], entry["high"], rests, entry.get("reason")
    )


@dataclass(frozen=True)
class Dash:
    """Why some measures have no value in some classes.

    Attributes:
        labels: Of the measures, in words.
        num: In how many classes.
        reason: In one of them.
        of: Its name; None where there is but one class, or the reason is not its own.
    """

    labels: str
    num: int
    reason: str
    of: str | None


def quality_of_classes(
    measures: Mapping[str, Any], names: Sequence[str]
) -> tuple[list[str], dict[str, list[float | None]], list[Dash]]:
    """The measures of single classes.

    Args:
        measures: The content of `measures.json`.
        names: The classes.

    Returns:
        The labels of the measures that some class has a value of, the values of each class, and
        why there is none in others.
    """
    entries = {
        its["label"]: [measures["per_class"][name][its["name"]] for name in names]
        for its in measures["shown"]
    }

    def value(entry: Mapping[str, Any] | None) -> float | None:
        return None if entry is None else entry["value"]

    labels = [
        label
        for label, of_classes in entries.items()
        if any(value(entry) is not None for entry in of_classes)
    ]
    values = {
        name: [value(entries[label][place]) for label in labels]
        for place, name in enumerate(names)
    }
    dashes: dict[tuple[int, str, str | None], list[str]] = {}
    for label, of_classes in entries.items():
        empty = [place for place, entry in enumerate(of_classes) if value(entry) is None]
        if empty:
            entry = of_classes[empty[0]]
            reason = "no judge was asked" if entry is None else entry.get("reason") or "not known"
            of = names[empty[0]] if entry is not None and len(names) > 1 else None
            dashes.setdefault((len(empty), reason, of), []).append(label)
    said = [Dash(numbers.names(some, len(some)), *why) for why, some in dashes.items()]
    return labels, values, said
