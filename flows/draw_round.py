"""One round of a set: its parts are found, fetched, or drawn by the workers."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from fgds_core.errors import InputError, UnfinishedError
from tasks.store.config import StoreConfig
from tasks.watch.journal import Note
from tasks.watch.progress import bar
from tasks.workers.config import ComputeConfig
from tasks.workers.fanout import make_runner, num_at_once, run_each, runs_here

if TYPE_CHECKING:
    from fgds_core.synthesis.plan import Part
    from fgds_core.synthesis.record import PartRecord
    from tasks.draw import DrawnPart
    from tasks.round import Round


@dataclass(frozen=True)
class DrawnRound:
    """What a round has come to.

    Attributes:
        records: Of all its parts.
        asked: The parts that this run has asked for, rather than remembered.
    """

    records: "tuple[PartRecord, ...]"
    asked: "tuple[DrawnPart, ...]"


def draw_round(
    found: "Round", compute: ComputeConfig, store: StoreConfig, note: Note
) -> DrawnRound:
    """Brings the parts of one round together, one task per part of a class.

    Args:
        found: The round, and what of it is there.
        compute: The workers.
        store: Where parts of other workers are, and where they go.
        note: Of the journal.

    Raises:
        InputError: No part can be drawn, and all for one reason.
        UnfinishedError: Parts failed; the others are finished. Names the classes.
    """
    from fgds_core.synthesis.relabel import relabel_parts
    from tasks.draw import DrawnPart, draw_part
    from tasks.store.inputs import share
    from tasks.store.parts import collect, offer

    plan, workspace = found.plan, found.workspace
    out = workspace.synthetic
    relabel_parts(out, plan.class_names, found.part_fingerprint, found.moved)
    shared = share(store, found.inputs)
    if shared is not None:
        offer(store, plan.parts, found.fingerprints, out)
    shown_by_tasks = runs_here(compute)
    asked: list[DrawnPart] = []

    at_once = num_at_once(compute)
    with bar("synthesize", sum(plan.wanted), "images", at_once=at_once) as advance:

        def finished(part: "Part", outcome: object, remembered: bool) -> None:
            if remembered or not shown_by_tasks:
                was_there = isinstance(outcome, DrawnPart) and outcome.seconds is None
                advance(part.num_images, found=remembered or was_there)
            if remembered:
                note("found", part=part.path)
            elif isinstance(outcome, Exception):
                note("failed", part=part.path, error=str(outcome))
            elif isinstance(outcome, DrawnPart):
                asked.append(outcome)

        name = f"{workspace.stage}-{{part.class_name}}-{{part.index}}"
        if found.recipe.synthesize.rounds > 1:
            name += f"-round-{workspace.drawing}"
        drawn = run_each(
            draw_part.with_options(task_run_name=name),
            {"part": plan.parts, "fingerprint": found.fingerprints},
            partial(make_runner, compute),
            finished,
            sources=found.sources(shared),
            compute=compute,
            workspace=workspace,
        )
    failures = [
        (part.class_name, outcome)
        for part, outcome in zip(plan.parts, drawn, strict=True)
        if isinstance(outcome, Exception)
    ]
    if failures:
        raise _unfinished(failures, len(plan.parts))
    records = tuple(part.record for part in drawn if not isinstance(part, Exception))
    if shared is not None:
        records = collect(store, plan.parts, found.fingerprints, out)
    return DrawnRound(records, tuple(asked))


def _unfinished(failures: list[tuple[str, Exception]], num_parts: int) -> Exception:
    """One error for all parts that failed, each message once."""
    mistakes = {str(error) for _, error in failures if isinstance(error, InputError)}
    if len(mistakes) == 1 and len(failures) == num_parts:
        return InputError(mistakes.pop())
    classes = list(dict.fromkeys(name for name, _ in failures))
    reasons = list(dict.fromkeys(f"{name}: {error}" for name, error in failures))
    return UnfinishedError(
        f"{len(failures)} of {num_parts} parts failed, in the classes {', '.join(classes)}; the "
        "others are finished and kept:\n"
        + "\n".join(f"  {reason}" for reason in reasons[:10])
        + "\nResume with `dvc repro`, or `python -m flows.synthesize`."
    )
