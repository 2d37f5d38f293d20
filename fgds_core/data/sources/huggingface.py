"""A data set of the Hugging Face datasets library: as it saves one, or from the hub as Parquet.

Nothing that a repository brings is run: of its files only Parquet is fetched, and rows are read
some at a time.
"""

import re
import shutil
from itertools import chain
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from fgds_core.data.config import DrawnValidation, HuggingfaceData, ParquetData
from fgds_core.data.sources import Source, parquet
from fgds_core.data.sources.left_out import LeftOut
from fgds_core.data.sources.names import checked_names
from fgds_core.data.sources.tables import ARROW, schema_of
from fgds_core.data.sources.validation import drawn_validation, masked
from fgds_core.errors import InputError
from fgds_core.files import brief, files_below, listed, read_json, relative_to, shown
from fgds_core.images.table import class_names_of

SAVED = "dataset_dict.json"
"""What lies in a folder that `DatasetDict.save_to_disk` wrote."""


def open_data(data: HuggingfaceData, max_image_bytes: int) -> Source:
    """Opens a data set, which is brought from the hub first if it lies there."""
    folder = _brought(data)
    files = _split_files(data, folder)
    columns = _columns(data)
    whole = parquet.open_files(columns, files, LeftOut(Path(data.root)), max_image_bytes)
    notes = [_edition(data)] if data.repository is not None else []
    masks: dict[str, NDArray[np.bool_]] = {}
    if isinstance(data.validation, DrawnValidation):
        labels = parquet.labels_of(columns, files["train"], whole.class_names)
        drawn, said = drawn_validation(
            np.fromiter(labels, np.int64), whole.class_names, data.validation
        )
        masks = {"train": ~drawn, "val": drawn}
        notes.append(said)

    return Source(
        class_names=whole.class_names,
        has_groups=whole.has_groups,
        num_images=whole.num_images | {split: int(mask.sum()) for split, mask in masks.items()},
        rows=masked(whole.rows, masks),
        left_out=whole.left_out,
        files=lambda: map(str, chain(*files.values())),
        published=data.repository is not None,
        notes=tuple(notes),
    )


def class_names(data: HuggingfaceData) -> tuple[str, ...] | None:
    """The classes as far as the training files' metadata name them; nothing is brought for it."""
    folder = _place(data)
    if not folder.is_dir():
        return None
    first = _split_files(data, folder)["train"][0]
    names = class_names_of(schema_of(first), data.label_column)
    return None if names is None else checked_names(names, shown(first))


def _place(data: HuggingfaceData) -> Path:
    """Where the files lie, or will: each revision and subset in a folder of its own."""
    if data.repository is None:
        return Path(data.root)
    subset = "" if data.subset is None else f"@{data.subset}"
    name = f"{data.repository}@{data.revision}{subset}"
    return Path(data.root) / name.replace("/", "--")


def _edition(data: HuggingfaceData) -> str:
    fixed = re.fullmatch(r"[0-9a-f]{40}", data.revision or "")
    moving = "" if fixed else ", which may move: a commit would not"
    return f"{data.repository} of the hub at {data.revision}{moving}"


def _brought(data: HuggingfaceData) -> Path:
    """The folder of the files; what is on the hub is brought here once."""
    folder = _place(data)
    if data.repository is None or folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    part = folder.with_name(f".{folder.name}.part")  # continued if it was stopped
    wanted = "*.parquet" if data.subset is None else f"{data.subset}/*.parquet"
    try:
        snapshot_download(
            data.repository,
            repo_type="dataset",
            revision=data.revision,
            allow_patterns=[wanted],
            local_dir=part,
        )
    except Exception as error:  # of the network, of the hub, or of the disk
        raise InputError(
            f"data.repository: {data.repository} cannot be brought from the hub at "
            f"{data.revision} ({brief(str(error) or type(error).__name__, 300)}); correct the id "
            "and its revision, or ask for access"
        ) from error
    if not any(part.rglob("*.parquet")):
        raise InputError(
            f"data.repository: {data.repository} has no files {wanted} at {data.revision}; the "
            "revision refs/convert/parquet has them of most data sets"
        )
    shutil.rmtree(part / ".cache", ignore_errors=True)  # when it was fetched, which DVC would see
    part.rename(folder)
    return folder


