"""Tables of numbers as plain text, and the one that a run ends with."""

import unicodedata
from collections.abc import Sequence
from itertools import accumulate

from tasks.workspace import Workspace

TABLE_LATER = "FGDS_TABLE_LATER"
"""Variable of the environment: whoever runs the stage report prints its table, at the end."""

MAX_ROWS = 40
"""More classes than this are cut to the ones that matter most."""


def table(header: Sequence[str], rows: Sequence[Sequence[str | int]]) -> str:
    """Aligned columns: the first to the left, numbers with thousands separators to the right."""
    texts = [
        list(header),
        *([f"{value:,}" if isinstance(value, int) else value for value in row] for row in rows),
    ]
    widths = [max(map(columns, column)) for column in zip(*texts, strict=True)]
    return "\n".join(
        "  ".join(
            blank + text if place else text + blank
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
            for blank in (" " * (width - columns(text)),)
        )
        for row in texts
    )


def columns(text: str) -> int:
    """Columns that a terminal takes for a text: two for a Chinese character or an emoji."""
    return sum(_columns(character) for character in text)


def cut(text: str, most: int) -> str:
    """The beginning of a text that takes at most so many columns."""
    if columns(text) <= most:
        return text
    widths = accumulate(map(_columns, text))
    return text[: sum(width <= most - 3 for width in widths)] + "..."


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def show_results(workspace: Workspace) -> None:
    """Prints the accuracies of the three classifiers, the gain, and where the report is."""
    from fgds_core.report.summary import gain_table, read_summary

    print(gain_table(read_summary(workspace.reports / "summary.csv")))
    print(f"\nReport: {(workspace.reports / 'index.html').resolve()}")
