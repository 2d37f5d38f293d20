"""What the generator is to learn by the parameters, and whether it has."""

from dataclasses import asdict

from fgds_core.adapt.adaptation import Adaptation, Told
from fgds_core.adapt.config import AdaptConfig
from fgds_core.adapt.record import read_record
from fgds_core.data.meta import read_meta
from fgds_core.data.splits import class_digests
from fgds_core.errors import InputError
from fgds_core.generators.config import GeneratorConfig
from fgds_core.synthesis.config import SynthesizeConfig
from tasks.identity.generator import generator_digests
from tasks.workspace import Workspace


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

    Raises:
        InputError: There are no prepared data.
    """
    names = read_meta(workspace.prepared).class_names
    classes = tuple(name for name in names if not config.classes or name in config.classes)
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
    """Whether the adapter that is there has learnt just this."""
    try:
        return dict(read_record(workspace.adapter).made_by) == what.made_by
    except InputError:
        return False