def found_splits(data: HuggingfaceData) -> dict[str, list[Path]]:
    """The files of each split that there is, whatever the parameters call them.

    Raises:
        InputError: The data set cannot be brought from the hub, or is damaged.
    """
    return _splits_in(data, _brought(data))


def _splits_in(data: HuggingfaceData, folder: Path) -> dict[str, list[Path]]:
    saved = (folder / SAVED).is_file()
    return (_saved_files if saved else _hub_files)(data, folder)


def _split_files(data: HuggingfaceData, folder: Path) -> dict[str, list[Path]]:
    """The files of each split, in their order."""
    splits = {"train": data.train, "val": data.validation, "test": data.test}
    names = {split: name for split, name in splits.items() if isinstance(name, str)}
    parameters = {"train": "data.train", "val": "data.validation", "test": "data.test"}
    found = _splits_in(data, folder)
    if missing := [split for split, name in names.items() if name not in found]:
        split = missing[0]
        raise InputError(
            f"{parameters[split]}: there is no split {brief(names[split])} in {shown(folder)}; "
            f"there are {listed(sorted(found))}"
        )
    return {split: found[name] for split, name in names.items()}


_SPLIT = re.compile(r"\w+(\.\w+)*")
"""Names of splits, as the library allows them."""


def _saved_files(data: HuggingfaceData, folder: Path) -> dict[str, list[Path]]:
    """The Arrow files of each split, as the library lists them."""
    remedy = "save the data set again with save_to_disk"
    names = read_json(folder / SAVED, remedy).get("splits")
    if not isinstance(names, list) or not all(map(_SPLIT.fullmatch, map(str, names))):
        raise InputError(f"{shown(folder / SAVED)} is damaged (no names of splits); {remedy}")
    found: dict[str, list[Path]] = {}
    for name in map(str, names):
        state = folder / name / "state.json"
        try:
            listing = [each["filename"] for each in read_json(state, remedy)["_data_files"]]
            paths = [folder / name / str(filename) for filename in listing]
        except (KeyError, TypeError) as error:
            raise InputError(f"{shown(state)} is damaged ({error!r}); {remedy}") from error
        for path in paths:
            if path.parent != folder / name or path.suffix != ARROW or not path.is_file():
                raise InputError(f"{shown(path)} is no Arrow file of the split {name}; {remedy}")
        if paths:
            found[name] = paths
    return found


_SHARD = re.compile(r"(?P<split>.+?)(-\d+-of-\d+.*)?\.parquet")


def split_name(path: PurePath) -> str:
    """The split that a Parquet file is of: <split>-*.parquet, or <split>/<number>.parquet."""
    named = _SHARD.fullmatch(path.name)
    if named is None or named["split"].isdecimal():
        return path.parent.name
    return named["split"]


def _hub_files(data: HuggingfaceData, folder: Path) -> dict[str, list[Path]]:
    """Parquet files of each split: <split>-*.parquet, or <split>/*.parquet."""
    inner = folder if data.subset is None else folder / data.subset
    if not inner.is_dir():
        raise InputError(f"data.subset: the folder {shown(inner)} does not exist; correct it")
    found: dict[str, list[Path]] = {}
    for path in files_below(inner):
        parts = Path(relative_to(path, inner)).parts
        if path.suffix != ".parquet" or any(part.startswith(".") for part in parts):
            continue
        found.setdefault(split_name(path), []).append(path)
    for split, paths in found.items():
        homes = sorted({relative_to(path.parent, inner) for path in paths})
        if len(homes) > 1:
            raise InputError(
                f"data.subset: the split {brief(split)} lies in several folders of "
                f"{shown(inner)}: {listed(homes)}; choose one"
            )
    return found


def _columns(data: HuggingfaceData) -> ParquetData:
    return ParquetData(
        kind="parquet",
        root=data.root,
        train=data.train,
        validation="validation",  # which files are read is known
        test=data.test,
        image_column=data.image_column,
        label_column=data.label_column,
        group_column=data.group_column,
    )
