"""Raw data, each format in a module of its own, loaded when it is chosen.

A module names the classes and gives the images of a split one by one. It reads names and layout
at once and stops on what cannot be right; the images themselves are read later, undecoded. It has
two functions: `open_data(data, max_image_bytes)` and `class_names(data)`.
"""

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

from fgds_core.data.config import DataConfig
from fgds_core.data.sources.places import SUFFIXES, too_many_bytes
from fgds_core.data.sources.remote import bring, digest_of, read_objects
from fgds_core.errors import InputError
from fgds_core.files import PATH_MOST, brief, check_root, is_remote, shown

SOURCES = {
    "parquet": "fgds_core.data.sources.parquet",
    "folder": "fgds_core.data.sources.folder",
    "list": "fgds_core.data.sources.list",
    "csv": "fgds_core.data.sources.csv",
    "celeba": "fgds_core.data.sources.celeba",
    "cifar": "fgds_core.data.sources.cifar",
    "contexts": "fgds_core.data.sources.contexts",
    "coco": "fgds_core.data.sources.coco",
    "huggingface": "fgds_core.data.sources.huggingface",
}
"""The module of each kind of raw data by its name in the parameters."""

MAX_IMAGE_BYTES = 2**31 - 1


@dataclass(frozen=True)
class SourceImage:
    """One raw image.

    Attributes:
        content: The image file, or its path.
        path: Where it comes from, for messages and for tracing it back.
        label: Its class, in 0..K-1.
        group: Its group (context), or None for data without groups.
        problem: Why there is no image, or None.
    """

    content: bytes | str
    path: str
    label: int
    group: str | None
    problem: str | None = None

    def read(self, max_image_bytes: int = MAX_IMAGE_BYTES) -> bytes:
        """The bytes of the image file.

        Raises:
            InputError: There is no image, or it cannot be read or is too large.
        """
        if self.problem is not None:
            raise InputError(self.problem)
        if isinstance(self.content, bytes):
            return self.content
        if is_remote(str(self.content)):
            (found,) = read_objects([self.content], max_image_bytes)
            if isinstance(found, InputError):
                raise found
            return found
        file_path = Path(self.content)
        try:
            with file_path.open("rb") as file:
                content = file.read(max_image_bytes + 1)  # whatever its size is said to be
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror})") from error
        if len(content) > max_image_bytes:
            raise InputError(too_many_bytes(file_path.stat().st_size, max_image_bytes))
        return content


@dataclass(frozen=True)
class Source:
    """Raw data, seen through the module of their kind.

    Attributes:
        class_names: Name of each of the K classes.
        has_groups: Whether every image has a group.
        num_images: Number of images of each split ("train", "val", "test").
        rows: Gives the images of a split, in an order that never changes.
        left_out: One line about the files that are not read, empty if there are none.
        files: Gives the paths of all files that are read, where these may be few of those below
            the root; None where they are all of them.
        published: Whether others made the splits: images that occur in two of them are then
            counted rather than refused.
        notes: What else the user is told, a line each: which edition of published data this is,
            or which images validate where the data say nothing of it.
        metadata: A CSV file of the splits that were drawn here, for others to read them; empty if
            none is made.
        digest: Of the names and entity tags of what is read from a bucket; empty for files of this
            machine.
    """

    class_names: tuple[str, ...]
    has_groups: bool
    num_images: dict[str, int]
    rows: Callable[[str], Iterator[SourceImage]]
    left_out: str = ""
    files: Callable[[], Iterator[str]] | None = None
    published: bool = False
    notes: tuple[str, ...] = ()
    metadata: str = ""
    digest: str = ""


def read_all(rows: Sequence[SourceImage], max_image_bytes: int) -> list[bytes | InputError]:
    """The bytes of several image files, or what is wrong with each; see `SourceImage.read`."""
    far = [row.content for row in rows if isinstance(row.content, str) and is_remote(row.content)]
    there = dict(zip(far, read_objects(far, max_image_bytes), strict=True))
    found: list[bytes | InputError] = []
    for row in rows:
        try:
            known = there.get(row.content) if isinstance(row.content, str) else None
            found.append(row.read(max_image_bytes) if known is None else known)
        except InputError as error:
            found.append(error)
    return found


def load_source(kind: str) -> ModuleType:
    """The module of raw data of that kind, one of `SOURCES`."""
    return import_module(SOURCES[kind])


def open_source(data: DataConfig, max_image_bytes: int = MAX_IMAGE_BYTES) -> Source:
    """Opens raw data.

    Args:
        data: Where they are.
        max_image_bytes: Larger image files are refused unread; of larger ones in Parquet files,
            the rows say so.

    Raises:
        InputError: A path, column, class or image file is missing or too large, splits do not fit
            together or are empty, or there is only one class.
    """
    try:
        check_root(data.root)
        opened = _open_remote if is_remote(data.root) else load_source(data.kind).open_data
        source: Source = opened(data, max_image_bytes)
    except OSError as error:
        remedy = {
            errno.EACCES: "correct its permissions",
            errno.EPERM: "correct its permissions",
            errno.ENAMETOOLONG: "correct the path in the section data",
        }.get(error.errno or 0)
        if remedy is None:
            raise
        raise InputError(
            f"{brief(error.filename or data.root, PATH_MOST)} cannot be read ({error.strerror}); "
            f"{remedy}"
        ) from error
    if len(source.class_names) < 2:
        raise InputError(
            f"data: there is only one class, {brief(source.class_names[0])}, and nothing to tell "
            f"apart; name and add images of another class below {shown(data.root)}"
        )
    check_splits(source.num_images)
    return source


def check_splits(num_images: Mapping[str, int]) -> None:
    """Refuses a split without images.

    Args:
        num_images: Of each split.

    Raises:
        InputError: There is one.
    """
    for split, number in num_images.items():
        if not number:
            name = {"train": "training", "val": "validation"}.get(split, split)
            raise InputError(
                f"the {name} split holds no images; add some for every class, of which three are "
                "the least where splits are drawn"
            )


def _open_remote(data: DataConfig, max_image_bytes: int) -> Source:
    """Opens raw data in a bucket through a folder that stands for it; see `remote`."""
    folder = TemporaryDirectory(prefix="fgds-bucket-")  # gone with the source
    root, place = data.root.rstrip("/"), folder.name

    def renamed(text: str) -> str:
        return text.replace(place, root)

    try:
        tags = bring(root, Path(place), SUFFIXES)
        local = data.model_copy(update={"root": place})
        source: Source = load_source(data.kind).open_data(local, max_image_bytes)
    except InputError as error:
        raise InputError(renamed(str(error))) from error
    names = sorted(tags) if source.files is None else source.files()

    def rows(split: str) -> Iterator[SourceImage]:
        assert folder.name == place  # and so kept
        try:
            for row in source.rows(split):
                far = isinstance(row.content, str)
                yield replace(row, content=renamed(str(row.content))) if far else row
        except InputError as error:
            raise InputError(renamed(str(error))) from error

    return replace(
        source,
        rows=rows,
        left_out=renamed(source.left_out),
        files=None,
        notes=tuple(map(renamed, source.notes)),
        digest=digest_of(tags, (name.removeprefix(f"{place}/") for name in names)),
    )


def class_names(data: DataConfig) -> tuple[str, ...] | None:
    """The classes of raw data as far as names of folders and files tell, in their order.

    Returns:
        None where only the images' labels tell, or the layout is not what it should be, which
        `open_source` says.
    """
    if is_remote(data.root):
        return None
    try:
        names: tuple[str, ...] | None = load_source(data.kind).class_names(data)
    except (OSError, InputError):
        return None
    return names or None
