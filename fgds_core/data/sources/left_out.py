"""What lies among raw data and is not read, for one line to the user."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from fgds_core.files import entries, shown

_SHARD = re.compile(r"(?P<name>.+)-(?P<number>\d+)-of-(?P<total>\d+)\.parquet")
"""A file of a set that is stored in several, as the hub names them."""


class Paths:
    """How many paths there are, and the first of them."""

    def __init__(self, num_shown: int = 3) -> None:
        self.number = 0
        self.first: list[Path] = []
        self._num_shown = num_shown

    def add(self, paths: Iterable[Path]) -> None:
        """Notes further ones."""
        for path in paths:
            self.number += 1
            if len(self.first) < self._num_shown:
                self.first.append(path)


@dataclass
class LeftOut:
    """What lies among the raw data and is not read, and links that lead out of the root."""

    root: Path
    hidden: Paths = field(default_factory=Paths)
    other: Paths = field(default_factory=Paths)
    empty: Paths = field(default_factory=Paths)
    outside: Paths = field(default_factory=Paths)
    shards: list[str] = field(default_factory=list)

    def note_links(self, paths: Iterable[Path]) -> None:
        """Notes the links that lead out of the root: they are read and watched."""
        links = (path for path in paths if path.is_symlink())
        root = self.root.resolve()
        self.outside.add(link for link in links if not link.resolve().is_relative_to(root))

    def entries(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """Folders and files of a folder, each sorted by name; notes what is hidden."""
        hidden: list[Path] = []
        try:
            return entries(folder, hidden)
        finally:
            self.hidden.add(hidden)

    def note_shards(self, files: Iterable[Path]) -> None:
        """Notes parts of a set of files, named as on the hub, that no split has."""
        numbers: dict[tuple[Path, str, str], set[int]] = {}
        for path in files:
            if found := _SHARD.fullmatch(path.name):
                place = (path.parent, found["name"], found["total"])
                numbers.setdefault(place, set()).add(int(found["number"]))
        for (folder, name, total), present in numbers.items():
            if (missing := int(total) - len(present)) > 0:
                first = next(number for number in count() if number not in present)
                lacking = folder / f"{name}-{first:0{len(total)}d}-of-{total}.parquet"
                self.shards.append(
                    f"not read: {missing:,} of the {int(total):,} files {shown(name)}-*-of-{total}"
                    f".parquet ({shown(lacking.relative_to(self.root))}{', ...' * (missing > 1)})"
                )

    def __str__(self) -> str:
        said = [
            f"{paths.number} {kind} ({self._first(paths)})"
            for kind, paths in (
                ("hidden or system files and folders", self.hidden),
                ("files and folders that are no images in their place", self.other),
                ("empty folders", self.empty),
            )
            if paths.number
        ]
        left = f"left out below {shown(self.root)}: {', '.join(said)}" if said else ""
        followed = (
            f"{self.outside.number} links lead out of {shown(self.root)} and are read "
            f"({self._first(self.outside)})"
            if self.outside.number
            else ""
        )
        return "; ".join(text for text in (left, *self.shards, followed) if text)

    def _first(self, paths: Paths) -> str:
        names = [shown(path.relative_to(self.root)) for path in paths.first]
        return ", ".join(names + ["..."] * (paths.number > len(names)))
