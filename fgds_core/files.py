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
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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
    return hash_file(path, "sha256")


def hash_file(path: Path, name: str) -> str:
    """Digest of a file's bytes under a named algorithm, in hexadecimal.

    Raises:
        InputError: The file may not be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, name).hexdigest()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        remedy = "correct its permissions or move it away"
        raise InputError(f"{shown(path)} cannot be read ({error.strerror}); {remedy}") from error


def sha256_tree(path: Path) -> str:
    """Digest of a folder: names and contents of all files below it, in the order of their names.

    Raises:
        InputError: The folder does not exist.
    """
    if not path.is_dir():
        raise InputError(f"the folder {path} does not exist; run the stage that writes it")
    digest = hashlib.sha256()
    for name in sorted(relative_to(file, path) for file in files_below(path)):
        digest.update(f"{name}\0{sha256_file(path / name)}\n".encode())
    return digest.hexdigest()


SYSTEM_NAMES = frozenset(
    {
        "__macosx",
        "@eadir",
        "@recycle",
        "@recently-snapshot",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "icon\r",
        "network trash folder",
        "temporary items",
        "recycler",
        "found.000",
        "~snapshot",
        "@__thumb",
        "@tmp",
        "@sharebin",
        "@synoresource",
        "@synoeastream",
    }
)
"""What operating systems and network drives leave beside a user's files, in small letters."""


def is_system(name: str) -> bool:
    """Whether a file or folder of this name is an operating system's, whoever owns the folder."""
    return name.casefold() in SYSTEM_NAMES


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder, through links to files and folders, without system folders.

    Raises:
        InputError: As `entries`, or a link leads back to a folder that it lies in.
    """
    above = (folder, *folder.absolute().parents, *folder.resolve().parents)
    return list(_files_below(folder, frozenset(map(_identity, above))))


def _files_below(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    folders, files = entries(folder)
    yield from files
    for inner in folders:
        identity = _identity(inner)
        if identity in above:
            raise InputError(
                f"{shown(inner)} is a link back to a folder that it lies in; remove the link"
            )
        yield from _files_below(inner, above | {identity})


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def entries(folder: Path, left_out: "list[Path] | None" = None) -> tuple[list[Path], list[Path]]:
    """What a folder holds, links followed, without what is an operating system's.

    Args:
        folder: The folder.
        left_out: Takes what is not looked at: system names and, only if it is given, hidden ones.

    Returns:
        Folders and regular files, each sorted by name.

    Raises:
        InputError: The folder cannot be read; a name is not UTF-8; a link leads nowhere or in a
            circle; or something is neither folder nor file, such as a pipe or a device.
    """
    folders, files = [], []
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise InputError(
            f"{shown(folder)} cannot be read ({error.strerror}); correct its permissions"
        ) from error
    for name in names:
        path = folder / name
        if is_system(name) or (left_out is not None and name.startswith(".")):
            if left_out is not None:
                left_out.append(path)
            continue
        check_name(path)
        try:
            mode = path.stat().st_mode
        except OSError as error:
            wrong = f"cannot be read ({error.strerror}); correct its permissions"
            if path.is_symlink() and not isinstance(error, PermissionError):
                wrong = f"is a link to {shown(path.readlink())}, which leads nowhere; remove it"
            raise InputError(f"{shown(path)} {wrong}") from error
        if stat.S_ISDIR(mode):
            folders.append(path)
        elif stat.S_ISREG(mode):
            if path.is_symlink() and path.resolve().parts[1:2] in (("proc",), ("sys",)):
                raise InputError(
                    f"{shown(path)} is a link to {shown(path.readlink())}, which is the system's "
                    "and no file; remove the link"
                )
            files.append(path)
        else:
            raise InputError(
                f"{shown(path)} is neither a file nor a folder but a pipe, socket or device; "
                "remove it"
            )
    return folders, files


def check_name(path: Path) -> None:
    """Refuses a path whose name is not UTF-8, which neither Parquet nor DVC can keep.

    Raises:
        InputError: It is not.
    """
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{shown(path)}: the name is not UTF-8 (of an older system, perhaps Latin-1 or "
            "Windows-1252); rename it, or all below a folder: convmv -r -f latin1 -t utf8 "
            "--notest FOLDER"
        ) from error


def is_remote(root: str) -> bool:
    """Whether raw data lie in a bucket."""
    return root.startswith("s3://")


def check_root(root: str) -> None:
    """Refuses a root that is no folder of raw data.

    Raises:
        InputError: It does not exist, is no folder, or holds the workspace with all its outputs,
            which DVC cannot watch.
    """
    if is_remote(root):
        return  # its listing says what is wrong
    path = Path(root)
    if not os.path.isdir(path):  # False for what is too long for a path, too
        wrong = "is not a folder" if os.path.exists(path) else "does not exist"
        raise InputError(
            f"data.root: the folder {brief(root, PATH_MOST)} {wrong}; name the folder that holds "
            "the raw images"
        )
    if path.resolve() in (here := Path.cwd().resolve(), *here.parents):
        raise InputError(
            f"data.root: {shown(root)} is the folder the pipeline runs in, or one above it, and "
            "would be watched with all outputs; name the folder that holds only raw images, such "
            "as root: flowers, and the other paths below it"
        )


def shown(path: Path | str) -> str:
    """A path for a message: one line, with what cannot be printed as backslash escapes."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def brief(text: str, most: int = 80) -> str:
    """What a message repeats of a text from elsewhere: as `shown`, at most so many characters."""
    text = shown(text[:most])
    return text if len(text) < most else text[: most - 3] + "..."


