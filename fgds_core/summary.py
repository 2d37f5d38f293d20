"""The result in a few lines: `reports/summary.csv` as it is read and as it is shown.

`imbalanced` is the baseline, `control` the same network on class-balanced batches of the same real
images, `final` the one that has synthetic images beside them. The gain is final minus control.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fgds_core.errors import InputError

ACCURACIES = ("overall", "many", "medium", "few", "worst_group")
"""The rows of the summary that are accuracies; the others are macro F1 and calibration error."""

MISSING = "-"


@dataclass(frozen=True)
class Row:
    """One line of the summary; fractions, None where the data has no such images.

    Attributes:
        bin: What is measured: `overall`, a shot bin, `worst_group`, `macro_f1` or `ece`.
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


def read_summary(path: Path) -> list[Row]:
    """Reads `summary.csv`.

    Raises:
        InputError: If the file is missing or damaged.
    """

    def fraction(row: Mapping[str, str], name: str) -> float | None:
        return float(row[name]) if row[name] else None

    try:
        with path.open(encoding="utf-8", newline="") as file:
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
                for row in csv.DictReader(file)
            ]
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; run the stage report") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); run the stage report again") from error


def shown(row: Row) -> dict[str, str]:
    """A line as it is printed: accuracies in percent, the gain and its interval in points.

    The gain is the difference of the two printed numbers, so that the line adds up.
    """
    printed = {name: _percent(getattr(row, name)) for name in ("imbalanced", "control", "final")}
    gain, within = MISSING, MISSING
    if MISSING not in (printed["control"], printed["final"]):
        points = round(float(printed["final"]) - float(printed["control"]), 1)
        gain = f"{points:+.1f}" if points else "0.0"
    if row.low is not None and row.high is not None:
        within = f"{100 * row.low:+.1f} to {100 * row.high:+.1f}"
    return {
        **printed,
        "gain": gain,
        "95 % interval": within,
        "images": MISSING if row.num_images is None else f"{row.num_images:,}",
    }


def accuracies(rows: Sequence[Row]) -> list[tuple[str, dict[str, str]]]:
    """The lines of accuracies as they are printed, by name; no worst group without groups."""
    return [
        (row.bin, shown(row))
        for row in rows
        if row.bin in ACCURACIES and (row.bin != "worst_group" or row.final is not None)
    ]


def _percent(value: float | None) -> str:
    return MISSING if value is None else f"{100 * value:.1f}"
