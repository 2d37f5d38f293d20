"""What a few drawn images of a class say about whether the generator can draw it.

Nothing is measured against a number that was chosen for some data set: each threshold is what real
images of the class do among themselves, and a finding needs more than chance (`ERROR`) to stand.
An image as good as a real one is therefore hardly ever called wrong, and a generator may be half
as good: it is to be of use, not perfect.

N drawn images, M real ones, D features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, pdist
from scipy.stats import beta, binom

Array = NDArray[np.float64]

ERROR = 0.005
"""How likely chance alone may bring about a finding, at the edge of what is tolerated."""

DOUBT = 0.05
"""The same of a finding that refuses no class, but is a reason to look again, and to let the
generator learn it."""

TOLERATED = 0.5
"""What a generator may fall short by: half of the real images' recognition, half of its images
beyond them, half of their variety."""

QUANTILE = 0.95
"""Real images that are as near to others of their class as counts for near."""

MIN_REAL = 5
"""Real images of a class without which nothing is compared."""

RESAMPLES = 50
"""Random subsets of the real images that say how varied as few of them are."""

Z_LOW = 0.95
"""Confidence of the lower bound of a judge's recall."""

LABEL, FAR, VARIETY, WORD = "wrong label", "far from real", "no variety", "unknown word"
REASONS = (LABEL, FAR, VARIETY, WORD)


@dataclass(frozen=True, eq=False)
class Compared:
    """Drawn images beside real ones of their class in one feature space.

    Attributes:
        far: Whether each is farther from the nearest real one than `QUANTILE` of the real ones are
            from theirs, [N].
        variety: Mean distance between two drawn ones, as a share of what the least varied of as
            few real ones have.
        num_real: Real ones of its class that each was compared with: those of its own group, where
            there are enough of these, [N].
        of_group: Whether they are those of its group, [N].
    """

    far: NDArray[np.bool_]
    variety: float
    num_real: NDArray[np.int64]
    of_group: NDArray[np.bool_]


def compare(
    real: Array, drawn: Array, rng: np.random.Generator, *, slack: float = 1.0
) -> Compared | None:
    """Compares drawn images with real ones of their class.

    Args:
        real: Features, [M, D].
        drawn: Features, [N, D].
        rng: Draws subsets of the real ones.
        slack: How many times as far as real images an image may be.

    Returns:
        None with fewer than `MIN_REAL` real images.
    """
    if len(real) < MIN_REAL:
        return None
    between = cdist(real, real)  # [M, M]
    np.fill_diagonal(between, np.inf)
    near = np.quantile(between.min(axis=1), QUANTILE)
    far = cdist(drawn, real).min(axis=1) > slack * near  # [N]
    return Compared(
        far,
        _variety(real, drawn, rng),
        np.full(len(drawn), len(real)),
        np.zeros(len(drawn), dtype=bool),
    )


def _variety(real: Array, drawn: Array, rng: np.random.Generator) -> float:
    """How varied drawn images are, beside the least varied of as many real ones."""
    size = min(len(drawn), len(real))
    if size < 2:
        return 1.0
    subsets = [pdist(real[rng.choice(len(real), size, replace=False)]) for _ in range(RESAMPLES)]
    least = np.quantile([each.mean() for each in subsets], ERROR)
    return float(pdist(drawn).mean() / least) if least > 0 else 1.0


