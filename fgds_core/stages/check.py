"""The generator check, between what was drawn for it and what is said of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from fgds_core.ability.check import Witnesses, check
from fgds_core.ability.record import Ability, write_ability
from fgds_core.ability.spaces import network_space, pixels
from fgds_core.ability.words import unknown_names
from fgds_core.adapt.recipe import adapts
from fgds_core.data.cells import names_group
from fgds_core.data.splits import RealImages, read_real
from fgds_core.generators.tokenizers import load_tokenizers
from fgds_core.images.dataset import ImageDataset, joined, read_images
from fgds_core.judge.judge import load_judge
from fgds_core.judge.record import RECORD
from fgds_core.synthesis.recipe import Recipe


@dataclass(frozen=True)
class Places:
    """What the check reads and writes.

    Attributes:
        prepared: Prepared data; test images are not read.
        drawn: Class -> the files of its images.
        judge: Folder of the judge; without its record there is none.
        baseline: Folder of a classifier, whose features serve where the generator has no vision
            tower.
        record: What is written.
    """

    prepared: Path
    drawn: Mapping[int, Sequence[Path]]
    judge: Path
    baseline: Path
    record: Path


def check_generator(
    recipe: Recipe,
    ability: Ability,
    places: Places,
    *,
    device: str = "cpu",
    batch_size: int = 64,
) -> None:
    """Compares what was drawn with real images and writes what follows.

    Args:
        recipe: How the images were drawn.
        ability: What was checked; the classes are those that images were drawn of.
        places: Where everything is.
        device: Where the networks compute.
        batch_size: Images a pass.

    Raises:
        InputError: The real images or a network cannot be read.
    """
    real = read_real(places.prepared)
    judge = None
    if (places.judge / RECORD).is_file():
        judge = load_judge(places.judge, real.meta.class_names, device)
    told = real.val if len(real.val) else real.train
    spaces = [*network_space(recipe.generator, places.baseline, device), pixels(told)]
    classes, groups = unknown(recipe, real)

    def drawn(label: int) -> ImageDataset | None:
        files = places.drawn.get(label)
        return None if files is None else reduce(joined, map(read_images, files))

    found = check(
        drawn,
        real,
        Witnesses(spaces, judge, classes, groups),
        recipe.seed,
        batch_size=batch_size,
    )
    write_ability(places.record, ability, *found)


def unknown(recipe: Recipe, real: RealImages) -> tuple[dict[str, str], dict[str, str]]:
    """What of the names of classes, and of groups, the generator's text encoders do not know.

    What a class is called that the generator has learnt says nothing: its images do.

    Returns:
        For each the name -> what is unknown, in words; nothing where it is told no text.
    """
    if recipe.synthesize.conditioning == "image":
        return {}, {}
    tokenizers, prompt = load_tokenizers(recipe.generator), recipe.generator.prompts[0]

    def told(names: tuple[str, ...], field: str) -> dict[str, str]:
        spoken = [name.replace("_", " ") for name in names]
        prompts = [prompt.replace(f"{{{field}}}", name) for name in spoken]
        found = unknown_names(tokenizers, spoken, prompts)
        return {names[place]: words for place, words in found.items()}

    groups = real.meta.groups if names_group(recipe.generator.prompts) else None
    classes = told(real.meta.class_names, "class")
    strange = {name: words for name, words in classes.items() if not adapts(recipe, name)}
    return strange, told(groups or (), "group")
