"""Whether the disk has room for the synthetic images, said before they are drawn."""

import shutil

from fgds_core.data.meta import read_meta
from fgds_core.errors import InputError
from fgds_core.synthesis.plan import Part, Plan
from tasks.workspace import Workspace

SPARE = 1.2
"""Synthetic images may compress worse than the real ones their size is estimated from."""

LEFT_FREE = 1 << 20
"""Bytes that drawing leaves for what else writes to the disk."""


def parquet_bytes(num_images: int, num_real: int, workspace: Workspace) -> float:
    """Estimated size of synthetic images at rest; the real ones say how large an image is."""
    real = (workspace.prepared / "train.parquet").stat().st_size
    return SPARE * num_images * real / num_real


def free_bytes() -> int:
    """What is free where the images go."""
    return shutil.disk_usage("data").free


def check_space(plan: Plan, workspace: Workspace) -> None:
    """Refuses a run that would fill the disk.

    Raises:
        InputError: There is too little space for the images and their copy in DVC's cache.
    """
    num_images, out = sum(plan.wanted), workspace.synthetic
    there = sum(file.stat().st_size for file in out.rglob("*.parquet"))
    needed = max(0, parquet_bytes(num_images, sum(plan.real), workspace) - there) * 2
    if needed > (free := free_bytes()):
        raise InputError(
            f"{num_images} synthetic images need about {needed / 1e9:.2f} GB with their copy in "
            f"DVC's cache, but {out.resolve()} has {free / 1e9:.2f} GB free; free "
            "space, or lower synthesize.target_per_class"
        )


def check_room(part: Part, workspace: Workspace) -> None:
    """Refuses a part that a disk which has filled up since cannot take, before it is drawn.

    Raises:
        InputError: There is no room for it.
    """
    real = read_meta(workspace.prepared).counts["train"]
    needed = parquet_bytes(part.num_images, sum(real), workspace) + LEFT_FREE
    if free_bytes() < needed:
        raise InputError(
            f"no space left for {workspace.synthetic}, a part needs {needed / 1e6:.1f} MB; make"
            " room and run again, finished parts are kept"
        )
