"""Class names from the files that are published beside lists of images."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgds_core.data.sources.names import checked_names
from fgds_core.data.sources.places import below
from fgds_core.errors import InputError
from fgds_core.files import brief, shown

_WNID = re.compile(r"n\d{8}")
"""An id of WordNet, as the folders of ImageNet are named."""


@dataclass(frozen=True)
class ClassNames:
    """Names of the classes in the order of the labels, [K].

    Attributes:
        names: They differ from each other.
        ids: What the file calls the classes beside their names, such as n01440764; empty if it
            gives no ids, or only the labels.
        files: Where they were read, if in a file.
        note: What was done to names that more than one class has, or an empty text.
    """

    names: tuple[str, ...]
    ids: tuple[str, ...] = ()
    note: str = ""
    files: tuple[Path, ...] = ()


def stated_names(class_names: str | list[str] | None, root: Path) -> ClassNames | None:
    """The names that the parameters give or whose file they name; None if neither.

    Raises:
        InputError: The file is missing or holds no names, or one is no name or occurs twice.
    """
    if class_names is None:
        return None
    if isinstance(class_names, list):
        return ClassNames(checked_names(class_names, "data.class_names"))
    return read_names(below(root, class_names, "data.class_names"))


def read_names(path: Path) -> ClassNames:
    """Reads names in one of the published forms.

    Text holds a line for each class in the order of the labels: its name, or an id and its name.
    JSON is a list of names, a list of objects with `id` and `name`, or an object from names to
    labels, from labels to names, or from labels to id and name.

    Raises:
        InputError: The file is missing or holds something else.
    """
    if not path.is_file():
        raise InputError(
            f"data.class_names: {shown(path)} does not exist; give a file of names below "
            "data.root, or the names themselves"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        pairs = _json_pairs(json.loads(text)) if _is_json(text) else _text_pairs(text)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"data.class_names: {shown(path)} cannot be read ({brief(str(error))}); it must hold "
            "a name a line, or an id and a name, or JSON"
        ) from error
    ids, names = [id_ for id_, _ in pairs], [name for _, name in pairs]
    if ids == names and any(ids):  # Places: folders instead of names
        names = [re.sub("[_-]+", " ", name) for name in names]
    times, note = Counter(names), ""
    if twice := [name for name in times if times[name] > 1]:
        names = [
            f"{name} ({ids[label] or label})" if times[name] > 1 else name
            for label, name in enumerate(names)
        ]
        note = (
            f"{shown(path)} gives {len(twice)} names to several classes ({brief(twice[0])} ...), "
            f"which are told apart as {brief(next(n for n in names if n.startswith(twice[0])))}"
        )
    return ClassNames(
        checked_names(names, shown(path)), tuple(ids) if any(ids) else (), note, (path,)
    )


Pairs = list[tuple[str, str]]
"""Id, or an empty text, and name of each class, in the order of the labels."""


def _is_json(text: str) -> bool:
    return text.lstrip()[:1] in ("[", "{")


def _text_pairs(text: str) -> Pairs:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    split = [line.split(maxsplit=1) for line in lines]
    heads = [parts[0] for parts in split]
    if len(set(heads)) == len(lines) and all(len(parts) == 2 for parts in split):
        if all(map(_WNID.fullmatch, heads)) or all(head == name for head, name in split):
            return [(head, name) for head, name in split]
        if all(head.isdecimal() for head in heads):
            return _by_label({int(head): ("", name) for head, name in split})
    return [("", line) for line in lines]


def _json_pairs(value: "list[Any] | dict[str, Any]") -> Pairs:
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return [("", name) for name in value]
    if isinstance(value, list):
        return _by_label({each["id"]: ("", each["name"]) for each in _objects(value)})
    if all(isinstance(label, int) for label in value.values()):
        return _by_label({label: ("", name) for name, label in value.items()})
    if all(isinstance(name, str) for name in value.values()):
        return _by_label({int(label): ("", name) for label, name in value.items()})
    return _by_label({int(label): (str(i), str(name)) for label, (i, name) in value.items()})


def _objects(values: list[Any]) -> list[dict[str, Any]]:
    wrong = [v for v in values if not isinstance(v, dict) or not _is_named(v)]
    if wrong:
        raise ValueError(f"{brief(repr(wrong[0]))} has no id and name")
    return values


def _is_named(value: dict[str, Any]) -> bool:
    return isinstance(value.get("id"), int) and isinstance(value.get("name"), str)


def _by_label(pairs: dict[int, tuple[str, str]]) -> Pairs:
    if set(pairs) != set(range(len(pairs))):
        raise ValueError("the labels must be 0, 1, 2 ... without gaps, each once")
    return [pairs[label] for label in range(len(pairs))]
