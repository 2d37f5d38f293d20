"""One finished run: names, numbers and rounding are the same wherever they are told."""

import csv
import json
from pathlib import Path

import pytest
from page_tables import rows_of

from fgds_core.report.verdict import LABELS

CALLED = {"imbalanced": "baseline", "control": "control", "final": "final"}
"""What a column holds: the classifier whose files have this name."""

STAGES = {"imbalanced": "train_baseline", "control": "train_control", "final": "retrain"}


class Told:
    """What a run says on its page, on the console, in CSV and in JSON; minus signs as typed."""

    def __init__(self, folder: Path, console: str) -> None:
        self.reports = folder / "reports"
        html = (self.reports / "index.html").read_text(encoding="utf-8")
        html = html.replace("\N{MINUS SIGN}", "-").replace("\N{EN DASH}", "-")
        self.page = {_head(cells[0]): cells[1:] for cells in rows_of(html, "headline")}
        self.classes = {cells[0]: cells[1:] for cells in rows_of(html, "class-table")}
        self.said = console
        lines = console[console.index("test accuracy, %") :].splitlines()[1:5]
        self.console = {line.split()[0]: line.split()[1:] for line in lines}
        self.metrics = {
            column: json.loads((self.reports / f"{name}.json").read_text())
            for column, name in CALLED.items()
        }
        self.verdict = json.loads((self.reports / "verdict.json").read_text())
        self.paired = {
            (row["first"], row["of"], row["name"]): row for row in self.csv("paired.csv")
        }

    def csv(self, name: str) -> list[dict[str, str]]:
        with (self.reports / name).open(encoding="utf-8") as file:
            return list(csv.DictReader(file))


def _head(cell: str) -> str:
    return cell.partition(" | ")[0]


def percent(value: str | float | None) -> str:
    return "-" if value in ("", None) else f"{100 * float(value):.1f}"


def points(value: str) -> str:
    text = f"{100 * float(value):+.1f}"
    return text if float(text) else "0.0"


@pytest.fixture(scope="module")
def told(finished: Path) -> Told:
    return Told(finished, (finished.parent / "job.txt").read_text())


def test_accuracies_and_gains_are_the_same_in_all_four(told: Told) -> None:
    compared = 0
    for row in told.csv("summary.csv"):
        name = row["bin"]
        if LABELS[name] not in told.page:
            assert name == "worst_group"  # there are no groups
            continue
        *shown, change = told.page[LABELS[name]]
        assert shown == [percent(row[column]) for column in CALLED]
        assert shown == [percent(told.metrics[column][name]) for column in CALLED]
        gain, _, interval = change.partition(" | ")
        if row["gain"]:
            assert float(gain) == pytest.approx(float(shown[2]) - float(shown[1]), abs=1e-9)
            assert float(row["gain"]) == pytest.approx(
                float(row["final"]) - float(row["control"]), abs=1e-9
            )
            assert interval == f"{points(row['low'])} to {points(row['high'])}"
        if name in told.console:
            compared += 1
            on_console = told.console[name]
            assert on_console[:4] == [*shown, gain]
            assert " ".join(on_console[4:-1]) == (interval or "-")
            assert on_console[-1] == row["num_images"]
    assert compared == 4


def test_the_verdict_has_the_numbers_of_the_tables(told: Told) -> None:
    rows = {row["bin"]: row for row in told.csv("summary.csv")}
    assert told.verdict["claims"]
    for claim in told.verdict["claims"]:
        name = claim["of"]
        pair = told.paired["control", "overall" if name == "overall" else "bin", name]
        of_pair = [pair[key] for key in ("difference", "low", "high", "p", "p_holm")]
        of_claim = [claim[key] for key in ("change", "low", "high", "p", "p_holm")]
        assert of_claim == [float(text) for text in of_pair]
        assert claim["change"] == float(rows[name]["gain"])
        assert str(claim["num_images"]) == pair["num_images"] == rows[name]["num_images"]
    assert f"report: {told.verdict['headline']}\n" in told.said


def test_classes_are_the_same_on_the_page_and_in_their_tables(told: Told) -> None:
    per_class = {row["class"]: row for row in told.csv("final/per_class.csv")}
    assert set(told.classes) == set(per_class)
    for name, cells in told.classes.items():
        bin_name, real, _, test, imbalanced, control, final, change, p, _ = cells
        row = per_class[name]
        assert [bin_name, real, test] == [row[key] for key in ("bin", "num_train", "num_images")]
        assert final == percent(row["recall"])
        balanced, drawn = (told.paired[first, "class", name] for first in ("baseline", "control"))
        assert imbalanced == percent(balanced["first_accuracy"])
        assert control == percent(balanced["second_accuracy"]) == percent(drawn["first_accuracy"])
        assert float(_head(change)) == pytest.approx(float(final) - float(control), abs=1e-9)
        assert p == f"{float(drawn['p_holm']):.3f}"


def test_each_training_ends_with_the_accuracy_that_the_table_has(told: Told) -> None:
    overall = told.page[LABELS["overall"]]
    for (column, stage), shown in zip(STAGES.items(), overall[:3], strict=True):
        assert f"{stage}: test accuracy {shown} % (" in told.said
        assert percent(told.metrics[column]["overall"]) == shown
