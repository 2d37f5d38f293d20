"""Images of a synthetic set that are left out of training, though their parts stay as they are.

A table beside the parts names them with a reason. Its name begins with an underscore, which
readers of Parquet folders pass over; the set's index knows its digest, so that another list makes
another set for whoever learns from it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fgds_core.errors import InputError
from fgds_core.files import FileRecord, replacing, sha256_file
from fgds_core.images.table import column_values
from fgds_core.synthesis.config import Exclusion
from fgds_core.synthesis.names import no_class
from fgds_core.synthesis.record import PartRecord

EXCLUDED_NAME = "_excluded.parquet"

BY_HAND = "person"
"""Who leaves out what the parameters name; the others are names of checks."""

_REMEDY = "run the stage synthesize again, finished parts are kept"


@dataclass(frozen=True)
class Place:
    """Where images of a class lie, or will: what of a part's record says which they are."""

    label: int
    first_index: int
    num_rows: int
    fingerprint: str


@dataclass(frozen=True, order=True)
class LeftOut:
    """One image that is left out.

    Attributes:
        label: Its class.
        index: Its place within the class.
        by: Who leaves it out: `person`, or the name of a check.
        reason: Why, in words.
    """

    label: int
    index: int
    by: str
    reason: str


Where = TypeVar("Where", Place, PartRecord)


def write_excluded(
    folder: Path,
    left_out: Iterable[LeftOut],
    class_names: Sequence[str],
    parts: Sequence[PartRecord],
) -> FileRecord | None:
    """Writes the table of a set; of several reasons for an image the first counts.

    Args:
        folder: The synthetic set.
        left_out: The images; without any there is no table.
        class_names: Name of each class.
        parts: All parts of the set, which know the images' seeds.

    Returns:
        The table's record; None if there is none.

    Raises:
        InputError: The disk is full or may not be written.
    """
    path = folder / EXCLUDED_NAME
    first: dict[tuple[int, int], LeftOut] = {}
    for each in left_out:
        first.setdefault((each.label, each.index), each)
    rows = sorted(first.values())
    if not rows:
        path.unlink(missing_ok=True)
        return None
    table = pa.table(
        {
            "label": pa.array([each.label for each in rows], pa.int64()),
            "class": pa.array([class_names[each.label] for each in rows], pa.string()),
            "index": pa.array([each.index for each in rows], pa.int64()),
            "seed": pa.array(_seeds(rows, parts), pa.int64()),
            "by": pa.array([each.by for each in rows], pa.string()),
            "reason": pa.array([each.reason for each in rows], pa.string()),
        }
    )
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="none", version="2.6")
    return FileRecord(EXCLUDED_NAME, sha256_file(path), len(rows))


def _seeds(left_out: Sequence[LeftOut], parts: Sequence[PartRecord]) -> list[int]:
    """The seed of each image, by which readers of the parts leave it out: no other one has it."""
    of_class: dict[int, list[PartRecord]] = {}
    for part in parts:
        of_class.setdefault(part.label, []).append(part)
    seeds = []
    for each in left_out:
        holds = part_with(of_class.get(each.label, ()), each.label, each.index)
        if holds is None:
            raise ValueError(f"no part holds image {each.index} of class {each.label}")
        seeds.append(holds.seeds[each.index - holds.first_index])
    return seeds


def read_excluded(folder: Path) -> tuple[LeftOut, ...]:
    """The images of a set that are left out, by class and index; none without a table.

    Raises:
        InputError: The table is damaged.
    """
    columns = _columns(folder, "label", "index", "by", "reason")
    return tuple(LeftOut(*row) for row in zip(*columns, strict=True))


def read_seeds(folder: Path) -> tuple[int, ...]:
    """The seeds of these images, in the same order. Raises as `read_excluded`."""
    (seeds,) = _columns(folder, "seed")
    return tuple(seeds)


def _columns(folder: Path, *names: str) -> list[list[Any]]:
    path = folder / EXCLUDED_NAME
    if not path.is_file():
        return [[] for _ in names]
    try:
        table = pq.read_table(path)
        return [column_values(table, name) for name in names]
    except (pa.ArrowException, OSError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}); {_REMEDY}") from error


