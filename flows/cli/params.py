"""Reads `params.yaml` strictly: every section, every key, every value, before anything starts.

A section is a frozen pydantic model that stands beside the code it configures. All of them are
checked whichever stage runs, so their modules are imported by name: a stage's code is what it
computes with, and the parameters of the others are no part of it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML

from fgds_core.errors import InputError
from flows.cli.document import Location, read_document, refused, shown

PARAMS = Path("params.yaml")

SECTIONS = {
    "seed": "flows.cli.params:Seed",
    "data": "fgds_core.data.config:DataConfig",
    "prepare": "fgds_core.data.config:PrepareConfig",
    "train_baseline": "fgds_core.classify.config:TrainConfig",
    "generator": "fgds_core.generators.config:GeneratorConfig",
    "adapt": "fgds_core.adapt.config:AdaptConfig",
    "judge": "fgds_core.judge.config:JudgeConfig",
    "synthesize": "fgds_core.synthesis.config:SynthesizeConfig",
    "assess": "fgds_core.assess.config:AssessConfig",
    "retrain": "fgds_core.classify.config:RetrainConfig",
    "report": "fgds_core.report.config:ReportConfig",
    "compute": "tasks.workers.config:ComputeConfig",
    "store": "tasks.store.config:StoreConfig",
}

Seed = Annotated[
    int, Field(strict=True, ge=0, lt=2**32, description="seed of the run: a whole number from 0")
]


MOVED = {
    "assess.judge": "the judge has a section of its own now: write judge.kind classifier and this"
    " folder as judge.path, or, where it was null, judge.kind cross_fitted and judge.path null;"
    " params.yaml shows the section",
}
"""Keys of earlier versions, and where what they said stands now."""

HIDDEN = "store"
"""The section whose values no message repeats, be they what they may."""

FIXED = ("store", "compute.dask")
"""What overrides leave alone: which programs are started, and where data are sent."""

MAX_MISTAKES = 20
"""Mistakes that one message names."""

MAX_MESSAGE = 500
"""Characters of the reason for one of them."""

_REMEDY = (
    "start in the folder that holds params.yaml, or name another file of parameters with --params"
)


def read_params(
    path: Path = PARAMS, overrides: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """Reads and checks all parameters.

    Args:
        path: A YAML file (version 1.2, as DVC reads it).
        overrides: Values in place of those in the file, by dotted path such as
            `synthesize.feedback_scale`; checked as strictly. They may come from whoever reaches
            the Prefect server, so they name no files outside this folder and nothing `FIXED`.

    Returns:
        Section -> its model, or the number of the seed.

    Raises:
        InputError: The file is missing or no YAML, or holds mistakes; names each key by its path,
            the value and what is allowed.
    """
    tree = read_document(path, _REMEDY)
    if not isinstance(tree, dict):
        raise InputError(f"{path} must hold sections such as {', '.join(SECTIONS)}")
    _raise(f"{path} is not right", [_line(*found) for found in refused(tree)])
    where = str(path)
    if overrides:
        _raise("the overrides are not right", _refused_overrides(overrides))
        where += f" with the overrides of {', '.join(overrides)}"
    mistakes = _override(tree, overrides)
    mistakes += [_unknown(name, (), SECTIONS) for name in tree if name not in SECTIONS]
    params = {}
    for name, model in SECTIONS.items():
        if name not in tree and _has_moved(name, tree):
            continue
        if name not in tree:
            mistakes.append(f"{name}: missing; add this section, the other stages need it")
            continue
        section = section_type(model)
        try:
            # By way of JSON, where strictness knows lists for tuples and text for names.
            params[name] = _adapter(name).validate_json(json.dumps(tree[name]))
        except ValidationError as error:
            mistakes += _described(error.errors(), name, section)
    if {"generator", "synthesize", "assess"} <= set(params):
        agreed = import_module("fgds_core.agreement")
        mistakes += agreed.disagreements(
            params["generator"], params["synthesize"], params["assess"]
        )
    if {"generator", "adapt", "synthesize"} <= set(params):
        agreed = import_module("fgds_core.agreement")
        mistakes += agreed.adapter_disagreements(
            params["adapt"], params["generator"], params["synthesize"]
        )
    if {"train_baseline", "retrain", "compute"} <= set(params):
        agreed = import_module("fgds_core.agreement")
        mistakes += agreed.training_disagreements(
            params["train_baseline"],
            params["retrain"],
            params["compute"].training_processes,
            params.get("synthesize"),
        )
    _raise(f"{where} is not right", mistakes)
    return params


def _has_moved(section: str, tree: Mapping[str, Any]) -> bool:
    """Whether a section is missing because the file still says it in a key that has moved."""
    for path, said in MOVED.items():
        before, _, key = path.partition(".")
        values = tree.get(before)
        if f"{section}." in said and isinstance(values, dict) and key in values:
            return True
    return False


def dump_params(params: Mapping[str, Any]) -> str:
    """The parameters as YAML text, defaults filled in."""
    tree = {
        name: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        for name, value in params.items()
    }
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    # ruamel infers the type of this setting from its default, None
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    text = StringIO()
    yaml.dump(tree, text)
    return text.getvalue()


def _raise(what: str, mistakes: list[str]) -> None:
    """Raises one error for all mistakes, if there are any."""
    if not mistakes:
        return
    lines = mistakes[:MAX_MISTAKES]
    if rest := len(mistakes) - len(lines):
        lines.append(f"and {rest:,} more")
    raise InputError(f"{what}:\n" + "\n".join(f"  {line}" for line in lines))


def _line(location: Location, reason: str) -> str:
    """Where something is that no parameter may be, and why."""
    section, *steps = map(str, location or ("",))
    if section not in SECTIONS:
        return f"{shown(section)[1:-1]}: {reason}" if section else reason
    path, field, _ = _walk(section, section_type(SECTIONS[section]), steps, is_key=True)
    if section == HIDDEN and field is None:
        path = (section,)
    return f"{'.'.join(path)}: {reason}{_allowed(field)}"


def _refused_overrides(overrides: Mapping[str, Any]) -> list[str]:
    mistakes = []
    for location, reason in refused(dict(overrides)):
        path = f"{shown(str(location[0]))[1:-1]}: " if location else ""
        mistakes.append(path + reason)
    for path, value in () if mistakes else overrides.items():
        for fixed in FIXED:
            if f"{path}.".startswith(f"{fixed}.") or f"{fixed}.".startswith(f"{path}."):
                mistakes.append(
                    f"{path}: {fixed} says what is started and where data go, and is no override;"
                    " change it in the file of parameters"
                )
                break
        else:
            mistakes += [
                f"{path}: got {shown(text)}: an override names files below this folder only"
                for text in _texts(value)
                if text.startswith(("/", "~")) or ".." in text.split("/")
            ]
    return mistakes


def _texts(value: object) -> Iterator[str]:
    """All text in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _override(tree: dict[str, Any], overrides: Mapping[str, Any]) -> list[str]:
    """Puts values into the tree; returns what is wrong with their paths."""
    mistakes = []
    for path, value in overrides.items():
        *parents, name = path.split(".")
        place: Any = tree
        for step in parents:
            if isinstance(place, dict):
                below = place.get(step, {})
                # Copied: an alias in the file may have it in another place too.
                place[step] = dict(below) if isinstance(below, dict) else below
                place = place[step]
        if isinstance(place, dict):
            place[name] = value
        else:
            mistakes.append(
                f"{shown(path)[1:-1]}: unknown key; {'.'.join(parents)} holds a value, no keys"
            )
    return mistakes


