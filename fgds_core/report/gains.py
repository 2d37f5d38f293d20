"""What the synthetic images are worth: the final classifier against its control.

Both have answered the same test images, so every gain has the interval of a paired difference
(`paired`). A gain counts as one only where that interval excludes zero. Of classes there are many,
and some would stand out by chance; a class counts only if it still does so among all of them. A
classifier that guesses has gained nothing.

N test images, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fgds_core.classify import answers as kept
from fgds_core.classify import groups as of_groups
from fgds_core.classify.groups import Groups, TrainCounts, grouped
from fgds_core.classify.intervals import Bools, Floats, Interval, Labels
from fgds_core.data.imbalance import BINS
from fgds_core.errors import InputError
from fgds_core.files import csv_rows
from fgds_core.report import paired
from fgds_core.report.summary import Row, shown

STAGES = {"baseline": "train_baseline", "control": "train_control", "final": "retrain"}
"""The stage that writes the answers of each classifier."""

ROWS = ("overall", *BINS, *of_groups.MEASURES, "macro_f1", "ece")
OF_GROUPS_ONLY = of_groups.MEASURES.keys() - {"worst_group"}
"""The rows that are left out for data without groups."""

LESS_IS_BETTER = frozenset({"ece"})
RESAMPLING_SEED = 0
SIGNIFICANT = 0.05

Verdict = Literal["gain", "loss", "same"]


@dataclass(frozen=True)
class Answers:
    """What the three classifiers say about the same test images, in their order.

    Attributes:
        class_names: Name of each class, K of them.
        actual: True classes, [N].
        predicted: Classes that each classifier names, [N] each.
        confidence: Probability of that class, [N] each; empty where it was not kept.
        contexts: Group of each image; None for data without groups.
        train_counts: Real training images of each (class, group).
    """

    class_names: tuple[str, ...]
    actual: Labels
    predicted: Mapping[str, Labels]
    confidence: Mapping[str, Floats] = field(default_factory=dict)
    contexts: tuple[str, ...] | None = None
    train_counts: TrainCounts = field(default_factory=dict)

    @cached_property
    def groups(self) -> Groups | None:
        """The classes within their contexts; None for data without groups."""
        if self.contexts is None:
            return None
        labels = self.actual.tolist()
        return grouped(labels, self.contexts, self.class_names, self.train_counts)

    def right(self, name: str) -> Bools:
        """Whether a classifier is right, [N]."""
        right: Bools = self.predicted[name] == self.actual
        return right


@dataclass(frozen=True)
class Worst:
    """The class x group that a classifier is worst at, and the images this rests on.

    `low` and `high` are its exact 95 % interval.
    """

    class_name: str
    group: str
    recall: float
    num_images: int
    low: float
    high: float


def report_folders(reports: Path, real_reports: Path) -> dict[str, Path]:
    """The folder where each classifier's reports are, by the classifier's name."""
    return dict.fromkeys(STAGES, real_reports) | {"final": reports}


def read_answers(folders: Mapping[str, Path], class_names: Sequence[str]) -> Answers:
    """Reads the answers that the stages kept in `<name>/predictions.parquet`.

    Args:
        folders: From `report_folders`.
        class_names: Those of the prepared data.

    Raises:
        InputError: A file is missing or damaged, or they are not of the same test images.
    """
    tables: dict[str, pa.Table] = {}
    actual: dict[str, Labels] = {}
    predicted: dict[str, Labels] = {}
    confidence: dict[str, Floats] = {}
    places = {name: folders[name] / name / kept.ANSWERS_NAME for name in STAGES}
    for name, stage in STAGES.items():
        path, remedy = places[name], f"run the stage {stage} again"
        table = tables[name] = kept.read_answers(path, remedy)
        actual[name], predicted[name] = (
            _labels(table, column, class_names, f"{path} does not fit the data", remedy)
            for column in ("actual", "predicted")
        )
        confidence[name] = table["confidence"].to_numpy().astype(np.float64)
        if not all(
            table[column].equals(tables["baseline"][column]) for column in ("id", "actual")
        ):
            raise InputError(
                f"{path} and {places['baseline']} are not of the same test images; run `dvc repro`"
            )
    contexts: tuple[str, ...] | None = None
    train_counts: TrainCounts = {}
    if "group" in tables["final"].column_names:
        contexts = tuple(str(name) for name in tables["final"]["group"].to_pylist())
        train_counts = _train_counts(folders["final"] / "final" / "per_group.csv")
    return Answers(
        tuple(class_names), actual["baseline"], predicted, confidence, contexts, train_counts
    )


def _labels(
    table: pa.Table, column: str, class_names: Sequence[str], wrong: str, remedy: str
) -> Labels:
    """The number of each name among the classes, [N]."""
    found = pc.index_in(table[column], pa.array(class_names, pa.string()))
    if found.null_count:
        stranger = table[column].filter(pc.is_null(found))[0].as_py()
        raise InputError(f"{wrong} (it has no class {stranger!r}); {remedy}")
    labels: Labels = found.to_numpy().astype(np.int64)
    return labels


def _train_counts(path: Path) -> TrainCounts:
    remedy = "run the stage retrain again"
    try:
        return {
            (row["class"], row["group"]): int(row["num_train"])
            for row in csv_rows(path, remedy, ["class", "group", "num_train"])
        }
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); {remedy}") from error


def headline_rows(
    metrics: Mapping[str, Mapping[str, Any]], answers: Answers, bins: Mapping[str, str]
) -> list[Row]:
    """The rows of `summary.csv`, in the order of `ROWS`.

    Args:
        metrics: Metrics JSON of each classifier on the test images, by its name.
        answers: Its answers on the same images.
        bins: Shot bin of each class name.
    """
    rng = np.random.default_rng(RESAMPLING_SEED)
    bin_of_image = np.array([bins[name] for name in answers.class_names])[answers.actual]  # [N]
    everything = np.ones(len(answers.actual), dtype=bool)  # [N]
    rows = []
    for key in ROWS:
        if key in OF_GROUPS_ONLY and answers.groups is None:
            continue
        values = {name: metrics[name].get(key) for name in STAGES}
        interval, num_images = None, len(everything)
        if key in ("overall", *BINS):
            chosen = bin_of_image == key if key in BINS else everything  # [N]
            num_images = int(chosen.sum())
            interval = _accuracy(answers, chosen, rng) if num_images else None
        elif None not in (values["control"], values["final"]):
            interval = _measure(key, answers, rng)
        if key in of_groups.MEASURES:
            num_images = _rests_on(key, answers)
        rows.append(_row(key, values, interval, num_images))
    return rows


def class_rows(answers: Answers) -> list[Row]:
    """Recall of each class, a row each; None for a class without test images."""
    rng = np.random.default_rng(RESAMPLING_SEED)
    num_images = per_class(answers)
    right = {name: per_class(answers, answers.right(name)) for name in STAGES}
    rows = []
    for k, (class_name, won, lost) in enumerate(
        zip(answers.class_names, *discordant(answers, "control", "final"), strict=True)
    ):
        num = int(num_images[k])
        values = {name: float(right[name][k] / num) if num else None for name in STAGES}
        interval = _interval(answers, int(won), int(lost), num, rng) if num else None
        rows.append(_row(class_name, values, interval, num))
    return rows


def worst_group(answers: Answers, name: str) -> Worst | None:
    """The class x group with the lowest accuracy, of equals the largest; None without groups.

    Args:
        answers: The answers on the test images.
        name: Which classifier.
    """
    if answers.groups is None:
        return None
    row = of_groups.rows(answers.groups.hits(answers.right(name)), answers.groups)[0]
    return Worst(
        row["class"], row["group"], row["recall"], row["num_images"], row["low"], row["high"]
    )


def _rests_on(key: str, answers: Answers) -> int:
    """Test images that the final classifier's number of a measure of groups rests on."""
    if answers.groups is None:
        return 0
    rows = of_groups.rows(answers.groups.hits(answers.right("final")), answers.groups)
    sizes = [row["num_images"] for row in rows]  # of the worst group first
    if key == "worst_group_10":
        sizes = [size for size in sizes if size >= of_groups.LARGE]
    if key in ("worst_group", "worst_group_10"):
        return sum(sizes[:1])
    return sum(sizes[: of_groups.num_worst(len(sizes))] if key == "worst_tenth" else sizes)


