"""What the synthetic images are worth: the final classifier against its control.

Both have answered the same test images, so every gain has the interval of a paired difference
(`paired`). A gain counts as one only where that interval excludes zero. Of classes there are many,
and some would stand out by chance; a class counts only if it still does so among all of them. A
classifier that guesses has gained nothing.

N test images, K classes.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fgds_core.data.imbalance import BINS
from fgds_core.errors import InputError
from fgds_core.files import csv_rows
from fgds_core.report import paired
from fgds_core.report.paired import Bools, Floats, Interval, Labels
from fgds_core.report.summary import Row, shown

STAGES = {"baseline": "train_baseline", "control": "train_control", "final": "retrain"}
"""The stage that writes the answers of each classifier."""

ROWS = ("overall", *BINS, "worst_group", "macro_f1", "ece")
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
        groups: Group of each image; None for data without groups.
    """

    class_names: tuple[str, ...]
    actual: Labels
    predicted: Mapping[str, Labels]
    confidence: Mapping[str, Floats] = field(default_factory=dict)
    groups: tuple[str, ...] | None = None

    def right(self, name: str) -> Bools:
        """Whether a classifier is right, [N]."""
        right: Bools = self.predicted[name] == self.actual
        return right


@dataclass(frozen=True)
class Worst:
    """The class x group that a classifier is worst at, and the images this rests on."""

    class_name: str
    group: str
    recall: float
    num_images: int


def report_folders(reports: Path, real_reports: Path) -> dict[str, Path]:
    """The folder where each classifier's reports are, by the classifier's name."""
    return dict.fromkeys(STAGES, real_reports) | {"final": reports}


def read_answers(folders: Mapping[str, Path], class_names: Sequence[str]) -> Answers:
    """Reads the answers that the stages kept in `<name>/predictions.csv`.

    Args:
        folders: From `report_folders`.
        class_names: Those of the prepared data.

    Raises:
        InputError: A file is missing or damaged, or they are not of the same test images.
    """
    index = {name: k for k, name in enumerate(class_names)}
    actual: dict[str, Labels] = {}
    predicted: dict[str, Labels] = {}
    confidence: dict[str, Floats] = {}
    groups = None
    for name, stage in STAGES.items():
        path, remedy = folders[name] / name / "predictions.csv", f"run the stage {stage} again"
        true, said, sure = array("q"), array("q"), array("d")
        of_group: list[str] = []
        for row in csv_rows(path, remedy, ["actual", "predicted"]):
            try:
                true.append(index[row["actual"]])
                said.append(index[row["predicted"]])
                if "confidence" in row:
                    sure.append(float(row["confidence"]))
            except (KeyError, ValueError) as error:
                raise InputError(f"{path} does not fit the data ({error}); {remedy}") from error
            if "group" in row:
                of_group.append(sys.intern(row["group"]))
        if not true:
            raise InputError(f"{path} is empty; {remedy}")
        actual[name], predicted[name] = np.array(true), np.array(said)  # [N] each
        if sure:
            confidence[name] = np.array(sure)  # [N]
        if of_group:
            groups = tuple(of_group)
        if not np.array_equal(actual[name], actual["baseline"]):
            first = folders["baseline"] / "baseline" / "predictions.csv"
            raise InputError(
                f"{path} and {first} are not of the same test images; run `dvc repro`"
            )
    if len(confidence) < len(STAGES):
        confidence = {}
    return Answers(tuple(class_names), actual["baseline"], predicted, confidence, groups)


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
        values = {name: metrics[name].get(key) for name in STAGES}
        interval, num_images = None, len(everything)
        if key in ("overall", *BINS):
            chosen = bin_of_image == key if key in BINS else everything  # [N]
            num_images = int(chosen.sum())
            interval = _accuracy(answers, chosen, rng) if num_images else None
        elif None not in (values["control"], values["final"]):
            interval = _measure(key, answers, rng)
        if key == "worst_group":
            worst = worst_group(answers, "final")
            num_images = 0 if worst is None else worst.num_images
        rows.append(_row(key, values, interval, num_images))
    return rows


def class_rows(answers: Answers) -> list[Row]:
    """Recall of each class, a row each; None for a class without test images."""
    rng = np.random.default_rng(RESAMPLING_SEED)
    num_images = _per_class(answers)
    right = {name: _per_class(answers, answers.right(name)) for name in STAGES}
    rows = []
    for k, (class_name, won, lost) in enumerate(
        zip(answers.class_names, *_discordant(answers), strict=True)
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
    groups, cells = _cells(answers)
    num_images = np.bincount(cells)  # [class * G + group]
    hits = np.bincount(cells[answers.right(name)], minlength=len(num_images))
    there = np.flatnonzero(num_images)
    recall = hits[there] / num_images[there]
    first = np.lexsort((-num_images[there], recall))[0]
    label, group = divmod(int(there[first]), len(groups))
    return Worst(
        answers.class_names[label],
        groups[group],
        float(recall[first]),
        int(num_images[there[first]]),
    )


def guesses(answers: Answers, name: str) -> bool:
    """Whether a classifier's answers could be guesses, by a permutation test at 5 %."""
    rng = np.random.default_rng(RESAMPLING_SEED)
    return paired.chance(answers.actual, answers.predicted[name], rng) > SIGNIFICANT


def standing_out(answers: Answers) -> Bools:
    """Which classes differ by more than noise when one looks at all of them, [K].

    McNemar's exact test, corrected for the number of classes with test images.
    """
    won, lost = _discordant(answers)
    tested = _per_class(answers) > 0
    found = np.zeros(len(answers.class_names), dtype=bool)
    found[tested] = paired.corrected(paired.mcnemar(won[tested], lost[tested])) <= SIGNIFICANT
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


def _per_class(answers: Answers, chosen: Bools | None = None) -> Labels:
    """How many of the chosen test images each class has, [K]."""
    actual = answers.actual if chosen is None else answers.actual[chosen]
    return np.bincount(actual, minlength=len(answers.class_names))


def _discordant(answers: Answers) -> tuple[Labels, Labels]:
    """Images of each class that only the final classifier, and only the control, gets right."""
    first, second = answers.right("control"), answers.right("final")
    return _per_class(answers, second & ~first), _per_class(answers, first & ~second)


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
    if answers.groups is None:
        return None
    return paired.worst_group(_cells(answers)[1], *right, rng)


def _cells(answers: Answers) -> tuple[list[str], Labels]:
    """Names of the groups, G of them, and class * G + group of each image, [N]."""
    groups = sorted(set(answers.groups or ()))
    place = {name: j for j, name in enumerate(groups)}
    of_image = np.array([place[name] for name in answers.groups or ()], dtype=np.int64)  # [N]
    return groups, answers.actual * len(groups) + of_image
