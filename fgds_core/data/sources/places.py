"""Files and folders below the root of raw data: found, apart from each other, not too large."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fgds_core.data.sources.names import composed
from fgds_core.errors import InputError
from fgds_core.files import shown

_SUFFIXES = (
    "png apng jpg jpeg jpe jfif mpo webp avif bmp dib tif tiff gif ppm pgm pbm pnm "
    "heic heif jp2 jxl"
)
SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())
"""A file of such a name is meant as an image: that it is none is a mistake to tell. Of any other
name, its content decides."""


def below(root: Path, name: str, parameter: str) -> Path:
    """The path of a name below the root, in whichever Unicode form it is written there.

    Raises:
        InputError: It would lie outside.
    """
    relative = Path(name)
    if relative.is_absolute():
        if not relative.is_relative_to(root.absolute()):
            raise InputError(f"{parameter}: {name} must lie below data.root, {root}")
        relative = relative.relative_to(root.absolute())
    if ".." in relative.parts:
        raise InputError(f"{parameter}: {name} must lie below data.root, {root}")
    path = root
    for part in relative.parts:
        known = path / part
        if not known.exists() and path.is_dir():
            same = [p for p in path.iterdir() if composed(p.name) == composed(part)]
            known = same[0] if same else known
        path = known
    return path


def file_below(root: Path, name: str, parameter: str) -> Path:
    """The path of a file below the root.

    Raises:
        InputError: It does not exist, or would lie outside.
    """
    path = below(root, name, parameter)
    if not path.is_file():
        raise InputError(
            f"{parameter}: the file {shown(path)} does not exist; it lies below data.root: copy "
            "or link it there"
        )
    return path


def check_sizes(paths: Iterable[str], most: int) -> None:
    """Refuses files that are too large before any is read, be it for its digest."""
    large = [(path, size) for path in paths if (size := os.stat(path).st_size) > most]
    if large:
        path, size = large[0]
        more = f"; {len(large) - 1} more files are too large" if len(large) > 1 else ""
        raise InputError(f"{shown(path)}: {too_many_bytes(size, most)}{more}")


def check_apart(splits: Mapping[str, Sequence[Path]]) -> None:
    """Refuses a file or folder that is named for two splits."""
    first: dict[Path, str] = {}
    for split, paths in splits.items():
        name = "validation" if split == "val" else split
        for path in paths:
            other = first.setdefault(path.resolve(), name)
            if other != name:
                raise InputError(
                    f"data: {shown(path)} is read for {other} and for {name}; name what holds "
                    "each split's own images"
                )


def too_many_bytes(num_bytes: int, most: int) -> str:
    """What is wrong with a file of that size, and what to do."""
    return (
        f"too large: {num_bytes} bytes are more than {most}; shrink it, or raise "
        "prepare.max_image_bytes"
    )
