"""What the generator has learnt, or is to learn, and what that costs; needs no server."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tasks.watch.progress import clock
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from fgds_core.synthesis.recipe import Recipe


def drawing_recipe(params: Mapping[str, Any], workspace: Workspace) -> "Recipe":
    """How images are drawn by the parameters; plain where nothing is to be learnt, or not yet.

    Args:
        params: All sections.
        workspace: Where the real images are, and what the check says of the generator as it is.
    """
    from tasks import adapter

    generator, synthesize, adapt = (params[name] for name in ("generator", "synthesize", "adapt"))
    return adapter.drawing_recipe(generator, synthesize, adapt, params["seed"], workspace)


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
    from tasks.adapter import adaptation, is_made, wanted_classes

    sections = (config, params["generator"], params["synthesize"], params["seed"])
    what, wanted = adaptation(*sections, workspace), wanted_classes(config, workspace)
    if is_made(what, workspace):
        print(f"Adapter: the generator has learnt {len(what.classes):,} classes.")
        return 0.0
    which = "the classes that the generator check refuses or doubts"
    if wanted is not None:
        which = f"{len(wanted):,} classes"
    said = (
        f"Adapter: {which} are to be learnt first, in"
        f" {config.num_steps + config.decoder_steps:,} steps at most"
    )
    if not measure:
        print(f"{said}.")
        return 0.0
    from tasks.adapt import seconds

    most = seconds(what, params["compute"], workspace)
    print(f"{said}: about {clock(most)}; their images are drawn with what it has learnt.")
    return most
