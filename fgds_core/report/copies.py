"""Suspected copies beside what they may copy, and how many chance would explain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fgds_core.report import numbers
from fgds_core.report.inputs import ReportInputs, read_rows
from fgds_core.report.tiles import commands, uri

SPLITS = {"train": "training", "val": "validation", "test": "test"}

WAYS = {
    "picture": "the whole picture",
    "part": "a part of the picture",
    "features": "its features",
}
"""By what two images are alike, in words."""


@dataclass(frozen=True)
class CopyCount:
    """How many synthetic images may be copies of the images of a split.

    Attributes:
        split: In words.
        num_suspected: How many.
        conditioning: Of these, of the image they were made from.
        expected: By chance; None where nobody knows.
        num_alarms: Real images that would be suspected beside the same ones.
        num_real: How many of them were asked.
    """

    split: str
    num_suspected: int
    conditioning: int
    expected: float | None
    num_alarms: int
    num_real: int


def copy_counts(inputs: ReportInputs) -> list[CopyCount]:
    """By split; empty where no copies were looked for."""
    fields = ("num_suspected", "conditioning", "expected", "num_alarms", "num_real")
    found = inputs.synthetic.get("copies", {})
    return [
        CopyCount(said, *(found[split][name] for name in fields))
        for split, said in SPLITS.items()
        if split in found
    ]


def copy_pairs(inputs: ReportInputs) -> list[dict[str, Any]]:
    """The nearest pairs as the page reads them, the nearest first."""
    if inputs.copy_pairs is None:
        return []
    names = [numbers.visible(name) for name in inputs.meta.class_names]
    rows = list(read_rows(inputs.copy_pairs))
    made, real = (
        {row["pair"]: row for row in rows if row["role"] == role} for role in ("synthetic", "real")
    )
    return [_pair(names, made[pair], real[pair]) for pair in sorted(made)]


def _pair(names: list[str], made: Mapping[str, Any], real: Mapping[str, Any]) -> dict[str, Any]:
    name, split = names[made["label"]], SPLITS.get(made["split"], made["split"])
    turned = made["orientation"]
    said = [
        ("class", name),
        ("index", str(made["index"])),
        ("may copy", f"{split} image {made['reference']:,} of {names[real['label']]}"),
        ("made from it", "yes" if made["conditioning"] else "no"),
        ("alike in", WAYS.get(made["way"], made["way"]) + (f", {turned}" if turned else "")),
        (
            "distance",
            f"{numbers.number(made['distance'])}, {numbers.number(made['ratio'])} of that of its "
            f"real neighbours; suspect below {numbers.number(made['threshold'])}",
        ),
    ]
    return {
        "class": name,
        "index": made["index"],
        "split": split,
        "picture": uri(made),
        "real": uri(real),
        "row": [[key, numbers.typeset(text)] for key, text in said],
        "commands": commands(name, made["index"], "a copy"),
    }
