"""Reads `params.yaml` strictly: every section, every key, every value, before anything starts.

A section is a frozen pydantic model in `fgds_core.config`. All of them are checked whichever stage
runs, so their modules are imported by name: a stage's code is what it computes with, and the
parameters of the others are no part of it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from fgds_core.errors import InputError

PARAMS = Path("params.yaml")

SECTIONS = {
    "seed": "flows.params:Seed",
    "data": "fgds_core.config.data:DataConfig",
    "prepare": "fgds_core.config.prepare:PrepareConfig",
    "train_baseline": "fgds_core.config.train_baseline:TrainBaselineConfig",
    "generator": "fgds_core.config.generator:GeneratorConfig",
    "synthesize": "fgds_core.config.synthesize:SynthesizeConfig",
    "assess": "fgds_core.config.assess:AssessConfig",
    "retrain": "fgds_core.config.retrain:RetrainConfig",
    "report": "fgds_core.config.report:ReportConfig",
    "compute": "fgds_core.config.compute:ComputeConfig",
    "store": "fgds_core.config.store:StoreConfig",
}

Seed = Annotated[
    int, Field(strict=True, ge=0, lt=2**32, description="seed of the run: a whole number from 0")
]


def read_params(
    path: Path = PARAMS, overrides: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """Reads and checks all parameters.

    Args:
        path: A YAML file (version 1.2, as DVC reads it).
        overrides: Values in place of those in the file, by dotted path such as
            `synthesize.feedback_scale`; checked as strictly.

    Returns:
        Section -> its model, or the number of the seed.

    Raises:
        InputError: The file is missing or no YAML, or holds mistakes; names each key by its path,
            the value and what is allowed.
    """
    tree = _read_yaml(path)
    mistakes = _override(tree, overrides)
    mistakes += [_unknown(name, (), SECTIONS) for name in tree if name not in SECTIONS]
    params = {}
    for name, where in SECTIONS.items():
        if name not in tree:
            mistakes.append(f"{name}: missing; add this section, the other stages need it")
            continue
        section = _section_type(where)
        try:
            # By way of JSON, where strictness knows lists for tuples and text for names.
            params[name] = TypeAdapter(section).validate_json(json.dumps(tree[name]))
        except ValidationError as error:
            mistakes += [_describe(mistake, name, section) for mistake in error.errors()]
        except TypeError as error:  # dates and other values that YAML knows and JSON does not
            mistakes.append(f"{name}: {error}; write such a value as text, in quotes")
    if {"generator", "synthesize", "assess"} <= set(params):
        agreed = import_module("fgds_core.config.agreement")
        mistakes += agreed.disagreements(
            params["generator"], params["synthesize"], params["assess"]
        )
    if mistakes:
        where = f"{path} with the overrides of {', '.join(overrides)}" if overrides else path
        raise InputError(f"{where} is not right:\n" + "\n".join(f"  {line}" for line in mistakes))
    return params


def dump_params(params: Mapping[str, Any]) -> str:
    """The parameters as YAML text, defaults filled in."""
    tree = {
        name: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        for name, value in params.items()
    }
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    text = StringIO()
    yaml.dump(tree, text)
    return text.getvalue()


@dataclass(frozen=True)
class Key:
    """One key of a section, as `--help` shows it."""

    path: str
    description: str


def keys(section: str) -> Iterator[Key]:
    """All keys of a section with their meaning, unit and range."""
    annotation = _section_type(SECTIONS[section])
    if section == "seed":
        yield Key("seed", get_args(annotation)[1].description or "")
    for model in _models(annotation):
        yield from _keys_of(model, section)


def _keys_of(model: type[BaseModel], prefix: str) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        path = f"{prefix}.{name}"
        yield Key(path, field.description or "")
        for nested in _models(field.annotation):
            yield from _keys_of(nested, path)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot read the parameters {path}: {error.strerror}; start in the folder that holds "
            "params.yaml, or name another file with --params"
        ) from error
    try:
        tree = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{path}{place}: not YAML: {error.problem or error}") from error
    if not isinstance(tree, dict):
        raise InputError(f"{path} must hold sections such as {', '.join(SECTIONS)}")
    return tree


def _override(tree: dict[str, Any], overrides: Mapping[str, Any]) -> list[str]:
    """Puts values into the tree; returns what is wrong with their paths."""
    mistakes = []
    for path, value in overrides.items():
        *parents, name = path.split(".")
        place: Any = tree
        for step in parents:
            place = place.setdefault(step, {}) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[name] = value
        else:
            mistakes.append(f"{path}: unknown key; {'.'.join(parents)} holds a value, no keys")
    return mistakes


def _section_type(where: str) -> object:
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    """The models within an annotation such as `Annotated[A | B, ...]` or `C | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is Annotated:
        yield from _models(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, type(int | str)):
        for member in get_args(annotation):
            yield from _models(member)


def _describe(mistake: ErrorDetails, section: str, annotation: object) -> str:
    """One line: the key's path, the value, what is allowed."""
    location = [str(step) for step in mistake["loc"]]
    path, field, siblings = _walk(section, annotation, location)
    if mistake["type"] == "extra_forbidden":
        return _unknown(location[-1], path[:-1], siblings)
    dotted = ".".join(path)
    allowed = field.description if field is not None and field.description else ""
    if mistake["type"] in ("union_tag_invalid", "union_tag_not_found"):
        context = mistake["ctx"]
        key = context["discriminator"].strip("'")
        tags = context.get("expected_tags", "the kinds in the documentation")
        return (
            f"{dotted}.{key}: got {json.dumps(mistake['input'].get(key))}: must be one of {tags}"
        )
    if mistake["type"] == "missing":
        return f"{dotted}: missing; {allowed or 'it has no default'}"
    message = mistake["msg"].removeprefix("Value error, ")
    line = f"{dotted}: {message}"
    if not isinstance(mistake["input"], dict):
        line = f"{dotted}: got {json.dumps(mistake['input'])}: {message[:1].lower()}{message[1:]}"
    return f"{line} ({allowed})" if allowed else line


def _walk(
    section: str, annotation: object, location: list[str]
) -> tuple[tuple[str, ...], Any, Mapping[str, Any]]:
    """Follows an error's place through the models.

    Returns:
        The key's path without the tags of unions, its field if there is one, and the fields of the
        model it stands in.
    """
    path, field = [section], None
    fields: Mapping[str, Any] = {}
    if section == "seed":
        field = get_args(annotation)[1]
    models = list(_models(annotation))
    for index, step in enumerate(location):
        if tagged := [model for model in models if len(models) > 1 and _has_tag(model, step)]:
            models = tagged  # the tag of a union's member is no key in the file
            continue
        known = {name: value for model in models for name, value in model.model_fields.items()}
        if step in known or (known and index == len(location) - 1):
            path.append(step)
            fields, field = known, known.get(step)
            models = list(_models(field.annotation)) if field is not None else []
        elif step.isdigit():
            path[-1] += f"[{step}]"
    return tuple(path), field, fields


def _has_tag(model: type[BaseModel], tag: str) -> bool:
    """Whether a member of a discriminated union goes by a tag, the only value of one field."""
    return any(get_args(field.annotation) == (tag,) for field in model.model_fields.values())


def _unknown(name: str, parents: tuple[str, ...], siblings: Mapping[str, Any]) -> str:
    path = ".".join([*parents, str(name)])
    close = get_close_matches(str(name), siblings, n=1)
    hint = f"did you mean {'.'.join([*parents, close[0]])}?" if close else ""
    allowed = f"allowed here: {', '.join(sorted(siblings))}"
    return f"{path}: unknown key; {hint + ' ' if hint else ''}{allowed}"
