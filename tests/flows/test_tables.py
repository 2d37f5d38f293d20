"""What a run ends with."""

from pathlib import Path

import pytest

from flows.cli.tables import columns, cut, show_results, table
from tasks.workspace import FIRST

SUMMARY = """bin,imbalanced,control,final,gain,low,high,num_images
overall,0.662,0.771,0.805,0.034,0.025,0.043,10000
few,0.342,0.72,0.855,0.135,0.118,0.152,3000
"""


def test_a_run_ends_with_the_gain_over_the_control_and_the_place_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("reports").mkdir()
    Path("reports", "summary.csv").write_text(SUMMARY)
    show_results(FIRST)
    header, overall, few, *_, page = capsys.readouterr().out.splitlines()
    assert header.split()[3:7] == ["imbalanced", "control", "final", "gain"]
    assert overall.split() == ["overall", "66.2", "77.1", "80.5", "+3.4", *interval(overall)]
    assert interval(few) == ["+11.8", "to", "+15.2", "3,000"]
    assert page == f"Report: {tmp_path / 'reports' / 'index.html'}"
    assert max(map(len, (header, overall, few))) <= 80


def interval(line: str) -> list[str]:
    return line.split()[5:]


def test_columns_are_those_of_a_terminal() -> None:
    """A Chinese character and an emoji take two, an accent that stands apart takes none."""
    names = ["\u65e5\u672c", "\U0001f600cat", "cafe\u0301", "dog"]
    assert [columns(name) for name in names] == [4, 5, 4, 3]
    lines = table(("class", "images"), [(name, 7) for name in names]).split("\n")
    assert {columns(line) for line in lines} == {13}
    assert cut("\u65e5" * 30, 10) == "\u65e5" * 3 + "..."
    assert cut("dog", 3) == "dog"
