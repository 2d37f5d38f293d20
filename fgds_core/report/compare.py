"""Two classifiers on the same test images: what balancing changed, and what the images changed.

Of the overall accuracy and of the shot bins there are intervals, by bootstrap over images; of
these and of each class the exact p-value that neither classifier is right more often, and the
same corrected for the number of bins or classes, for of many some would stand out by chance.

Sources: McNemar (1947), https://doi.org/10.1007/BF02295996;
    Holm (1979), https://www.jstor.org/stable/4615733
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fgds_core.classify.intervals import RESAMPLING_SEED, Bools
from fgds_core.data.imbalance import BINS
from fgds_core.files import csv_text
from fgds_core.report import paired
from fgds_core.report.gains import SIGNIFICANT, Answers, discordant, per_class
from fgds_core.report.summary import rounded, written_gain

PAIRS = (("baseline", "control"), ("control", "final"))
"""Whom each classifier is compared with: the one that lacks what it has."""


@dataclass(frozen=True)
class Change:
    """What changes from the first to the second classifier on some test images.

    Attributes:
        first: Name of the one.
        second: Name of the other.
        of: `overall`, `bin` or `class`.
        name: Of the bin or class; `overall` again.
        num_images: Test images.
        right: Those that the first gets right.
        won: Images that only the second gets right.
        lost: Images that only the first gets right.
        low: Lower end of the difference's 95 % interval; None of a class.
        high: Upper end.
        p: That neither is right more often, by McNemar's exact test; None without images.
        p_holm: The same, corrected for the number of classes, or of bins.
    """

    first: str
    second: str
    of: str
    name: str
    num_images: int
    right: int
    won: int
    lost: int
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None

    @property
    def accuracies(self) -> tuple[float | None, float | None]:
        """Of the first and of the second, fractions; None without images."""
        if not self.num_images:
            return None, None
        return self.right / self.num_images, (self.right + self.won - self.lost) / self.num_images

    @property
    def difference(self) -> float | None:
        """Accuracy of the second less that of the first, a fraction; None without images."""
        return (self.won - self.lost) / self.num_images if self.num_images else None

    @property
    def stands_out(self) -> bool:
        """Whether it is beyond chance when one looks at all classes."""
        return self.p_holm is not None and self.p_holm <= SIGNIFICANT


def changes(answers: Answers, bins: Mapping[str, str], first: str, second: str) -> list[Change]:
    """The changes overall, of each bin and of each class, in this order.

    Args:
        answers: The answers on the test images.
        bins: Shot bin of each class name.
        first: Name of a classifier.
        second: Name of another.
    """
    rng = np.random.default_rng(RESAMPLING_SEED)
    bin_of_image = np.array([bins[name] for name in answers.class_names])[answers.actual]  # [N]
    everything = np.ones(len(bin_of_image), dtype=bool)
    before, after = answers.right(first), answers.right(second)  # [N]

    def of_set(kind: str, name: str, chosen: Bools) -> Change:
        won, lost = int((after & ~before)[chosen].sum()), int((before & ~after)[chosen].sum())
        num = int(chosen.sum())
        found = Change(first, second, kind, name, num, int(before[chosen].sum()), won, lost)
        if not num:
            return found
        within = paired.accuracy(won, lost, num, rng)
        p = float(paired.mcnemar(np.array([won]), np.array([lost]))[0])
        return replace(found, low=within.low, high=within.high, p=p, p_holm=p)

    overall = of_set("overall", "overall", everything)
    of_bins = [of_set("bin", name, bin_of_image == name) for name in BINS]
    return [overall, *_corrected(of_bins), *_of_classes(answers, first, second)]


def _corrected(found: Sequence[Change]) -> list[Change]:
    """The same changes with their p-values corrected for how many they are."""
    tested = [each for each in found if each.p is not None]
    p = paired.holm(np.array([each.p for each in tested], dtype=np.float64))
    corrected = dict(zip((each.name for each in tested), p.tolist(), strict=True))
    return [replace(each, p_holm=corrected.get(each.name)) for each in found]


def _of_classes(answers: Answers, first: str, second: str) -> list[Change]:
    won, lost = discordant(answers, first, second)
    num_images, right = per_class(answers), per_class(answers, answers.right(first))
    tested = num_images > 0
    p = paired.mcnemar(won, lost)  # [K]
    corrected = np.ones_like(p)
    corrected[tested] = paired.holm(p[tested])
    return [
        Change(
            first,
            second,
            "class",
            name,
            int(num_images[k]),
            int(right[k]),
            int(won[k]),
            int(lost[k]),
            p=float(p[k]) if tested[k] else None,
            p_holm=float(corrected[k]) if tested[k] else None,
        )
        for k, name in enumerate(answers.class_names)
    ]


def as_csv(found: Sequence[Change]) -> str:
    """The changes as `paired.csv`; fractions, empty where there is no such number."""
    rows: list[dict[str, Any]] = [
        {
            "first": each.first,
            "second": each.second,
            "of": each.of,
            "name": each.name,
            "num_images": each.num_images,
            "first_accuracy": rounded(each.accuracies[0]),
            "second_accuracy": rounded(each.accuracies[1]),
            "won": each.won,
            "lost": each.lost,
            "difference": written_gain(*each.accuracies),
            "low": rounded(each.low),
            "high": rounded(each.high),
            "p": None if each.p is None else f"{each.p:.6g}",
            "p_holm": None if each.p_holm is None else f"{each.p_holm:.6g}",
        }
        for each in found
    ]
    return csv_text(rows)
