"""How an image is drawn, whatever its class and its place there."""

from dataclasses import dataclass

from fgds_core.generators.config import GeneratorConfig
from fgds_core.synthesis.config import SynthesizeConfig


@dataclass(frozen=True)
class Recipe:
    """What all images of a set are drawn by.

    Attributes:
        generator: The generator and its prompts.
        synthesize: How images are conditioned, sampled and guided, and how many there shall be.
        seed: Of the run; each image has a seed of its own that follows from it.
    """

    generator: GeneratorConfig
    synthesize: SynthesizeConfig
    seed: int
