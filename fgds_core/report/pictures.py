"""The pictures of each class, as the page reads them when the class is opened.

They are inside the page as long as it stays small, and in a folder beside it otherwise. Every
picture of a synthetic image leads to its row in the set, and to the commands that draw it again or
leave it out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from fgds_core.files import csv_text
from fgds_core.report import numbers
from fgds_core.report.config import ReportConfig
from fgds_core.report.inputs import ReportInputs, read_pictures
from fgds_core.report.left_out import left_out_pictures
from fgds_core.report.tiles import commands, uri

FOLDER = "pictures"
TABLE = "pictures.csv"
"""The folder beside the page, and in it the row of every synthetic picture that the page shows."""

COLUMNS = (
    "class",
    "index",
    "seed",
    "why",
    "prompt",
    "judge_label",
    "judge_score",
    "feedback",
    "criterion_first",
    "criterion_final",
    "guided_steps",
    "skipped_steps",
    "nonfinite_steps",
)

BY_STEP = {
    "criterion by step": "criterion_by_step",
    "its gradient's norm": "gradient_by_step",
}
"""What was noted of each step of guidance: title -> column of the table of pictures."""

WHY = {
    "first": "the first of the class, not a choice",
    "worst": "the judge holds it for one of the worst",
    "best": "the judge holds it for one of the best",
    "copy": "suspected to copy a real image",
}
"""Why a picture is shown; what assess writes."""


def of_classes(
    inputs: ReportInputs, names: Sequence[str], config: ReportConfig
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The pictures of some classes, class by class in the order of their numbers.

    Args:
        inputs: Whose table of pictures is read, a few classes at a time.
        names: The classes.
        config: How many are shown of each.

    Yields:
        The number of a class, and what the page shows of it as JSON values.
    """
    if inputs.pictures is None:
        return
    place = {name: number for number, name in enumerate(inputs.meta.class_names)}
    shown = [numbers.visible(name) for name in inputs.meta.class_names]
    rows = read_pictures(inputs.pictures, sorted(place[name] for name in names))
    filled = {place[name] for name in inputs.synthetic.get("resampled", ())}
    away = left_out_pictures(inputs)
    next_away, gone = next(away, (None, []))
    for number, of_class in groupby(rows, key=lambda row: int(row["of"])):
        while next_away is not None and next_away < number:
            next_away, gone = next(away, (None, []))
        found = _class(shown, number, list(of_class), config)
        if next_away == number:
            found["strips"].append({"title": "Left out of training", "gone": gone})
        yield number, _as_real(found) if number in filled else found


def remarks(synthetic: Mapping[str, Any]) -> Iterator[str]:
    """What a reader of the pictures has to know: which of them are no drawings.

    Args:
        synthetic: The content of `measures.json`.
    """
    if filled := synthetic.get("resampled"):
        yield (
            f"Real training images, drawn again, fill {numbers.names(list(filled))} "
            f"({numbers.count(sum(filled.values()), 'image')}): nothing there is synthetic, and "
            "no copies are looked for."
        )


