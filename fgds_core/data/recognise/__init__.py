"""What kind of raw data lies at a path: a section `data` for them, found by names and layout.

Of files only beginnings are read, and columns of names. What the data hold, and whether they are
right, is for `open_source` to say, with the section that is found here.
"""

import re
import tarfile
import zipfile
from pathlib import Path

from fgds_core.data.meta import META_NAME
from fgds_core.data.recognise.files import find_celeba, find_coco, find_csv, find_lists
from fgds_core.data.recognise.found import Found, is_picture_name
from fgds_core.data.recognise.tables import find_on_hub, find_parquet, find_saved
from fgds_core.data.recognise.trees import Which, find_folders, find_pickles
from fgds_core.data.sources.celeba import attributes_file
from fgds_core.errors import InputError
from fgds_core.files import PATH_MOST, brief, check_root, entries, shown

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")

_ARCHIVES = (".7z", ".rar", ".zst", ".xz", ".gz", ".bz2", ".zip", ".tar", ".tgz")

_FILES = "a list (.txt), a CSV file, JSON of annotations or a Parquet file"


def recognise(path: str, *, classes: Which | None = None, subset: str | None = None) -> Found:
    """Says what kind of raw data lies at a path.

    Args:
        path: A folder, a file, or the id of a data set on the hub.
        classes: Which folders are the classes, where images lie in two levels of them.
        subset: Which configuration of Parquet files is meant, where there are several.

    Returns:
        The section of the parameters that reads them, and why.

    Raises:
        InputError: There is nothing, or nothing that is known; says what to do.
    """
    if not path.strip():
        raise InputError(f"no path was given; name a folder of images, {_FILES}, or a hub id")
    if "://" in path:
        raise InputError(
            f"{brief(path, PATH_MOST)} is an address; bring the data to a folder here and name it"
        )
    place = Path(path)
    try:
        place = place.expanduser()
        is_folder, is_file = place.is_dir(), place.is_file()
    except RuntimeError as error:  # of a user who is not known
        raise InputError(f"{brief(path, PATH_MOST)}: {error}; write the path out") from error
    except OSError as error:  # of a name that is too long, or of a folder that may not be entered
        raise InputError(
            f"{brief(path, PATH_MOST)} cannot be read ({error.strerror}); correct the path"
        ) from error
    if is_folder:
        return _in_folder(place, classes, subset)
    if is_file:
        return _file(place)
    if _HUB_ID.fullmatch(path) and not place.parent.exists():
        return find_on_hub(path, subset)
    raise InputError(
        f"{brief(path, PATH_MOST)} does not exist; name a folder of images, {_FILES}, or the id "
        "owner/name of a data set on the Hugging Face hub"
    )


def _in_folder(root: Path, classes: Which | None, subset: str | None) -> Found:
    check_root(str(root))
    folders, files = entries(root, [])
    if not folders and not files:
        raise InputError(
            f"{shown(root)} is empty; name the folder that holds the raw images, each class in a "
            "folder of its own"
        )
    if (root / META_NAME).is_file() and (root / "train.parquet").is_file():
        raise InputError(
            f"{shown(root)} holds data that were prepared already ({META_NAME}); name the raw "
            "images that they were made of"
        )
    found = (
        find_pickles(root)
        or find_saved(root)
        or find_celeba(root)
        or find_csv(root, None)
        or find_lists(root, None)
        or find_coco(root, None)
    )
    if found is not None:
        return found
    if _holds_parquet(root) and (found := find_parquet(root, subset)):
        return found
    archives = [path for path in files if _is_archive(path)]
    if archives and not folders:
        raise _packed(archives[0])
    return find_folders(root, classes)


def _holds_parquet(root: Path) -> bool:
    """Whether Parquet files lie in the folder or in the first two levels of folders below it."""
    patterns = ("*.parquet", "*/*.parquet", "*/*/*.parquet")
    return any(True for pattern in patterns for _ in root.glob(pattern))


def _file(path: Path) -> Found:
    if _is_archive(path):
        raise _packed(path)
    if is_picture_name(path.name):
        raise InputError(
            f"{shown(path)} is one image; name the folder that holds a folder for each class"
        )
    root, suffix = path.parent, path.suffix.lower()
    check_root(str(root))
    found = None
    if path == attributes_file(root):
        found = find_celeba(root)
    elif suffix == ".csv":
        found = find_csv(root, path)
    elif suffix == ".txt":
        found = find_lists(root, path)
    elif suffix == ".json":
        found = find_coco(root, path)
    elif suffix in (".parquet", ".pq"):
        found = find_parquet(root, None)
    if found is None:
        raise InputError(
            f"{shown(path)} is nothing that is known; name a folder of images, or {_FILES}"
        )
    return found


def _is_archive(path: Path) -> bool:
    if path.suffix.lower() in _ARCHIVES:
        return True
    try:
        return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)
    except OSError:
        return False


def _packed(path: Path) -> InputError:
    return InputError(
        f"{shown(path)} is an archive; unpack it and name the folder that comes out of it"
    )
