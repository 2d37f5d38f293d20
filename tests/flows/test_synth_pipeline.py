"""What the flow of all stages records with DVC, stage by stage."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from micro import set_params

import flows.synth_pipeline
from flows.cli.arguments import sections_of
from flows.synth_pipeline import STAGES, stage_flow, synth_pipeline


@pytest.fixture
def recorded(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[str], None]], list[str]]:
    """Runs the pipeline with stages that only do what they are told; what was recorded."""

    def run(during: Callable[[str], None]) -> list[str]:
        names: list[str] = []

        def stage(name: str) -> Callable[..., None]:
            def fake(**sections: object) -> None:
                during(name)

            fake.sections = sections_of(stage_flow(name))
            return fake

        stages = {name: stage(name) for name in STAGES}
        with monkeypatch.context() as patch:
            patch.setattr(flows.synth_pipeline, "stage_flow", stages.__getitem__)
            patch.setattr(flows.synth_pipeline, "sections_of", lambda stage: stage.sections)
            patch.setattr(flows.synth_pipeline, "arguments_of", lambda *given: {})
            patch.setattr(flows.synth_pipeline, "record", names.append)
            patch.setattr(flows.synth_pipeline, "show_results", lambda workspace: None)
            synth_pipeline.fn()
        return names

    return run


def test_every_stage_is_recorded(recorded) -> None:
    assert recorded(lambda name: None) == list(STAGES)


def test_nothing_is_recorded_by_parameters_that_were_edited_meanwhile(
    workspace: Path, recorded
) -> None:
    def edit(name: str) -> None:
        if name == "synthesize":
            set_params(workspace, {"synthesize": {"feedback_scale": 0.03}})

    assert recorded(edit) == ["prepare", "judge", "train_baseline", "train_control", "adapt"]


def test_nothing_is_recorded_by_code_that_was_edited_meanwhile(
    recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = SimpleNamespace(
        digest=lambda module: "", has_changed=lambda module: module == "flows.assess"
    )
    monkeypatch.setattr(flows.synth_pipeline, "code", changed)
    stages = ["prepare", "judge", "train_baseline", "train_control", "adapt", "synthesize"]
    assert recorded(lambda name: None) == stages
