"""What there is to draw, by class and by bin."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fgds_core.data.imbalance import BINS, shot_bins
from fgds_core.data.meta import META_NAME, read_meta
from fgds_core.errors import InputError
from fgds_core.synthesis.config import SynthesizeConfig
from fgds_core.synthesis.plan import Part, Plan, plan_of
from fgds_core.synthesis.rounds import check_rounds
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Share:
    """What a class, or all classes of a bin, have and want.

    Attributes:
        name: The class or the bin.
        bin: Its shot bin.
        real: Real training images.
        wanted: Synthetic images.
        finished: Those of them in finished parts.
        num_parts: Files the wanted ones come in.
        num_classes: 1, or the classes of the bin.
    """

    name: str
    bin: str
    real: int
    wanted: int
    finished: int
    num_parts: int
    num_classes: int = 1


@dataclass(frozen=True)
class Workload:
    """What there is to draw.

    Attributes:
        classes: One share for each of the K classes.
        bins: One share for each bin that has a class.
        unfinished: The parts that are still to draw, in the order of the run.
        unplanned: Images of rounds of which nobody knows yet which classes they draw; in no share.
    """

    classes: tuple[Share, ...]
    bins: tuple[Share, ...]
    unfinished: tuple[Part, ...]
    unplanned: int = 0

    @property
    def num_images(self) -> int:
        """Images that are still to draw."""
        return sum(part.num_images for part in self.unfinished) + self.unplanned


def workload(plans: Sequence[Plan], left: Sequence[Part], unplanned: int = 0) -> Workload:
    """Counts what is wanted and what is left, by class and by bin.

    Args:
        plans: Of the set's rounds, as far as they are known; at least that of the first.
        left: Those of their parts that are still to draw.
        unplanned: Images of the other rounds.
    """
    to_draw = frozenset(left)
    wanted: Counter[int] = Counter()
    finished: Counter[int] = Counter()
    num_parts: Counter[int] = Counter()
    parts = [part for plan in plans for part in plan.parts]
    for part in parts:
        wanted[part.label] += part.num_images
        num_parts[part.label] += 1
        if part not in to_draw:
            finished[part.label] += part.num_images
    names, real = plans[0].class_names, plans[0].real
    classes = tuple(
        Share(name, shot_bin, count, wanted[label], finished[label], num_parts[label])
        for label, (name, shot_bin, count) in enumerate(
            zip(names, shot_bins(real), real, strict=True)
        )
    )
    bins = [total(name, [share for share in classes if share.bin == name]) for name in BINS]
    unfinished = tuple(part for part in parts if part in to_draw)
    present = tuple(each for each in bins if each.num_classes)
    return Workload(classes, present, unfinished, unplanned)


def total(name: str, shares: Sequence[Share]) -> Share:
    """The sum of some classes, under a name."""
    return Share(
        name=name,
        bin=name,
        real=sum(share.real for share in shares),
        wanted=sum(share.wanted for share in shares),
        finished=sum(share.finished for share in shares),
        num_parts=sum(share.num_parts for share in shares),
        num_classes=sum(share.num_classes for share in shares),
    )


def read_plan(config: SynthesizeConfig, workspace: Workspace) -> Plan:
    """Plans the synthetic set for the prepared data, as if it were drawn at once.

    Raises:
        InputError: There are no prepared data, no class needs an image, or there are fewer images
            than rounds.
    """
    check_prepared(workspace)
    plan = plan_of(read_meta(workspace.prepared), config)
    check_rounds(plan, config.rounds)
    return plan


def check_prepared(workspace: Workspace) -> None:
    """Refuses a workspace without prepared data.

    Raises:
        InputError: There are none.
    """
    if not (workspace.prepared / META_NAME).is_file():
        raise InputError(f"{workspace.prepared} is missing; make it with `dvc repro prepare`")
