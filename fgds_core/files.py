"""Files at rest: digests, and writing that leaves no half of a file behind.

Every file is written under a temporary name, flushed to the disk and renamed, so a file that has
its final name is whole.
"""

import csv
import errno
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgds_core.errors import InputError


@dataclass(frozen=True)
class FileRecord:
    """What identifies a written file.

    Attributes:
        path: Relative to the folder the writer was told (POSIX form), so that it holds in any
            workspace.
        sha256: Digest of the file's bytes.
        num_rows: Number of images in it.
    """

    path: str
    sha256: str
    num_rows: int


def sha256_file(path: Path) -> str:
    """Digest of a file's bytes, in hexadecimal.

    Raises:
        InputError: The file does not exist.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; run the stage that writes it")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_tree(path: Path) -> str:
    """Digest of a folder: names and contents of all files below it, in the order of their names.

    Raises:
        InputError: The folder does not exist.
    """
    if not path.is_dir():
        raise InputError(f"the folder {path} does not exist; run the stage that writes it")
    digest = hashlib.sha256()
    for name in sorted(relative_to(file, path) for file in path.rglob("*") if file.is_file()):
        digest.update(f"{name}\0{sha256_file(path / name)}\n".encode())
    return digest.hexdigest()


def write_json(path: Path, value: Mapping[str, Any], *, indent: int | None = 2) -> None:
    """Writes JSON with sorted keys under a temporary name, flushes and renames it.

    Args:
        path: The file.
        value: JSON values only.
        indent: Spaces of each level; None writes one line, much faster for long lists.

    Raises:
        ValueError: A number is NaN or infinite (JSON has neither; write null).
        InputError: The disk is full or may not be written.
    """
    text = json.dumps(value, sort_keys=True, indent=indent, allow_nan=False, ensure_ascii=False)
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text under a temporary name, flushes and renames it.

    Raises:
        InputError: The disk is full.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS})


# Where a program for tables would begin to calculate: at the start of a cell, or where one begins
# if the file is taken apart at another separator.
_CELL = r"(?:^|(?<=[;\t\r\n]))"
_FORMULA = r"(?='*[ \xa0]*[=+\-@\uff1d\uff0b\uff0d\uff20])"
_BLANK = r"(?='*[\t\r\n])"


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The CSV of rows that share their keys; None is an empty field.

    A text that a program for tables would take for a formula, such as a class named `=1+1` or
    `-1`, gets an apostrophe before it. `read_csv` takes it away, so every name comes back as it
    is.

    Args:
        rows: At least one.

    Source: OWASP, CSV Injection, https://owasp.org/www-community/attacks/CSV_Injection
    """
    header = list(rows[0])
    lines = [_line(header)]
    for row in rows:
        values = [row[name] for name in header]
        lines.append(_line([guarded(v) if isinstance(v, str) else v for v in values]))
    return "\n".join([*lines, ""])


def _line(values: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(values)  # quotes what holds either of the two
    return text.getvalue()[:-2]


def read_csv(path: Path, remedy: str, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Reads what `csv_text` wrote.

    Args:
        path: The file.
        remedy: What to do where it is missing or damaged; ends the message.
        columns: What it must have.

    Raises:
        InputError: The file is missing or damaged.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; {remedy}")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            lacking = [name for name in columns if name not in (reader.fieldnames or ())]
            rows = list(reader)
    except (ValueError, OSError, csv.Error) as error:
        raise InputError(f"{path} is damaged ({error}); {remedy}") from error
    if lacking:
        raise InputError(f"{path} is damaged (no column {lacking[0]!r}); {remedy}")
    if any(None in row or None in row.values() for row in rows):
        raise InputError(f"{path} is damaged (a line of another length); {remedy}")
    return [{key: unguarded(value) for key, value in row.items()} for row in rows]


def guarded(text: str) -> str:
    """The text with an apostrophe where it would be taken for a formula."""
    return re.sub(f"{_CELL}{_FORMULA}|^{_BLANK}", "'", text)


def unguarded(text: str) -> str:
    """What `guarded` was given."""
    return re.sub(f"{_CELL}'{_FORMULA}|^'{_BLANK}", "", text)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name; its file takes the place of `path`, or is removed on an error."""
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _fsync(temporary)
        temporary.replace(path)
        _fsync(path.parent)  # the renaming itself must survive a power cut
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise InputError(
            f"cannot write {path} ({error.strerror}); make room or change the permissions and run "
            "again, finished files are kept"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def relative_to(path: Path, root: Path) -> str:
    """A path below `root`, in POSIX form."""
    return path.relative_to(root).as_posix()


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        InputError: The file is missing or damaged; ends with the remedy.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; {remedy}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is damaged ({error}); {remedy}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} is damaged (not a JSON object); {remedy}")
    return value
