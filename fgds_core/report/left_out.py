"""Images that are left out of training, and what was drawn in their place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any

from fgds_core.report import numbers
from fgds_core.report.inputs import ReportInputs, read_rows
from fgds_core.report.tiles import commands, uri

NO_REASON = "no reason given"

SHOWN = 8
"""Pictures of a class that are shown, at most."""


@dataclass
class Away:
    """What is left out of a class.

    Attributes:
        name: Of the class.
        reasons: How many images, by who leaves them out (`person` or a check) and why.
        drawn: Images drawn in the place of others.
        scales: The feedback scale of each such drawing, in turn.
    """

    name: str
    reasons: Counter[str] = field(default_factory=Counter)
    drawn: int = 0
    scales: list[float] = field(default_factory=list)

    @property
    def num_images(self) -> int:
        """Images that are left out."""
        return self.reasons.total()

    @property
    def said(self) -> str:
        """By whom and why, the most frequent reasons first."""
        often = sorted(self.reasons.items(), key=lambda each: (-each[1], each[0]))
        return numbers.names([f"{why} ({number:,})" for why, number in often], 3)

    @property
    def at_scales(self) -> str:
        """The feedback scales of the drawings in turn."""
        return ", ".join(f"{scale:g}" for scale in self.scales) or numbers.MISSING


def left_out(inputs: ReportInputs) -> list[Away]:
    """Of each class that something is left out of, those with most first."""
    names = inputs.meta.class_names
    found: dict[int, Away] = {}

    def of(label: int) -> Away:
        return found.setdefault(label, Away(names[label]))

    for row in _rows(inputs, ["label", "by", "reason"]):
        of(row["label"]).reasons[f"{row['by']}: {_kind(row['reason'] or NO_REASON)}"] += 1
    vetting: Mapping[str, Any] = inputs.made_by.get("vetting", {})
    for again in vetting.get("again", ()):
        for label, number in enumerate(again["wanted"]):
            if number:
                of(label).drawn += number
                of(label).scales.append(again["feedback_scale"])
    return sorted(found.values(), key=lambda each: (-each.num_images, each.name))


def left_out_pictures(inputs: ReportInputs) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The first pictures of each class that are left out, class by class in their order.

    Yields:
        The number of a class, and its pictures as JSON values.
    """
    names = [numbers.visible(name) for name in inputs.meta.class_names]
    for label, rows in groupby(_rows(inputs), key=lambda row: int(row["label"])):
        yield label, [_picture(names[label], row) for row in islice(rows, SHOWN)]


def _rows(inputs: ReportInputs, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    return iter(()) if inputs.excluded is None else read_rows(inputs.excluded, columns)


def _kind(why: str) -> str:
    """A reason without how sure the judge is, or which image is copied and how near it is.

    `the judge sees coat (0.93)`, `copy of test image 12, mirrored (part: ...)`.
    """
    if copy := re.match(r"copy of (\w+) image \d+", why):
        return f"copy of a {copy[1]} image"
    head, _, tail = why.rpartition(" (")
    return head if head and tail.removesuffix(")").replace(".", "").isdigit() else why


def _picture(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    why = row["reason"] or NO_REASON
    said = (("class", name), ("index", str(row["index"])), ("by", row["by"]), ("why", why))
    return {
        "index": row["index"],
        "picture": uri(row),
        "row": [[key, numbers.typeset(numbers.visible(text))] for key, text in said],
        "commands": commands(name, row["index"])[:1],
    }