def section_type(where: str) -> object:
    """The model of a section, or the type of the seed; see `SECTIONS`."""
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)


@cache
def _adapter(section: str) -> TypeAdapter[Any]:
    annotation: Any = section_type(SECTIONS[section])
    return TypeAdapter(annotation)


def models_of(annotation: object) -> Iterator[type[BaseModel]]:
    """The models within an annotation such as `Annotated[A | B, ...]`, `C | None`, `list[D]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is Annotated:
        yield from models_of(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, type(int | str), list):
        for member in get_args(annotation):
            yield from models_of(member)


def _described(
    mistakes: Sequence[ErrorDetails], section: str, annotation: object
) -> Iterator[str]:
    """A line for each mistake; what the members of a union say of one value is one."""
    found: dict[tuple[str, str], list[str]] = {}
    for mistake in mistakes:
        line, allowed = _describe(mistake, section, annotation)
        head, should, what = line.partition(SHOULD)
        found.setdefault((head + should, allowed), []).append(what)
    for (head, allowed), several in found.items():
        yield head + " or ".join(dict.fromkeys(several)) + allowed


SHOULD = "nput should be "
"""How pydantic begins to say what a value is not; of a union it says that once for each member."""


def _describe(mistake: ErrorDetails, section: str, annotation: object) -> tuple[str, str]:
    """The key's path, the value and what is wrong with it; and what is allowed."""
    location = [str(step) for step in mistake["loc"]]
    is_unknown = mistake["type"] == "extra_forbidden"
    path, field, siblings = _walk(section, annotation, location, is_key=is_unknown)
    if is_unknown:
        return _unknown(location[-1], path[:-1], siblings), ""
    dotted = ".".join(path)
    if mistake["type"] in ("union_tag_invalid", "union_tag_not_found"):
        key = mistake["ctx"]["discriminator"].strip("'")
        members = models_of(annotation if field is None else field.annotation)
        tags = ", ".join(get_args(model.model_fields[key].annotation)[0] for model in members)
        given = mistake["input"]
        found = f"got {shown(given[key])}: must be" if key in given else "missing; it is"
        return f"{dotted}.{key}: {found} one of {tags}", ""
    if mistake["type"] == "missing":
        return f"{dotted}: missing", _allowed(field) or "; it has no default"
    message = mistake["msg"].removeprefix("Value error, ")
    if mistake["type"] in ("model_type", "dict_type"):
        message = "Must hold keys, indented below it"
    line = f"{dotted}: {message[:MAX_MESSAGE]}"
    if not isinstance(mistake["input"], dict) and section != HIDDEN:
        found = shown(mistake["input"])
        line = f"{dotted}: got {found}: {message[:1].lower()}{message[1:MAX_MESSAGE]}"
    return line, _allowed(field)