def _as_real(of_class: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of a class that real images fill, under its name."""
    for item in of_class["items"]:
        item["row"].insert(0, ["resampled", "a real training image, drawn again"])
    strips = [
        {**strip, "title": strip["title"].replace("Synthetic", "Real images drawn again")}
        for strip in of_class["strips"]
    ]
    return {**of_class, "strips": strips}


def _class(
    names: Sequence[str], number: int, rows: Sequence[Mapping[str, Any]], config: ReportConfig
) -> dict[str, Any]:
    real = [uri(row) for row in rows if row["role"] == "class"]
    items: dict[int, dict[str, Any]] = {}
    num_first = 0
    for row in rows:
        if row["role"] == "class":
            continue
        if row["role"] == "synthetic":
            why = str(row["why"]).split(",")
            num_first += why[0] == "first"
            if why[0] == "first" and num_first > config.images_per_class:
                why = why[1:]
            if why:
                items[row["item"]] = _item(names, number, row, why)
        elif (item := items.get(row["item"])) is not None:
            if row["role"] == "conditioning":
                item["from"] = uri(row)
            elif row["role"] == "unguided":
                item["without"] = uri(row)
            elif row["rank"] < config.neighbours_per_image:
                of = int(row["label"])
                item["near"].append(
                    {"picture": uri(row), "class": names[of], "other": of != number}
                    | {"distance": numbers.number(row["distance"])}
                )
    shown = [items[key] for key in sorted(items)]
    return {
        "class": names[number],
        "items": shown,
        "strips": [
            {"title": "Real training images", "pictures": real[: config.images_per_class]},
            *(_strip(title, shown, of) for title, of in STRIPS.items()),
        ],
    }


def _strip(
    title: str, items: Sequence[Mapping[str, Any]], of: Callable[[Mapping[str, Any]], bool]
) -> dict[str, Any]:
    places = [place for place, item in enumerate(items) if of(item)]
    return {"title": title, "items": places, "pairs": title == PAIRS}


PAIRS = "With feedback and without, from the same seed"
"""The row in which two pictures stand together."""

STRIPS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "Synthetic, the first of them": lambda item: "first" in item["why"],
    PAIRS: lambda item: item["without"] is not None,
    "Worst by the judge": lambda item: "worst" in item["why"],
    "Best by the judge": lambda item: "best" in item["why"],
    "Nearest to a real image of another class": lambda item: (
        bool(item["near"]) and item["near"][0]["other"]
    ),
    "Suspected copies": lambda item: "copy" in item["why"],
}
"""The rows of synthetic pictures of a class: title -> which pictures stand there."""


def _item(
    names: Sequence[str], number: int, row: Mapping[str, Any], why: Sequence[str]
) -> dict[str, Any]:
    """A synthetic picture with its row; the seed as text, for JavaScript would round it."""
    name, index = names[number], row["index"]
    label, score = row["judge_label"], row["judge_score"]
    said = [
        ("class", name),
        ("index", str(index)),
        ("seed", str(row["seed"])),
        ("prompt", row["prompt"] or "none"),
        ("shown as", "; ".join(WHY[each] for each in why)),
        (
            "judge",
            "none was asked"
            if label is None
            else f"{names[label]}, {numbers.number(abs(score))}"
            + ("" if label == number else " (another class)"),
        ),
        (
            "criterion",
            "not guided"
            if row["criterion_first"] is None
            else f"{row['feedback']}: {numbers.number(row['criterion_first'])} at first, "
            f"{numbers.number(row['criterion_final'])} at the end",
        ),
        (
            "steps",
            f"{row['guided_steps']} guided, {row['skipped_steps']} skipped, "
            f"{row['nonfinite_steps']} not finite",
        ),
        *(
            (title, _steps(text))
            for title, name in BY_STEP.items()
            if (text := row.get(name)) is not None
        ),
    ]
    return {
        "index": index,
        "why": list(why),
        "wrong": label is not None and label != number,
        "picture": uri(row),
        "from": None,
        "without": None,
        "near": [],
        "row": [[key, numbers.typeset(text)] for key, text in said],
        "commands": commands(name, index),
        "csv": {"class": name, "why": ",".join(why)}
        | {column: row[column] for column in COLUMNS if column in row and column != "why"}
        | {"judge_label": None if label is None else names[label]},
    }


def _steps(text: str) -> str:
    """Numbers of steps, as assess puts them into a table."""
    return ", ".join(numbers.number(float(value)) for value in text.split()) or "none"


def as_csv(items: Sequence[Mapping[str, Any]]) -> str:
    """The rows of all synthetic pictures of a page; a header alone without any."""
    rows = [{column: item[column] for column in COLUMNS} for item in items]
    return csv_text(rows) if rows else ",".join(COLUMNS) + "\n"


def as_json(of_class: Mapping[str, Any]) -> str:
    """What the page reads of a class: nothing in it can end a script."""
    items = [{k: v for k, v in item.items() if k != "csv"} for item in of_class["items"]]
    text = json.dumps({**of_class, "items": items}, ensure_ascii=False, separators=(",", ":"))
    return for_script(text)


def for_script(text: str) -> str:
    """JSON that may stand within a script: the same value, without what HTML would read."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
