"""Two or more experiments side by side: what differs between them first, then the parts of a page.

Each is what its own page says of it. Beside that the final classifiers are compared with that of
the first experiment, image by image, where all have answered the same test images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from itertools import groupby
from pathlib import Path
from typing import Any

from fgds_core.errors import InputError
from fgds_core.report import charts, numbers, pictures
from fgds_core.report.accuracy import Comparison, comparison
from fgds_core.report.compare import Change, changes
from fgds_core.report.config import ReportConfig
from fgds_core.report.cost import cost
from fgds_core.report.gains import Answers
from fgds_core.report.page import Found
from fgds_core.report.provenance import LEFT_OUT, flat, provenance
from fgds_core.report.summary import is_left_out
from fgds_core.report.verdict import LABELS, Claim, claim
from fgds_core.report.writing import page_at, rendered

PAGE = "index.html"
MOST = 8
"""Experiments on one page."""


@dataclass(frozen=True)
class Experiment:
    """A finished run.

    Attributes:
        name: For people; no two have the same.
        found: What its report makes of it.
    """

    name: str
    found: Found


@dataclass(frozen=True)
class Difference:
    """A parameter that is not the same everywhere: dotted key, and its value in each as text."""

    key: str
    values: tuple[str, ...]


def write_comparison(experiments: Sequence[Experiment], out: Path, config: ReportConfig) -> Path:
    """Writes the page of a comparison into a folder, with its pictures.

    Args:
        experiments: At least two; the first is the one that others are compared with.
        out: The folder.
        config: How much the page shows.

    Raises:
        InputError: They are too few, too many, of other classes, or not told apart by names.
    """
    check(experiments)
    out.mkdir(parents=True, exist_ok=True)
    with page_at(out, PAGE) as page:
        page.write(
            _pictures(experiments, config),
            lambda with_pictures: _render(experiments, with_pictures),
            config.max_page_mb,
        )
    return out / PAGE


def check(experiments: Sequence[Experiment]) -> None:
    """Refuses what cannot stand side by side; see `write_comparison`."""
    names = [each.name for each in experiments]
    if not 2 <= len(set(names)) == len(names) <= MOST:
        raise InputError(
            f"compare needs 2 to {MOST} experiments of different names, got {', '.join(names)}"
        )
    first = experiments[0]
    for other in experiments[1:]:
        classes = [set(each.found.inputs.meta.class_names) for each in (first, other)]
        if classes[0] != classes[1]:
            stranger = sorted(classes[0] ^ classes[1])[0]
            raise InputError(
                f"{first.name} and {other.name} have other classes, such as {stranger!r}; compare "
                "runs on the same classes"
            )


def differing(experiments: Sequence[Experiment]) -> list[Difference]:
    """The parameters that differ, without those that change no result."""
    trees = [
        {
            f"{section}.{key}" if key else section: value
            for section, values in each.found.inputs.params.items()
            if section not in (*LEFT_OUT, "report")
            for key, value in flat(values)
        }
        for each in experiments
    ]
    keys = dict.fromkeys(key for tree in trees for key in tree)
    rows = [
        Difference(key, tuple(tree.get(key, numbers.MISSING) for tree in trees)) for key in keys
    ]
    return [row for row in rows if len(set(row.values)) > 1]


def against_the_first(experiments: Sequence[Experiment]) -> dict[str, list[Change]]:
    """What changes from the first experiment's final classifier to each other's, by name.

    Those that have not answered the same test images are left out.
    """
    first = experiments[0]
    found = {}
    for other in experiments[1:]:
        inputs = [each.found.inputs for each in (first, other)]
        digests = [each.meta.content_sha256["test"] for each in inputs]
        if digests[0] != digests[1] or inputs[0].meta.class_names != inputs[1].meta.class_names:
            continue
        both = _answers(inputs[0].answers, first.name, inputs[1].answers, other.name)
        found[other.name] = changes(both, inputs[0].meta.bins, first.name, other.name)
    return found


def _answers(one: Answers, first: str, other: Answers, second: str) -> Answers:
    predicted = {first: one.predicted["final"], second: other.predicted["final"]}
    return replace(one, predicted=predicted, confidence={})


def accuracies(experiments: Sequence[Experiment]) -> list[tuple[str, ...]]:
    """Accuracy of each final classifier on test images, percent, with the gain over its control.

    Returns:
        (row of the summary, a text for each experiment); what none of them has is left out.
    """
    tables = [{row.bin: row for row in each.found.rows} for each in experiments]
    names = dict.fromkeys(name for of_one in tables for name in of_one)
    rows = []
    for name in names:
        row = [of_one.get(name) for of_one in tables]
        if all(each is None or is_left_out(each) or each.final is None for each in row):
            continue
        rows.append(
            (
                name,
                *(
                    numbers.MISSING
                    if each is None or each.final is None
                    else f"{numbers.percent(each.final)} "
                    f"({numbers.gain_of(each.control, each.final)})"
                    for each in row
                ),
            )
        )
    return rows


@dataclass(frozen=True)
class ClassRow:
    """A class in all experiments.

    Attributes:
        name: Of the class.
        bin: Of the first experiment.
        num_images: Test images there.
        finals: Accuracy of each final classifier, a fraction; None without test images.
        claims: How much of the change from the first to each other can be believed; None where
            they have not answered the same images.
    """

    name: str
    bin: str
    num_images: int
    finals: list[float | None]
    claims: list[Claim | None]


def class_rows(
    experiments: Sequence[Experiment], changed: Mapping[str, Sequence[Change]]
) -> list[ClassRow]:
    """All classes, rarest first."""
    first = experiments[0].found.inputs
    finals = [
        {each.name: each for each in one.found.changed["control", "final"] if each.of == "class"}
        for one in experiments
    ]
    moved = {
        name: {each.name: each for each in of_one if each.of == "class"}
        for name, of_one in changed.items()
    }
    counts = first.real_counts
    return [
        ClassRow(
            name,
            first.meta.bins[name],
            finals[0][name].num_images,
            [of_one[name].accuracies[1] for of_one in finals],
            [
                claim(moved[other.name][name]) if other.name in moved else None
                for other in experiments[1:]
            ],
        )
        for name in sorted(counts, key=lambda each: (counts[each], each))
    ]


def _pictures(
    experiments: Sequence[Experiment], config: ReportConfig
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The pictures of each class in all experiments, one class at a time."""
    names = experiments[0].found.inputs.meta.class_names[: config.max_classes]
    of_each = [
        _titled(each, number, pictures.of_classes(each.found.inputs, names, config))
        for number, each in enumerate(experiments)
    ]
    for number, parts in groupby(_merged(of_each), key=lambda part: part[0]):
        yield number, _together([of_class for _, of_class in parts])


