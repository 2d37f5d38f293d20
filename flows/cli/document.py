"""Reads a YAML document of plain values, whatever it may hold, in bounded time and memory.

A document is refused where it is not UTF-8, not one document, larger than parameters can be, or
where it holds what no parameter is: objects, dates, references to itself, infinite numbers,
control characters, credentials.
"""

import json
import math
import re
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, StringMark
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    ScalarEvent,
)
from ruamel.yaml.nodes import Node
from ruamel.yaml.reader import ReaderError

from fgds_core.errors import InputError

MAX_BYTES = 2**20
MAX_VALUES = 50_000
"""Values and keys, those that aliases repeat included."""
MAX_DEPTH = 32
MAX_TEXT = 10_000
"""Characters of one value."""
MAX_WHOLE = 2**63
SHOWN = 80
"""Characters of a value that a message repeats."""

Location = tuple[str | int, ...]

_TAGS = re.compile(r"tag:yaml\.org,2002:(str|int|float|bool|null|seq|map)")

_LONG = re.compile(r"[-+]?(0[box])?[0-9a-f_]{101,}", re.IGNORECASE)

_CREDENTIALS = re.compile(
    r"://\S*@"  # user and password in an address
    r"|[?&](token|access_token|api_key|password|secret|sig|X-Amz-[A-Za-z-]+)="
    r"|\b(AKIA|ASIA)[A-Z0-9]{12}"  # AWS
    r"|\bhf_[A-Za-z0-9]{16}"  # the Hugging Face hub
    r"|\b(gh[opsru]_|github_pat_|glpat-|xox[abp]-|sk-)[A-Za-z0-9_-]{16}"
    r"|\beyJ[A-Za-z0-9_-]{16,}\."  # JSON web tokens
    r"|-----BEGIN ",
    re.IGNORECASE,
)


def read_document(path: Path, remedy: str) -> object:
    """Reads the one document of a YAML file (version 1.2, as DVC reads it).

    Args:
        path: The file.
        remedy: What to do where it cannot be read; ends the message.

    Returns:
        What it holds: dictionaries, lists and scalars, None where it is empty. `refused` says
        whether they are plain.

    Raises:
        InputError: The file cannot be read, is not UTF-8 or not YAML, or exceeds a bound; says
            where, as far as that is known.
    """
    text = _read_text(path, remedy)
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        _check_events(text)
        return yaml.load(text)
    except DuplicateKeyError as error:
        place = _place(error.problem_mark)
        raise InputError(f"{path}{place}: duplicate key; remove one of the two") from None
    except ReaderError as error:
        character = text[error.position : error.position + 1]
        raise InputError(
            f"{path}{_place_of(text, error.position)}: the character U+{ord(character):04X} is not"
            " allowed in YAML; remove it"
        ) from None
    except _NoParameters as error:
        raise InputError(f"{path}{_place(error.problem_mark)}: {error.problem}") from None
    except MarkedYAMLError as error:
        place = _place(error.problem_mark or error.context_mark)
        raise InputError(
            f"{path}{place}: not YAML: {_unquoted(error.problem)}; correct the indentation or the"
            " colons, and put text with signs such as { [ : # in quotes"
        ) from None


def refused(value: object, location: Location = ()) -> Iterator[tuple[Location, str]]:
    """Finds what no parameter may be, in a document or in values that came another way.

    Args:
        value: The value.
        location: Keys and indices that lead to it.

    Yields:
        Where, and why; the reason repeats nothing that may be secret.
    """
    left: list[tuple[object, Location]] = [(value, location)]
    num_values = 0
    while left:
        value, place = left.pop()
        num_values += 1
        if num_values > MAX_VALUES:
            yield place, f"must hold at most {MAX_VALUES:,} values"
            return
        if len(place) - len(location) > MAX_DEPTH:
            yield place[: len(location) + 1], f"must be at most {MAX_DEPTH} levels deep"
            return
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    yield place, "keys must be text; put those that are not in quotes"
                elif why := _refused_text(key):
                    yield place, f"a key {why}"
                else:
                    left.append((value[key], (*place, key)))
        elif isinstance(value, list | tuple):
            left += [(item, (*place, index)) for index, item in enumerate(value)]
        elif why := _refused_scalar(value):
            yield place, why


