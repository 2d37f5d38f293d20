"""The one cache policy: what makes a task's outputs, and when a remembered answer still holds.

A key is made of the task's inputs, where files come in as digests of their content, and of the
code of the task's stage. A remembered answer is a list of files with their digests. It holds only
where those bytes are: a hit is compared with this workspace, restored from DVC's cache where DVC
has the files, or made again.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from prefect import State, Task, task
from prefect.cache_policies import INPUTS, CacheKeyFnPolicy
from prefect.context import TaskRunContext

from fgds_core.errors import InputError
from fgds_core.files import files_below, hash_file
from tasks.identity import code

log = logging.getLogger(__name__)

P = ParamSpec("P")
Out = TypeVar("Out", bound="Outputs")

CACHED = "Cached"
"""Name of the state of a run that was answered from the cache."""


def _code_of_the_stage(context: TaskRunContext, inputs: Mapping[str, Any]) -> str:
    """The digest of the flow that has the name of the task's module."""
    return code.digest(f"flows.{context.task.fn.__module__.rpartition('.')[2]}")


CACHE = (
    INPUTS - "compute" - "source" - "sources" + CacheKeyFnPolicy(cache_key_fn=_code_of_the_stage)
)
"""Inputs and code, not `compute`: devices, threads and batches change no result.

Nor `sources`, which say what all parts are drawn from: what made one part is its fingerprint; nor
`source`, the raw images that are open: their digests are an input of their own.
"""


@dataclass(frozen=True)
class OutputFile:
    """One written file.

    Attributes:
        path: Relative to the workspace (POSIX form), since experiments run in copies of it.
        sha256: Digest of the bytes.
        md5: The name DVC's cache knows the same bytes by.
    """

    path: str
    sha256: str
    md5: str


@dataclass(frozen=True)
class Outputs:
    """All that a task has written.

    Attributes:
        owned: Files and folders that belong to the task alone, relative to the workspace.
        files: Every file there.
    """

    owned: tuple[str, ...]
    files: tuple[OutputFile, ...]


def stage_task(
    *, name: str, task_run_name: str | None = None
) -> Callable[[Callable[P, Out]], Task[P, Out]]:
    """Makes a task under the one cache policy; its result is a small JSON record."""
    return task(
        name=name,
        task_run_name=task_run_name,
        cache_policy=CACHE,
        persist_result=True,
        result_serializer="json",
    )


def content_digests(*paths: str | Path) -> dict[str, str]:
    """Content digests of a stage's inputs, for the key of its task.

    Args:
        paths: Files or folders, relative to the workspace.

    Returns:
        Path -> sha256 of the file, or of the names and bytes of the folder's files.

    Raises:
        InputError: One is not there.
    """
    digests = {}
    for path in map(_posix, paths):
        if not Path(path).exists():
            raise InputError(
                f"{path} is missing; make it with `dvc repro`, which runs the earlier stages first"
            )
        digests[path] = combined({f.as_posix(): hash_file(f, "sha256") for f in _files([path])})
    return digests


def named_digest(root: str | Path, files: Iterable[str]) -> dict[str, str]:
    """Content digest of a folder of which only some files are read, for the key of a task.

    Args:
        root: The folder.
        files: The paths of those files, in an order that never changes.

    Returns:
        The folder -> sha256 of their names and bytes.

    Raises:
        InputError: One cannot be read.
    """
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{hash_file(Path(path), 'sha256')}  {path}\n".encode())
    return {_posix(root): digest.hexdigest()}


