"""JSON files of images, annotations and categories, as COCO's and iNaturalist's.

Images and annotations are joined by their ids: their order says nothing. The files are read entry
by entry, and of each image a path and a number are kept.
"""

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fgds_core.data.config import CocoData, DrawnValidation
from fgds_core.data.sources import Source
from fgds_core.data.sources.json_entries import json_entries
from fgds_core.data.sources.left_out import LeftOut
from fgds_core.data.sources.name_files import ClassNames, stated_names
from fgds_core.data.sources.named import (
    Named,
    Start,
    check_labels,
    draw_validation,
    files_of,
    rows_of,
    split_files,
    survey,
)
from fgds_core.data.sources.names import class_name
from fgds_core.errors import InputError
from fgds_core.files import brief, shown


@dataclass(frozen=True)
class _File:
    """What one file says.

    Attributes:
        path: The file.
        images: Path of each image, one a line.
        ids: Id of each image, [N].
        annotated: Id of the image of each annotation, [A].
        annotations: Id of the category of each annotation, [A].
        categories: Name of each category by its id, in the order of the ids.
    """

    path: Path
    images: str
    ids: NDArray[np.int64]
    annotated: NDArray[np.int64]
    annotations: NDArray[np.int64]
    categories: dict[int, str]


def open_data(data: CocoData, max_image_bytes: int) -> Source:
    """Opens images with annotations."""
    left_out = LeftOut(root := Path(data.root))
    files = split_files(data)
    found = {split: _read(path) for split, path in files.items()}
    stated = _names(data, found["train"])
    names, notes = stated.names, [stated.note] if stated.note else []
    labels = {split: _labels(file, found["train"]) for split, file in found.items()}
    start = Start(root, data.images)

    def lines(split: str) -> Iterator[Named]:
        return _lines(found[split], labels[split], start)

    seen = survey(lines, files, root, max_image_bytes, left_out, start.hint)
    check_labels(seen, len(names), {split: shown(path) for split, path in files.items()})
    if isinstance(data.validation, DrawnValidation):
        notes.append(draw_validation(seen, data.validation, names))
    return Source(
        class_names=names,
        has_groups=False,
        num_images=seen.num_images(),
        rows=rows_of(lines, seen, root),
        left_out=str(left_out),
        files=files_of(lines, files, root, [*files.values(), *stated.files]),
        published=True,
        notes=tuple(notes),
    )


def class_names(data: CocoData) -> tuple[str, ...] | None:
    """The classes as far as the parameters or their file name them."""
    stated = stated_names(data.class_names, Path(data.root))
    return None if stated is None else stated.names


def _names(data: CocoData, train: _File) -> ClassNames:
    """The names of the classes, and what is told of them."""
    path, categories = train.path, train.categories
    if not categories:
        raise InputError(f"{shown(path)} has no categories; name a file that has")
    if stated := stated_names(data.class_names, Path(data.root)):
        if len(stated.names) != len(categories):
            raise InputError(
                f"data.class_names names {len(stated.names):,} classes, but {shown(path)} has "
                f"{len(categories):,} categories; name each, in the order of their ids"
            )
        return stated
    names = [class_name(name, f"{shown(path)}, categories") for name in categories.values()]
    times: dict[str, int] = {}
    for name in names:
        times[name] = times.get(name, 0) + 1
    numbered = [
        f"{name} ({number})" if times[name] > 1 else name
        for number, name in zip(categories, names, strict=True)
    ]
    twice = sum(number for number in times.values() if number > 1)
    note = f"{twice} categories of {shown(path)} share their names and are told apart by their ids"
    return ClassNames(tuple(numbered), note=note if twice else "")