PATH_MOST = 500
"""Characters that a message repeats of a path: enough to find it, and no flood."""


def listed(names: Sequence[str]) -> str:
    """The first ten of the names for a message, each brief."""
    return ", ".join(map(brief, names[:10])) + ", ..." * (len(names) > 10) if names else "none"


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


_UNWRITABLE = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS),
        "make room or change the permissions",
    ),
    **dict.fromkeys(
        (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP),
        "move what is there elsewhere",
    ),
    errno.EFBIG: "raise the limit on the size of a file (`ulimit -f`)",
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENXIO), "check the disk or the network drive"),
}
"""What a person can do about errors of the disk, by number."""


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
    """Reads what `csv_text` wrote, as a whole; see `csv_rows`."""
    return list(csv_rows(path, remedy, columns))


def csv_rows(path: Path, remedy: str, columns: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """Reads what `csv_text` wrote, a row at a time.

    Args:
        path: The file.
        remedy: What to do where it is missing or damaged; ends the message.
        columns: What it must have.

    Raises:
        InputError: The file is missing or damaged.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; {remedy}")
    wrong = None
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            lacking = [name for name in columns if name not in (reader.fieldnames or ())]
            if lacking:
                wrong = f"no column {lacking[0]!r}"
            for row in () if lacking else reader:
                if None in row or None in row.values():
                    wrong = "a line of another length"
                    break
                yield {key: unguarded(value) for key, value in row.items()}
    except (ValueError, OSError, csv.Error) as error:
        raise InputError(f"{path} is damaged ({error}); {remedy}") from error
    if wrong is not None:
        raise InputError(f"{path} is damaged ({wrong}); {remedy}")


def guarded(text: str) -> str:
    """The text with an apostrophe where it would be taken for a formula."""
    return re.sub(f"{_CELL}{_FORMULA}|^{_BLANK}", "'", text)


def unguarded(text: str) -> str:
    """What `guarded` was given."""
    return re.sub(f"{_CELL}'{_FORMULA}|^'{_BLANK}", "", text)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name; its file takes the place of `path`, or is removed on an error."""
    temporary = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)  # the renaming itself must survive a power cut
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise InputError(
            f"cannot write {path} ({error.strerror}); {_UNWRITABLE[error.errno]} and run again, "
            "finished files are kept"
        ) from error
    finally:
        with suppress(OSError):  # of the same disk; the next run writes it anew
            temporary.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """Where `replacing` has a file until it is whole."""
    return path.with_name(path.name + ".part")


def flush(path: Path) -> None:
    """Waits until the disk holds what was written to a file, or which files a folder has."""
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
