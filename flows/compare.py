"""Two or more experiments side by side: what differs, who gained, who paid, how sure that is.

    python -m flows.compare workspace strong    # this folder, and an experiment of DVC
    python -m flows.compare ../first ../second  # folders of runs
    python -m flows.compare main HEAD --out /tmp/compared

Prints the parameters that differ and the accuracies, and writes a page with its pictures into
`reports/compare`. Of experiments and commits the files come from git and from DVC's cache. Nothing
is trained and nothing drawn; some seconds.
"""

import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fgds_core.errors import InputError
from fgds_core.report.config import ReportConfig
from fgds_core.report.experiments import (
    MOST,
    Difference,
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
from flows.cli.tables import columns, cut, table
from tasks.workspace import FIRST

OUT = Path("reports/compare")

NEEDED = (PARAMS.as_posix(), f"{FIRST.prepared.as_posix()}/meta.json", FIRST.reports.as_posix())
"""What is read of a run."""

WIDTH = 80
"""Columns of the console, at most."""

NAME = 16
"""Columns of the name of an experiment, at most."""

ACCURACY = "test accuracy, %"


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
    return exit_status(lambda: compare(args.experiments, args.out), "compare")


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
    """What differs, and the accuracies, as tables for the console, at most 80 columns wide."""
    names = labels([each.name for each in experiments])
    differences = differing(experiments)
    parts = [
        _of_parameters(differences, names) if differences else "No parameter differs.",
        *_of_accuracies(accuracies(experiments), names),
        "In brackets the gain over each one's own control, in points.",
        "\n".join(_filled(each) for each in sentences_of(experiments)),
    ]
    return "\n\n".join(parts)


def labels(names: Sequence[str]) -> list[str]:
    """The names, cut to a column; with a number before them where the cut makes some alike."""
    short = [cut(name, NAME) for name in names]
    if len(set(short)) == len(short):
        return short
    return [f"{number} {cut(name, NAME - 2)}" for number, name in enumerate(names, 1)]


def _of_parameters(differences: Sequence[Difference], names: Sequence[str]) -> str:
    """A table; where it is too wide, each parameter with its values below each other."""
    rows = [(row.key, *row.values) for row in differences]
    text = table(("parameter", *names), rows)
    if columns(text.partition("\n")[0]) <= WIDTH:
        return text
    width = max(map(columns, names))
    lines = ["Parameters that differ:"]
    for key, *values in rows:
        lines.append(key)
        for name, value in zip(names, values, strict=True):
            indent = " " * (width + 4)
            lines.append(_filled(f"  {name:<{width}}  {value}", indent))
    return "\n".join(lines)


def _of_accuracies(rows: Sequence[tuple[str, ...]], names: Sequence[str]) -> Iterator[str]:
    """The table, in as many pieces as keep it narrow."""
    each = max(columns(text) for row in (names, *(row[1:] for row in rows)) for text in row) + 2
    most = max(1, (WIDTH - len(ACCURACY)) // each)
    for start in range(0, len(names), most):
        some = slice(start, start + most)
        yield table((ACCURACY, *names[some]), [(row[0], *row[1:][some]) for row in rows])


def _filled(text: str, indent: str = "  ") -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent)


if __name__ == "__main__":
    sys.exit(main())