def _read(path: Path) -> _File:
    """Reads one file."""
    paths: list[str] = []
    ids, annotated, annotations = array("q"), array("q"), array("q")
    categories: dict[int, str] = {}
    for kind, entry in json_entries(path):
        where = f"{shown(path)}, {kind}"
        if kind == "images":
            ids.append(_number(entry, "id", where))
            paths.append(_text(entry, "file_name", where).replace("\n", "\\n") + "\n")
        elif kind == "annotations":
            annotated.append(_number(entry, "image_id", where))
            annotations.append(_number(entry, "category_id", where))
        elif kind == "categories":
            number, name = _number(entry, "id", where), _text(entry, "name", where)
            if categories.setdefault(number, name) != name:
                raise InputError(f"{where}: id {number} stands for two of them; correct it")
    return _File(
        path,
        images="".join(paths),
        ids=np.array(ids),
        annotated=np.array(annotated),
        annotations=np.array(annotations),
        categories=dict(sorted(categories.items())),
    )


def _lines(file: _File, labels: NDArray[np.int64], start: Start) -> Iterator[Named]:
    """The images as lists of paths and labels would name them."""
    begin = 0
    for image, label in zip(file.ids.tolist(), labels.tolist(), strict=True):
        end = file.images.index("\n", begin)
        where = f"{shown(file.path)}, image {image}"
        yield Named(where, start.path(file.images[begin:end], where), label, group=None)
        begin = end + 1


def _labels(file: _File, train: _File) -> NDArray[np.int64]:
    """The label of each image, [N]: the place of its category among those of the training file."""
    for number, name in file.categories.items():
        if train.categories.get(number) != name:
            raise InputError(
                f"{shown(file.path)}, categories: {number} is {brief(name)}, but in "
                f"{shown(train.path)} {brief(str(train.categories.get(number)))}; name files of "
                "one edition"
            )
    categories = np.array(list(train.categories))
    labels, unknown = _places(file.annotations, categories)
    if len(unknown):
        raise InputError(
            f"{shown(file.path)}, annotations: image {file.annotated[unknown[0]]} is of category "
            f"{file.annotations[unknown[0]]}, which {shown(train.path)} does not name"
        )
    return _joined(file, labels)


def _places(
    values: NDArray[np.int64], ordered: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where values stand among increasing ones, and which of them do not."""
    places = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return places, np.flatnonzero(ordered[places] != values)


def _joined(file: _File, annotations: NDArray[np.int64]) -> NDArray[np.int64]:
    """The label of each image, [N], from the label of each annotation, [A]."""
    path, ids = shown(file.path), file.ids
    if not len(ids):
        raise InputError(f"{path} has no images; name a file that has")
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    if len(twice := ordered[1:][ordered[1:] == ordered[:-1]]):
        raise InputError(f"{path}: two images have the id {twice[0]}; correct it")
    places, lost = _places(file.annotated, ordered)
    if len(lost):
        raise InputError(
            f"{path}: {len(lost):,} annotations are of images that it does not have, such as "
            f"image {file.annotated[lost[0]]}; correct it"
        )
    labels = np.full(len(ids), -1, dtype=np.int64)
    labels[order[places]] = annotations
    if len(bare := ids[labels < 0]):
        raise InputError(
            f"{path}: {len(bare):,} images have no annotation, such as image {bare[0]}; name a "
            "file that says the category of each"
        )
    if len(several := file.annotated[labels[order[places]] != annotations]):
        raise InputError(
            f"{path}: image {several[0]} is of several categories, but must be of one; data for "
            "detection are no data for classification"
        )
    return labels


def _number(entry: object, name: str, where: str) -> int:
    value = _value(entry, name, where)
    if type(value) is not int or abs(value) >= 2**63:
        raise InputError(f"{where}: {name} must be a whole number, got {brief(repr(value))}")
    return value


def _text(entry: object, name: str, where: str) -> str:
    value = _value(entry, name, where)
    if not isinstance(value, str):
        raise InputError(f"{where}: {name} must be a text, got {brief(repr(value))}")
    return value


def _value(entry: object, name: str, where: str) -> object:
    if not isinstance(entry, Mapping) or name not in entry:
        raise InputError(
            f"{where}: {brief(repr(entry))} has no {name}; name a file of COCO's form"
        )
    return entry[name]
