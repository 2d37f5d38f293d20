"""The result as one self-contained HTML page and a small CSV file.

The page needs no network and no other file. The same inputs give the same bytes; only the stage
times, where there are any, differ between runs.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fgds_core.data.imbalance import BINS
from fgds_core.data.meta import Meta, read_meta
from fgds_core.errors import InputError
from fgds_core.files import read_csv, read_json, replacing
from fgds_core.report import charts, compare, confusions
from fgds_core.report.compare import PAIRS, Change, changes
from fgds_core.report.config import ReportConfig
from fgds_core.report.confusions import Confusion
from fgds_core.report.gains import (
    STAGES,
    Answers,
    Verdict,
    Worst,
    class_rows,
    guesses,
    headline_rows,
    read_answers,
    report_folders,
    standing_out,
    verdict,
    worst_group,
)
from fgds_core.report.summary import Row, gain_of, is_left_out, shown, summary_csv

TEMPLATE = "page.html.j2"
BALANCED = {"sampling": "class_balanced"}
LISTED = 8
"""Classes that gained, and that lost, and mistakes of either kind that a list has at most."""

LEFT_OUT = ("compute", "store")  # sections that change no result

LABELS = {
    "overall": "Overall accuracy",
    "many": "Many-shot",
    "medium": "Medium-shot",
    "few": "Few-shot",
    "worst_group": "Worst group",
    "worst_group_10": "Worst group of 10 images or more",
    "worst_tenth": "Worst tenth of the groups",
    "mean_group": "Mean over groups",
    "adjusted_mean": "Mean over groups, weighted as in training",
    "macro_f1": "Macro F1",
    "ece": "Calibration error",
}
# What a class is told to the generator by, for each value of `synthesize.conditioning`.
TOLD_BY = {
    "dual": "by a text prompt and by the embedding of a real image of the class",
    "text": "by a text prompt",
    "image": "by the embedding of a real image of the class",
}
# Whose criterion steers, for each value of `synthesize.guide`.
GUIDED_BY = {
    "baseline": "baseline",
    "control": "control",
    "both": "committee of baseline and control",
}


PAGE, SUMMARY, PAIRED = "index.html", "summary.csv", "paired.csv"
CONFUSIONS = "confusion_changes.csv"
OUTPUTS = (PAGE, SUMMARY, PAIRED, CONFUSIONS)


@dataclass(frozen=True)
class ReportInputs:
    """What the page is made of.

    Attributes:
        meta: Class names, counts and bins of the prepared data.
        metrics: Metrics JSON of `baseline`, `control` and `final`.
        answers: Their answers on the test images.
        trade_offs: Rows of `tradeoff.csv` of each.
        synthetic: The content of `assess/measures.json`.
        criterion: Rows of `assess/criterion.csv`.
        neighbours: Pictures of synthetic images and their neighbours, or None without them.
        timing: The content of `timing.json`, or None.
        params: All parameters by section.
    """

    meta: Meta
    metrics: Mapping[str, Mapping[str, Any]]
    answers: Answers
    trade_offs: Mapping[str, Sequence[Mapping[str, str]]]
    synthetic: Mapping[str, Any]
    criterion: Sequence[Mapping[str, str]]
    neighbours: Path | None
    timing: Mapping[str, Any] | None
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """A row of the summary or of a class as the page shows it.

    Attributes:
        row: Its numbers.
        label: Its name for people.
        verdict: What its change means; `same` is grey.
    """

    row: Row
    label: str
    verdict: Verdict

    @property
    def shown(self) -> dict[str, str]:
        """Its numbers as text."""
        return {
            name: text.replace("-", "\N{MINUS SIGN}" if len(text) > 1 else "\N{EN DASH}")
            for name, text in shown(self.row).items()
        }


def write_report(
    prepared: Path,
    reports: Path,
    params: Mapping[str, Any],
    config: ReportConfig,
    *,
    real_reports: Path | None = None,
) -> Path:
    """The stage in one call: writes what `OUTPUTS` names into `reports`.

    They take the place of earlier ones together, when all are whole.

    Args:
        prepared: Prepared data, for class names, counts and bins.
        reports: Folder with what the other stages reported.
        params: All parameters by section, shown as a table.
        config: How much the page shows.
        real_reports: Folder with the reports of baseline and control, if it is another.

    Returns:
        The path of the page.

    Raises:
        InputError: If the report of another stage is missing or damaged.
    """
    inputs = read_inputs(prepared, reports, params, real_reports or reports)
    answers, bins = inputs.answers, inputs.meta.bins
    rows = headline_rows(inputs.metrics, answers, bins)
    changed = {pair: changes(answers, bins, *pair) for pair in PAIRS}
    mistakes = confusions.changed(answers)
    texts = {
        PAGE: page(inputs, rows, changed, mistakes, config),
        SUMMARY: summary_csv(rows),
        PAIRED: compare.as_csv([change for each in changed.values() for change in each]),
        CONFUSIONS: confusions.as_csv(mistakes),
    }
    with ExitStack() as whole:
        for name, text in texts.items():
            temporary = whole.enter_context(replacing(reports / name))
            temporary.write_text(text, encoding="utf-8", newline="\n")
    return reports / PAGE


def read_inputs(
    prepared: Path, reports: Path, params: Mapping[str, Any], real_reports: Path
) -> ReportInputs:
    """Collects what the other stages wrote; see `write_report`."""
    neighbours = reports / "assess" / "neighbours.parquet"
    timing = reports / "timing.json"
    meta = read_meta(prepared)
    again = "run the stage assess again"
    folders = report_folders(reports, real_reports)
    return ReportInputs(
        meta=meta,
        metrics={
            name: read_json(folders[name] / f"{name}.json", f"run the stage {stage} again")
            for name, stage in STAGES.items()
        },
        answers=read_answers(folders, meta.class_names),
        trade_offs={
            name: read_csv(
                folders[name] / name / "tradeoff.csv",
                f"run the stage {stage} again",
                ["tau", "overall", *BINS],
            )
            for name, stage in STAGES.items()
        },
        synthetic=_read_measures(reports / "assess" / "measures.json", again),
        criterion=read_csv(reports / "assess" / "criterion.csv", again, ["class", "criterion"]),
        neighbours=neighbours if neighbours.is_file() else None,
        timing=read_json(timing, "remove it") if timing.is_file() else None,
        params=params,
    )


def _read_measures(path: Path, remedy: str) -> dict[str, Any]:
    found = read_json(path, remedy)
    if "shown" not in found:
        raise InputError(f"{path} is of an earlier version; {remedy}")
    return found


def page(
    inputs: ReportInputs,
    rows: Sequence[Row],
    changed: Mapping[tuple[str, str], Sequence[Change]],
    mistakes: Sequence[Confusion],
    config: ReportConfig,
) -> str:
    """Renders the page.

    Args:
        inputs: What the other stages reported.
        rows: Of the summary.
        changed: Of each of `PAIRS`.
        mistakes: Those that changed, the most changed first.
        config: How much the page shows.
    """
    meta, answers = inputs.meta, inputs.answers
    counts = dict(zip(meta.class_names, meta.counts["train"], strict=True))
    at_chance = guesses(answers, "final")
    lines = class_lines(answers, final_guesses=at_chance)
    parts = chosen_classes(lines, counts, config.max_classes)
    shown_classes = [line.label for part in parts for line in part.lines]
    per_class = inputs.synthetic["per_class"]
    samples = _samples(inputs, shown_classes, config)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _percent,
        "signed": _signed,
        "number": _number,
        "p_value": _p_value,
        "gain": _gain,
    }
    return environment.get_template(TEMPLATE).render(
        headline=[
            Line(row, LABELS[row.bin], verdict(row, final_guesses=at_chance))
            for row in rows
            if not is_left_out(row)
        ],
        at_chance=at_chance,
        worst=_worst(answers),
        num_classes_in={
            name: sum(meta.bins[class_name] == name for class_name in meta.class_names)
            for name in BINS
        },
        meta=meta,
        counts=counts,
        num_train=sum(counts.values()),
        num_test=len(answers.actual),
        num_synthetic=inputs.synthetic["num_synthetic"],
        seed=inputs.metrics["final"]["seed"],
        parts=parts,
        shown=shown_classes,
        synthetic_counts={name: per_class[name]["num_synthetic"] for name in shown_classes},
        comparisons=[_comparison(answers, *pair, changed[pair]) for pair in PAIRS],
        confusion=confusions.matrices(answers, shown_classes),
        mistakes=_mistakes(mistakes),
        labels=LABELS,
        recipe=_recipe(inputs.params),
        fewest=charts.FEWEST,
        listed=LISTED,
        trade_off=charts.trade_off(inputs.trade_offs),
        calibration=charts.calibration(answers),
        samples=samples,
        has_sources=any(item["conditioning"] for items in samples.values() for item in items),
        told=TOLD_BY.get(inputs.params.get("synthesize", {}).get("conditioning"), TOLD_BY["dual"]),
        criterion=_criterion(inputs, shown_classes),
        guided=inputs.synthetic["guidance"]["criterion_first"] is not None,
        guide=GUIDED_BY[inputs.params.get("synthesize", {}).get("guide", "baseline")],
        guidance=inputs.synthetic["guidance"],
        quality=[_measure(inputs.synthetic, **its) for its in inputs.synthetic["shown"]],
        quality_of_classes=_quality_of_classes(
            per_class, shown_classes, inputs.synthetic["shown"]
        ),
        warnings=_warnings(inputs),
        synthetic=inputs.synthetic,
        stages=_stages(inputs.timing),
        timing=inputs.timing,
        params=[
            (section, list(_flat(value)))
            for section, value in sorted(inputs.params.items())
            if section not in LEFT_OUT
        ],
    )


def class_lines(answers: Answers, *, final_guesses: bool) -> list[Line]:
    """A line for each class; its change counts only if it stands out among all classes."""
    out = standing_out(answers)
    return [
        Line(
            row,
            row.bin,
            verdict(row, is_noise=not stands_out, final_guesses=final_guesses),
        )
        for row, stands_out in zip(class_rows(answers), out, strict=True)
    ]


@dataclass(frozen=True)
class Part:
    """Some of the classes and why they are shown."""

    title: str
    lines: list[Line]


def chosen_classes(lines: Sequence[Line], counts: Mapping[str, int], most: int) -> list[Part]:
    """All classes, rarest first; of too many the rarest and those that changed most.

    Half of the places are for the rarest, a quarter each for the largest gains and losses among
    the others, by the end of the interval that is nearer to zero: a few images that happen to
    agree are no large change. Of equally rare classes, the ones that changed more come first.

    Args:
        lines: Of all classes.
        counts: Real training images of each class name.
        most: How many may be shown.
    """

    def change(line: Line) -> float:
        return abs(line.row.gain or 0.0)

    rarest = sorted(lines, key=lambda line: (counts[line.label], -change(line), line.label))
    if len(lines) <= most:
        return [Part("", rarest)]
    each = most // 4
    first, others = rarest[: most - 2 * each], rarest[most - 2 * each :]
    gains = sorted(others, key=lambda line: -(line.row.low or 0.0))[:each]
    losses = sorted(
        (line for line in others if line not in gains), key=lambda line: line.row.high or 0.0
    )[:each]
    parts = [
        Part(f"The {len(first)} rarest", first),
        Part(f"The {len(gains)} largest gains among the others", gains),
        Part(f"The {len(losses)} largest losses among the others", losses),
    ]
    return [part for part in parts if part.lines]


@dataclass(frozen=True)
class Comparison:
    """Two classifiers as the page compares them.

    Attributes:
        first: Name of the one.
        second: Name of the other.
        sets: Changes overall and of the bins, each with what it means.
        num_tested: Classes with test images.
        lists: Classes that gained beyond chance, and those that lost: how many there are, and the
            first of them.
    """

    first: str
    second: str
    sets: list[tuple[Change, Verdict]]
    num_tested: int
    lists: dict[str, tuple[int, list[Change]]]


def _comparison(
    answers: Answers, first: str, second: str, changed: Sequence[Change]
) -> Comparison:
    guessed = guesses(answers, second)

    def meaning(change: Change) -> Verdict:
        if change.low is not None and change.high is not None:
            if change.high < 0:
                return "loss"
            return "gain" if change.low > 0 and not guessed else "same"
        return "same"

    out = [change for change in changed if change.of == "class" and change.stands_out]
    won = [] if guessed else [change for change in out if change.won > change.lost]
    lost = [change for change in out if change.won < change.lost]

    def first_of(these: list[Change]) -> tuple[int, list[Change]]:
        large = sorted(these, key=lambda c: -abs(c.won - c.lost) / (c.num_images + 2))
        return len(these), large[:LISTED]

    return Comparison(
        first,
        second,
        [(change, meaning(change)) for change in changed if change.of != "class"],
        sum(change.of == "class" and change.num_images > 0 for change in changed),
        {"gain": first_of(won), "loss": first_of(lost)},
    )


def _mistakes(mistakes: Sequence[Confusion]) -> dict[str, tuple[int, list[Confusion]]]:
    """Mistakes that the final classifier makes less often, and more often: how many, and some."""
    fewer = [each for each in mistakes if each.change < 0]
    more = [each for each in mistakes if each.change > 0]
    return {"gain": (len(fewer), fewer[:LISTED]), "loss": (len(more), more[:LISTED])}


def _recipe(params: Mapping[str, Any]) -> str | None:
    """What the final recipe and its control's differ in from the baseline's, as text.

    None where it is class-balanced batches of what came as it is, which the page has words for.
    """
    sampling = params.get("train_baseline", {}).get("sampling", "instance")
    changes = params.get("retrain", {}).get("training", BALANCED)
    if sampling == "instance" and changes == BALANCED:
        return None
    return ", ".join(f"{key}: {value}" for key, value in _flat(changes) if key)


def _worst(answers: Answers) -> dict[str, Worst | None]:
    return {name: worst_group(answers, name) for name in STAGES}


def _warnings(inputs: ReportInputs) -> list[str]:
    """What a person has to know before the quality numbers are believed."""
    warnings = [str(text) for text in inputs.synthetic.get("warnings", ())]
    features = inputs.synthetic["feature_space"]["name"]
    if not warnings and features == "classifier" and guesses(inputs.answers, "baseline"):
        warnings.append("the baseline guesses: numbers in its features mean nothing")
    return warnings


def _measure(found: Mapping[str, Any], name: str, label: str, hint: str) -> dict[str, Any]:
    """One quality number with its interval, and what it rests on or why it is not there."""
    entry = found[name]
    if entry is None:
        return {"label": label, "hint": hint, "value": None, "reason": "no judge was asked"}
    rests = f"{entry['num_synthetic']:,} synthetic images"
    if entry["num_real"]:
        rests = f"{entry['num_real']:,} real, {rests}"
    if entry.get("effective_real"):
        rests += f"; weighted, the real ones count for {entry['effective_real']:,.0f}"
    return {
        "label": label,
        "hint": hint,
        "value": entry["value"],
        "low": entry["low"],
        "high": entry["high"],
        "rests": rests,
        "reason": entry.get("reason"),
    }


def _quality_of_classes(
    per_class: Mapping[str, Any],
    shown_classes: Sequence[str],
    measures: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    """The measures that some class has a number for, and why the others are dashes.

    Args:
        per_class: The measures of each class name.
        shown_classes: Names of the classes on the page.
        measures: `name`, `label` and `hint` of each measure.

    Returns:
        `columns`: (key, label, hint); `cells`: for each class name the value or None of each
        column; `dashes`: for each measure with a dash its label, in how many of the classes, and
        the reason given for one of them.
    """
    columns, dashes = [], []
    for key, label, hint in ((its["name"], its["label"], its["hint"]) for its in measures):
        empty = [
            name
            for name in shown_classes
            if per_class[name][key] is None or per_class[name][key]["value"] is None
        ]
        if len(empty) < len(shown_classes):
            columns.append((key, label, hint))
        if empty:
            entry = per_class[empty[0]][key]
            reason = "no judge was asked" if entry is None else entry.get("reason") or "not known"
            of = empty[0] if entry is not None and len(shown_classes) > 1 else None
            dashes.append({"label": label, "num": len(empty), "reason": reason, "of": of})
    return {
        "columns": columns,
        "cells": {
            name: [(per_class[name][key] or {"value": None})["value"] for key, _, _ in columns]
            for name in shown_classes
        },
        "dashes": dashes,
    }


def _samples(
    inputs: ReportInputs, shown_classes: Sequence[str], config: ReportConfig
) -> dict[str, list[dict[str, Any]]]:
    """For each shown class its synthetic images, each with what it came from and is near to."""
    index = {name: k for k, name in enumerate(inputs.meta.class_names)}
    samples: dict[str, list[dict[str, Any]]] = {}
    if inputs.neighbours is None:
        return samples
    rows: dict[int, list[dict[str, Any]]] = {}
    for row in read_pictures(inputs.neighbours, [index[name] for name in shown_classes]):
        if row["item"] >= config.images_per_class:
            continue
        rows.setdefault(row["of"], []).append(row)
    for name in shown_classes:
        items: dict[int, dict[str, Any]] = {}
        for row in rows.get(index[name], ()):
            item = items.setdefault(
                row["item"], {"synthetic": None, "conditioning": None, "real": []}
            )
            if row["role"] == "real":
                if row["rank"] < config.neighbours_per_image:
                    picture = {
                        "source": _data_uri(row["image"]["bytes"]),
                        "class_name": inputs.meta.class_names[row["label"]],
                        "distance": row["distance"],
                    }
                    item["real"].append(picture)
            else:
                item[row["role"]] = _data_uri(row["image"]["bytes"])
        if items:
            samples[name] = [items[number] for number in sorted(items)]
    return samples


def _criterion(inputs: ReportInputs, shown_classes: Sequence[str]) -> list[dict[str, Any]]:
    """The baseline's entropy per class on real and synthetic images, and the guided criterion."""
    found = {(row["class"], row["criterion"], row["source"]): row for row in inputs.criterion}
    rows = []
    for name in shown_classes:
        entry: dict[str, Any] = {"class_name": name}
        for key, criterion, source in (
            ("real", "entropy", "real"),
            ("synthetic", "entropy", "synthetic"),
            ("first", "feedback", "synthetic first"),
            ("final", "feedback", "synthetic final"),
        ):
            row = found.get((name, criterion, source))
            numbers = {k: float(row[k]) for k in ("mean", "q25", "q75") if row[k]} if row else {}
            entry[key] = numbers or None
        rows.append(entry)
    return rows


