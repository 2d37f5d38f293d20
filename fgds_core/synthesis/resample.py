"""Real images in place of drawn ones, for a class that the generator cannot draw.

They are training images of the class, drawn again by the seed of each: the class is as large as
the others, and nothing in it is synthetic.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from fgds_core.diffusion.noise import image_seed, stream
from fgds_core.errors import InputError
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.table import image_table
from fgds_core.synthesis import columns, record
from fgds_core.synthesis.plan import Part


def write_resampled(
    part: Part, real: ImageDataset, seed: int, fingerprint: str, out: Path
) -> record.PartRecord:
    """Writes a part of real images, each with its row of the training images.

    An image that is drawn for a group is one of that group; where the class has none there, one
    of another group.

    Args:
        part: The part.
        real: All real training images.
        seed: Of the run.
        fingerprint: Of everything that decides what the part holds.
        out: Folder of the synthetic set.

    Returns:
        The record of the finished part.

    Raises:
        InputError: The class has no real image.
    """
    own = real.of_class(part.label)
    if not len(own):
        raise InputError(
            f"class {part.class_name!r} has no real training image to draw again; add one, or set"
            " synthesize.cannot_draw to keep"
        )
    of_group: dict[str, list[int]] = {}
    for row, name in enumerate(own.groups or ()):
        of_group.setdefault(name, []).append(row)
    indices = range(part.first_index, part.first_index + part.num_images)
    seeds = [image_seed(seed, part.class_name, index) for index in indices]
    wanted: Sequence[str | None] = part.groups or (None,) * part.num_images
    chosen = []
    for image, group in zip(seeds, wanted, strict=True):
        near = range(len(own)) if group is None else of_group.get(group, range(len(own)))
        place = int(torch.randint(len(near), (), generator=stream(image, "resampling")))
        chosen.append(near[place])
    n = part.num_images
    rows = image_table(
        [own.file(place) for place in chosen],
        [part.label] * n,
        real.class_names,
        {
            "group": [None if own.groups is None else own.groups[place] for place in chosen],
            "prompt": [""] * n,
            "seed": seeds,
            "index": list(indices),
            "attempt": [0] * n,
            "conditioning_id": chosen,
            "embedding_dropout": [0.0] * n,
            "noise_level": [0] * n,
            "guidance_scale": [1.0] * n,
            "feedback": ["none"] * n,
            "feedback_scale": [0.0] * n,
            "criterion_first": [None] * n,
            "criterion_last": [None] * n,
            "criterion_final": [None] * n,
            "guided_steps": [0] * n,
            "skipped_steps": [0] * n,
            "nonfinite_steps": [0] * n,
        },
        schema=columns.synthetic_schema(real.class_names),
    )
    return record.write_synthetic_part(out, part.path, rows, fingerprint)
