"""What a function of the pipeline may ask of its callers."""

import ast
from collections.abc import Iterator
from inspect import signature
from pathlib import Path

import pytest

from flows.cli.arguments import arguments_of, sections_in, sections_of
from flows.cli.params import SECTIONS
from flows.synth_pipeline import STAGES, stage_flow
from tasks.workspace import FIRST, Workspace

ROOT = Path(__file__).parent.parent
MOST = 6
"""Parameters; what walks hand in hand is one thing."""


def functions() -> Iterator[tuple[str, int]]:
    """Each function of tasks and flows, and how many parameters it has."""
    for path in sorted(
        path for layer in ("tasks", "flows") for path in (ROOT / layer).rglob("*.py")
    ):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = node.args
                named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
                own = [each for each in named if each.arg not in ("self", "cls")]
                rest = [each for each in (given.vararg, given.kwarg) if each is not None]
                yield f"{path.relative_to(ROOT)}:{node.name}", len(own) + len(rest)


def test_no_function_asks_for_more_than_can_be_kept_in_mind() -> None:
    counts = dict(functions())
    assert len(counts) > 200
    assert {name: count for name, count in counts.items() if count > MOST} == {}


@pytest.mark.parametrize("name", STAGES)
def test_a_flow_is_called_with_its_sections_and_the_workspace(name: str) -> None:
    flow = stage_flow(name)
    *_, last = signature(flow.fn).parameters.values()
    assert (last.name, last.annotation, last.default) == ("workspace", Workspace, FIRST)

    params = {section: object() for section in SECTIONS}
    arguments = arguments_of(flow, params, Workspace(2))
    assert arguments["workspace"] == Workspace(2)
    assert sections_in(arguments) == {section: params[section] for section in sections_of(flow)}
