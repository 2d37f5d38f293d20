"""What a stage's flow is called with: sections of the parameters, and the workspace.

A parameter of a flow has the name of a section, or is a record whose fields have such names, or is
the workspace.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from inspect import signature
from typing import Any

from prefect import Flow

from flows.cli.params import SECTIONS
from tasks.workspace import Workspace


def sections_of(flow: Flow[..., Any]) -> tuple[str, ...]:
    """The sections of the parameters that a flow reads."""
    names: list[str] = []
    for name, parameter in signature(flow.fn).parameters.items():
        names += [name] if name in SECTIONS else _sections_within(parameter.annotation)
    return tuple(names)


def arguments_of(
    flow: Flow[..., Any], params: Mapping[str, Any], workspace: Workspace
) -> dict[str, Any]:
    """What a flow is called with.

    Args:
        flow: Of a stage.
        params: Section -> its model; at least those of `sections_of`.
        workspace: Where things lie.
    """
    arguments: dict[str, Any] = {}
    for name, parameter in signature(flow.fn).parameters.items():
        if parameter.annotation is Workspace:
            arguments[name] = workspace
        elif name in SECTIONS:
            arguments[name] = params[name]
        elif inner := _sections_within(parameter.annotation):
            arguments[name] = parameter.annotation(**{each: params[each] for each in inner})
    return arguments


def sections_in(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The sections among the arguments of a flow, those in a record too."""
    sections: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in SECTIONS:
            sections[name] = value
        else:
            sections |= {each: getattr(value, each) for each in _sections_within(type(value))}
    return sections


def _sections_within(annotation: object) -> list[str]:
    """The fields of a record of sections; none of anything else."""
    if not is_dataclass(annotation):
        return []
    names = [field.name for field in fields(annotation)]
    return names if set(names) <= set(SECTIONS) else []
