"""Lets DVC watch the raw images, wherever `data.root` says they are.

The stage prepare depends on the link `data/watched`, which is set to `data.root` whenever the
stage starts: so DVC starts the stage, and the stage says what is wrong, whatever is written there.
"""

import os
from pathlib import Path

from ruamel.yaml import YAML

from fgds_core.errors import InputError
from fgds_core.files import check_root

WATCHED = Path("data/watched")

DVC_YAML = Path("dvc.yaml")


def watch(root: str) -> None:
    """Points DVC to the raw images.

    DVC looks into no link to a folder, so where there are some below the root it is told to ask
    the stage at every run; the stage itself takes seconds to see that nothing changed.

    Args:
        root: The folder of the raw images.

    Raises:
        InputError: The root is none, or something else is in the link's place.
    """
    check_root(root)
    if not DVC_YAML.is_file():  # a flow without DVC
        return
    target = root if os.path.isabs(root) else os.path.relpath(root, WATCHED.parent)
    if os.path.lexists(WATCHED) and not WATCHED.is_symlink():
        raise InputError(f"{WATCHED} must be a link that the stages set; move what is there away")
    if not WATCHED.is_symlink() or os.readlink(WATCHED) != target:
        WATCHED.parent.mkdir(exist_ok=True)
        part = WATCHED.with_name(WATCHED.name + ".part")
        part.unlink(missing_ok=True)
        part.symlink_to(target)
        part.replace(WATCHED)
    _ask_always(has_linked_folders(Path(root)))


def has_linked_folders(root: Path) -> bool:
    """Whether a folder somewhere below is a link."""
    return any(
        os.path.islink(os.path.join(folder, name))
        for folder, folders, _ in os.walk(root)
        for name in folders
    )


def _ask_always(always: bool) -> None:
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 120
    pipeline = yaml.load(DVC_YAML.read_text(encoding="utf-8"))
    stage = pipeline["stages"]["prepare"]
    if bool(stage.get("always_changed")) == always:
        return
    if always:
        stage.insert(1, "always_changed", True, comment="linked folders; DVC looks into none")
    else:
        del stage["always_changed"]
    part = DVC_YAML.with_name(DVC_YAML.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        yaml.dump(pipeline, file)
    part.replace(DVC_YAML)
