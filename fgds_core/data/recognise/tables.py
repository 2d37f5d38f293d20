"""Tables with the images in their rows: Parquet files, saved data sets, data sets of the hub."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from fgds_core.data.config import HuggingfaceData, ParquetData
from fgds_core.data.recognise.found import Found, is_split, shared_out, split_of
from fgds_core.data.sources.huggingface import SAVED, found_splits, split_name
from fgds_core.data.sources.parquet import image_columns, label_columns, most_label
from fgds_core.data.sources.tables import schema_of
from fgds_core.errors import InputError
from fgds_core.files import brief, files_below, listed, relative_to, shown
from fgds_core.images.table import class_names_of

HUB = "hub"
"""The folder that data sets of the hub are brought to."""

_IMAGES = ("image", "img", "picture", "photo")
_LABELS = ("label", "labels", "fine_label", "class", "category", "y", "target")
_GROUPS = ("group", "context", "attribute", "place", "environment", "domain", "a")

_PARQUET = (".parquet", ".pq")


def find_saved(root: Path) -> Found | None:
    """A folder that the datasets library saved."""
    if (root / "state.json").is_file() and (root / "dataset_info.json").is_file():
        raise InputError(
            f"{shown(root)} is one split that the datasets library saved; save all of them with "
            "DatasetDict.save_to_disk and name that folder"
        )
    if not (root / SAVED).is_file():
        return None
    return _dataset(_dataset_section(root), f"a data set saved by its library, by {SAVED}")


def find_parquet(root: Path, subset: str | None) -> Found | None:
    """Parquet files for each split, below a folder.

    Args:
        root: The folder.
        subset: The folder below it that is meant, where several hold files of a split.

    Raises:
        InputError: They name no splits, or in several ways.
    """
    inner = root if subset is None else root / subset
    files = [path for path in files_below(inner) if path.suffix.lower() in _PARQUET]
    files = [
        path
        for path in files
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]
    if not files:
        return None
    splits: dict[str, list[Path]] = {}
    for path in files:
        split = split_of(path.name) or is_split(path.parent.name)
        if split is not None:
            splits.setdefault(split, []).append(path)
    for split, paths in splits.items():
        homes = sorted({relative_to(path.parent, root) for path in paths})
        if len(homes) > 1:
            raise InputError(
                f"{shown(root)}: files of the split {split} lie in several folders, "
                f"{listed(homes)}; choose one with --subset"
            )
    shared = shared_out(splits, shown(root), "Parquet files")
    why = f"Parquet files with images in their rows, by the columns of {shown(shared.train[0])}"
    if not isinstance(shared.validation, list):
        return _dataset(_dataset_section(root, subset), why)
    image, label, group = _columns(shared.train[0])
    class_names, choices = None, list(shared.choices)
    if class_names_of(schema_of(shared.train[0]), label) is None:
        most = most_label([*shared.train, *shared.validation, *shared.test], label)
        if most is not None:
            class_names = [str(number) for number in range(most + 1)]
            choices.append("The files name no classes: they are called by their numbers.")
    data = {
        "kind": "parquet",
        "root": str(root),
        "train": _pattern(shared.train, root),
        "validation": _pattern(shared.validation, root),
        "test": _pattern(shared.test, root),
        "image_column": image,
        "label_column": label,
        "group_column": group,
        "class_names": class_names,
    }
    return Found(ParquetData.model_validate(data), why, tuple(choices))


def find_on_hub(repository: str, subset: str | None) -> Found:
    """A data set of the hub, whose Parquet files are brought to the folder `HUB`.

    Args:
        repository: owner/name.
        subset: The folder of a configuration, where there are several.

    Raises:
        InputError: It cannot be reached, or has no Parquet files of splits.
    """
    revision, names = _listing(repository)
    homes: set[str] = set()
    for path in map(PurePosixPath, names):
        if subset is None or path.is_relative_to(subset):
            split = split_name(path)
            homes.add(str(path.parents[1] if path.parent.name == split else path.parent))
    if subset is None and len(homes) > 1:
        if "default" not in homes:
            raise InputError(
                f"{repository} has several configurations, {listed(sorted(homes))}; choose one "
                "with --subset"
            )
        homes = {"default"}
    if not homes:
        raise InputError(
            f"{repository} has no Parquet files{f' below {subset}' if subset else ''}; choose "
            "another --subset, or a data set that has"
        )
    home = next(iter(homes))
    chosen = subset or (None if home == "." else home)
    Path(HUB).mkdir(exist_ok=True)
    section = _dataset_section(Path(HUB), chosen) | {
        "repository": repository,
        "revision": revision,
    }
    why = f"{repository} of the Hugging Face hub, at the commit {revision[:12]}"
    return _dataset(section, why)


def _listing(repository: str) -> tuple[str, list[str]]:
    """A commit of a data set that has Parquet files, and their names."""
    from huggingface_hub import HfApi

    try:
        for revision in (None, "refs/convert/parquet"):
            info = HfApi().dataset_info(repository, revision=revision)
            names = [each.rfilename for each in info.siblings or ()]
            names = [name for name in names if name.endswith(".parquet")]
            if names:
                return str(info.sha), names
    except Exception as error:  # of the network or of the hub, in many kinds
        reason = brief(str(error).strip().partition("\n")[0] or type(error).__name__, 200)
        raise InputError(
            f"{repository} is no file or folder here, and as a data set of the Hugging Face hub "
            f"it cannot be reached ({reason}); correct the path or the id, or ask where there is "
            "a network"
        ) from error
    raise InputError(f"{repository} has no Parquet files on the hub; choose another data set")


def _dataset_section(root: Path, subset: str | None = None) -> dict[str, Any]:
    return {
        "kind": "huggingface",
        "root": str(root),
        "repository": None,
        "revision": None,
        "subset": subset,
        "train": "train",
        "validation": "validation",
        "test": "test",
    }


def _dataset(section: dict[str, Any], why: str) -> Found:
    """A data set of the library, its splits and columns as its files have them."""
    files = found_splits(HuggingfaceData.model_validate(section))
    meant = {split: name for name in sorted(files) if (split := split_of(name))}
    shared = shared_out(meant, shown(section["root"]), "splits")
    image, label, group = _columns(files[shared.train][0])
    data = section | {
        "train": shared.train,
        "validation": shared.validation,
        "test": shared.test,
        "image_column": image,
        "label_column": label,
        "group_column": group,
    }
    return Found(HuggingfaceData.model_validate(data), why, shared.choices)


def _columns(path: Path) -> tuple[str, str, str | None]:
    """Which columns hold images, classes and perhaps groups.

    Raises:
        InputError: None does.
    """
    schema = schema_of(path)
    images, labels = image_columns(schema), label_columns(schema)

    def first(known: Sequence[str], there: Sequence[str]) -> str | None:
        return next((name for name in known if name in there), None)

    image = first(_IMAGES, images) or next(iter(images), None)
    label = first(_LABELS, labels)
    if image is None or label is None:
        what = "image files (bytes)" if image is None else "classes (such as label)"
        raise InputError(
            f"{shown(path)} has no column of {what}; it has {listed(schema.names)}: rename one, "
            "or name it in the section data with kind parquet"
        )
    return image, label, first(_GROUPS, [name for name in labels if name != label])


def _pattern(paths: list[Path], root: Path) -> str:
    """What names exactly these files below the root: one, a folder, or a pattern."""
    if len(paths) == 1:
        return relative_to(paths[0], root)
    home = paths[0].parent
    others = [path for path in home.iterdir() if path.suffix.lower() in _PARQUET]
    if len(others) == len(paths):
        return relative_to(home, root)
    begin = os.path.commonprefix([path.name for path in paths])  # noqa: RUF071  # characters
    (suffix, _), *_ = Counter(path.suffix for path in paths).most_common()
    return relative_to(home / f"{begin}*{suffix}", root)
