"""Draws a few images of some classes, feedback off and on at the same seed, beside real ones.

    python -m flows.preview
    python -m flows.preview --classes shirt "ankle boot" --n 6

They are the first images that a run with these parameters draws. Writes a page that needs no
network and one picture of all of it to `.runs/preview`, and prints where; a terminal that shows
pictures (kitty, iTerm, WezTerm) shows it. Works as soon as the data are prepared; before there is
a classifier that guides it draws without feedback and says so. Seconds, and the time it takes to
load the generator.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from flows.cli.adapter import drawing_recipe
from flows.cli.numbers import whole_number
from flows.cli.options import add_out, add_params, add_round, command
from flows.cli.params import read_params
from flows.cli.pictures import for_terminal
from flows.cli.stage import exit_status
from tasks.workspace import RUNS, Workspace

PREVIEW = RUNS / "preview"


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws and writes the page; returns the exit status."""
    args = parser().parse_args(arguments)
    return exit_status(
        lambda: show_preview(
            read_params(args.params), args.classes, args.n, args.out, Workspace(args.round)
        ),
        "preview",
    )


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = command("preview", __doc__)
    parser.add_argument(
        "--classes",
        nargs="+",
        default=[],
        metavar="CLASS",
        help="names of classes (up to 8 that get most synthetic images)",
    )
    parser.add_argument(
        "--n", type=_count, default=4, metavar="N", help="images of each class (4)"
    )
    add_out(parser, PREVIEW, "the page")
    add_params(parser)
    add_round(parser)
    return parser


def show_preview(
    params: dict[str, Any], names: Sequence[str], number: int, out: Path, workspace: Workspace
) -> None:
    """Draws, writes the page and prints where it is.

    Args:
        params: All sections.
        names: Of classes; empty for a choice.
        number: Images of each.
        out: Folder of the page.
        workspace: Where the data and the classifiers are.

    Raises:
        InputError: There are no prepared data, there is no such class, or the images cannot be
            drawn.
    """
    from fgds_core.ability.preview import write_preview
    from fgds_core.adapt.recipe import adapts
    from fgds_core.stages.preview import chosen, preview
    from fgds_core.synthesis.models import load_models
    from tasks.ability import unguided
    from tasks.identity.drawing import guides, is_guided
    from tasks.plan import read_plan
    from tasks.watch.progress import bar, say
    from tasks.workers.devices import use_device
    from tasks.workers.worker import adapted_models

    recipe = drawing_recipe(params, workspace)
    plan = read_plan(recipe.synthesize, workspace)
    labels, remarks = chosen(plan, names), []
    its_guides = guides(recipe.synthesize, workspace) if is_guided(recipe.synthesize) else ()
    if missing := [each for each in its_guides if not each.exists()]:
        remarks.append(
            f"Without feedback: {missing[0]}, which guides, is not there yet; make it with"
            f" `{workspace.makes(missing[0])}`"
        )
        recipe, its_guides = unguided(recipe), ()
    compute = params["compute"]
    device = use_device(compute)
    say("preview", f"loading the generator {recipe.generator.path} on {device}")
    models = load_models(
        recipe, workspace.prepared, its_guides, device, micro_batch=compute.micro_batch
    )
    learnt = [label for label in labels if adapts(recipe, plan.class_names[label])]
    if params["adapt"].enabled and not workspace.adapter.is_dir():
        remarks.append(
            f"As the generator is: {workspace.adapter} is not there yet; make it with"
            " `dvc repro adapt`"
        )
        learnt = []
    num_images = len(labels) * number * (1 if models.feedback is None else 2)
    with bar("preview", num_images, "images") as advance:
        draw = partial(preview, plan, number=number, recipe=recipe, prepared=workspace.prepared)
        how = {"batch_size": compute.batch_size, "advance": advance}
        plain = [label for label in labels if label not in learnt]
        shown = draw(plain, models=models, **how)
        if learnt:
            models = adapted_models(models, recipe, compute, workspace)
            shown += draw(learnt, models=models, **how)
    heading = f"{recipe.generator.path}: {number} images of {len(shown)} classes"
    page, strip = write_preview(out, heading, remarks, shown)
    for remark in remarks:
        print(remark)
    if sys.stdout.isatty() and (picture := for_terminal(strip.read_bytes(), os.environ)):
        print(picture)
    print(f"Page: {page.resolve()}\nPicture: {strip.resolve()}")


def _count(text: str) -> int:
    return whole_number(text, 1)


if __name__ == "__main__":
    sys.exit(main())
