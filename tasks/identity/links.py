"""Lets DVC watch the raw images, wherever `data.root` says they are.

The stage prepare depends on the link `data/watched`, which is set to `data.root` whenever the
stage starts: so DVC starts the stage, and the stage says what is wrong, whatever is written there.
"""

import os
from pathlib import Path

from fgds_core.errors import InputError
from fgds_core.files import check_root, files_below, is_remote, shown, write_text
from tasks.identity.dvc_yaml import DVC_YAML, read_pipeline, write_pipeline
from tasks.workspace import FIRST

WATCHED = Path("data/watched")

LISTING = Path("data/bucket/listing.txt")
"""What DVC watches where the raw images lie in a bucket."""


def watch(root: str) -> None:
    """Points DVC to the raw images.

    DVC looks into no link to a folder, so where there are some below the root it is told to ask
    the stage at every run; the stage itself takes seconds to see that nothing changed.

    Args:
        root: The folder of the raw images.

    Raises:
        InputError: The root is none or holds what is no file, or something else is in the link's
            place.
    """
    if is_remote(root):
        _watch_bucket()
        return
    check_root(root)
    _check_apart(root)
    files_below(Path(root))  # DVC would wait at a pipe for ever
    if not DVC_YAML.is_file():  # a flow without DVC
        return
    _point(root if os.path.isabs(root) else os.path.relpath(root, WATCHED.parent))
    watch_links("prepare", root)


def _watch_bucket() -> None:
    """Has DVC ask the stage at every run, which compares what the bucket lists."""
    LISTING.parent.mkdir(parents=True, exist_ok=True)
    if not LISTING.exists():
        write_text(LISTING, "")
    if DVC_YAML.is_file():
        _point(os.path.relpath(LISTING.parent, WATCHED.parent))
        _ask_always("prepare", True)


def note_listing(digest: str) -> None:
    """Keeps what a bucket listed when its images were prepared, for DVC."""
    write_text(LISTING, f"{digest}\n")


def _point(target: str) -> None:
    """Makes `data/watched` a link to what DVC shall watch."""
    if os.path.lexists(WATCHED) and not WATCHED.is_symlink():
        raise InputError(f"{WATCHED} must be a link that the stages set; move what is there away")
    if not WATCHED.is_symlink() or os.readlink(WATCHED) != target:
        WATCHED.parent.mkdir(exist_ok=True)
        part = WATCHED.with_name(WATCHED.name + ".part")
        part.unlink(missing_ok=True)
        part.symlink_to(target)
        part.replace(WATCHED)


def watch_links(stage: str, *folders: str | None) -> None:
    """Tells DVC to ask a stage at every run if there are links to folders below its inputs.

    Args:
        stage: Its name.
        folders: What it reads; what is no folder here, such as a name on a hub, has no links.
    """
    linked = any(has_linked_folders(Path(folder)) for folder in folders if folder is not None)
    if DVC_YAML.is_file():
        _ask_always(stage, linked)


def _check_apart(root: str) -> None:
    """Refuses a root that holds what the stages make, or lies in it."""
    raw = Path(os.path.abspath(root))
    later = [*Path("data").glob("round-*/synthetic"), *Path("models").glob("round-*/final")]
    for place in (*FIRST.outputs, FIRST.reports, WATCHED, *later):
        if place.absolute().is_relative_to(raw) or raw.is_relative_to(place.absolute()):
            raise InputError(
                f"data.root: {shown(root)} holds {place}, which the stages make, or lies in it; "
                "name a folder that holds only raw images"
            )


def has_linked_folders(root: Path) -> bool:
    """Whether a folder somewhere below is a link."""
    return any(
        os.path.islink(os.path.join(folder, name))
        for folder, folders, _ in os.walk(root)
        for name in folders
    )


def _ask_always(name: str, always: bool) -> None:
    pipeline = read_pipeline()
    stage = pipeline["stages"][name]
    if bool(stage.get("always_changed")) == always:
        return
    if always:
        stage.insert(
            1, "always_changed", True, comment="linked folders or a bucket; DVC looks into none"
        )
    else:
        del stage["always_changed"]
    write_pipeline(pipeline)
