"""JSON that is too large to be taken as a whole: one entry of its lists after the other."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fgds_core.errors import InputError
from fgds_core.files import brief, shown

_BOM = b"\xef\xbb\xbf"
"""What some editors put before UTF-8."""


def json_entries(path: Path) -> Iterator[tuple[str, Any]]:
    """The entries of the lists in an object, each with the name of its list, in their order.

    Numbers that are not whole are `Decimal`.

    Raises:
        InputError: The file is missing, is no such JSON, or is cut off.
    """
    if not path.is_file():
        raise InputError(f"{shown(path)} does not exist; correct its name in the section data")
    from ijson import JSONError

    try:
        with path.open("rb") as file:
            if file.peek(len(_BOM)).startswith(_BOM):
                file.seek(len(_BOM))
            yield from _entries(file)
    # SystemError: what ijson's parser in C makes of a number of thousands of digits
    except (JSONError, ValueError, SystemError) as error:
        raise InputError(
            f"{shown(path)} is no readable JSON object of lists "
            f"({brief(str(error.__cause__ or error))}); unpack or "
            "fetch it again"
        ) from error


def _entries(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    import ijson

    name, depth, in_list, entry = "", 0, False, ijson.ObjectBuilder()
    for event, value in ijson.basic_parse(file):
        opens, closes = event.startswith("start_"), event.startswith("end_")
        depth -= closes
        if depth == 0 and event not in ("start_map", "end_map"):
            raise ValueError("it is no object")
        if depth == 1:
            name = value if event == "map_key" else name
            in_list = event == "start_array"
        elif in_list and depth >= 2:
            entry.event(event, value)
            if depth == 2 and not opens:
                yield name, entry.value
                entry = ijson.ObjectBuilder()
        depth += opens