def _stages(timing: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    if timing is None:
        return []
    stages = timing.get("stages", {})
    longest = max((times["total_s"] for times in stages.values()), default=0) or 1
    return [
        {
            "name": name,
            **times,
            "share": times["total_s"] / longest,
            "work_share": times["work_s"] / longest,
        }
        for name, times in stages.items()
    ]


def _flat(value: object, prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested parameters as (dotted key, JSON value)."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _data_uri(picture: bytes) -> str:
    """A picture inside the page, as assess made it for there: PNG or JPEG."""
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


# What changes how other text is shown, or is no text: control characters and those of direction.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def _visible(value: object) -> object:
    """A value for the page; in text of users, what cannot be seen is shown as a question mark."""
    if isinstance(value, str) and _UNSEEN.search(value):
        return type(value)(_UNSEEN.sub("\N{REPLACEMENT CHARACTER}", value))
    return value


def _percent(value: float | None, digits: int = 1) -> str:
    return "\N{EN DASH}" if value is None else f"{100 * value:.{digits}f}"


def _signed(value: float | None, digits: int = 1) -> str:
    """A change in points with its sign; a change that rounds to nothing has none."""
    if value is None:
        return "\N{EN DASH}"
    text = f"{100 * value:+.{digits}f}"
    if float(text) == 0:
        return text[1:]
    return text.replace("-", "\N{MINUS SIGN}")


def _number(value: float | None) -> str:
    """Three significant digits, without an exponent where it can be read without."""
    if value is None:
        return "\N{EN DASH}"
    if value == 0 or 0.001 <= abs(value) < 1000:
        digits = 3 if abs(value) < 1 else 2 if abs(value) < 100 else 0
        return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return f"{value:.2g}".replace("-", "\N{MINUS SIGN}")


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _gain(change: Change) -> str:
    """A change in points, the difference of the accuracies as they are printed elsewhere."""
    return gain_of(*change.accuracies).replace("-", "\N{MINUS SIGN}")


def read_pictures(path: Path, classes: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The rows of some classes in the table of pictures, in order; a row group at a time.

    Raises:
        InputError: It cannot be read.
    """
    wanted = pc.field("of").isin(list(classes))
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                some = file.read_row_group(group, columns=["of"])["of"]
                if pc.any(pc.is_in(some, pa.array(classes, pa.int64()))).as_py():
                    yield from file.read_row_group(group).filter(wanted).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is damaged ({error}); run the stage assess again") from error