def kept_rows(
    labels: NDArray[np.int64], indices: NDArray[np.int64], left_out: Iterable[LeftOut]
) -> NDArray[np.bool_]:
    """Whether each image of a set stays, [M].

    Args:
        labels: The class of each, [M].
        indices: Its place within the class, [M].
        left_out: Those that do not.
    """
    away = {(each.label, each.index) for each in left_out}
    places = zip(labels.tolist(), indices.tolist(), strict=True)
    return np.array([place not in away for place in places], dtype=np.bool_)


def check_classes(exclude: Sequence[Exclusion], class_names: Sequence[str]) -> None:
    """Refuses classes that there are not.

    Args:
        exclude: What the parameters leave out.
        class_names: Name of each class.

    Raises:
        InputError: Names entry and class.
    """
    for place, entry in enumerate(exclude):
        if entry.class_name not in class_names:
            said = no_class(entry.class_name, class_names)
            raise InputError(f"synthesize.exclude[{place}].class_name: {said}")


def by_hand(
    exclude: Sequence[Exclusion], class_names: Sequence[str], parts: Iterable[Where]
) -> tuple[list[LeftOut], list[str]]:
    """The images of a set that the parameters leave out.

    Args:
        exclude: The entries of the parameters.
        class_names: Name of each class.
        parts: All parts of the set.

    Returns:
        The images, and for each entry that means images which were drawn otherwise what to say
        of them; these stay.

    Raises:
        InputError: A class or an image is named that there is not, or no image would stay.
    """
    check_classes(exclude, class_names)
    of_class: dict[int, list[Where]] = {}
    for part in parts:
        of_class.setdefault(part.label, []).append(part)
    left_out: list[LeftOut] = []
    others: list[str] = []
    for place, entry in enumerate(exclude):
        label = class_names.index(entry.class_name)
        there = of_class.get(label, [])
        another: list[int] = []
        for index in entry.indices:
            holds = part_with(there, label, index)
            if entry.drawn_as and not (holds and holds.fingerprint.startswith(entry.drawn_as)):
                another.append(index)
            elif holds is None:
                number = sum(each.num_rows for each in there)
                has = f"has images 0 to {number - 1:,}" if number else "has no synthetic image"
                raise InputError(
                    f"synthesize.exclude[{place}].indices: there is no image {index:,}, the class"
                    f" {entry.class_name!r} {has}; remove it from the list"
                )
            else:
                left_out.append(LeftOut(label, index, BY_HAND, entry.reason))
        if another:
            others.append(
                f"synthesize.exclude[{place}]: {entry.class_name} {_some(another)} are other"
                " images now, drawn otherwise than those that were left out; they are kept."
                " Look at them, then remove the entry with `python -m flows.exclude --undo`"
            )
    return left_out, others


def check_rest(left_out: Iterable[LeftOut], parts: Iterable[Where]) -> None:
    """Refuses to leave out all there is.

    Args:
        left_out: The images that are left out.
        parts: All parts of the set.

    Raises:
        InputError: No image stays.
    """
    number = sum(part.num_rows for part in parts)
    if len({(each.label, each.index) for each in left_out}) == number:
        raise InputError(
            f"all {number:,} synthetic images would be left out; remove entries from"
            " synthesize.exclude (`python -m flows.exclude --undo`), or draw others"
        )


def part_with(parts: Iterable[Where], label: int, index: int) -> Where | None:
    """The part that holds an image; None if there is none.

    Args:
        parts: Of a set.
        label: The image's class.
        index: Its place within the class.
    """
    for part in parts:
        if part.label == label and part.first_index <= index < part.first_index + part.num_rows:
            return part
    return None


def counts_by_class(left_out: Iterable[LeftOut]) -> Mapping[int, int]:
    """How many images of each class are left out; classes without any are missing."""
    counts: dict[int, int] = {}
    for each in left_out:
        counts[each.label] = counts.get(each.label, 0) + 1
    return counts


def _some(indices: Sequence[int]) -> str:
    shown = ", ".join(map(str, indices[:5]))
    return shown + (f" and {len(indices) - 5} more" if len(indices) > 5 else "")
