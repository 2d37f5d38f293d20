"""Run times are said once: README, help and the page name the same measurement."""

import re
from pathlib import Path

import pytest
from micro import ROOT

from flows.cli.durations import MINUTES, with_time
from flows.synth_pipeline import STAGES, stage_flow
from tasks.watch.timing import record_job, record_stage


def test_help_tells_the_recorded_run_and_the_last_one_here(tmp_path: Path) -> None:
    timing = tmp_path / "timing.json"
    recorded = f"Draws.\n\nAll stages take {MINUTES} minutes"
    assert with_time("Draws.\n", "synthesize", timing).startswith(recorded)
    assert "Here" not in with_time("Draws.\n", "synthesize", timing)
    record_stage("synthesize", 41.6, 40.0, timing)
    record_job(150.2, 1.0, timing)
    assert with_time("", "synthesize", timing).endswith("Here the last run took 42 s.")
    assert with_time(None, None, timing).endswith("Here the last run took 150 s.")
    assert "Here" not in with_time("", "assess", timing)
    timing.write_text("[]")
    assert "Here" not in with_time("", None, timing)


def test_readme_names_the_same_time() -> None:
    assert f"It took {MINUTES} minutes" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("module", [*STAGES, "synth_pipeline"])
def test_no_flow_names_another(module: str) -> None:
    text = (ROOT / "flows" / f"{module}.py").read_text()
    assert not re.search(r"\b(minutes?|\d+ s|seconds)\b", text.split('"""')[1])
    assert module == "synth_pipeline" or stage_flow(module).name == module
