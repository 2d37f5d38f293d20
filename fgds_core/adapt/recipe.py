"""How images are drawn of which some classes come from an adapted generator."""

from __future__ import annotations

from dataclasses import dataclass

from fgds_core.adapt.config import AdaptConfig
from fgds_core.generators.config import GeneratorConfig
from fgds_core.synthesis.config import SynthesizeConfig
from fgds_core.synthesis.recipe import Recipe


@dataclass(frozen=True)
class AdaptedRecipe(Recipe):
    """A recipe with an adapter.

    Attributes:
        classes: The classes that are drawn with it; of none all are.
    """

    classes: tuple[str, ...] = ()


def recipe_of(
    generator: GeneratorConfig, synthesize: SynthesizeConfig, adapt: AdaptConfig, seed: int
) -> Recipe:
    """The recipe that the parameters ask for; a plain one unless an adapter is asked for."""
    if not adapt.enabled:
        return Recipe(generator, synthesize, seed)
    return AdaptedRecipe(generator, synthesize, seed, tuple(adapt.classes))


def adapts(recipe: Recipe, class_name: str) -> bool:
    """Whether the images of a class are drawn with an adapter."""
    return isinstance(recipe, AdaptedRecipe) and (
        not recipe.classes or class_name in recipe.classes
    )
