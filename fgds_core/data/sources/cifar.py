"""CIFAR-10 and CIFAR-100, made imbalanced by the pick of LDAM-DRW.

Read from the pickles of the python version, or from Parquet files as on the hub. Nothing but the
pick's own arithmetic and numpy's legacy generator gives the images that the literature trains on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgds_core.data.config import CifarData, ParquetData
from fgds_core.data.imbalance import PROFILES
from fgds_core.data.sources import Source, SourceImage, parquet
from fgds_core.data.sources.left_out import LeftOut
from fgds_core.data.sources.names import checked_names
from fgds_core.data.sources.pickles import read_pickle
from fgds_core.data.sources.tables import schema_of
from fgds_core.data.sources.validation import masked
from fgds_core.errors import InputError
from fgds_core.files import entries, files_below, hash_file, listed, shown
from fgds_core.images.table import class_names_of

_SIDE = 32
"""Height and width of every image in pixels."""


@dataclass(frozen=True)
class _Edition:
    """The python version of one of the two sets."""

    name: str
    folder: str
    train: tuple[str, ...]
    test: str
    meta: str
    labels: str
    class_names: str


_EDITIONS = (
    _Edition(
        "CIFAR-10",
        "cifar-10-batches-py",
        train=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test="test_batch",
        meta="batches.meta",
        labels="labels",
        class_names="label_names",
    ),
    _Edition(
        "CIFAR-100",
        "cifar-100-python",
        train=("train",),
        test="test",
        meta="meta",
        labels="fine_labels",
        class_names="fine_label_names",
    ),
)


def open_data(data: CifarData, max_image_bytes: int) -> Source:
    """Opens CIFAR and picks its training and validation images."""
    root = Path(data.root)
    found = _pickles(root)
    whole = _open_pickles(*found) if found else _open_parquet(root, max_image_bytes)
    labels = np.fromiter((row.label for row in whole.rows("train")), np.int64)  # [N]
    counts = _counts(labels, whole.class_names, data)
    picked, validating = _pick(labels, counts, data)
    return Source(
        class_names=whole.class_names,
        has_groups=False,
        num_images={
            "train": int(picked.sum()),
            "val": int(validating.sum()),
            "test": whole.num_images["test"],
        },
        rows=masked(whole.rows, {"train": picked, "val": validating}),
        left_out=whole.left_out,
        files=whole.files,
        published=True,
        notes=(*whole.notes, _said(counts, labels[picked], data)),
    )


def found_pickles(root: Path) -> tuple[str, Path] | None:
    """Which of the two sets lies in a folder as pickles, and in which folder; None if none."""
    found = _pickles(root)
    return None if found is None else (found[0].name, found[1])


def class_names(data: CifarData) -> tuple[str, ...] | None:
    """The names in the file of names, or in the metadata of the Parquet files."""
    root = Path(data.root)
    if found := _pickles(root):
        return _names(*found)
    files, columns = _parquet_files(root)
    return class_names_of(schema_of(files["train"][0]), columns.label_column)


def _counts(labels: NDArray[np.int64], names: tuple[str, ...], data: CifarData) -> dict[str, int]:
    """How many images of each class are picked."""
    factor = data.imbalance.factor
    mean = len(labels) / len(names)
    profile = PROFILES[data.imbalance.type](mean, factor, len(names))
    counts = dict(zip(names, profile, strict=True))
    for name, there in zip(names, np.bincount(labels, minlength=len(names)), strict=True):
        if not counts[name]:
            raise InputError(
                f"data.imbalance.factor: {factor:g} leaves the class {name} without training "
                f"images; with at most {int(mean):,} every class has one"
            )
        if there <= data.validation_per_class:
            raise InputError(
                f"data.validation_per_class: {data.validation_per_class:,} leaves none of the "
                f"{there:,} training images of the class {name} to train with; lower it"
            )
    return counts


def _pick(
    labels: NDArray[np.int64], counts: dict[str, int], data: CifarData
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which images train and which validate, each [N].

    Class by class the images are shuffled by one generator and the first ones are picked; the next
    ones validate, and where too few are left, the last ones picked.
    """
    rng = np.random.RandomState(data.imbalance.seed)
    picked, validating = np.zeros((2, len(labels)), dtype=np.bool_)
    for label, count in enumerate(counts.values()):
        (images,) = np.nonzero(labels == label)
        rng.shuffle(images)
        end = min(count, len(images) - data.validation_per_class)
        picked[images[:end]] = True
        validating[images[end : end + data.validation_per_class]] = True
    return picked, validating


def _said(counts: dict[str, int], labels: NDArray[np.int64], data: CifarData) -> str:
    """What is told of the pick, by the labels of those that remain to train with."""
    imbalance = data.imbalance
    trained = np.bincount(labels, minlength=len(counts)).tolist()
    lacking = [
        f"{count - number:,} of {name}"
        for (name, count), number in zip(counts.items(), trained, strict=True)
        if number < count
    ]
    return (
        f"LDAM-DRW's pick of {sum(counts.values()):,} training images ({imbalance.type}, factor "
        f"{imbalance.factor:g}, rand_number {imbalance.seed}); CIFAR has no validation split: "
        f"{data.validation_per_class:,} other training images of each class validate"
        + (f", of the pick itself {listed(lacking)}" if lacking else "")
    )