def _titled(
    experiment: Experiment, number: int, classes: Iterator[tuple[int, dict[str, Any]]]
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """The pictures of an experiment with its name at them, and none of its commands."""
    for of, found in classes:
        items = [
            item | {"row": [["experiment", experiment.name], *item["row"]], "commands": []}
            for item in found["items"]
        ]
        strips = [
            strip | {"title": f"{experiment.name}: {strip['title']}"}
            if "items" in strip
            else strip
            for strip in found["strips"]
            if "items" in strip or ("pictures" in strip and not number)  # real images once
        ]
        yield of, number, found | {"items": items, "strips": strips}


def _merged(
    of_each: Sequence[Iterator[tuple[int, int, dict[str, Any]]]],
) -> Iterator[tuple[int, dict[str, Any]]]:
    for of, _, found in merge(*of_each, key=lambda part: part[:2]):
        yield of, found


def _together(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    items: list[Any] = []
    strips: list[Any] = []
    for part in parts:
        start = len(items)
        items += part["items"]
        strips += [
            strip | {"items": [start + place for place in strip["items"]]}
            if "items" in strip
            else strip
            for strip in part["strips"]
        ]
    order = list(pictures.STRIPS)  # the same row of all experiments below each other

    def rank(strip: Mapping[str, Any]) -> int:
        title = str(strip["title"])
        return next((n for n, name in enumerate(order) if title.endswith(f": {name}")), -1)

    return parts[0] | {"items": items, "strips": sorted(strips, key=rank)}


def sentences(experiments: Sequence[Experiment], comparisons: Sequence[Comparison]) -> list[str]:
    """What each other experiment does beside the first, a sentence each."""
    said = []
    for each in comparisons:
        moved = [c for c in each.sets if c.meaning != "same"]
        if not moved:
            n = each.sets[0].change.num_images
            said.append(
                f"{each.second} and {each.first}: no difference can be told from chance on "
                f"{numbers.count(n, 'test image')}."
            )
            continue
        listed = numbers.names([f"{c.label.lower()} {c.gain} points ({c.sure})" for c in moved])
        said.append(f"{each.second} beside {each.first}: {listed}.")
    known = {each.second for each in comparisons}
    said += [
        f"{other.name} was tested on other images than {experiments[0].name}: only their gains "
        "over their own controls compare."
        for other in experiments[1:]
        if other.name not in known
    ]
    return said


def sentences_of(experiments: Sequence[Experiment]) -> list[str]:
    """The same, of all of them."""
    return sentences(experiments, _comparisons(experiments, against_the_first(experiments)))


def _comparisons(
    experiments: Sequence[Experiment], changed: Mapping[str, Sequence[Change]]
) -> list[Comparison]:
    first = experiments[0]
    answers = {each.name: each.found.inputs.answers for each in experiments}
    return [
        comparison(_answers(answers[first.name], first.name, answers[name], name), of_one)
        for name, of_one in changed.items()
    ]


def _render(experiments: Sequence[Experiment], with_pictures: Sequence[int]) -> str:
    names = [each.name for each in experiments]
    inputs = [each.found.inputs for each in experiments]
    first = experiments[0].found
    changed = against_the_first(experiments)
    comparisons = _comparisons(experiments, changed)
    rows = class_rows(experiments, changed)
    drawn = {
        "finals": charts.finals(
            [(each.name, row) for each in experiments for row in each.found.rows]
        ),
        "trade_off": charts.trade_off(
            {each.name: each.found.inputs.trade_offs["final"] for each in experiments}
        ),
        "curves": charts.learning_curves(
            {each.name: each.found.inputs.curves["final"] for each in experiments}
        ),
    }
    return rendered(
        "experiments.html.j2",
        drawn,
        title=f"{len(names)} experiments side by side",
        names=names,
        differences=differing(experiments),
        sentences=sentences(experiments, comparisons),
        experiments=experiments,
        comparisons=comparisons,
        accuracies=accuracies(experiments),
        labels=LABELS,
        rows=rows,
        number_of={name: place for place, name in enumerate(first.inputs.meta.class_names)},
        with_pictures=set(with_pictures),
        costs=[cost(each) for each in inputs],
        provenances=[provenance(each) for each in inputs],
        num_synthetic=[each.synthetic["num_synthetic"] for each in inputs],
    )
