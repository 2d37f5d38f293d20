"""What several seeds come to, without running any."""

import math

import pytest

from benchmarks.seeds import MEASURES, as_markdown, summary


def run(control: float, final: float, **others: float | None) -> dict[str, object]:
    columns: dict[str, float | None] = dict.fromkeys(
        f"{who} {name}" for who in ("control", "final") for name in MEASURES
    )
    columns |= {"control overall": control, "final overall": final}
    return {"columns": columns | others}


def test_differences_are_within_a_seed() -> None:
    """The seeds differ far more than the classifiers within one."""
    table = summary({"a": run(0.5, 0.52), "b": run(0.7, 0.74)})
    assert list(table) == ["overall"]  # of the others some seed has no number
    difference = table["overall"]["difference"]
    assert difference["mean"] == pytest.approx(0.03)
    assert difference["high"] == pytest.approx(0.03 + math.tan(0.475 * math.pi) * 0.01)
    assert table["overall"]["control"]["high"] > 1.5
    assert as_markdown(table).splitlines()[2].startswith("| overall | 60.0 ± 127.1 | 63.0 ± ")


def test_one_seed_has_no_interval_and_none_no_table() -> None:
    assert as_markdown(summary({"a": run(0.5, 0.52)})).splitlines()[2] == (
        "| overall | 50.0 | 52.0 | +2.0 | 1 |"
    )
    assert summary({}) == {}
