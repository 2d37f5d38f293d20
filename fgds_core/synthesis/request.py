"""One image as its seed decides it.

What an image shows follows from its seed, and that from the run's seed, its class and its index in
the class. Parts and batches only say which images are drawn together.
"""

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

    def again(self) -> "ImageRequest":
        """The same image from other noise."""
        attempt = self.attempt + 1
        return replace(self, seed=another_seed(self.seed, attempt), attempt=attempt)


def plan_images(part: "Part", recipe: "Recipe", num_real: int) -> list[ImageRequest]:
    """Lets each image of a part draw its prompt and its conditioning image.

    Args:
        part: The part.
        recipe: How its images are drawn.
        num_real: Real training images of the class.
    """
    prompts, conditioning = recipe.generator.prompts, recipe.synthesize.conditioning
    spoken = part.class_name.replace("_", " ")  # as names of folders have them for blanks
    requests = []
    for index in range(part.first_index, part.first_index + part.num_images):
        seed = image_seed(recipe.seed, part.class_name, index)
        template = prompts[_choose(len(prompts), seed, "prompt")]
        prompt = "" if conditioning == "image" else template.format(**{"class": spoken})
        chosen = None if conditioning == "text" else _choose(num_real, seed, "conditioning")
        requests.append(ImageRequest(part.label, part.class_name, index, seed, prompt, chosen))
    return requests


def _choose(num_choices: int, seed: int, purpose: str) -> int:
    return int(torch.randint(num_choices, (), generator=stream(seed, purpose)))