def _allowed(field: object) -> str:
    description = getattr(field, "description", None)
    return f" ({description})" if description else ""


def _walk(
    section: str, annotation: object, location: list[str], *, is_key: bool
) -> tuple[tuple[str, ...], Any, Mapping[str, Any]]:
    """Follows an error's place through the models.

    Args:
        section: Where it begins.
        annotation: The section's type.
        location: The steps: keys, places in lists, and which member of a union was tried.
        is_key: Whether the last step is a key, if no model has it.

    Returns:
        The key's path without the tags of unions, its field if there is one, and the fields of the
        model it stands in.
    """
    path, field = [section], None
    fields: Mapping[str, Any] = {}
    if section == "seed":
        field = get_args(annotation)[1]
    models = list(models_of(annotation))
    for index, step in enumerate(location):
        known = {name: value for model in models for name, value in model.model_fields.items()}
        several = len(models) > 1 and not (is_key and step in known)
        if tagged := [model for model in models if several and _has_tag(model, step)]:
            models = tagged  # the tag of a union's member is no key in the file
            continue
        if step in known or (is_key and known and index == len(location) - 1):
            path.append(step if step in known else shown(step)[1:-1])
            fields, field = known, known.get(step)
            own = [model.model_fields[step] for model in models if step in model.model_fields]
            models = [inner for each in own for inner in models_of(each.annotation)]
        elif step.isdigit():
            path[-1] += f"[{step}]"
    return tuple(path), field, fields


def _has_tag(model: type[BaseModel], tag: str) -> bool:
    """Whether a member of a discriminated union goes by a tag, the only value of one field."""
    return any(get_args(field.annotation) == (tag,) for field in model.model_fields.values())


def _unknown(name: str, parents: tuple[str, ...], siblings: Mapping[str, Any]) -> str:
    if moved := MOVED.get(".".join([*parents, name])):
        return f"{'.'.join([*parents, name])}: {moved}"
    hidden = HIDDEN in parents  # a secret may have slipped into the place of the name
    path = ".".join([*parents, "(not shown)" if hidden else shown(name)[1:-1]])
    close = get_close_matches(name, siblings, n=1)
    hint = f"did you mean {'.'.join([*parents, close[0]])}?" if close else ""
    allowed = f"allowed here: {', '.join(sorted(siblings))}"
    return f"{path}: unknown key; {hint + ' ' if hint else ''}{allowed}"
