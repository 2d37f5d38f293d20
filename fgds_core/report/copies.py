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

KNOWN_BY = ("picture", "part")
"""By what synthesize took images for copies where the parameters do not say."""


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


def what_was_done(inputs: ReportInputs) -> str:
    """Which copies were left out before, and why the suspects that are there were not."""
    config = inputs.params.get("synthesize", {})
    if config.get("copies", "redraw") == "keep":
        return "All of them were kept, as synthesize.copies is keep: they are named here alone."
    known_by = _known_by(config)
    gone = 0
    if inputs.excluded is not None:
        gone = sum(row["by"] == "copies" for row in read_rows(inputs.excluded, ["by"]))
    some = numbers.count(gone, "image was", "images were") if gone else "no image was"
    text = (
        f"By {' or '.join(WAYS[way] for way in known_by)} {some} taken for a copy and left out "
        "before."
    )
    others = [WAYS[way] for way in WAYS if way not in known_by]
    if others:
        text += f" Suspects by {' or '.join(others)} are kept (synthesize.copies_by)."
    return text


def _known_by(config: Mapping[str, Any]) -> list[str]:
    return list(config.get("copies_by", KNOWN_BY))


def _kept_because(config: Mapping[str, Any], way: str) -> str:
    """Why a suspect is in the set."""
    if config.get("copies", "redraw") == "keep":
        return "synthesize.copies is keep"
    if way not in _known_by(config):
        return f"synthesize.copies_by does not name {way}"
    return "it was none when the set was checked"


def copy_pairs(inputs: ReportInputs) -> list[dict[str, Any]]:
    """The nearest pairs as the page reads them, the nearest first."""
    if inputs.copy_pairs is None:
        return []
    names = [numbers.visible(name) for name in inputs.meta.class_names]
    rows = list(read_rows(inputs.copy_pairs))
    made, real = (
        {row["pair"]: row for row in rows if row["role"] == role} for role in ("synthetic", "real")
    )
    config = inputs.params.get("synthesize", {})
    return [
        _pair(names, made[pair], real[pair], _kept_because(config, made[pair]["way"]))
        for pair in sorted(made)
    ]


def _pair(
    names: list[str], made: Mapping[str, Any], real: Mapping[str, Any], kept: str
) -> dict[str, Any]:
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
        ("kept because", kept),
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
