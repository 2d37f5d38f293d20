"""A validation split that is drawn from the training images, where the data have none."""

import random

from fgds_core.data.config import DrawnValidation


def validating(name: str, num_images: int, drawn: DrawnValidation) -> list[int]:
    """Draws the validation images of one class, so that another class changes nothing in it.

    A class with two images or more has at least one of each kind; a single one is for training.

    Args:
        name: Name of the class.
        num_images: Its training images, in an order that never changes.
        drawn: Size and seed of the draw.

    Returns:
        Places of the validation images among them, increasing.
    """
    number = min(max(round(drawn.fraction * num_images), 1), max(num_images - 1, 0))
    return sorted(random.Random(f"{drawn.seed}/{name}").sample(range(num_images), number))
