"""How far the synthetic set is: what lies there, what failed, when it will be done.

Rate and ETA come from the parts that the run has drawn so far.
"""

from collections import Counter
from dataclasses import dataclass

from fgds_core.classify.config import RetrainConfig
from fgds_core.errors import InputError
from fgds_core.judge.config import JudgeConfig
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.shards import read_index
from tasks.identity.drawing import fingerprint
from tasks.store.config import StoreConfig
from tasks.survey import Survey, made_by_all, survey
from tasks.watch.journal import Run, read_run
from tasks.watch.timing import TIMING, training_s
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Progress:
    """How far a class is, in images."""

    class_name: str
    wanted: int
    done: int
    failed: int


@dataclass(frozen=True)
class Status:
    """How far the set is.

    Attributes:
        classes: One for each of the K classes, of the rounds that are known.
        unplanned: Images of rounds of which nobody knows yet which classes they draw.
        round: Which round is drawn next, or was last.
        num_rounds: How many there are.
        complete: Whether its index is written: there is a synthetic set.
        checks: How many checks it has had, and whether another follows; None without checks.
        run: The last run; None if none left a journal, or it drew another set.
        other_run: The last run, if it drew another set.
        rate: Images per second of the run; None before it has drawn a part, and once it is gone.
        done_at: When the run will be done, in seconds since 1970; None without a rate.
        failures: Path -> error of the parts that failed and are not done since.
    """

    classes: tuple[Progress, ...]
    unplanned: int
    round: int
    num_rounds: int
    complete: bool
    checks: tuple[int, bool] | None
    run: Run | None
    other_run: Run | None
    rate: float | None
    done_at: float | None
    failures: dict[str, str]


def read_status(
    recipe: Recipe,
    retrain: RetrainConfig,
    store: StoreConfig,
    workspace: Workspace,
    *,
    judge: JudgeConfig | None = None,
    verify: bool = False,
) -> Status:
    """Compares what the parameters ask for with what is in the workspace; changes nothing.

    Args:
        recipe: How the images are drawn, and how many.
        retrain: How the classifiers between rounds are trained.
        store: Where parts of other workers are, if not all in this workspace.
        workspace: Where the set is.
        judge: Who checks the images; None looks at no check.
        verify: Whether to compare the sha256 of every part, as a run does.

    Raises:
        InputError: The prepared data, the baseline or another input is missing, or the store is
            out of reach.
    """
    found = survey(recipe, retrain, store, workspace, judge=judge, verify=verify)
    last = read_run()
    run = last if last is not None and last.fingerprint == found.purpose else None

    done: Counter[int] = Counter()
    failed: Counter[int] = Counter()
    failures = {}
    drawn, drawn_at = 0, 0.0
    left = frozenset(found.left)
    finished_at: dict[str, float] = {}
    for each in found.goes:  # since it was drawn, not since it came down
        finished_at |= {**each.here, **each.stored}
    for part in found.parts:
        if part not in left:
            done[part.label] += part.num_images
            at = finished_at.get(part.path)
            if at and run is not None and at > run.round_started and part.path not in run.found:
                drawn += part.num_images
                drawn_at = max(drawn_at, at)
        elif run is not None and part.path in run.failed:
            failed[part.label] += part.num_images
            failures[part.path] = run.failed[part.path]

    rate = done_at = None
    if run is not None and run.is_running is not False and drawn:
        rate = drawn / (drawn_at - run.round_started)
        unfinished = sum(found.wanted) + found.unplanned - done.total() - failed.total()
        one_training_s = training_s(workspace.real_reports / TIMING.name) or 0.0
        done_at = drawn_at + unfinished / rate + found.num_trainings * one_training_s
    class_names = found.whole.class_names
    return Status(
        classes=tuple(
            Progress(name, wanted, done[label], failed[label])
            for label, (name, wanted) in enumerate(zip(class_names, found.wanted, strict=True))
        ),
        unplanned=found.unplanned,
        round=len(found.rounds),
        num_rounds=found.num_rounds,
        complete=not left and found.is_known and _has_index(found, workspace),
        checks=None
        if found.vetting is None
        else (len(found.vetting.found), found.vetting.next is not None),
        run=run,
        other_run=None if last is run else last,
        rate=rate,
        done_at=done_at,
        failures=failures,
    )


def _has_index(found: Survey, workspace: Workspace) -> bool:
    try:
        index = read_index(workspace.synthetic)
    except InputError:
        return False
    made_by = fingerprint(made_by_all(found))
    return (index.fingerprint, index.wanted) == (made_by, found.wanted)