def guesses(answers: Answers, name: str) -> bool:
    """Whether a classifier's answers could be guesses, by a permutation test at 5 %."""
    rng = np.random.default_rng(RESAMPLING_SEED)
    return paired.chance(answers.actual, answers.predicted[name], rng) > SIGNIFICANT


def standing_out(answers: Answers) -> Bools:
    """Which classes differ by more than noise when one looks at all of them, [K].

    McNemar's exact test, corrected after Holm for the number of classes with test images.
    """
    won, lost = discordant(answers, "control", "final")
    tested = per_class(answers) > 0
    found = np.zeros(len(answers.class_names), dtype=bool)
    found[tested] = paired.holm(paired.mcnemar(won[tested], lost[tested])) <= SIGNIFICANT
    return found


def verdict(row: Row, *, is_noise: bool = False, final_guesses: bool = False) -> Verdict:
    """What a change means: `same` is within noise, or nothing that shows.

    Args:
        row: A row with its interval.
        is_noise: Whether something else says that it is noise.
        final_guesses: Whether the final classifier only guesses, which no gain survives.
    """
    if row.gain is None or row.low is None or row.high is None or is_noise:
        return "same"
    if Interval(row.low, row.high).covers_zero or shown(row)["gain"] == "0.0":
        return "same"
    if (row.gain > 0) == (row.bin not in LESS_IS_BETTER):
        return "same" if final_guesses else "gain"
    return "loss"


