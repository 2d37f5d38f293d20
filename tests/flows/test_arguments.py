"""What a flow is called with."""

from inspect import signature

import pytest

from flows.cli.arguments import arguments_of, sections_in, sections_of
from flows.cli.params import SECTIONS
from flows.synth_pipeline import NO_RESULT, STAGES, stage_flow
from tasks.workspace import FIRST, Workspace


@pytest.mark.parametrize("name", STAGES)
def test_a_flow_is_called_with_its_sections_and_the_workspace(name: str) -> None:
    flow = stage_flow(name)
    *_, last = signature(flow.fn).parameters.values()
    assert (last.name, last.annotation, last.default) == ("workspace", Workspace, FIRST)

    params = {section: object() for section in SECTIONS}
    arguments = arguments_of(flow, params, Workspace(2))
    assert arguments["workspace"] == Workspace(2)
    assert sections_in(arguments) == {section: params[section] for section in sections_of(flow)}


def test_the_page_is_told_every_parameter_that_decides_a_result() -> None:
    assert set(sections_of(stage_flow("report"))) == set(SECTIONS) - NO_RESULT
