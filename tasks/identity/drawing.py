"""What decides the images of a synthetic set, and the fingerprints made of it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgds_core.data.meta import read_meta
from fgds_core.data.splits import class_digests
from fgds_core.diffusion.guidance.rules import RULES
from fgds_core.generators.config import GeneratorConfig
from fgds_core.synthesis.config import SynthesizeConfig
from tasks.identity import code
from tasks.identity.cache import content_digests
from tasks.identity.generator import generator_digests
from tasks.layout import BASELINE, PREPARED

if TYPE_CHECKING:
    from fgds_core.synthesis.plan import Plan

NO_EFFECT = {"target_per_class", "images_per_part"}
"""Parameters that say how many images there are and how they are packed, not what they show."""

DRAWING = "fgds_core.synthesis.part"
"""The module whose imports are the code that draws, whatever the parameters."""


def drawing_code(config: SynthesizeConfig) -> str:
    """Digest of the code that draws: what is common, and what of the registries was chosen."""
    return code.digest(DRAWING, RULES[config.feedback_rule], registered=False)


for _rule in RULES.values():  # read now, so that it is that of what this process imports
    code.digest(DRAWING, _rule, registered=False)


def input_digests(generator: GeneratorConfig, config: SynthesizeConfig) -> dict[str, str]:
    """Content digests of all that drawing reads, as it lies in the workspace now.

    Raises:
        InputError: An input is missing.
    """
    inputs = content_digests(PREPARED, BASELINE) | generator_digests(generator)
    return inputs if config.judge is None else inputs | content_digests(config.judge)


def made_by(
    generator: GeneratorConfig,
    config: SynthesizeConfig,
    seed: int,
    inputs: Mapping[str, str],
) -> dict[str, Any]:
    """Everything that decides what the synthetic images show, for their fingerprints.

    The baseline counts only if it guides: unguided images outlive a new baseline. Of the real
    images those of the training split count, each for its own class and only where they condition.

    Args:
        generator: The generator and its prompts.
        config: How the images are drawn.
        seed: Seed of the run.
        inputs: From `input_digests`.
    """
    guided = config.feedback != "none" and config.feedback_scale > 0
    unseen = {PREPARED} if guided else {PREPARED, BASELINE}
    real = {} if config.conditioning == "text" else class_digests(Path(PREPARED), "train")
    return {
        "generator": generator.model_dump(mode="json"),
        "synthesize": config.model_dump(mode="json", exclude=NO_EFFECT),
        "seed": seed,
        "inputs": {path: value for path, value in inputs.items() if path not in unseen},
        "image_size": read_meta(Path(PREPARED)).image_size,
        "real": real,
        "code": drawing_code(config),
    }


def fingerprint(made_by: Mapping[str, Any]) -> str:
    """sha256 of what decides the images of the whole set."""
    return hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()


def part_fingerprint(made_by: Mapping[str, Any], label: int, class_names: Sequence[str]) -> str:
    """sha256 of what decides the parts of one class, whatever the others' real images are."""
    own = {"real": made_by["real"].get(class_names[label]), "label": label}
    return fingerprint({**made_by, **own, "class_names": list(class_names)})


def part_fingerprints(made_by: Mapping[str, Any], plan: "Plan") -> list[str]:
    """The fingerprint of each part of a plan, in its order."""
    labels = dict.fromkeys(part.label for part in plan.parts)
    of_class = {label: part_fingerprint(made_by, label, plan.class_names) for label in labels}
    return [of_class[part.label] for part in plan.parts]