def combined(files: Mapping[str, str]) -> str:
    """The content digest of an input whose files have these sha256, by path."""
    lines = [f"{sha256}  {path}" for path, sha256 in files.items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def written(*owned: str | Path) -> Outputs:
    """Records what lies at the places a task owns."""
    return Outputs(
        tuple(map(_posix, owned)),
        tuple(
            OutputFile(file.as_posix(), hash_file(file, "sha256"), hash_file(file, "md5"))
            for file in _files(owned)
        ),
    )


def clear(*owned: str | Path) -> None:
    """Removes what an earlier run left at the places a task owns."""
    for path in map(Path, owned):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def replaced(*owned: str | Path) -> Iterator[Callable[[str | Path], Path]]:
    """Puts new results in the place of a task's old ones when all are whole, or not at all.

    The old ones stay until the block has ended without an error. What it wrote takes their place
    by renaming; a place where it wrote nothing is left empty.

    Args:
        owned: Files and folders that belong to the task alone, relative to the workspace.

    Raises:
        InputError: A place is a link.

    Yields:
        Where to write what shall lie at one of these places. Names are kept and places that share
        a folder still do, so `place("reports/x.json").parent` stands for `reports`.
    """
    check_places(owned)
    places = [Path(path) for path in owned]
    for folder in {place.parent for place in places}:
        # Left by a run that was killed, the old ones perhaps between the two renamings below.
        for old in (folder / _OLD).glob("*"):
            if old.name in {p.name for p in places} and not (folder / old.name).exists():
                old.rename(folder / old.name)
        clear(folder / _NEW, folder / _OLD)
        (folder / _NEW).mkdir(parents=True)
    moved: list[Path] = []
    try:
        yield lambda path: Path(path).parent / _NEW / Path(path).name
        for place in places:
            (place.parent / _OLD).mkdir(exist_ok=True)
            moved.append(place)
            if place.exists():
                place.rename(place.parent / _OLD / place.name)
            if (new := place.parent / _NEW / place.name).exists():
                new.rename(place)
    except BaseException:
        for place in moved:
            if (old := place.parent / _OLD / place.name).exists():
                clear(place)
                old.rename(place)
        raise
    finally:
        for folder in {place.parent for place in places}:
            clear(folder / _NEW, folder / _OLD)


_NEW, _OLD = ".new", ".old"


def check_places(places: Iterable[str | Path]) -> None:
    """Refuses links where stages replace whole folders.

    Args:
        places: Such as `Workspace.outputs`.

    Raises:
        InputError: A place is a link.
    """
    for path in map(Path, places):
        if path.is_symlink() and not is_cached(path):
            raise InputError(
                f"{path} is a symbolic link to {os.readlink(path)}; stages replace what is there,"
                " so they go through no link: remove the link, or move what it points to here"
            )


def is_cached(link: Path) -> bool:
    """Whether a linked file is DVC's own, in its cache; replacing the link leaves that alone."""
    from tasks.identity.dvc import cache_folder

    cache = cache_folder()
    return cache is not None and link.is_file() and link.resolve().is_relative_to(cache)


def is_intact(outputs: Outputs) -> bool:
    """Whether the places a task owns hold the recorded bytes and no other files."""
    recorded = {file.path: file.sha256 for file in outputs.files}
    present = {file.as_posix() for file in _files(outputs.owned)}
    return present == set(recorded) and all(
        hash_file(Path(path), "sha256") == sha256 for path, sha256 in recorded.items()
    )


def restore(outputs: Outputs) -> bool:
    """Brings the recorded bytes back, from where they lie or from DVC's cache.

    Changes nothing unless it finds them all.
    """
    sources = {file.path: _found(file) for file in outputs.files}
    if None in sources.values():
        return False
    places = {path: Path(path) for path in outputs.owned}
    fresh = {path: place.with_name(place.name + ".part") for path, place in places.items()}
    try:
        clear(*fresh.values())
        for path, source in sources.items():
            assert source is not None
            owned = next(p for p in outputs.owned if Path(path).is_relative_to(p))
            target = fresh[owned] / Path(path).relative_to(owned)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        clear(*outputs.owned)  # only now, for the disk may have been full
        for path, place in places.items():
            if fresh[path].exists():
                fresh[path].rename(place)
    finally:
        clear(*fresh.values())
    log.info("restored %s with DVC's cache", ", ".join(outputs.owned))
    return True


def _found(file: OutputFile) -> Path | None:
    """Where these bytes are: at their place, as DVC caches not all, or in DVC's cache."""
    from tasks.identity.dvc import cached_file

    for source in (Path(file.path), cached_file(file.md5)):
        if source is not None and source.is_file() and hash_file(source, "sha256") == file.sha256:
            return source
    return None


def run(task: Task[..., Out], **inputs: object) -> Out:
    """Runs a task, or takes its remembered outputs where they hold.

    Args:
        task: From `stage_task`.
        inputs: Its arguments.

    Returns:
        What it has written, now or before; the files are in this workspace.
    """
    # Of arguments that are not named in its type, Prefect takes `return_state` for another
    state = cast("State[Out]", task(**inputs, return_state=True))
    outputs = state.result()
    if not holds(state, outputs):
        outputs = task.with_options(refresh_cache=True)(**inputs)
    return outputs


def holds(state: State[Any], outputs: Outputs) -> bool:
    """Whether a run's outputs are in this workspace, restored if they were only remembered."""
    return state.name != CACHED or is_intact(outputs) or restore(outputs)


def _posix(path: str | Path) -> str:
    return path.as_posix() if isinstance(path, Path) else path


def _files(owned: Iterable[str | Path]) -> list[Path]:
    """Every file at the given places, sorted; through links to files and to folders."""
    found = []
    for path in map(Path, owned):
        if path.is_dir():
            found += files_below(path)
        elif path.exists():
            found.append(path)
    return sorted(found)
