"""Text files with a path and a label in each line, as long-tailed benchmarks are published."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fgds_core.data.config import DrawnValidation, ListData
from fgds_core.data.sources import Source
from fgds_core.data.sources.left_out import LeftOut
from fgds_core.data.sources.name_files import ClassNames, stated_names
from fgds_core.data.sources.named import (
    Named,
    Start,
    Survey,
    check_labels,
    draw_validation,
    empty_cells_note,
    files_of,
    label_of,
    rows_of,
    split_files,
    survey,
)
from fgds_core.data.sources.names import class_name
from fgds_core.data.sources.published import list_note
from fgds_core.data.sources.rewrites import REWRITES, Rewrite, easyformat
from fgds_core.errors import InputError
from fgds_core.files import brief, shown


def open_data(data: ListData, max_image_bytes: int) -> Source:
    """Opens the images that lists name."""
    left_out = LeftOut(root := Path(data.root))
    files = split_files(data)
    start, stated = Start(root, data.images), stated_names(data.class_names, root)
    rewrite = _rewrite(data, files["train"])
    read = partial(_lines, data=data, start=start, rewrite=rewrite, stated=stated)

    def lines(split: str) -> Iterator[Named]:
        return read(files[split])

    hint = partial(_hint, data=data, start=start, lists=files["train"].parent)
    found = survey(lines, files, root, max_image_bytes, left_out, hint)
    check_labels(
        found,
        None if stated is None else len(stated.names),
        {s: shown(p) for s, p in files.items()},
    )
    names = stated or _folder_names(found)
    parameters = {"train": "data.train", "val": "data.validation", "test": "data.test"}
    notes = [list_note(parameters[s], path, found.counts(s)) for s, path in files.items()]
    notes += [names.note] if names.note else []
    if isinstance(data.validation, DrawnValidation):
        notes.append(draw_validation(found, data.validation, names.names))
    notes += empty_cells_note(found) if data.groups else []
    return Source(
        class_names=names.names,
        has_groups=data.groups,
        num_images=found.num_images(),
        rows=rows_of(lines, found, root),
        left_out=str(left_out),
        files=files_of(lines, files, root, [*files.values(), *names.files]),
        published=True,
        notes=tuple(notes),
    )


def class_names(data: ListData) -> tuple[str, ...] | None:
    """The classes as far as the parameters or their file name them."""
    stated = stated_names(data.class_names, Path(data.root))
    return None if stated is None else stated.names


def _text_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Where each line stands, and its text; LF or CRLF."""
    name = shown(path)
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if text := line.strip():
                    yield f"{name}, line {number}", text
    except UnicodeDecodeError as error:
        raise InputError(f"{shown(path)} is no UTF-8 text ({error.reason}); convert it") from error


def _columns(path: Path, groups: bool) -> Iterator[tuple[str, list[str]]]:
    """Where each line stands, and its path, label and perhaps group."""
    wanted = ("path", "label", "group") if groups else ("path", "label")
    for where, text in _text_lines(path):
        columns = text.rsplit(maxsplit=len(wanted) - 1)  # paths may hold spaces
        if len(columns) < len(wanted):
            raise InputError(
                f"{where}: {brief(repr(text))} must be `{' '.join(wanted)}`, with a space between"
            )
        yield where, columns


def _lines(
    path: Path, data: ListData, start: Start, rewrite: Rewrite, stated: ClassNames | None
) -> Iterator[Named]:
    num_classes = None if stated is None else len(stated.names)
    labels = {} if stated is None else {id_: label for label, id_ in enumerate(stated.ids)}
    for where, columns in _columns(path, data.groups):
        group = class_name(columns[2], where) if data.groups else None
        label = label_of(columns[1], where, num_classes)
        folder = columns[0].rsplit("/", 2)[-2:-1]
        if labels and folder and labels.get(folder[0], label) != label:
            raise InputError(
                f"{where}: the image of label {label} lies in {brief(folder[0])}, which is "
                f"{labels[folder[0]]} in data.class_names; the names must be in the order of the "
                "labels"
            )
        yield Named(where, start.path(rewrite(columns[0], label), where), label, group)


def _folder_names(found: Survey) -> ClassNames:
    """The folders of the training images where each class has its own, else the labels."""
    folders = [_class_folder(found.folders.get(k, "")) for k in range(found.num_classes)]
    if all(folders) and len(set(folders)) == len(folders):
        names = tuple(class_name(folder, "data.train") for folder in folders)
        called = "folders"
    else:
        names = tuple(map(str, range(found.num_classes)))
        called = "labels"
    note = (
        f"classes are called by their {called} ({brief(names[0])} ...); data.class_names "
        "gives names that prompts can speak of"
    )
    return ClassNames(names, note=note)


def _class_folder(path: str) -> str:
    """The folder's name; of Places' archive of 256 pixels, all below the folder of the letter."""
    _, archive, inner = path.rpartition("data_256/")
    return easyformat(archive + inner) if archive else path.rpartition("/")[2]


def _rewrite(data: ListData, train: Path) -> Rewrite:
    if (rewrite := data.path_rewrite) is None:
        return lambda path, label: path
    if isinstance(rewrite, str):
        return REWRITES[rewrite](partial(_pairs, train, data.groups))
    pattern, replacement = re.compile(rewrite.pattern), rewrite.replacement

    def replaced(path: str, label: int) -> str:
        found = pattern.fullmatch(path)
        return path if found is None else found.expand(replacement)

    return replaced


def _pairs(path: Path, groups: bool) -> Iterator[tuple[str, int]]:
    """Path and label of each line."""
    for where, (name, label, *_) in _columns(path, groups):
        yield name, label_of(label, where, None)


def _hint(path: str, data: ListData, start: Start, lists: Path) -> str | None:
    """What to do about an image that is not where its line says; None if nothing tells."""
    name = path.removeprefix(start.prefix)
    if not data.groups and re.search(r"\s\d+$", name):
        return "set data.groups to true if the lines are path, label and group"
    if elsewhere := start.hint(path, lists):
        return elsewhere
    split, _, rest = name.partition("/")
    if split == "val" and (start.folder / "val" / rest.rpartition("/")[2]).is_file():
        return (
            "the images of val lie in no class folders: set data.path_rewrite to {pattern: "
            r"'val/[^/]+/(.*)', replacement: 'val/\1'}"
        )
    for other, there, way in (
        (("train", "val"), "data_256", "places_easyformat_to_256"),
        (("data_256", "val_256"), "train", "places_256_to_easyformat"),
    ):
        is_there = (start.folder / there).is_dir() and not (start.folder / split).is_dir()
        if split in other and is_there and data.path_rewrite is None:
            return f"they lie as in the other archive of Places: set data.path_rewrite to {way}"
    return None
