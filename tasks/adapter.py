"""What the generator is to learn by the parameters, whether it has, and how it draws."""

from collections.abc import Sequence
from dataclasses import asdict

from fgds_core.ability.record import read_ability
from fgds_core.adapt.adaptation import Adaptation, Told
from fgds_core.adapt.config import AdaptConfig
from fgds_core.adapt.recipe import recipe_of
from fgds_core.adapt.record import read_record
from fgds_core.data.meta import read_meta
from fgds_core.data.splits import class_digests
from fgds_core.errors import InputError
from fgds_core.generators.config import GeneratorConfig
from fgds_core.synthesis.config import SynthesizeConfig
from fgds_core.synthesis.recipe import Recipe
from tasks.identity.generator import generator_digests
from tasks.workspace import Workspace


def wanted_classes(config: AdaptConfig, workspace: Workspace) -> tuple[str, ...] | None:
    """Names of the classes that the generator is to learn, in the order of the data.

    Args:
        config: The section adapt; none are where it is off.
        workspace: Where the real images are, and what the check says of the generator as it is.

    Returns:
        None where the check is to say which, and has not yet.

    Raises:
        InputError: There are no prepared data.
    """
    if not config.enabled:
        return ()
    names = read_meta(workspace.prepared).class_names
    if config.classes == "all":
        return names
    if config.classes == "needed":
        try:
            ability = read_ability(workspace.unadapted().ability)
        except InputError:  # not checked yet
            return None
        if not ability.check_images:  # written while it was off
            return None
        wanted: Sequence[str] = ability.doubtful
    else:
        wanted = config.classes
    return tuple(name for name in names if name in wanted)


def drawing_recipe(
    generator: GeneratorConfig,
    synthesize: SynthesizeConfig,
    adapt: AdaptConfig,
    seed: int,
    workspace: Workspace,
) -> Recipe:
    """How images are drawn by the parameters; plain where nothing is to be learnt, or not yet."""
    return recipe_of(generator, synthesize, seed, wanted_classes(adapt, workspace) or ())


def adaptation(
    config: AdaptConfig,
    generator: GeneratorConfig,
    synthesize: SynthesizeConfig,
    seed: int,
    workspace: Workspace,
) -> Adaptation:
    """What is to be learnt, by the parameters.

    Args:
        config: The section adapt.
        generator: What learns.
        synthesize: Says what it is told.
        seed: Of the run.
        workspace: Where the real images are.

    Returns:
        That, with all classes where it is not known yet which.

    Raises:
        InputError: There are no prepared data.
    """
    classes = wanted_classes(config, workspace)
    if classes is None:
        classes = read_meta(workspace.prepared).class_names
    real = class_digests(workspace.prepared, "train")
    how = config.model_dump(mode="json", exclude={"enabled", "classes"})
    told = Told.by(synthesize)
    made_by = {
        "adapt": how,
        "told": asdict(told),
        "seed": seed,
        "prompts": list(generator.prompts),
        "generator": generator_digests(generator),
        "real": {name: real[name] for name in classes},
    }
    return Adaptation(config, generator, told, seed, classes, made_by)


def is_made(what: Adaptation, workspace: Workspace) -> bool:
    """Whether the adapter that is there has learnt just this, and it is known what."""
    if wanted_classes(what.config, workspace) is None:
        return False
    try:
        return dict(read_record(workspace.adapter).made_by) == what.made_by
    except InputError:
        return False
