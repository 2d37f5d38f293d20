"""The one place that calls DVC: runs the pipeline, records outputs, finds files in its cache."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.repo import Repo

from fgds_core.errors import InputError


def has_git(root: Path) -> bool:
    """Whether the folder is under git; DVC has to be given that setting where it is not."""
    return any((folder / ".git").exists() for folder in (root, *root.parents))


@cache
def _repo(root: Path) -> Repo:
    # Set here rather than in .dvc/config, which people with git share.
    return Repo(str(root), config=None if has_git(root) else {"core": {"no_scm": True}})


def record(stage: str) -> None:
    """Records what a stage read and wrote, as if DVC had run it: `dvc repro` then skips it."""
    with _translate_errors(f"record the stage {stage}"):
        _repo(Path.cwd()).commit(stage, force=True, relink=False)


def is_up_to_date() -> bool:
    """Whether `dvc repro` would run no stage."""
    with _translate_errors("compare the stages with dvc.lock"):
        return not _repo(Path.cwd()).status()


@contextmanager
def _translate_errors(what: str) -> Iterator[None]:
    """Says what DVC raises, such as that another command has locked it, as one message."""
    try:
        yield
    except DvcException as error:
        reason = " ".join(str(error).split())[:500]
        raise InputError(
            f"DVC cannot {what}: {reason}; correct that and run again: what is finished is kept"
        ) from error


def reproduce(targets: tuple[str, ...] = ()) -> int:
    """Runs every stage whose code, inputs or parameters changed; `dvc repro`.

    Returns:
        The exit status: 0, or not 0 after a stage that failed.
    """
    from dvc.cli import main

    if not has_git(Path.cwd()):
        main(["config", "--quiet", "--local", "core.no_scm", "true"])
    return int(main(["repro", *targets]))


def fetch(rev: str, paths: Sequence[str], into: Path, *, missing_is_fine: bool = False) -> None:
    """Copies files and folders of a commit or experiment, from git and from DVC's cache.

    Args:
        rev: Name of an experiment, commit, branch or tag.
        paths: Relative to the workspace, in POSIX form.
        into: The folder that gets them at the same paths.
        missing_is_fine: Whether what is not there is left out.

    Raises:
        InputError: There is no such revision, or it does not have the files as a whole.
    """
    from dvc.api import DVCFileSystem

    if not has_git(Path.cwd()):
        raise InputError(f"{rev} is no folder, and without git there are no experiments")
    try:
        files = DVCFileSystem(str(Path.cwd()), rev=rev)
        for path in paths:
            target = into / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if files.isdir(path):
                files.get(path, str(target), recursive=True)
            else:
                files.get_file(path, str(target))
    except (DvcException, OSError) as error:
        if missing_is_fine:
            return
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{rev}: neither a folder nor an experiment or commit whose results are here "
            f"({reason}); `dvc exp list` names experiments, `dvc pull` brings results"
        ) from error


def cache_folder() -> Path | None:
    """Where DVC's cache lies; None without a DVC repository."""
    try:
        return Path(_repo(Path.cwd()).cache.local.path).resolve()
    except NotDvcRepoError:
        return None


def cached_file(md5: str) -> Path | None:
    """Where DVC's cache keeps a file of these bytes, or None."""
    try:
        path = Path(_repo(Path.cwd()).cache.local.oid_to_path(md5))
    except NotDvcRepoError:
        return None
    return path if path.is_file() else None
