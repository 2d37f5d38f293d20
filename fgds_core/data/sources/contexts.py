"""A folder of context folders of class folders, as NICO++ is published; contexts are the groups.

Nobody can draw NICO++'s splits of SubpopBench again: they depend on the order in which a disk gave
its files. The same rule on sorted files gives the same splits everywhere; they are written down.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from fgds_core.data.config import ContextsData
from fgds_core.data.meta import METADATA_NAME, SPLITS
from fgds_core.data.sources import Source, SourceImage
from fgds_core.data.sources.left_out import LeftOut
from fgds_core.data.sources.names import class_name, composed
from fgds_core.data.sources.places import below, check_sizes
from fgds_core.errors import InputError
from fgds_core.files import (
    brief,
    csv_text,
    entries,
    listed,
    read_json,
    relative_to,
    shown,
)


@dataclass(frozen=True)
class _Cell:
    """The images of one class in one context: paths below the root of each split, sorted."""

    context: str
    label: int
    paths: dict[str, list[str]]


def open_data(data: ContextsData, max_image_bytes: int) -> Source:
    """Opens a folder of contexts and draws the splits."""
    left_out = LeftOut(root := Path(data.root))
    folder = _folder(data)
    contexts = _contexts(folder, left_out)
    numbers = _numbers(data, contexts)
    rng = random.Random(data.seed)
    cells = []
    for context, classes in contexts.items():
        for name, label in numbers.items():
            if name in classes:
                files = _images(classes[name], data.pattern, left_out)
                paths = [relative_to(path, root) for path in files]
                if paths:
                    cells.append(_Cell(context, label, _drawn(paths, data.held_out, rng)))
    names = tuple(sorted(numbers, key=numbers.__getitem__))
    _check(names, cells, folder, data)
    every = (path for cell in cells for paths in cell.paths.values() for path in paths)
    check_sizes((f"{root}/{path}" for path in every), max_image_bytes)

    def rows(split: str) -> Iterator[SourceImage]:
        for cell in cells:
            for path in cell.paths[split]:
                yield SourceImage(f"{root}/{path}", path, cell.label, cell.context)

    def read() -> Iterator[str]:
        if data.class_ids is not None:
            yield str(below(root, data.class_ids, "data.class_ids"))
        for split in SPLITS:
            yield from (str(row.content) for row in rows(split))

    metadata = _metadata(cells, names)
    return Source(
        class_names=names,
        has_groups=True,
        num_images={split: sum(len(cell.paths[split]) for cell in cells) for split in SPLITS},
        rows=rows,
        left_out=str(left_out),
        files=read,
        published=True,
        notes=(_said(data, cells, metadata),),
        metadata=metadata,
    )


def class_names(data: ContextsData) -> tuple[str, ...]:
    """The classes that are numbered in a file, or the names of the class folders, sorted."""
    numbers = _numbers(data, _contexts(_folder(data), LeftOut(Path(data.root))))
    return tuple(sorted(numbers, key=numbers.__getitem__))


def _folder(data: ContextsData) -> Path:
    folder = below(Path(data.root), data.folder, "data.folder")
    if not folder.is_dir():
        there = [path.name for path in entries(Path(data.root), [])[0]]
        raise InputError(
            f"data.folder: {shown(folder)} does not exist; name the folder that holds the context "
            f"folders, below data.root, where there are: {listed(there)}"
        )
    return folder


def _contexts(folder: Path, left_out: LeftOut) -> dict[str, dict[str, Path]]:
    """The class folders of each context, both sorted by name."""
    found: dict[str, dict[str, Path]] = {}
    folders = left_out.entries(folder)
    left_out.other.add(folders[1])
    left_out.note_links([folder, *folders[0]])
    for context in folders[0]:
        classes, files = left_out.entries(context)
        left_out.other.add(files)
        left_out.note_links(classes)
        if not classes:
            raise InputError(
                f"{shown(context)} holds no class folders; data.folder must hold "
                "<context>/<class>/*, and nothing else"
            )
        found[class_name(context.name, shown(context))] = {
            class_name(path.name, shown(path)): path for path in classes
        }
    if not found:
        raise InputError(
            f"data.folder: {shown(folder)} holds no context folders; name the one that does"
        )
    return found


def _numbers(data: ContextsData, contexts: dict[str, dict[str, Path]]) -> dict[str, int]:
    """The number of each class, in the order of the file of numbers or of the names."""
    there = {name: path for classes in contexts.values() for name, path in classes.items()}
    if data.class_ids is None:
        return {name: number for number, name in enumerate(sorted(there))}
    path = below(Path(data.root), data.class_ids, "data.class_ids")
    remedy = "name a JSON file of {class: number}, such as NICO++'s dg_label_id_mapping.json"
    found: dict[str, Any] = read_json(path, remedy)
    numbers = {class_name(name, shown(path)): number for name, number in found.items()}
    if len(numbers) < len(found) or sorted(map(repr, numbers.values())) != sorted(
        map(repr, range(len(numbers)))
    ):
        raise InputError(
            f"data.class_ids: {shown(path)} must number the classes 0, 1, 2 ... without gaps, "
            "each once; correct it"
        )
    if unknown := sorted(set(there) - set(numbers)):
        raise InputError(
            f"data.class_ids: {shown(path)} has no number for the class {brief(unknown[0])} "
            f"({shown(there[unknown[0]])}); number it, remove it, or correct data.folder"
        )
    return numbers


def _images(folder: Path, pattern: str, left_out: LeftOut) -> list[Path]:
    folders, files = left_out.entries(folder)
    left_out.other.add(folders)
    images = []
    for path in files:
        if fnmatchcase(composed(path.name), composed(pattern)):
            images.append(path)
        else:
            left_out.other.add([path])
    left_out.note_links(images)
    return images


def _drawn(paths: list[str], held_out: int, rng: random.Random) -> dict[str, list[str]]:
    """Shuffles a group: a third of the images held out validate, the others of them test."""
    order = list(paths)
    rng.shuffle(order)
    number = min(len(order), held_out)
    drawn = {
        "train": order[number:],
        "val": order[: number // 3],
        "test": order[number // 3 : number],
    }
    return {split: sorted(each) for split, each in drawn.items()}


def _check(names: tuple[str, ...], cells: list[_Cell], folder: Path, data: ContextsData) -> None:
    """Refuses classes without images, and data of which none trains."""
    present = {cell.label for cell in cells}
    absent = [name for label, name in enumerate(names) if label not in present]
    if absent:
        raise InputError(
            f"{shown(folder)} holds no images {brief(data.pattern)} of the classes "
            f"{listed(absent)} in <context>/<class>/; correct data.folder, data.pattern or "
            "data.class_ids"
        )
    if not any(cell.paths["train"] for cell in cells):
        most = max(len(cell.paths["val"]) + len(cell.paths["test"]) for cell in cells)
        raise InputError(
            f"data.held_out: {data.held_out} leaves no image to train with, since no class has "
            f"more than {most} in a context; lower it"
        )


def _said(data: ContextsData, cells: list[_Cell], metadata: str) -> str:
    alone = sum(not cell.paths["train"] for cell in cells)
    without = f"; {alone:,} of {len(cells):,} groups have no training images" if alone else ""
    trained = {cell.label for cell in cells if cell.paths["train"]}
    if untrained := len({cell.label for cell in cells} - trained):
        without += f", {untrained:,} classes have none at all: a lower data.held_out leaves some"
    digest = hashlib.sha256(metadata.encode()).hexdigest()
    return (
        f"SubpopBench's rule on sorted files (seed {data.seed}, at most {data.held_out} images of "
        "each class in a context validate and test), which are not the splits of its published "
        f"results{without}; written to {METADATA_NAME}, sha256 {digest}"
    )


def _metadata(cells: list[_Cell], names: tuple[str, ...]) -> str:
    """The splits as SubpopBench writes them, with names and paths below the root."""
    contexts = list(dict.fromkeys(cell.context for cell in cells))
    split_of = [
        {path: number for number, split in enumerate(SPLITS) for path in cell.paths[split]}
        for cell in cells
    ]
    return csv_text(
        [
            {
                "filename": path,
                "y": cell.label,
                "a": contexts.index(cell.context),
                "y_name": names[cell.label],
                "a_name": cell.context,
                "split": splits[path],
            }
            for cell, splits in zip(cells, split_of, strict=True)
            for path in sorted(splits)
        ]
    )
