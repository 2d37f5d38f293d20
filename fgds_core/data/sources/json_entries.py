"""JSON that is too large to be taken as a whole: one entry of its lists after the other."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from fgds_core.errors import InputError
from fgds_core.files import brief, shown

_CHUNK = 2**18
"""Characters that are read at a time."""

_ENTRY_MOST = 2**24
"""Characters of one entry."""


def json_entries(path: Path) -> Iterator[tuple[str, Any]]:
    """The entries of the lists in an object, each with the name of its list, in their order.

    Raises:
        InputError: The file is missing, is no such JSON, or is cut off.
    """
    if not path.is_file():
        raise InputError(f"{shown(path)} does not exist; correct its name in the section data")
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from _entries(_Reader(file))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{shown(path)} is no readable JSON object of lists ({brief(str(error))}); unpack or "
            "fetch it again"
        ) from error


class _Reader:
    """Text that is read as far as a value needs."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._text, self._at = file, "", 0
        self._decode = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """The next character that is not blank."""
        while True:
            blank = _BLANK.match(self._text, self._at)
            self._at = self._at if blank is None else blank.end()
            if self._at < len(self._text):
                return self._text[self._at]
            self._more(_CHUNK)

    def take(self, characters: str) -> str:
        """Reads one of these characters."""
        if (found := self.peek()) not in characters:
            raise ValueError(f"{found!r} where one of {characters} must be")
        self._at += 1
        return found

    def value(self) -> object:
        """Reads a whole value."""
        self.peek()
        size = _CHUNK
        while True:
            try:
                value, end = self._decode(self._text, self._at)
                if self._text[end : end + 1] in _AFTER:  # else it may go on, as numbers do
                    self._at = end
                    return value
                what = "something follows it"
            except json.JSONDecodeError as error:
                what = error.msg
            if size > _ENTRY_MOST:
                raise ValueError(f"an entry is damaged or too large, {what}")
            self._more(size)
            size *= 2

    def _more(self, size: int) -> None:
        text = self._file.read(size)
        if not text:
            raise ValueError("it ends too early")
        self._text, self._at = self._text[self._at :] + text, 0


_AFTER = frozenset(" \t\r\n,:]}")

_BLANK = re.compile(r"[ \t\r\n]+")


def _entries(reader: _Reader) -> Iterator[tuple[str, Any]]:
    end = reader.take("{")
    while end != "}":
        if reader.peek() == "}":
            return
        name = reader.value()
        if not isinstance(name, str):
            raise ValueError(f"{name!r} where a name must be")
        reader.take(":")
        if reader.peek() == "[":
            reader.take("[")
            end = "]" if reader.peek() == "]" else ","
            if end == "]":
                reader.take("]")
            while end != "]":
                yield name, reader.value()
                end = reader.take(",]")
        else:
            reader.value()
        end = reader.take(",}")
