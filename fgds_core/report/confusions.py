"""What is taken for what by the control and by the final classifier, and what changed.

K classes, S of them shown, N test images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fgds_core.classify.intervals import Bools, Labels
from fgds_core.files import csv_text
from fgds_core.report import paired
from fgds_core.report.gains import SIGNIFICANT, Answers, per_class
from fgds_core.report.summary import rounded, written_gain


@dataclass(frozen=True)
class Confusion:
    """A mistake that the control and the final classifier make, and how often.

    Attributes:
        actual: True class.
        predicted: The class it is taken for.
        num_images: Test images of the true class.
        control: Those of them that the control mistakes so.
        final: Those that the final classifier mistakes so.
        p_holm: That neither makes the mistake more often, by McNemar's exact test, corrected for
            the number of mistakes.
    """

    actual: str
    predicted: str
    num_images: int
    control: int
    final: int
    p_holm: float

    @property
    def change(self) -> float:
        """Share of the class's images that the mistake has won; below 0, lost."""
        return (self.final - self.control) / self.num_images

    @property
    def stands_out(self) -> bool:
        """Whether it is beyond chance when one looks at all mistakes."""
        return self.p_holm <= SIGNIFICANT


def changed(answers: Answers) -> list[Confusion]:
    """The mistakes that one of the two makes more often, those that changed most first.

    By the change of the share as it would be with two more images that change nothing: of a
    class with few images one mistake is no large change.

    Args:
        answers: The answers on the test images.
    """
    k = len(answers.class_names)
    control, final = answers.predicted["control"], answers.predicted["final"]  # [N]
    differ = control != final  # [N]
    pairs = [
        answers.actual[chosen] * k + said[chosen]
        for said in (control, final)
        for chosen in (said != answers.actual, (said != answers.actual) & differ)
    ]
    known = np.unique(np.concatenate(pairs))
    before, lost, after, won = (_counts(known, each) for each in pairs)  # of each known pair
    p = paired.holm(paired.mcnemar(won, lost))
    num_images = per_class(answers)[known // k]
    order = np.lexsort((known, -np.abs(after - before) / (num_images + 2)))
    return [
        Confusion(
            answers.class_names[known[j] // k],
            answers.class_names[known[j] % k],
            int(num_images[j]),
            int(before[j]),
            int(after[j]),
            float(p[j]),
        )
        for j in order
        if before[j] != after[j]
    ]


def _counts(known: Labels, pairs: Labels) -> Labels:
    """How often each of the known pairs occurs."""
    return np.bincount(np.searchsorted(known, pairs), minlength=len(known))


def as_csv(found: Sequence[Confusion]) -> str:
    """The mistakes as `confusion_changes.csv`, shares as fractions; a header alone without any."""
    rows = [_row(each) for each in found]
    return csv_text(rows) if rows else ",".join(_row(_NOTHING)) + "\n"


_NOTHING = Confusion("", "", 1, 0, 0, 1.0)


def _row(each: Confusion) -> dict[str, Any]:
    before, after = each.control / each.num_images, each.final / each.num_images
    return {
        "actual": each.actual,
        "predicted": each.predicted,
        "num_images": each.num_images,
        "control": each.control,
        "final": each.final,
        "control_share": rounded(before),
        "final_share": rounded(after),
        "change": written_gain(before, after),
        "p_holm": f"{each.p_holm:.6g}",
    }


def matrices(answers: Answers, shown_classes: Sequence[str]) -> list[dict[str, Any]]:
    """Control, final and difference: shares of each actual class, [S, S] each.

    `noise` marks differences that do not stand out among all pairs, by McNemar's exact test.
    """
    place = np.full(len(answers.class_names), -1)
    for j, name in enumerate(shown_classes):
        place[answers.class_names.index(name)] = j
    n = len(shown_classes)
    rows = place[answers.actual]  # [N], -1 for a class that is not shown
    columns = {name: place[answers.predicted[name]] for name in ("control", "final")}
    differ = answers.predicted["control"] != answers.predicted["final"]  # [N]

    def table(name: str, chosen: Bools) -> Labels:
        there = chosen & (rows >= 0) & (columns[name] >= 0)
        cells = rows[there] * n + columns[name][there]
        return np.bincount(cells, minlength=n * n).reshape(n, n)

    every = np.ones_like(differ)
    totals = np.maximum(np.bincount(rows[rows >= 0], minlength=n), 1)[:, None]  # [S, 1]
    control, final = (table(name, every) / totals for name in ("control", "final"))
    p = paired.mcnemar(table("final", differ).ravel(), table("control", differ).ravel())
    noise = (paired.holm(p) > SIGNIFICANT).reshape(n, n)
    nothing = np.zeros_like(noise)
    return [
        {"title": title, "signed": signed, "shares": shares.tolist(), "noise": grey.tolist()}
        for title, signed, shares, grey in (
            ("Control", False, control, nothing),
            ("Final", False, final, nothing),
            ("Final minus control", True, final - control, noise),
        )
    ]
