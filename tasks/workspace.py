"""Where the stages put what they make, relative to the folder that holds `dvc.yaml`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

Guide = Literal["baseline", "control", "both"]
"""Which classifier guides, `synthesize.guide`."""

RUNS = Path(".runs")
"""What runs keep for themselves, in no round: beside the outputs, which DVC removes before a stage
runs, and ignored by git and DVC."""


@dataclass(frozen=True)
class Workspace:
    """The folders of one round; those of the first are the ones `dvc.yaml` names.

    A round draws a synthetic set under the guidance of a classifier and trains another with it.
    The first is guided by the baseline or the control, each further one by the final classifier of
    the round before. Prepared images, baseline and control are the same for all rounds.

    A set may itself be drawn in several goes, `synthesize.rounds`: they share all folders but
    that of the classifier that guides, which from the second on has learnt from those before.

    Attributes:
        round: 1 or more.
        drawing: Which go of drawing the set, 1 or more.

    Raises:
        ValueError: The round or the go is none.
    """

    round: int = 1
    drawing: int = 1

    def __post_init__(self) -> None:
        for name in ("round", "drawing"):
            if (number := getattr(self, name)) < 1:
                raise ValueError(f"{name} must be 1 or more, got {number}")

    @property
    def prepared(self) -> Path:
        """The real images, as the stage prepare leaves them."""
        return Path("data/prepared")

    @property
    def baseline(self) -> Path:
        """The classifier of real images alone, whose recipe the others repeat."""
        return Path("models/baseline")

    @property
    def judge(self) -> Path:
        """Who says what images show, beside the classifiers that guide."""
        return Path("models/judge")

    @property
    def adapter(self) -> Path:
        """What the generator has learnt of the real training images."""
        return Path("models/adapter")

    @property
    def control(self) -> Path:
        """The classifier of real images alone, by the final recipe."""
        return Path("models/control")

    def guides(self, which: Guide = "baseline") -> tuple[Path, ...]:
        """The classifiers that guide the drawing; several are a committee.

        In a further round the final classifier of the round before has the place of the baseline,
        and that of the control where it would guide alone; in a further go of drawing the
        classifier that has learnt from those before.
        """
        if self.drawing > 1:
            alone = self.synthetic / "_rounds" / str(self.drawing)
        elif self.round == 1:
            alone = self.control if which == "control" else self.baseline
        else:
            alone = Workspace(self.round - 1).final
        return (alone, self.control) if which == "both" else (alone,)

    def makes(self, guide: Path) -> str:
        """The command that makes a classifier that guides."""
        if guide == self.baseline:
            return "dvc repro train_baseline"
        if guide == self.control:
            return "python -m flows.train_control"
        if self.drawing > 1:
            return "python -m flows.synthesize"
        if self.round == 2:
            return "dvc repro retrain"
        return f"python -m flows.retrain --round {self.round - 1}"

    @property
    def synthetic(self) -> Path:
        """The synthetic set of this round."""
        return self._own("data") / "synthetic"

    @property
    def synthetic_index(self) -> Path:
        """Names every part with its digest, so it stands for the whole set in a cache key."""
        return self.synthetic / "_index.json"

    @property
    def unguided(self) -> Path:
        """Twins of some images of the set, for the page; need not be there."""
        return self.synthetic / "_unguided.parquet"

    @property
    def final(self) -> Path:
        """The classifier of real images and this round's synthetic ones."""
        return self._own("models") / "final"

    @property
    def reports(self) -> Path:
        """What is measured of this round."""
        return self._own("reports")

    @property
    def ability(self) -> Path:
        """What the generator check says of this round's classes."""
        return self.reports / "ability.json"

    def unadapted(self) -> "Unadapted":
        """Where it is said which classes the generator can draw before it learns, once for all."""
        return Unadapted()

    @property
    def stage(self) -> str:
        """What its parts are drawn for, as tasks are called."""
        return "synthesize"

    def checks(self) -> "Checks":
        """Where the images are drawn that the generator is checked by."""
        return Checks(self.round)

    @property
    def real_reports(self) -> Path:
        """What is measured of baseline and control: with the first round's reports."""
        return Path("reports")

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The folders that stages replace as a whole."""
        return (
            self.prepared,
            self.judge,
            self.adapter,
            self.synthetic,
            self.baseline,
            self.control,
            self.final,
            self.real_reports / "baseline",
            self.real_reports / "control",
            self.reports / "assess",
            self.reports / "final",
        )

    def next(self) -> "Workspace":
        """The round that this one's final classifier guides."""
        return Workspace(self.round + 1)

    def draws(self, rounds: int) -> "tuple[Workspace, ...]":
        """What the rounds in which this set is drawn work with, `synthesize.rounds` of them."""
        return tuple(replace(self, drawing=number) for number in range(1, rounds + 1))

    def _own(self, kind: str) -> Path:
        """Where one kind of outputs lies that each round has its own of."""
        return Path(kind) if self.round == 1 else Path(kind, f"round-{self.round}")


@dataclass(frozen=True)
class Checks(Workspace):
    """A round whose images are those the generator is checked by; no stage reads them."""

    @property
    def synthetic(self) -> Path:
        """The images, which a later run of the same parameters finds again."""
        return RUNS / "check"

    @property
    def stage(self) -> str:
        """What its parts are drawn for."""
        return "check"


@dataclass(frozen=True)
class Unadapted(Workspace):
    """The first round before its generator learns: how it is then decides what it learns."""

    @property
    def ability(self) -> Path:
        """What the generator check says then."""
        return self.reports / "ability_before.json"


FIRST = Workspace()
"""The round that `dvc.yaml` describes."""