def shown(value: object) -> str:
    """A value as messages repeat it: JSON in ASCII, short, without credentials."""
    text = json.dumps(value, default=str)
    if _CREDENTIALS.search(text):
        return '"(not shown: it may hold credentials)"'
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 4]}...{text[-1]}"


def _refused_scalar(value: object) -> str | None:
    if isinstance(value, str):
        return _refused_text(value)
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        if abs(value) < MAX_WHOLE:
            return None
        digits = int(value.bit_length() * math.log10(2)) + 1
        return f"got a whole number of about {digits:,} digits: must be below 2^63"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"got {value}: must be a finite number"
    kind = type(value).__name__
    return f"got a {kind}: must be a plain value; write it as text, in quotes"


def _refused_text(text: str) -> str | None:
    if len(text) > MAX_TEXT:
        return f"got {len(text):,} characters: must have at most {MAX_TEXT:,}"
    if _CREDENTIALS.search(text):
        return (
            "must hold no credentials (not shown): parameters are recorded, shown and committed;"
            " leave them to the environment, such as AWS_PROFILE or HF_TOKEN"
        )
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\n":
            return f"holds the character U+{ord(character):04X}: remove it"
    return None


class _NoParameters(MarkedYAMLError):
    """YAML that no parameters need."""


class _Constructor(SafeConstructor):
    """Says where a value is that Python cannot make, such as the 31st of February."""

    def construct_object(self, node: Node, deep: bool = False) -> object:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, TypeError, LookupError):
            raise _NoParameters(
                None, None, "this value cannot be read; put it in quotes", node.start_mark
            ) from None


def _read_text(path: Path, remedy: str) -> str:
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):  # others may have no end, or wait for a writer
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; {remedy}") from None
    except ValueError:  # a NUL in the name
        raise InputError(
            f"cannot read {shown(str(path))}: it is no name of a file; {remedy}"
        ) from None
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise InputError(f"cannot read {path}: it is {what}; {remedy}")
    if len(data) > MAX_BYTES:
        raise InputError(f"{path} is larger than {MAX_BYTES:,} bytes: no parameters; {remedy}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        found = "UTF-16" if wide else f"byte 0x{data[error.start]:02x}"
        raise InputError(
            f"{path}, line {line}, column {column}: not UTF-8 ({found}); save the file as UTF-8"
        ) from None


def _check_events(text: str) -> None:
    """Refuses what would take unbounded time or memory to load."""
    sizes: dict[str, int] = {}  # of what an anchor names, aliases in it expanded
    anchors: list[str | None] = []  # of the collections that are open
    counts = [0]  # of values in each of them
    documents = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        problem, size = None, 1
        if isinstance(event, DocumentStartEvent):
            documents += 1
            problem = "must be one document, this begins another" if documents > 1 else None
        if isinstance(event, ScalarEvent | CollectionStartEvent):
            tag = event.tag
            if tag is not None and tag != "!" and not _TAGS.fullmatch(tag):
                problem = "must hold no tags; write a plain value, in quotes if it is text"
        if isinstance(event, CollectionStartEvent):
            anchors.append(event.anchor)
            counts.append(0)
            if len(anchors) > MAX_DEPTH:
                problem = f"must be at most {MAX_DEPTH} levels deep"
        elif isinstance(event, CollectionEndEvent):
            size, anchor = counts.pop() + 1, anchors.pop()
            counts[-1] += size
            if anchor is not None:
                sizes[anchor] = size
        elif isinstance(event, AliasEvent):
            if event.anchor in anchors:
                problem = "must not refer to itself"
            counts[-1] += sizes.get(event.anchor, 1)
        elif isinstance(event, ScalarEvent):
            counts[-1] += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
            if len(event.value) > MAX_TEXT:
                problem = f"a value must have at most {MAX_TEXT:,} characters"
            elif event.implicit[0] and _LONG.fullmatch(event.value):
                problem = "a number must have at most 100 digits"
        if sum(counts) > MAX_VALUES:
            problem = f"must hold at most {MAX_VALUES:,} values, with those that aliases repeat"
        if problem is not None:
            raise _NoParameters(None, None, problem, event.start_mark)


def _unquoted(problem: str | None) -> str:
    """A parser's reason without what it repeats of the document."""
    return re.sub(r"(['\"]).{2,}\1", "...", problem or "damaged", flags=re.DOTALL)


def _place(mark: StringMark | None) -> str:
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _place_of(text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    return f", line {line}, column {position - text.rfind(chr(10), 0, position)}"
