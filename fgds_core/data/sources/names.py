"""Names of classes and groups: visible, of one Unicode form, each once."""

import unicodedata
from collections.abc import Sequence

from fgds_core.errors import InputError
from fgds_core.files import brief

MAX_NAME = 255
"""Characters of a class's or group's name, as of a folder's."""


def composed(name: str) -> str:
    """A name in the one Unicode form we compare in; a Mac writes another."""
    return unicodedata.normalize("NFC", name)


def class_name(name: str, where: str) -> str:
    """A class or group name, normalised.

    Raises:
        InputError: It is empty or holds control characters such as line breaks.
    """
    if not name.strip() or any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in name):
        raise InputError(f"{where}: {brief(repr(name))} is no name; use visible characters")
    if len(name) > MAX_NAME:
        raise InputError(
            f"{where}: {brief(name)} is no name, it has {len(name):,} characters; use at most "
            f"{MAX_NAME}"
        )
    return composed(name)


def checked_names(names: Sequence[str], where: str) -> tuple[str, ...]:
    """Names of classes, normalised.

    Raises:
        InputError: One is no name or occurs twice, or there is none.
    """
    checked = tuple(class_name(name, where) for name in names)
    twice = (
        sorted({name for name in checked if checked.count(name) > 1})
        if (len(set(checked)) < len(checked))
        else []
    )
    if twice:
        raise InputError(
            f"{where} names the class {brief(twice[0])} more than once; give each class "
            "a name of its own, for instance in data.class_names"
        )
    if not checked:
        raise InputError(f"{where} names no classes; list them in data.class_names")
    return checked
