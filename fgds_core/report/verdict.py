"""What the run says, in words: did the synthetic images help, whom, who paid, and how sure is it.

Every claim is about final minus control, the same recipe without synthetic images, on the same
test images. `certain` and `likely` are about these images, by a paired test: another seed of the
training is not covered, and the page says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fgds_core.data.imbalance import BINS
from fgds_core.report import numbers
from fgds_core.report.advice import Step
from fgds_core.report.cautions import Caution
from fgds_core.report.compare import Change
from fgds_core.report.gains import SIGNIFICANT, Verdict
from fgds_core.report.numbers import gain_of
from fgds_core.report.summary import rounded, written_gain

CERTAIN = 0.01
"""A p-value up to which a change is called certain; up to `SIGNIFICANT` it is likely."""

NAMED = 3
"""Classes that the headline names; of more it says how many."""

Sure = Literal["certain", "likely", "undecided", "unmeasured"]
Stance = Literal["helped", "traded", "harmed", "undecided"]

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
"""The rows of the summary, for people."""


@dataclass(frozen=True)
class Claim:
    """How much of a change can be believed.

    Attributes:
        change: The change of a set of test images, final minus control.
        sure: How sure it is.
        words: The same for people.
        meaning: Whether it counts as a gain or a loss.
    """

    change: Change
    sure: Sure
    words: str
    meaning: Verdict

    @property
    def label(self) -> str:
        """What it is of, for people; a class has its own name."""
        return LABELS.get(self.change.name, self.change.name)

    @property
    def gain(self) -> str:
        """In points, as in every table."""
        return gain_of(*self.change.accuracies)

    def as_json(self) -> dict[str, Any]:
        """The claim as `verdict.json` has it; fractions rounded as in `summary.csv`."""
        change = self.change
        return {
            "of": change.name,
            "num_images": change.num_images,
            "change": written_gain(*change.accuracies),
            "low": rounded(change.low),
            "high": rounded(change.high),
            "p": _short(change.p),
            "p_holm": _short(change.p_holm),
            "sure": self.sure,
            "words": self.words,
        }


@dataclass(frozen=True)
class Judgement:
    """The first part of the page, and `verdict.json`.

    Attributes:
        headline: One sentence.
        stance: The same in a word.
        claims: Of the overall accuracy and of each bin that has test images.
        paid: Classes that lost beyond chance, the largest losses first.
        cautions: What has to be known before the numbers are believed.
        steps: What to do next, the most urgent first.
        worth: What the set is worth in real images, by bin; empty where it was not measured.
    """

    headline: str
    stance: Stance
    claims: tuple[Claim, ...]
    paid: tuple[Change, ...]
    cautions: tuple[Caution, ...]
    steps: tuple[Step, ...]
    worth: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """The content of `verdict.json`."""
        return {
            "headline": self.headline,
            "stance": self.stance,
            "claims": [claim.as_json() for claim in self.claims],
            "paid": [
                {
                    "class": each.name,
                    "change": written_gain(*each.accuracies),
                    "p_holm": _short(each.p_holm),
                }
                for each in self.paid
            ],
            "warnings": [asdict(each) for each in self.cautions],
            "next": [asdict(each) for each in self.steps],
            "worth": dict(self.worth),
        }


def claim(change: Change, *, guesses: bool = False) -> Claim:
    """Says how much of a change can be believed.

    Args:
        change: A change with its interval and p-value, corrected for its family.
        guesses: Whether the second classifier could be guessing, which no gain survives.
    """
    n = f"n = {change.num_images:,}"
    if not change.num_images or change.p_holm is None:
        return Claim(change, "unmeasured", "not measured: no test images", "same")
    if change.won == change.lost == 0:
        return Claim(change, "undecided", f"no answer differs: {n}", "same")
    covers_zero = (change.low or 0.0) <= 0 <= (change.high or 0.0) and change.low is not None
    if covers_zero or change.p_holm > SIGNIFICANT or gain_of(*change.accuracies) == "0.0":
        return Claim(change, "undecided", f"not distinguishable from none: {n}", "same")
    if guesses and change.won > change.lost:
        return Claim(change, "undecided", f"the classifier could be guessing: {n}", "same")
    sure: Sure = "certain" if change.p_holm <= CERTAIN else "likely"
    meaning: Verdict = "gain" if change.won > change.lost else "loss"
    return Claim(change, sure, f"{sure}: {numbers.p_value(change.p_holm)}, {n}", meaning)


def headline(
    claims: Sequence[Claim], paid: Sequence[Change] = (), *, guesses: bool
) -> tuple[str, Stance]:
    """One sentence about all of them, and its gist.

    Args:
        claims: Of the overall accuracy first, then of the bins.
        paid: Classes that lost beyond chance, the largest losses first.
        guesses: Whether the final classifier could be guessing.
    """
    overall, bins = claims[0], [each for each in claims[1:] if each.change.name in BINS]
    if guesses:
        return "The final classifier could be guessing, so nothing here is a gain.", "undecided"
    won, lost = ([c for c in bins if c.meaning == kind] for kind in ("gain", "loss"))
    if won and lost:
        return (
            f"Synthetic images helped {_listed(won)} and {_listed(lost)} paid for it"
            f"{_overall(overall)}.",
            "traded",
        )
    if won or (overall.meaning == "gain" and not lost):
        whom = _listed(won) if won else f"overall ({overall.gain} points)"
        return f"Synthetic images helped {whom}{_doubtful(bins)}{_but(paid)}.", "helped"
    if lost or overall.meaning == "loss":
        whom = _listed(lost) if lost else f"the whole ({overall.gain} points)"
        return f"Synthetic images harmed {whom}{_overall(overall) if lost else ''}.", "harmed"
    size = numbers.count(overall.change.num_images, "test image")
    return (
        f"No effect of the synthetic images can be told from chance on {size}{_but(paid)}.",
        "undecided",
    )


def _listed(claims: Sequence[Claim]) -> str:
    return numbers.names([f"{c.label.lower()} classes ({c.gain} points)" for c in claims])


def _doubtful(bins: Sequence[Claim]) -> str:
    """Of bins none of which lost beyond chance: whether some are below zero by themselves."""
    below = [c for c in bins if c.change.high is not None and c.change.high < 0]
    if below:
        return f"; whether {_listed(below)} paid for it is not certain"
    return ", and no shot bin paid for it"


def _but(paid: Sequence[Change]) -> str:
    """Classes that lost although no bin did: by name, or how many."""
    if not paid:
        return ""
    if len(paid) <= NAMED:
        return f", but {numbers.names([each.name for each in paid])} lost"
    return f", but {numbers.count(len(paid), 'class', 'classes')} lost"


def _overall(overall: Claim) -> str:
    if overall.meaning == "same":
        return "; overall no difference can be told"
    return f"; overall {overall.gain} points"


def _short(p: float | None) -> float | None:
    """A p-value as `paired.csv` has it."""
    return None if p is None else float(f"{p:.6g}")
