"""A look at raw data before anything is made of them: what is told without reading every pixel.

All names and labels are read, and some pictures of each class and split.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fgds_core.data.cells import Cells
from fgds_core.data.meta import SPLITS
from fgds_core.data.mirror import SIDE, Mirrored, mirrored
from fgds_core.data.pictures import content_digest, to_rgb
from fgds_core.data.sources import Source, SourceImage
from fgds_core.errors import InputError
from fgds_core.files import shown
from fgds_core.images.formats import decode_picture
from fgds_core.processes import Workers, num_cores

MOST_LOOKED = 2000
"""Pictures that are decoded, of all splits and classes together."""

MOST_HASHED = 20_000
"""Files of equal size that are compared by their bytes, where not all pictures are decoded."""

EXAMPLES = 50
"""Training images that are kept for who wants to try something on them."""

SHOWN = 3
"""Unreadable files and pairs of equal ones that are named."""

_CHUNK = 16

_WORTH_PROCESSES = 300
"""Pictures from which on more processes are started than this one."""


class Glance(NamedTuple):
    """What one picture shows."""

    width: int
    height: int
    format: str
    is_grey: bool
    digest: bytes
    """`content_digest`."""
    small: NDArray[np.uint8]
    """Its middle in grey, [SIDE, SIDE]."""


@dataclass(frozen=True)
class Repeats:
    """Images that occur more than once.

    Attributes:
        within: Images of each split that repeat an earlier one of it.
        across: Different images that two splits share, by pairs such as "train-test".
        pairs: The first of those across, two names each.
        of_pixels: Whether pixels were compared, of all pictures; else the bytes of files.
        compared: Images that were compared.
    """

    within: dict[str, int]
    across: dict[str, int]
    pairs: tuple[tuple[str, str], ...]
    of_pixels: bool
    compared: int


@dataclass(frozen=True)
class Look:
    """What raw data show.

    Attributes:
        class_names: Name of each of the K classes.
        counts: Images of each class, for each split, [K] each.
        groups: Names of the groups, sorted; empty without groups.
        cells: Images of each class in each group, for each split; without groups empty.
        looked: Pictures that were decoded.
        unreadable: The first that cannot be, and why.
        num_unreadable: How many cannot be.
        formats: Pictures of each file format.
        sides: Width and height of each picture, [N, 2].
        num_grey: Pictures without colour.
        repeats: Images that occur more than once.
        mirrored: Whether mirror images are told apart.
        examples: Some training images that can be read.
    """

    class_names: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]
    groups: tuple[str, ...]
    cells: dict[str, Counter[tuple[int, str]]]
    looked: int
    unreadable: tuple[str, ...]
    num_unreadable: int
    formats: Counter[str]
    sides: NDArray[np.int64]
    num_grey: int
    repeats: Repeats
    mirrored: Mirrored
    examples: tuple[SourceImage, ...]

    @property
    def num_images(self) -> int:
        """Images of all splits."""
        return sum(map(sum, self.counts.values()))

    @property
    def train_cells(self) -> Cells | None:
        """Training images of each class in each group, [K]; None without groups."""
        if not self.groups:
            return None
        train, classes = self.cells["train"], range(len(self.class_names))
        return [{group: train[label, group] for group in self.groups} for label in classes]

    def empty_cells(self) -> list[tuple[str, str, int]]:
        """Class, group and images elsewhere of what has images but none for training."""
        every = sum(self.cells.values(), Counter[tuple[int, str]]())
        train = self.cells.get("train", Counter())
        return [
            (self.class_names[label], group, number)
            for (label, group), number in sorted(every.items())
            if not train[label, group]
        ]


@dataclass
class _Names:
    """What reading all names has shown."""

    counts: dict[str, Counter[int]] = field(default_factory=dict)
    cells: dict[str, Counter[tuple[int, str]]] = field(default_factory=dict)
    chosen: dict[tuple[str, int], list[SourceImage]] = field(default_factory=dict)
    keys: list[bytes] = field(default_factory=list)
    """Digest of an image in a table, or size of a file, of all splits one after the other."""


def look(
    source: Source,
    *,
    most: int = MOST_LOOKED,
    workers: int | None = None,
    max_image_bytes: int,
    max_image_pixels: int,
) -> Look:
    """Looks at raw data.

    Args:
        source: The data.
        most: Pictures to decode, spread over the classes of each split.
        workers: Processes that decode; None is one for each core.
        max_image_bytes: As the stage prepare is told.
        max_image_pixels: As the stage prepare is told.

    Raises:
        InputError: A row of a table is none.
    """
    whole = sum(source.num_images.values()) <= most
    names = _read_names(source, most, whole)
    rows = [(split, row) for (split, _), each in sorted(names.chosen.items()) for row in each]
    glance = partial(glances, max_image_bytes=max_image_bytes, max_image_pixels=max_image_pixels)
    seen: list[tuple[str, SourceImage, Glance]] = []
    unreadable: list[str] = []
    number = num_cores() if workers is None else workers
    with Workers(glance, number if len(rows) > _WORTH_PROCESSES else 0) as processes:
        processes.start()
        chunks = [rows[first : first + _CHUNK] for first in range(0, len(rows), _CHUNK)]
        done = processes.map([row for _, row in chunk] for chunk in chunks)
        for chunk, (_, results) in zip(chunks, done, strict=True):
            for (split, row), result in zip(chunk, results, strict=True):
                if isinstance(result, str):
                    unreadable.append(f"{split}: {shown(row.path)}: {result}")
                else:
                    seen.append((split, row, result))
    examples = [row for split, row, _ in seen if split == "train"]
    trains = [(row.label, each.small) for split, row, each in seen if split == "train"]
    if whole:
        of_pixels = [(s, row.path, each.digest) for s, row, each in seen]
        repeats = _repeats(of_pixels, of_pixels=True)
    else:
        repeats = _repeats(list(_digests(source, names.keys, max_image_bytes)), of_pixels=False)
    classes = range(len(source.class_names))
    return Look(
        class_names=source.class_names,
        counts={s: tuple(names.counts[s][k] for k in classes) for s in SPLITS},
        groups=tuple(sorted({group for each in names.cells.values() for _, group in each})),
        cells=names.cells if source.has_groups else {},
        looked=len(rows),
        unreadable=tuple(unreadable[:SHOWN]),
        num_unreadable=len(unreadable),
        formats=Counter(each.format for _, _, each in seen),
        sides=np.array([(each.width, each.height) for _, _, each in seen], np.int64).reshape(
            -1, 2
        ),
        num_grey=sum(each.is_grey for _, _, each in seen),
        repeats=repeats,
        mirrored=mirrored(trains),
        examples=tuple(examples[:: max(1, len(examples) // EXAMPLES)][:EXAMPLES]),
    )


def glances(
    rows: Sequence[SourceImage], max_image_bytes: int, max_image_pixels: int
) -> list[Glance | str]:
    """Decodes pictures as the stage prepare does; what is wrong with one stands in its place."""
    done: list[Glance | str] = []
    for row in rows:
        try:
            raw = decode_picture(row.read(max_image_bytes), max_image_pixels)
            picture = to_rgb(raw)
        except InputError as error:
            done.append(str(error))
            continue
        small = np.asarray(ImageOps.fit(picture, (SIDE, SIDE), Image.Resampling.BOX))
        channels = small.astype(np.int64)  # [SIDE, SIDE, 3]
        done.append(
            Glance(
                width=picture.width,
                height=picture.height,
                format=raw.format or "",
                is_grey=bool(np.ptp(channels, axis=2).max() <= 2),
                digest=content_digest(picture),
                small=channels.mean(axis=2).round().astype(np.uint8),
            )
        )
    return done


def _read_names(source: Source, most: int, whole: bool) -> _Names:
    """Counts all images and chooses those to decode, some of each class of each split."""
    names, rng = _Names(), random.Random(0)
    num_cells = len(SPLITS) * len(source.class_names)
    quota, step = max(1, most // num_cells), max(1, -(-num_cells // most))
    for split in SPLITS:
        counts, cells = Counter[int](), Counter[tuple[int, str]]()
        for row in source.rows(split):
            counts[row.label] += 1
            if row.group is not None:
                cells[row.label, row.group] += 1
            if not whole:
                names.keys.append(_key(row))
            if not whole and row.label % step:
                continue
            chosen = names.chosen.setdefault((split, row.label), [])
            if whole or len(chosen) < quota:
                chosen.append(row)
            elif (place := rng.randrange(counts[row.label])) < quota:  # each is as likely to stay
                chosen[place] = row
        names.counts[split], names.cells[split] = counts, cells
    return names


def _key(row: SourceImage) -> bytes:
    if isinstance(row.content, bytes):
        return _digest(row.content)
    try:
        return Path(row.content).stat().st_size.to_bytes(8, "big")
    except OSError:
        return b""


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _digests(
    source: Source, keys: Sequence[bytes], max_image_bytes: int
) -> Iterator[tuple[str, str, bytes]]:
    """Split, name and digest of the images whose key another image has as well."""
    times = Counter(keys)
    if len(times) == len(keys):
        return  # without reading all of them again
    number = hashed = 0
    for split in SPLITS:
        for row in source.rows(split):
            key, number = keys[number], number + 1
            if times[key] < 2 or not key:
                continue
            if isinstance(row.content, bytes):
                yield split, row.path, key
            elif hashed < MOST_HASHED:
                hashed += 1
                try:
                    yield split, row.path, _digest(row.read(max_image_bytes))
                except InputError:
                    continue


def _repeats(images: Sequence[tuple[str, str, bytes]], *, of_pixels: bool) -> Repeats:
    places: dict[bytes, list[tuple[str, str]]] = {}
    for split, path, digest in images:
        places.setdefault(digest, []).append((split, path))
    within, across = Counter[str](), Counter[str]()
    pairs: list[tuple[str, str]] = []
    for each in places.values():
        times = Counter(split for split, _ in each)
        for split, number in times.items():
            within[split] += number - 1
        for one, other in combinations([split for split in SPLITS if split in times], 2):
            across[f"{one}-{other}"] += 1
            first = {split: path for split, path in reversed(each)}
            pairs.append((f"{one}: {first[one]}", f"{other}: {first[other]}"))
    return Repeats(dict(+within), dict(across), tuple(pairs[:SHOWN]), of_pixels, len(images))
