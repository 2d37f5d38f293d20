"""The result in a few lines: `reports/summary.csv` as it is read and as it is shown.

`imbalanced` is the baseline, `control` the same network, by the final recipe, on the same real
images, `final` the one that has synthetic images beside them. The gain is final minus control.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fgds_core.classify.groups import MEASURES
from fgds_core.errors import InputError
from fgds_core.files import csv_text, read_csv
from fgds_core.report.numbers import count, gain_of, percent, within

DIGITS = 6
"""Digits of a fraction in the file."""

ACCURACIES = ("overall", "many", "medium", "few", *MEASURES)
"""The rows of the summary that are accuracies; the others are macro F1 and calibration error."""


@dataclass(frozen=True)
class Row:
    """One line of the summary; fractions, None where the data has no such images.

    Attributes:
        bin: What is measured: `overall`, a shot bin, a measure of groups, `macro_f1` or `ece`.
        imbalanced: Of the baseline.
        control: Of the control.
        final: Of the final classifier.
        gain: Final minus control.
        low: Lower end of the gain's 95 % interval, paired over test images.
        high: Upper end.
        num_images: Test images that the line rests on.
    """

    bin: str
    imbalanced: float | None
    control: float | None
    final: float | None
    gain: float | None
    low: float | None
    high: float | None
    num_images: int | None


def rounded(value: float | None) -> float | None:
    """A fraction as every file of the report has it."""
    return None if value is None else round(value, DIGITS)


def written_gain(first: float | None, second: float | None) -> float | None:
    """The difference of two fractions as they stand in a file: each line of it adds up."""
    before, after = rounded(first), rounded(second)
    return None if before is None or after is None else rounded(after - before)


def summary_csv(rows: Sequence[Row]) -> str:
    """The rows as CSV: fractions, empty fields for None; the gain is that of the other columns."""

    def written(row: Row) -> dict[str, object]:
        found: dict[str, Any] = {
            name: rounded(value) if isinstance(value, float) else value
            for name, value in asdict(row).items()
        }
        return found | {"gain": written_gain(row.control, row.final)}

    return csv_text([written(row) for row in rows])


def read_summary(path: Path) -> list[Row]:
    """Reads `summary.csv`.

    Raises:
        InputError: If the file is missing or damaged.
    """

    def fraction(row: Mapping[str, str], name: str) -> float | None:
        return float(row[name]) if row[name] else None

    rows = read_csv(path, "run the stage report again", [column.name for column in fields(Row)])
    try:
        return [
            Row(
                bin=row["bin"],
                imbalanced=fraction(row, "imbalanced"),
                control=fraction(row, "control"),
                final=fraction(row, "final"),
                gain=fraction(row, "gain"),
                low=fraction(row, "low"),
                high=fraction(row, "high"),
                num_images=int(row["num_images"]) if row["num_images"] else None,
            )
            for row in rows
        ]
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); run the stage report again") from error


def shown(row: Row) -> dict[str, str]:
    """A line as it is printed: accuracies in percent, the gain and its interval in points.

    The gain is the difference of the two printed numbers, so that the line adds up.
    """
    return {
        **{name: percent(getattr(row, name)) for name in ("imbalanced", "control", "final")},
        "gain": gain_of(row.control, row.final),
        "95 % interval": within(row.low, row.high),
        "images": count(row.num_images),
    }


def accuracies(rows: Sequence[Row]) -> list[tuple[str, dict[str, str]]]:
    """The lines of accuracies as they are printed, by name, but for `is_left_out`."""
    return [
        (row.bin, shown(row)) for row in rows if row.bin in ACCURACIES and not is_left_out(row)
    ]


def is_left_out(row: Row) -> bool:
    """Whether a line is not shown: of groups that the data does not have."""
    return row.bin in MEASURES and row.final is None


def gain_table(rows: Sequence[Row]) -> str:
    """The table for the end of a run: accuracies in percent, gains over the control in points.

    Args:
        rows: Of `summary.csv`.
    """
    widths = {"imbalanced": 12, "control": 9, "final": 8, "gain": 8, "95 % interval": 16}
    widths["images"] = 9
    lines = [f"{'test accuracy, %':<16}" + "".join(f"{k:>{w}}" for k, w in widths.items())]
    lines += [
        f"{name:<16}" + "".join(f"{cells[k]:>{w}}" for k, w in widths.items())
        for name, cells in accuracies(rows)
    ]
    return "\n".join(lines)
