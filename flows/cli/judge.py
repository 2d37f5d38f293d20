"""What there is of a judge, and what the rest of it costs; needs no server."""

from collections.abc import Mapping
from typing import Any

from fgds_core.classify.config import final_recipe
from fgds_core.errors import InputError
from fgds_core.judge.record import JudgeRecord, read_record
from flows.cli.stage import Question
from tasks.watch.progress import clock
from tasks.watch.timing import TIMING, training_s
from tasks.workspace import Workspace


def show_judge(params: Mapping[str, Any], workspace: Workspace) -> None:
    """Prints which trainings of the judge are done, and whether it was asked."""
    from tasks.judge import folds, is_trained, who

    config = params["judge"]
    control = final_recipe(params["train_baseline"], params["retrain"].training)
    its_folds = folds(config, control, params["seed"], workspace)
    left = sum(not is_trained(fold, workspace) for fold in its_folds)
    lines = [f"Judge: {config.kind}" + (f", {config.path}" if config.path else "")]
    if its_folds:
        lines[0] += f"; {len(its_folds) - left} of {len(its_folds)} classifiers are trained"
    if left:
        one = training_s(workspace.real_reports / TIMING.name)
        each = "whose time nobody knows yet" if one is None else f"about {clock(left * one)}"
        lines.append(f"To train: {left}, {each}")
    expected = who(config, params["generator"], params["seed"], its_folds, workspace)
    lines.append(_asked(expected, workspace))
    print("\n".join(lines))


def _asked(expected: JudgeRecord, workspace: Workspace) -> str:
    """Whether this judge was shown the real images."""
    try:
        found = read_record(workspace.judge)
    except InputError:
        return "It was not shown the real images yet: `python -m flows.judge`."
    if found.judged_by != expected.judged_by:
        return "The judge that is there is another one: `python -m flows.judge`."
    shown = sum(each.num_images for each in found.validation)
    return f"It was shown {shown:,} real validation images."


QUESTIONS = (
    Question("status", "say what of the judge is there and what is left, run nothing", show_judge),
)
