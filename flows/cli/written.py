"""Parameters as a file: that of the repository with other values, its comments kept."""

import textwrap
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from flows.cli.params import SECTIONS, models_of, section_type

TEMPLATE = Path(__file__).parents[2] / "params.yaml"
"""The repository's parameters."""

_WIDTH = 98

Changes = dict[str, Any]
"""Section -> key -> value, for keys that differ; of `data` the whole section."""


def params_text(changes: Changes, template: str) -> str:
    """The template with other values.

    Args:
        changes: Section -> key -> value; the section `data` takes the place of the template's.
        template: Parameters in YAML; what is not changed stays, comments too.
    """
    others = {name: values for name, values in changes.items() if name != "data"}
    text = _with_data(changes["data"], template) if "data" in changes else template
    yaml = _yaml()
    tree = yaml.load(text)
    for section, values in others.items():
        for key, value in values.items():
            if key in tree[section] and tree[section][key] != value:
                tree[section][key] = _node(value)
                _keep_apart(tree[section], key)
    out = StringIO()
    yaml.dump(tree, out)
    return out.getvalue()


def with_entries(text: str, section: str, key: str, entries: Sequence[Mapping[str, Any]]) -> str:
    """Parameters with another list of entries, one a line; all else stays, comments too.

    Args:
        text: The parameters in YAML.
        section: The section of the list.
        key: Its name; it may be missing.
        entries: What it shall hold.
    """
    yaml = _yaml()
    tree = yaml.load(text)
    rows = CommentedSeq([CommentedMap(entry) for entry in entries])
    for row in rows:
        row.fa.set_flow_style()
        if "indices" in row:
            row["indices"] = _node(row["indices"])
    if not rows:
        rows.fa.set_flow_style()
    tree[section][key] = rows
    comments = tree[section].ca.items
    if key in comments:  # of a value in lines of its own ruamel keeps more, and loses line breaks
        comments[key] = [*comments[key][:3], None]
    _keep_apart(tree[section], key)
    out = StringIO()
    yaml.dump(tree, out)
    return out.getvalue()


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = 10_000
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(type(None), _null)
    return yaml


def _null(representer: Any, value: None) -> Any:  # noqa: ANN401  # ruamel's own
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _keep_apart(section: CommentedMap, key: str) -> None:
    """Two blanks between a new value and its comment."""
    for token in section.ca.items.get(key, ()):
        if token is not None and not isinstance(token, list) and token.value.startswith("#"):
            token.value = f" {token.value}"
            token.start_mark.column = 0


def _node(value: Any) -> Any:  # noqa: ANN401
    """A value as it stands in the file: lists of numbers and empty ones in one line."""
    if isinstance(value, dict) and value:
        return CommentedMap({key: _node(each) for key, each in value.items()})
    if isinstance(value, dict | list):
        node: Any = CommentedMap() if isinstance(value, dict) else CommentedSeq(value)
        if not value or not isinstance(value[0], str):
            node.fa.set_flow_style()
        return node
    return value


def _with_data(data: Changes, template: str) -> str:
    """The template with another section `data`, whose keys are explained as `--help` does."""
    lines = template.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("data:"))
    end = next(i for i in range(start + 1, len(lines)) if lines[i][:1] not in (" ", ""))
    model = next(
        model
        for model in models_of(section_type(SECTIONS["data"]))
        if model.model_fields["kind"].annotation.__args__ == (data["kind"],)  # type: ignore[union-attr]
    )
    section = [line for key, value in data.items() for line in _lines(model, key, value)]
    return "\n".join([*lines[: start + 1], *section, "", *lines[end:], ""])


def _lines(model: type[BaseModel], key: str, value: object) -> list[str]:
    """A key with its value, and what it means beside or above it."""
    text = f"  {key}: {_flow(value)}"
    meaning = (model.model_fields[key].description or "").partition(";")[0]
    if len(text) + len(meaning) + 4 <= _WIDTH:
        return [f"{text}  # {meaning}"]
    above = textwrap.wrap(meaning, _WIDTH - 4, initial_indent="  # ", subsequent_indent="  # ")
    return [*above, text]


def _flow(value: object) -> str:
    """A value in one line of YAML."""
    yaml = YAML(typ="safe", pure=True)
    yaml.width = 100_000
    yaml.default_flow_style = True
    # ruamel infers the type of this setting from its default, None
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.allow_unicode = True
    out = StringIO()
    yaml.dump(value, out)
    return out.getvalue().removesuffix("...\n").strip()
