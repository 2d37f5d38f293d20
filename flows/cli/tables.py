"""Tables of numbers as plain text, and the one that a run ends with."""

from collections.abc import Sequence

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
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join(
        "  ".join(
            text.rjust(width) if place else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in texts
    )


def show_results(workspace: Workspace) -> None:
    """Prints the accuracies of the three classifiers, the gain, and where the report is."""
    from fgds_core.report.summary import gain_table, read_summary

    print(gain_table(read_summary(workspace.reports / "summary.csv")))
    print(f"\nReport: {(workspace.reports / 'index.html').resolve()}")
