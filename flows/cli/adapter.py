"""What the generator has learnt, or is to learn, and what that costs; needs no server."""

from collections.abc import Mapping
from typing import Any

from tasks.watch.progress import clock
from tasks.workspace import Workspace


def show_adapter(params: Mapping[str, Any], workspace: Workspace, *, measure: bool) -> float:
    """Prints what of the adapter is there, and what the rest takes; nothing where it is off.

    Args:
        params: All sections.
        workspace: Where the real images are.
        measure: Whether to take a few steps to know.

    Returns:
        Device-seconds that learning takes at most; 0 where nothing is to be learnt.
    """
    config = params["adapt"]
    if not config.enabled:
        return 0.0
    from tasks.adapter import adaptation, is_made

    sections = (config, params["generator"], params["synthesize"], params["seed"])
    what = adaptation(*sections, workspace)
    if is_made(what, workspace):
        print(f"Adapter: the generator has learnt {len(what.classes):,} classes.")
        return 0.0
    said = (
        f"Adapter: {len(what.classes):,} classes are to be learnt first, in"
        f" {config.num_steps + config.decoder_steps:,} steps at most"
    )
    if not measure:
        print(f"{said}.")
        return 0.0
    from tasks.adapt import seconds

    most = seconds(what, params["compute"], workspace)
    print(f"{said}: about {clock(most)}; their images are drawn with what it has learnt.")
    return most
