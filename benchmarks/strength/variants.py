"""Fashion-LT at other imbalance factors, of the same pictures.

The largest class has 500 images, the smallest 500 / factor. A class keeps its first images at a
factor above 100, and at one below gets unused ones behind its own. Validation and test images are
the same for all.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from assets.fashion_lt import long_tail
from benchmarks.controls.place import ROOT, UNUSED, Place

FACTOR = 100
"""Of Fashion-LT itself."""

RUNS = Path(".runs/strength")


def counts_at(factor: int, at_100: Sequence[int]) -> list[int]:
    """Real training images of each class at an imbalance factor, [K].

    Args:
        factor: Of the largest class's images over the smallest's.
        at_100: Those of Fashion-LT itself; they say which class is how rare.
    """
    profile = long_tail(len(at_100), max(at_100), factor)
    counts = [0] * len(at_100)
    for label, count in zip(np.argsort(-np.asarray(at_100), kind="stable"), profile, strict=True):
        counts[label] = count
    return counts


def first_of_each(labels: NDArray[np.int64], counts: Sequence[int]) -> NDArray[np.int64]:
    """Rows of the first images of each class, in the order of the rows.

    Args:
        labels: Of all rows, [N].
        counts: How many of each class, [K].

    Raises:
        ValueError: A class has not so many.
    """
    rows = [np.flatnonzero(labels == label)[:count] for label, count in enumerate(counts)]
    if (found := [len(own) for own in rows]) != list(counts):
        raise ValueError(f"of the classes there are {found} images, wanted are {list(counts)}")
    return np.sort(np.concatenate(rows))


def write_variant(assets: Path, factor: int, out: Path) -> list[int]:
    """Writes the three splits of a factor; its training images of each class, [K]."""
    out.mkdir(parents=True, exist_ok=True)
    for split in ("validation.parquet", "test.parquet"):
        shutil.copyfile(assets / split, out / split)
    train, unused = (pq.read_table(assets / name) for name in ("train.parquet", UNUSED))
    counts = counts_at(factor, np.bincount(train["label"]).tolist())
    both = pa.concat_tables([train, unused.select(train.column_names).cast(train.schema)])
    rows = first_of_each(np.asarray(both["label"]), counts)
    pq.write_table(both.take(rows), out / "train.parquet")
    return counts


def place_at(factor: int) -> Place:
    """Where an imbalance factor's images, guides and sets lie; it is made if it is not there."""
    place = Place.of("fashion-lt")
    if factor == FACTOR:
        return place
    folder = RUNS / f"factor-{factor}"
    file = folder / "params.yaml"
    if not file.exists():
        root = str(place.params["data"].root)
        write_variant(ROOT / root, factor, folder / "data")
        text = (ROOT / "params.yaml").read_text()
        assert text.count(f"root: {root}") == 1
        file.write_text(text.replace(f"root: {root}", f"root: {folder / 'data'}"))
    return Place(file, folder)