# The python version


def _pickles(root: Path) -> tuple[_Edition, Path] | None:
    """Which set lies in a folder, and where."""
    for edition in _EDITIONS:
        for folder in (root, root / edition.folder):
            if (folder / edition.meta).is_file():
                return edition, folder
    return None


def _names(edition: _Edition, folder: Path) -> tuple[str, ...]:
    path = folder / edition.meta
    names = _entry(read_pickle(path), edition.class_names, path)
    if not isinstance(names, list) or not all(isinstance(name, bytes | str) for name in names):
        raise InputError(f"{shown(path)}: {edition.class_names} is no list of names; {_FETCH}")
    decoded = [name.decode() if isinstance(name, bytes) else name for name in names]
    return checked_names(decoded, shown(path))


def _open_pickles(edition: _Edition, folder: Path) -> Source:
    names = _names(edition, folder)
    files = {
        "train": [folder / name for name in edition.train],
        "test": [folder / edition.test],
    }
    for path in chain(*files.values()):
        if not path.is_file():
            there = [each.name for each in entries(folder)[1]]
            raise InputError(
                f"{shown(path)} does not exist; the files beside it are {listed(there)}: unpack "
                f"the archive of {edition.name} again"
            )
    num_images = {
        split: sum(len(_batch(path, edition, len(names))[1]) for path in paths)
        for split, paths in files.items()
    }

    def rows(split: str) -> Iterator[SourceImage]:
        for path in files[split]:
            pixels, labels = _batch(path, edition, len(names))
            for row, (image, label) in enumerate(zip(pixels, labels, strict=True)):
                yield SourceImage(_picture(image), f"{path.name}#{row}", label, group=None)

    return Source(
        class_names=names,
        has_groups=False,
        num_images=num_images,
        rows=rows,
        files=lambda: (str(path) for path in (folder / edition.meta, *chain(*files.values()))),
        notes=(_edition(edition, folder),),
    )


def _edition(edition: _Edition, folder: Path) -> str:
    """Whether these are the published files."""
    from torchvision.datasets import CIFAR10, CIFAR100

    published = CIFAR100 if edition.name == "CIFAR-100" else CIFAR10
    digests = dict(published.train_list + published.test_list)
    digests[published.meta["filename"]] = published.meta["md5"]
    other = [name for name in digests if hash_file(folder / name, "md5") != digests[name]]
    if other:
        return f"{edition.name}: not the published files ({listed(other)} differ)"
    return f"{edition.name}: the published files"


_FETCH = "fetch the archive again"


def _entry(found: dict[str, Any], name: str, path: Path) -> object:
    if name not in found:
        raise InputError(f"{shown(path)} has no {name}, only {listed(list(found))}; {_FETCH}")
    return found[name]


def _batch(path: Path, edition: _Edition, num_classes: int) -> tuple[NDArray[np.uint8], list[int]]:
    """Pixels, [N, 3 * H * W], and labels of one file."""
    found = read_pickle(path)
    pixels, labels = _entry(found, "data", path), _entry(found, edition.labels, path)
    width = 3 * _SIDE**2
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.dtype != np.uint8
        or pixels.shape[1:] != (width,)
    ):
        raise InputError(f"{shown(path)}: data is no array of N x {width} bytes; {_FETCH}")
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if (
        not isinstance(labels, list)
        or len(labels) != len(pixels)
        or not all(type(label) is int and 0 <= label < num_classes for label in labels)
    ):
        raise InputError(
            f"{shown(path)}: {edition.labels} must hold {len(pixels):,} whole numbers from 0 to "
            f"{num_classes - 1}; {_FETCH}"
        )
    return pixels, labels


def _picture(image: NDArray[np.uint8]) -> bytes:
    """An image file without loss, at no cost, of an image in planes, [3 * H * W]."""
    pixels = image.reshape(3, _SIDE, _SIDE).transpose(1, 2, 0)  # [H, W, 3]
    return f"P6 {_SIDE} {_SIDE} 255\n".encode() + pixels.tobytes()


# The Parquet files of the hub


def _parquet_files(root: Path) -> tuple[dict[str, list[Path]], ParquetData]:
    """The files of each split, and which of their columns are read."""
    below = [path for path in files_below(root) if path.suffix == ".parquet"]
    files = {
        split: [path for path in below if path.name.startswith(split)]
        for split in ("train", "test")
    }
    if not all(files.values()):
        raise InputError(
            f"data.root: {shown(root)} holds neither the python version of CIFAR ("
            f"{' or '.join(edition.meta for edition in _EDITIONS)} beside its batches) nor "
            "Parquet files train*.parquet and test*.parquet; unpack the archive there"
        )
    there = schema_of(files["train"][0]).names
    columns = ParquetData(
        kind="parquet",
        root=str(root),
        train="train*.parquet",
        validation="none",
        test="test*.parquet",
        image_column="img" if "img" in there else "image",
        label_column="fine_label" if "fine_label" in there else "label",
        group_column=None,
    )
    return files, columns


def _open_parquet(root: Path, max_image_bytes: int) -> Source:
    files, columns = _parquet_files(root)
    return parquet.open_files(columns, files, LeftOut(root), max_image_bytes)
