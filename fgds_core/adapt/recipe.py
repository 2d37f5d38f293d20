"""How images are drawn of which some classes come from an adapted generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fgds_core.generators.config import GeneratorConfig
from fgds_core.synthesis.config import SynthesizeConfig
from fgds_core.synthesis.recipe import Recipe


@dataclass(frozen=True)
class AdaptedRecipe(Recipe):
    """A recipe with an adapter.

    Attributes:
        classes: Names of the classes that are drawn with it, at least one.
    """

    classes: tuple[str, ...] = ()


def recipe_of(
    generator: GeneratorConfig, synthesize: SynthesizeConfig, seed: int, classes: Sequence[str]
) -> Recipe:
    """How images are drawn.

    Args:
        generator: What draws.
        synthesize: How.
        seed: Of the run.
        classes: Names of those that are drawn with an adapter; of none it is a plain recipe.
    """
    if not classes:
        return Recipe(generator, synthesize, seed)
    return AdaptedRecipe(generator, synthesize, seed, tuple(classes))


def adapts(recipe: Recipe, class_name: str) -> bool:
    """Whether the images of a class are drawn with an adapter."""
    return isinstance(recipe, AdaptedRecipe) and class_name in recipe.classes