def _row(
    key: str, values: Mapping[str, float | None], interval: Interval | None, num_images: int
) -> Row:
    control, final = values["control"], values["final"]
    return Row(
        bin=key,
        imbalanced=values["baseline"],
        control=control,
        final=final,
        gain=None if control is None or final is None else final - control,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        num_images=num_images,
    )


def _same(answers: Answers) -> bool:
    return np.array_equal(answers.predicted["control"], answers.predicted["final"])


def _accuracy(answers: Answers, chosen: Bools, rng: np.random.Generator) -> Interval:
    first, second = answers.right("control")[chosen], answers.right("final")[chosen]
    won, lost = int((second & ~first).sum()), int((first & ~second).sum())
    return _interval(answers, won, lost, len(first), rng)


def _interval(
    answers: Answers, won: int, lost: int, num_images: int, rng: np.random.Generator
) -> Interval:
    if _same(answers):  # one classifier cannot differ from itself, however few the images
        return Interval(0.0, 0.0)
    return paired.accuracy(won, lost, num_images, rng)


def per_class(answers: Answers, chosen: Bools | None = None) -> Labels:
    """How many of the chosen test images each class has, [K]."""
    actual = answers.actual if chosen is None else answers.actual[chosen]
    return np.bincount(actual, minlength=len(answers.class_names))


def discordant(answers: Answers, first: str, second: str) -> tuple[Labels, Labels]:
    """Images of each class that only the second, and only the first classifier gets right."""
    before, after = answers.right(first), answers.right(second)
    return per_class(answers, after & ~before), per_class(answers, before & ~after)


def _measure(key: str, answers: Answers, rng: np.random.Generator) -> Interval | None:
    first, second = answers.predicted["control"], answers.predicted["final"]
    right = answers.right("control"), answers.right("final")
    if key == "ece":
        if not answers.confidence:
            return None
        sure = answers.confidence["control"], answers.confidence["final"]
        return paired.calibration_error((sure[0], right[0]), (sure[1], right[1]), rng)
    if _same(answers):
        return Interval(0.0, 0.0)
    if key == "macro_f1":
        return paired.macro_f1(answers.actual, first, second, len(answers.class_names), rng)
    groups = answers.groups
    if groups is None or key not in of_groups.MEASURES:
        return None
    if key in of_groups.LOWEST:
        measure = of_groups.MEASURES[key]
        return paired.lowest(
            groups.of_image,
            *right,
            rng,
            lambda recalls: of_groups.number(measure, recalls, groups),
        )
    weights = np.ones(len(groups.names))
    if key == "adjusted_mean":
        weights = groups.num_train.astype(np.float64)
    return paired.group_mean(groups.of_image, *right, rng, weights)
