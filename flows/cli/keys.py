"""What `--help` says of the parameters: type, choices, range, default and value of every key."""

import argparse
import json
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flows.cli.params import HIDDEN, SECTIONS, models_of, section_type

UNSET = object()

NAMES = {bool: "true | false", int: "whole number", float: "number", str: "text", NoneType: "null"}


@dataclass(frozen=True)
class Key:
    """One key of a section.

    Attributes:
        path: Dotted.
        kind: Type with choices and range, in words.
        description: Meaning and unit.
        default: What stands for a key that is left out; `UNSET` where it has to be given.
    """

    path: str
    kind: str
    description: str
    default: object = UNSET


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Fills the paragraphs of a description to the terminal; indented lines stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        blocks = text.strip("\n").split("\n\n")
        return "\n\n".join(
            block if block.startswith(" ") else textwrap.fill(block, width, break_on_hyphens=False)
            for block in blocks
        )


def keys(section: str) -> list[Key]:
    """All keys of a section, each once: alternatives that share a key are told in one."""
    found: dict[str, Key] = {}
    for key in _keys(section):
        other = found.get(key.path, key)
        found[key.path] = Key(
            key.path,
            _joined(" | ", *other.kind.split(" | "), *key.kind.split(" | ")),
            _joined("; or ", other.description, key.description),
            key.default if key is other or key.default == other.default else UNSET,
        )
    return list(found.values())


def describe_keys(sections: Sequence[str], values: Mapping[str, Any]) -> str:
    """The keys of some sections, wrapped at the width of the terminal.

    Args:
        sections: Their names.
        values: What the file of parameters holds, where it can be read; those of the store are
            not shown.
    """
    width = max(shutil.get_terminal_size().columns, 40)
    lines = _wrapped("parameters, each with its type and range (and its value now):", "", width)
    for section in sections:
        for key in keys(section):
            text = f"{key.path}: {key.kind}"
            if key.default is not UNSET:
                text += f"; default {_short(key.default)}"
            value = _value(values, key.path)
            if value is not UNSET and section != HIDDEN:
                text += f" (now {_short(value)})"
            lines += _wrapped(text, "  ", width) + _wrapped(key.description, "      ", width)
    return "\n".join(lines)


def _keys(section: str) -> Iterator[Key]:
    annotation = section_type(SECTIONS[section])
    if section == "seed":
        field = get_args(annotation)[1]
        yield Key("seed", _kind(annotation), field.description or "")
    for model in models_of(annotation):
        yield from _keys_of(model, section)


def _keys_of(model: type[BaseModel], prefix: str) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        path = f"{prefix}.{name}"
        default = UNSET if field.is_required() else field.default
        kind = _kind(
            Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
        )
        yield Key(path, kind, field.description or "", default)
        for nested in models_of(field.annotation):
            yield from _keys_of(nested, path)


def _kind(annotation: object, constraints: Sequence[object] = ()) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = list(constraints)
        for metadata in arguments[1:]:
            inner += metadata.metadata if isinstance(metadata, FieldInfo) else [metadata]
        return _kind(arguments[0], inner)
    if origin in (Union, type(int | str)):
        return _joined(" | ", *(_kind(member, constraints) for member in arguments))
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin is list:
        return f"list of {_kind(arguments[0])}"
    if (isinstance(annotation, type) and issubclass(annotation, BaseModel)) or origin is dict:
        return "keys"
    name = next((name for kind, name in NAMES.items() if annotation is kind), "any value")
    return f"{name}, {limits}" if (limits := _limits(constraints)) else name


def _limits(constraints: Sequence[object]) -> str:
    low = next((f"{c.ge:,}" for c in constraints if isinstance(c, Ge)), "")
    low = next((f"above {c.gt:,}" for c in constraints if isinstance(c, Gt)), low)
    high = next((f"{c.le:,}" for c in constraints if isinstance(c, Le)), "")
    high = next((f"below {c.lt:,}" for c in constraints if isinstance(c, Lt)), high)
    if low and high:
        return f"{low} to {high}"
    if low:
        return low if low.startswith("above") else f"{low} or more"
    return high if not high or high.startswith("below") else f"at most {high}"


def _value(values: Mapping[str, Any], path: str) -> object:
    """The value of a key without keys of its own; `UNSET` where there is none."""
    value: object = values
    for step in path.split("."):
        value = value.get(step, UNSET) if isinstance(value, Mapping) else UNSET
    return UNSET if isinstance(value, BaseModel | dict) else value


def _short(value: object) -> str:
    return textwrap.shorten(json.dumps(value, ensure_ascii=False, default=str), 60)


def _joined(separator: str, *texts: str) -> str:
    """Different texts once each."""
    return separator.join(dict.fromkeys(texts))


def _wrapped(text: str, indent: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent + ("    " if len(indent) == 2 else ""),
        break_on_hyphens=False,
    )