@dataclass(frozen=True)
class Evidence:
    """What is known of a class.

    Attributes:
        num_images: Drawn images N.
        num_real: Real ones they were compared with.
        num_validation: Those of them that are validation images.
        far: Feature space -> how many of the drawn ones are far; empty where none is told.
        variety: Feature space -> see `Compared`.
        seen: What the judge sees in the drawn ones; class -> images. None without a judge.
        recognised: Of real validation images the judge was shown, how many it took for this class;
            (shown, right).
        unknown: What of the class's name the text encoder does not know, in words; None where it
            does or is told no text.
    """

    num_images: int
    num_real: int
    num_validation: int
    far: Mapping[str, int]
    variety: Mapping[str, float]
    seen: Mapping[str, int] | None
    recognised: tuple[int, int]
    unknown: str | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether a class can be drawn.

    Attributes:
        can_draw: None where nothing could be told.
        reasons: Why not, of `REASONS` -> in words.
        remarks: What could not be told and why, in words.
        doubts: What more images might show to be a reason, in words.
    """

    can_draw: bool | None
    reasons: Mapping[str, str]
    remarks: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def is_doubtful(self) -> bool:
        """Whether it cannot, or so it seems though chance may explain it."""
        return self.can_draw is False or bool(self.doubts)


def judged(name: str, evidence: Evidence) -> Verdict:
    """Says whether a class can be drawn, and why not.

    Args:
        name: Of the class.
        evidence: What is known of it.
    """
    reasons: dict[str, str] = {}
    remarks: list[str] = []
    n = evidence.num_images
    label_told, doubts = _label(name, evidence, reasons, remarks)
    if evidence.far:
        doubts += _far(evidence, f"{evidence.num_real} real images of the class", reasons)
        if (most := max(evidence.variety.values())) < TOLERATED:
            reasons[VARIETY] = (
                f"two of them differ {most:.0%} as much as two of the least varied {n} real ones"
            )
    else:
        remarks.append(
            f"{evidence.num_real} real images, and {MIN_REAL} are needed to compare with: whether"
            " the images are far from real ones, or all alike, is not known"
        )
    if evidence.unknown is not None and not _confirmed(name, evidence, label_told):
        reasons[WORD] = evidence.unknown
    elif evidence.unknown is not None:
        remarks.append(f"{evidence.unknown}, yet the images are right")
    if reasons:
        return Verdict(False, reasons, tuple(remarks))
    told = bool(evidence.far) or label_told
    return Verdict(True if told else None, reasons, tuple(remarks), tuple(doubts))


def judged_group(evidence: Evidence) -> Verdict:
    """Says whether a group can be drawn, by its images of all classes; see `judged`.

    Args:
        evidence: How many are far from real ones of their class and group.
    """
    if not evidence.far:
        return Verdict(None, {})
    reasons: dict[str, str] = {}
    doubts = _far(evidence, "real images of their class and group", reasons)
    most = max(evidence.far.values())
    if evidence.unknown is not None and most > TOLERATED * evidence.num_images:
        reasons[WORD] = evidence.unknown
    return Verdict(not reasons, reasons, doubts=() if reasons else tuple(doubts))


def judged_cell(evidence: Evidence) -> Verdict:
    """Says whether a class can be drawn in one group, by its few images there; see `judged`.

    Args:
        evidence: How many are far from real ones of their class in that group; nothing, where
            there are too few of these.
    """
    n, reasons = evidence.num_images, dict[str, str]()
    if not evidence.far:
        few = f"fewer than {MIN_REAL} real images of the class in this group to compare with"
        return Verdict(None, reasons, (few,))
    if TOLERATED**n >= ERROR:
        return Verdict(None, reasons, (f"{n} images of the class in this group tell nothing",))
    beside = f"{evidence.num_real} real images of the class in this group"
    doubts = _far(evidence, beside, reasons)
    return Verdict(not reasons, reasons, doubts=tuple(doubts))


def _far(evidence: Evidence, beside: str, reasons: dict[str, str]) -> list[str]:
    """Adds that surely too many images are far; answers with what is not sure."""
    n = evidence.num_images
    space, far = max(evidence.far.items(), key=lambda item: item[1])
    words = (
        f"{far} of {n} are farther from {beside} than {QUANTILE:.0%} of those are from each other"
        f" ({space})"
    )
    chance = binom.sf(far - 1, n, TOLERATED)
    if chance < ERROR:
        reasons[FAR] = words
        return []
    return [f"perhaps {FAR}: {words}"] if chance < DOUBT else []


def _label(
    name: str, evidence: Evidence, reasons: dict[str, str], remarks: list[str]
) -> tuple[bool, list[str]]:
    """Adds what the judge says of the labels.

    Returns:
        Whether it could have said more, and what is not sure.
    """
    if evidence.seen is None:
        remarks.append("there is no judge: whether the images show this class is not known")
        return False, []
    n, (shown, right) = evidence.num_images, evidence.recognised
    least = low(right, shown)
    told = binom.cdf(0, n, TOLERATED * least) < ERROR
    if not told:
        remarks.append(
            f"the judge knows {right} of {shown} real validation images of the class: too few to"
            f" tell by {n} images whether they show it"
        )
    as_meant = evidence.seen.get(name, 0)
    chance = binom.cdf(as_meant, n, TOLERATED * least)
    if chance >= DOUBT:
        return told, []
    others = Counter({k: v for k, v in evidence.seen.items() if k != name})
    (other, times), *_ = others.most_common(1)
    words = (
        f"the judge sees the class in {as_meant} of {n}, and in {right} of {shown} real"
        f" images; it takes {times} for {other}"
    )
    if chance < ERROR:
        reasons[LABEL] = words
        return told, []
    return told, [f"perhaps {LABEL}: {words}"]


def low(right: int, shown: int) -> float:
    """Lower bound of a share of which `right` of `shown` were seen, after Clopper and Pearson."""
    return float(beta.ppf(1 - Z_LOW, right, shown - right + 1)) if right else 0.0


def _confirmed(name: str, evidence: Evidence, label_told: bool) -> bool:
    """Whether the images show that a name does not have to be known."""
    if not label_told or evidence.seen is None or not evidence.far:
        return False
    shown, right = evidence.recognised
    seen = evidence.seen.get(name, 0) / evidence.num_images
    far = max(evidence.far.values()) / evidence.num_images
    return seen >= TOLERATED * right / shown and far <= 1 - TOLERATED
