"""Makes images of the synthetic set again, each equal to its row byte for byte.

    python -m flows.redraw --class shirt --index 17
    python -m flows.redraw --class shirt --index 17 18 40 --out pictures

Prints what the set holds of each image, where it lies, and whether the one drawn now is the same;
exit status 1 if one is not. Where the parameters, the data, the classifier or the code have
changed since, it says what differs and draws nothing. Seconds for each image, and the time it
takes to load the generator.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgds_core.errors import UnfinishedError
from flows.cli.adapter import drawing_recipe
from flows.cli.options import add_images, add_out, add_params, add_round, command
from flows.cli.params import read_params
from flows.cli.stage import exit_status
from tasks.workspace import RUNS, Workspace

if TYPE_CHECKING:
    from tasks.redraw import Redrawn

REDRAWN = RUNS / "redrawn"


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws and compares; returns the exit status."""
    args = parser().parse_args(arguments)
    return exit_status(
        lambda: show_redrawn(
            read_params(args.params), args.class_name, args.index, args.out, Workspace(args.round)
        ),
        "redraw",
    )


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = command("redraw", __doc__)
    add_images(parser, required=True)
    add_out(parser, REDRAWN, "the images")
    add_params(parser)
    add_round(parser)
    return parser


def show_redrawn(
    params: dict[str, Any], name: str, indices: Sequence[int], out: Path, workspace: Workspace
) -> None:
    """Draws images again and prints what there is to say of each.

    Args:
        params: All sections.
        name: The class.
        indices: Places within the class.
        out: Gets the images.
        workspace: Where the set is.

    Raises:
        InputError: There is no such image, or something has changed since it was drawn.
        UnfinishedError: One came out otherwise than it lies in the set.
    """
    from fgds_core.synthesis.shards import read_index
    from tasks.redraw import find, redraw_image
    from tasks.survey import survey

    known = read_index(workspace.synthetic)
    for index in indices:
        find(known, name, index, workspace.synthetic)
    recipe = drawing_recipe(params, workspace)
    sections = params["retrain"], params["store"]
    found = survey(recipe, *sections, workspace, judge=params["judge"])
    differing = []
    for index in indices:
        redrawn = redraw_image(found, name, index, params["compute"], out)
        print(told(name, index, redrawn), end="\n\n")
        differing += [index] if redrawn.unlike else []
    if differing:
        raise UnfinishedError(
            f"{len(differing)} of {len(indices)} images came out otherwise than in the set, though"
            " by the same recipe: the device or compute.batch_size is another than it was drawn"
            " with (docs/trust.md)"
        )


def told(name: str, index: int, redrawn: "Redrawn") -> str:
    """The row of an image, where it lies, and whether it came out the same."""
    facts = {key: value for key, value in redrawn.row.items() if key not in ("label", "index")}
    facts |= {"conditioning image": redrawn.source, "in the set": redrawn.part}
    facts["drawn again"] = f"{redrawn.file} (on {redrawn.device})"
    width = max(map(len, facts))
    lines = [f"{name} {index}"]
    lines += [f"  {key:<{width}}  {_text(value)}" for key, value in facts.items()]
    same = "equal to its row byte for byte"
    lines.append(f"  {'; '.join(redrawn.unlike) or same}")
    return "\n".join(lines)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
