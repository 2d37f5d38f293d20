"""One image as its seed decides it.

What an image shows follows from its seed, and that from the run's seed, its class and its index in
the class. Parts and batches only say which images are drawn together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from fgds_core.diffusion.noise import another_seed, image_seed, stream

if TYPE_CHECKING:
    from fgds_core.synthesis.plan import Part
    from fgds_core.synthesis.recipe import Recipe


@dataclass(frozen=True)
class ImageRequest:
    """One image to draw."""

    label: int
    class_name: str
    index: int
    """Place of the image within its class."""
    seed: int
    prompt: str
    """Empty where the generator is told no text."""
    conditioning_id: int | None
    """Place of the conditioning image among the class's real ones; None where there is none."""
    attempt: int = 0
    """How often it came out with values that are not finite before."""
    group: str | None = None
    """The group it is drawn for, or else that of the conditioning image; None where neither is."""

    def again(self) -> "ImageRequest":
        """The same image from other noise."""
        attempt = self.attempt + 1
        return replace(self, seed=another_seed(self.seed, attempt), attempt=attempt)


def plan_images(
    part: "Part", recipe: "Recipe", num_real: int, groups: Sequence[str] | None = None
) -> list[ImageRequest]:
    """Lets each image of a part draw its prompt and its conditioning image.

    An image that is drawn for a group is conditioned on a real one of that group; where the class
    has none there, on one of another group, and the prompt may name the group with {group}.

    Args:
        part: The part.
        recipe: How its images are drawn.
        num_real: Real training images of the class.
        groups: The group of each of these, or None for data without groups.
    """
    prompts, conditioning = recipe.generator.prompts, recipe.synthesize.conditioning
    spoken = part.class_name.replace("_", " ")  # as names of folders have them for blanks
    of_group: dict[str, list[int]] = {}
    for place, name in enumerate(groups or ()):
        of_group.setdefault(name, []).append(place)
    requests = []
    for number in range(part.num_images):
        index = part.first_index + number
        seed = image_seed(recipe.seed, part.class_name, index)
        group = part.groups[number] if part.groups else None
        chosen = None
        if conditioning != "text":
            near = range(num_real) if group is None else of_group.get(group, range(num_real))
            chosen = near[_choose(len(near), seed, "conditioning")]
            if group is None and groups is not None:
                group = groups[chosen]
        template = prompts[_choose(len(prompts), seed, "prompt")]
        named = {"class": spoken, "group": (group or "").replace("_", " ")}
        prompt = "" if conditioning == "image" else template.format(**named)
        requests.append(
            ImageRequest(part.label, part.class_name, index, seed, prompt, chosen, group=group)
        )
    return requests


def _choose(num_choices: int, seed: int, purpose: str) -> int:
    return int(torch.randint(num_choices, (), generator=stream(seed, purpose)))
