"""A folder of a pre-trained model: where it is, what it holds, and what is wrong with it."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from stat import S_ISREG
from typing import Any

from fgds_core.errors import InputError

Config = Mapping[str, Any]
"""A configuration as its JSON file holds it."""

SMALL = 1 << 26
"""Bytes of weights that are looked through for values that are not finite before loading."""

REMEDY = "take a whole copy of the published model"


@dataclass(frozen=True)
class Folder:
    """A folder of a component.

    Attributes:
        path: Where it is.
        key: The parameter that names it or what it lies in.
        remedy: What to do about most that may be wrong with it.
    """

    path: Path
    key: str
    remedy: str = REMEDY

    def __truediv__(self, name: str) -> "Folder":
        return replace(self, path=self.path / name)

    def wrong(self, what: str, remedy: str | None = None) -> InputError:
        """The mistake, where it is, and what to do."""
        return InputError(f"{self.key}: {self.path} {what}; {remedy or self.remedy}")


def is_hub_id(path: str) -> bool:
    """Whether a path has the form `owner/name` of a model on the hub."""
    return bool(re.fullmatch(r"\w[\w.\-]*/\w[\w.\-]*", path, re.ASCII)) and ".." not in path


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder that can be reached."""
    try:
        return Path(path).is_dir()
    except OSError:  # of a name that is too long, or of a folder above that may not be entered
        return False


def check_place(path: str, key: str) -> bool:
    """Whether a model lies in a folder; if not, its path has to be an id on the hub.

    Raises:
        InputError: It is neither.
    """
    if is_folder(path):
        return True
    if not is_hub_id(path):
        raise InputError(
            f"{key}: there is no folder {path}; give a folder, or an id owner/name of the hub"
        )
    return False


def read(place: Folder, name: str) -> dict[str, Any]:
    """Reads a configuration.

    Raises:
        InputError: It is absent or no JSON object.
    """
    file = place / name
    try:
        status = file.path.stat()
        if not S_ISREG(status.st_mode):  # a pipe would never end
            raise file.wrong("is no file")
        if status.st_size > SMALL:
            raise file.wrong("is far too large for a configuration")
        value = json.loads(file.path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{file.key}: {file.path} cannot be read ({error.strerror}); {place.remedy}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise file.wrong(f"is no JSON ({error})") from error
    if not isinstance(value, dict):
        raise file.wrong("is no JSON object")
    return value


@contextmanager
def readable(place: Folder) -> Iterator[None]:
    """Says of what may not be read or lies on a broken disk where it belongs."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{place.key}: {error.filename or place.path} cannot be read ({error.strerror});"
            " correct its permissions"
        ) from error


def inner(config: Config, key: str) -> Config:
    """One model's part of a configuration that may be of two."""
    inner = config.get(key)
    return inner if isinstance(inner, dict) else config


def is_number(value: object) -> bool:
    """Whether a value of a configuration is a finite number."""
    return type(value) in (int, float) and isfinite(value)  # type: ignore[arg-type]


def short(value: object) -> str:
    """What a message says of a value, at most 60 characters of it."""
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def positive(
    place: Folder, configs: Mapping[str, Config], of: str, key: str, default: int | None
) -> int:
    """A number above 0 that the configuration of a component says.

    Args:
        place: Folder of the model.
        configs: Configuration of each component.
        of: Name of the component.
        key: What says it.
        default: What it is where nothing is said; None is nothing.

    Raises:
        InputError: It says something else.
    """
    value = configs[of].get(key, default)
    if type(value) is not int or value < 1:
        raise (place / of / "config.json").wrong(
            f"says {key} {short(value)}, not a number above 0"
        )
    return value
