"""Pictures from elsewhere as a synthetic set, so that all that reads such a set takes them.

They are encoded like real and generated ones and lie in the product's own format; what only a
generator of the product could say of an image is off or null. N images.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fgds_core.data.meta import Meta
from fgds_core.diffusion.noise import image_seed, stream
from fgds_core.files import FileRecord
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.pixels import encode, from_uint8
from fgds_core.images.table import image_table
from fgds_core.synthesis.columns import synthetic_schema
from fgds_core.synthesis.plan import Plan
from fgds_core.synthesis.record import part_path, write_synthetic_part
from fgds_core.synthesis.shards import remove_index, write_index

OFF: Mapping[str, Any] = {
    "prompt": "",
    "attempt": 0,
    "conditioning_id": None,
    "embedding_dropout": 0.0,
    "noise_level": 0,
    "guidance_scale": 1.0,
    "feedback": "none",
    "feedback_scale": 0.0,
    "criterion_first": None,
    "criterion_last": None,
    "criterion_final": None,
    "guided_steps": 0,
    "skipped_steps": 0,
    "nonfinite_steps": 0,
}
"""What a set says of images that no generator of the product has drawn."""


@dataclass(frozen=True, eq=False)
class Asked:
    """Images that shall be made, in order of class and of place in it.

    Attributes:
        labels: Class of each, [N].
        groups: Group of each, N of them; None for data without groups.
        seeds: What each shall follow from, N of them.
    """

    labels: Tensor
    groups: tuple[str, ...] | None
    seeds: tuple[int, ...]


def asked(plan: Plan, real: ImageDataset, seed: int) -> Asked:
    """The images that a plan wants.

    Where the plan names no groups and the data have some, an image has that of a real one of its
    class at random.

    Args:
        plan: What is wanted.
        real: Real training images.
        seed: Of the run.
    """
    parts = sorted(plan.parts, key=lambda part: part.first_index)
    labels: list[int] = []
    groups: list[str] = []
    seeds: list[int] = []
    for label, name in enumerate(plan.class_names):
        own = real.of_class(label).groups
        for part in (part for part in parts if part.label == label):
            first = part.first_index
            new = [image_seed(seed, name, first + i) for i in range(part.num_images)]
            if part.groups:
                groups += part.groups
            elif own:
                groups += [_one_of(own, each) for each in new]
            labels += [label] * part.num_images
            seeds += new
    return Asked(torch.tensor(labels), tuple(groups) if real.groups else None, tuple(seeds))


def _one_of(groups: tuple[str, ...], seed: int) -> str:
    return groups[int(torch.randint(len(groups), (), generator=stream(seed, "group")))]


def write_set(
    images: Tensor, wanted: Asked, out: Path, meta: Meta, fingerprint: str
) -> FileRecord:
    """Writes pictures as a synthetic set, which `read_synthetic` opens; each class is one part.

    Args:
        images: uint8, [N, 3, H, W].
        wanted: What they show.
        out: Folder of the set.
        meta: Of the prepared data, whose classes and encoding the set has.
        fingerprint: Digest of everything that made the set.

    Returns:
        The record of the index.

    Raises:
        InputError: There are no images, or the disk is full.
    """
    remove_index(out)
    schema = synthetic_schema(meta.class_names)
    records = []
    for label, name in enumerate(meta.class_names):
        rows = (wanted.labels == label).nonzero().flatten()  # [n], in their order
        if not len(rows):
            continue
        groups = wanted.groups or (None,) * len(wanted.labels)
        table = image_table(
            encode(from_uint8(images[rows]), meta.encoding),
            wanted.labels[rows],
            meta.class_names,
            {
                **{column: [value] * len(rows) for column, value in OFF.items()},
                "group": [groups[row] for row in rows.tolist()],
                "seed": [wanted.seeds[row] for row in rows.tolist()],
                "index": list(range(len(rows))),
            },
            schema=schema,
        )
        records.append(write_synthetic_part(out, part_path(label, name, 0), table, fingerprint))
    return write_index(
        out,
        records,
        class_names=meta.class_names,
        wanted=wanted.labels.bincount(minlength=len(meta.class_names)).tolist(),
        fingerprint=fingerprint,
        made_by={},
    )
