"""The summary as it is read and shown."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgds_core.errors import InputError
from fgds_core.report.summary import Row, accuracies, read_summary, shown

HEADER = "bin,imbalanced,control,final,gain,low,high,num_images\n"


def row(control: float | None, final: float | None, name: str = "few") -> Row:
    return Row(name, 0.5, control, final, None, None, None, 10)


def test_the_summary_is_read_with_its_gaps(tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    lines = "overall,0.5,0.6,0.75,0.15,0.1,0.2,40\nmany,,,,,,,0\nece,0.1,0.1,0.2,0.1,,,40\n"
    path.write_text(HEADER + lines)
    overall, many, ece = read_summary(path)
    assert overall == Row("overall", 0.5, 0.6, 0.75, 0.15, 0.1, 0.2, 40)
    assert many == Row("many", None, None, None, None, None, None, 0)
    assert [name for name, _ in accuracies([overall, many, ece])] == ["overall", "many"]


@pytest.mark.parametrize("text", ["bin,before,after\nfew,1,2\n", HEADER + "few,x,1,1,0,,,3\n"])
def test_a_missing_or_damaged_summary_names_the_stage(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"does not exist; run the stage report"):
        read_summary(tmp_path / "summary.csv")
    (tmp_path / "summary.csv").write_text(text)
    with pytest.raises(InputError, match=r"damaged .* run the stage report again"):
        read_summary(tmp_path / "summary.csv")


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_printed_gain_is_the_difference_of_the_printed_accuracies(a: float, b: float) -> None:
    cells = shown(row(a, b))
    points = float(cells["final"]) - float(cells["control"])
    assert float(cells["gain"]) == pytest.approx(points, abs=1e-6)


def test_a_gain_that_rounds_to_nothing_has_no_sign() -> None:
    assert shown(row(0.5004, 0.4996))["gain"] == "0.0"
    assert shown(row(0.65049, 0.80451))["gain"] == "+15.5"  # 65.0 to 80.5
    assert shown(row(None, 0.8))["gain"] == "-"


def test_the_worst_group_is_a_line_where_there_are_groups() -> None:
    without = Row("worst_group", None, None, None, None, None, None, None)
    assert accuracies([without]) == []
    with_groups = row(0.2, 0.4, "worst_group")
    assert accuracies([with_groups]) == [("worst_group", shown(with_groups))]
