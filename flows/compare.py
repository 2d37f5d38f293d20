"""Two or more experiments side by side: what differs, who gained, who paid, how sure that is.

    python -m flows.compare workspace strong    # this folder, and an experiment of DVC
    python -m flows.compare ../first ../second  # folders of runs
    python -m flows.compare main HEAD --out /tmp/compared

Prints the parameters that differ and the accuracies, and writes a page with its pictures into
`reports/compare`. Of experiments and commits the files come from git and from DVC's cache. Nothing
is trained and nothing drawn; some seconds.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fgds_core.errors import InputError
from fgds_core.report.config import ReportConfig
from fgds_core.report.experiments import (
    MOST,
    Experiment,
    accuracies,
    differing,
    sentences_of,
    write_comparison,
)
from fgds_core.report.inputs import Places, read_inputs
from fgds_core.report.page import find
from flows.cli.document import read_document
from flows.cli.options import add_out, command
from flows.cli.params import PARAMS, read_params
from flows.cli.stage import exit_status
from flows.cli.tables import cut, table
from tasks.workspace import FIRST

OUT = Path("reports/compare")

NEEDED = (PARAMS.as_posix(), f"{FIRST.prepared.as_posix()}/meta.json", FIRST.reports.as_posix())
"""What is read of a run."""

WIDTH = 24
"""Columns of a value in a table on the console, at most."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares; returns the exit status."""
    parser = command("compare", __doc__)
    parser.add_argument(
        "experiments",
        nargs="+",
        metavar="EXP",
        help=f"2 to {MOST}: a folder that holds a finished run, an experiment or commit that DVC "
        "knows, or workspace, which is this folder; the first is what others are compared with",
    )
    add_out(parser, OUT, "the page")
    args = parser.parse_args(arguments)
    return exit_status(lambda: compare(args.experiments, args.out))


def compare(names: Sequence[str], out: Path = OUT) -> None:
    """Prints what differs between runs and writes the page.

    Args:
        names: Folders, experiments or commits; `workspace` is this folder.
        out: The folder of the page.

    Raises:
        InputError: They cannot be compared, or one is not there as a whole.
    """
    if not 2 <= len(names) <= MOST:
        raise InputError(f"compare needs 2 to {MOST} experiments, got {len(names)}")
    with TemporaryDirectory(prefix="compare-") as place:
        experiments = [
            replace(read_experiment(name, Path(place) / str(number)), name=called)
            for number, (name, called) in enumerate(zip(names, short_names(names), strict=True))
        ]
        page = write_comparison(experiments, out, _config())
        print(as_text(experiments))
    print(f"\nComparison: {page.resolve()}")


def read_experiment(name: str, place: Path) -> Experiment:
    """Reads a run from a folder, or from git and DVC's cache.

    Args:
        name: Of the folder, experiment or commit.
        place: Where the files of one that is in no folder are put.

    Raises:
        InputError: It is not there, or no finished run.
    """
    folder = Path() if name == "workspace" else Path(name)
    if not folder.is_dir():
        from tasks.identity.dvc import fetch

        fetch(name, NEEDED, place)
        index = FIRST.synthetic_index.as_posix()
        fetch(name, (index,), place, missing_is_fine=True)
        folder = place
    if not (folder / FIRST.reports).is_dir():
        raise InputError(f"{name} holds no finished run: it has no {FIRST.reports}/")
    params: Any = read_document(folder / PARAMS, "it says what the run was")
    reports = folder / FIRST.reports
    places = Places(folder / FIRST.prepared, reports, reports, folder / FIRST.synthetic)
    return Experiment(name, find(read_inputs(places, params)))


def short_names(names: Sequence[str]) -> list[str]:
    """What the runs are called: a folder by its own name, as far as that tells them apart."""
    short = [Path(name).resolve().name if Path(name).is_dir() else name for name in names]
    return short if len(set(short)) == len(short) else list(names)


def _config() -> ReportConfig:
    """How much the page shows, as this folder's parameters have it."""
    found: ReportConfig = read_params(PARAMS)["report"]
    return found


def as_text(experiments: Sequence[Experiment]) -> str:
    """What differs, and the accuracies, as tables for the console."""
    names = [cut(each.name, WIDTH) for each in experiments]
    differences = [
        (row.key, *(cut(value, WIDTH) for value in row.values)) for row in differing(experiments)
    ]
    parts = [
        table(("parameter", *names), differences) if differences else "No parameter differs.",
        table(("test accuracy, % (gain over control)", *names), accuracies(experiments)),
        "\n".join(sentences_of(experiments)),
    ]
    return "\n\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
