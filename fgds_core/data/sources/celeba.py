"""CelebA as its authors publish it, and as Kaggle does: two attributes make classes and groups.

Source: Liu et al. (2015), Deep Learning Face Attributes in the Wild,
    https://arxiv.org/abs/1411.7766; Sagawa et al. (2020), https://arxiv.org/abs/1911.08731, for
    the groups
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from fgds_core.data.config import CelebaData
from fgds_core.data.meta import SPLITS
from fgds_core.data.sources import Source
from fgds_core.data.sources.csv import records
from fgds_core.data.sources.left_out import LeftOut
from fgds_core.data.sources.named import (
    Named,
    Start,
    check_labels,
    empty_cells_note,
    files_of,
    rows_of,
    survey,
)
from fgds_core.data.sources.names import checked_names
from fgds_core.data.sources.published import cells_note
from fgds_core.errors import InputError
from fgds_core.files import PATH_MOST, brief, shown

_ATTRIBUTES, _PARTITION = "list_attr_celeba", "list_eval_partition"
_FOLDERS = (".", "Anno", "Eval")
"""Where the two files lie below the root."""

_IMAGES = (
    "img_align_celeba/img_align_celeba",  # as Kaggle packs them
    "img_align_celeba",
    "Img/img_align_celeba",
)
_SPLIT_CODES = dict(zip("012", SPLITS, strict=True))
_VALUES = {"-1": 0, "1": 1}


def open_data(data: CelebaData, max_image_bytes: int) -> Source:
    """Opens the images with their two attributes."""
    left_out = LeftOut(root := Path(data.root))
    attributes, partition = _file(root, _ATTRIBUTES), _file(root, _PARTITION)
    splits = _splits(partition)
    start = Start(root, _images(root))
    class_names, group_names = _names(data, data.label), None
    if data.group is not None:
        group_names = _names(data, data.group)

    def lines(split: str) -> Iterator[Named]:
        columns = [name for name in (data.label, data.group) if name is not None]
        for where, name, values in _rows(attributes, columns):
            if name not in splits:
                raise InputError(
                    f"{where}: {brief(name, PATH_MOST)} is not in {shown(partition)}; fetch it "
                    "again"
                )
            if splits[name] == split:
                group = None if group_names is None else group_names[values[1]]
                yield Named(where, start.path(name, where), values[0], group)

    found = survey(lines, SPLITS, root, max_image_bytes, left_out, partial(_hint, start=start))
    where = {split: f"{shown(partition)}: the {split} split" for split in SPLITS}
    check_labels(found, len(class_names), where)
    notes = []
    if group_names is not None:
        cells = {
            split: [own[label, group] for label in (0, 1) for group in group_names]
            for split, own in found.cells.items()
        }
        notes = [f"{shown(attributes)}: {cells_note(cells)}", *empty_cells_note(found)]
    return Source(
        class_names=class_names,
        has_groups=group_names is not None,
        num_images=found.num_images(),
        rows=rows_of(lines, found, root),
        left_out=str(left_out),
        files=files_of(lines, SPLITS, root, [attributes, partition]),
        published=True,
        notes=tuple(notes),
    )


def class_names(data: CelebaData) -> tuple[str, ...]:
    """Without the attribute, and with it."""
    return _names(data, data.label)


def _names(data: CelebaData, attribute: str) -> tuple[str, ...]:
    """What images without and with an attribute are called."""
    own, parameter = (
        (data.class_names, "data.class_names")
        if attribute == data.label
        else (data.group_names, "data.group_names")
    )
    name = attribute.replace("_", " ")
    names = checked_names([f"not {name}", name] if own is None else own, parameter)
    if len(names) != 2:
        raise InputError(
            f"{parameter}: give two names, without {attribute} and with it, not {len(names)}"
        )
    return names


def attributes_file(root: Path) -> Path | None:
    """The file of attributes below a folder, if CelebA lies there."""
    return _found(root, _ATTRIBUTES)


def _found(root: Path, name: str) -> Path | None:
    paths = (
        root / folder / f"{name}{suffix}" for folder in _FOLDERS for suffix in (".txt", ".csv")
    )
    return next((path for path in paths if path.is_file()), None)


def _file(root: Path, name: str) -> Path:
    if (path := _found(root, name)) is not None:
        return path
    raise InputError(
        f"data.root: there is no {name}.txt or {name}.csv in {shown(root)}; name the folder that "
        "CelebA was unpacked to"
    )


def _images(root: Path) -> str | None:
    """The folder of the images below the root; None for the root itself."""
    return next((folder for folder in _IMAGES if (root / folder).is_dir()), None)


def _hint(path: str, start: Start) -> str:
    return start.hint(path) or (
        "unpack img_align_celeba.zip (from Kaggle: the whole archive) below data.root"
    )


def _rows(path: Path, columns: list[str]) -> Iterator[tuple[str, str, list[int]]]:
    """Where each image stands, its name, and 0 or 1 for each of the attributes."""
    lines = _records(path)
    _, header = next(lines, ("", []))
    if missing := [name for name in columns if name not in header]:
        raise InputError(
            f"{shown(path)} has no attribute {missing[0]}; correct data.label or data.group: it "
            f"has {', '.join(map(brief, header[1:])) or 'none'}"
        )
    places = [header.index(name) for name in columns]
    for where, record in lines:
        if len(record) != len(header):
            raise InputError(
                f"{where}: has {len(record)} values, the first line {len(header)}; fetch it again"
            )
        values = [record[place] for place in places]
        if unknown := [value for value in values if value not in _VALUES]:
            raise InputError(f"{where}: an attribute is -1 or 1, got {brief(repr(unknown[0]))}")
        yield where, record[0], [_VALUES[value] for value in values]


def _splits(path: Path) -> dict[str, str]:
    """The split of each image."""
    lines = _records(path, header=["image_id", "partition"])
    next(lines)
    found: dict[str, str] = {}
    for where, record in lines:
        if len(record) != 2 or record[1] not in _SPLIT_CODES:
            raise InputError(
                f"{where}: must be an image and 0, 1 or 2, got {brief(repr(record))}; fetch it "
                "again"
            )
        if record[0] in found:
            raise InputError(f"{where}: {brief(record[0])} comes twice; fetch it again")
        found[record[0]] = _SPLIT_CODES[record[1]]
    return found


def _records(path: Path, header: list[str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """The header and every line of one of the files, and where each stands.

    Args:
        path: The file: of text, with blanks between the values, or CSV.
        header: Of a text file that has none; else its first line says how many images follow, and
            its second one what the values are.
    """
    name = shown(path)
    if path.suffix == ".csv":
        for record, number in records(path):
            yield f"{name}, line {number}", record
        return
    with _told(path), path.open(encoding="utf-8-sig") as file:
        expected = None
        if header is None:
            said = next(file, "").strip()
            expected = int(said) if said.isdecimal() else -1
            header = ["image_id", *next(file, "").split()]
        yield name, header
        there, first = 0, 1 if expected is None else 3
        for number, line in enumerate(file, first):
            if record := line.split():
                there += 1
                yield f"{name}, line {number}", record
        if expected is not None and there != expected:
            raise InputError(
                f"{name}: holds {there:,} images, but says that there are {expected:,}; fetch it "
                "again"
            )


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(f"{shown(path)} cannot be read ({error}); fetch it again") from error
