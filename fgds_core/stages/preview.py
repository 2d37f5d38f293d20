"""A preview of the synthetic set: the first images of some classes, with feedback and without."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fgds_core.ability.preview import Row, Shown, picture_of
from fgds_core.data.splits import read_prepared
from fgds_core.errors import InputError
from fgds_core.images.dataset import read_images
from fgds_core.images.table import column_values, read_table
from fgds_core.synthesis.models import LoadedModels
from fgds_core.synthesis.names import no_class
from fgds_core.synthesis.part import write_part
from fgds_core.synthesis.plan import Part, Plan
from fgds_core.synthesis.recipe import Recipe

MOST = 8
"""Classes that are shown where none are named."""


def chosen(plan: Plan, names: Sequence[str]) -> list[int]:
    """The classes to show: those named, or else the ones that get most synthetic images.

    Args:
        plan: Of the set.
        names: Of classes; empty for the first `MOST`.

    Raises:
        InputError: There is no such class.
    """
    if names:
        for name in names:
            if name not in plan.class_names:
                raise InputError(f"--classes: {no_class(name, plan.class_names)}")
        return [plan.class_names.index(name) for name in dict.fromkeys(names)]
    order = np.argsort(-np.array(plan.wanted), kind="stable")[:MOST].tolist()
    return [label for label in order if plan.wanted[label]]


def preview(
    plan: Plan,
    labels: Sequence[int],
    number: int,
    recipe: Recipe,
    models: LoadedModels,
    prepared: Path,
    *,
    batch_size: int = 64,
    advance: Callable[[int], object] = lambda num_images: None,
) -> list[Shown]:
    """Draws the first images of some classes, as the set will hold them.

    Args:
        plan: Of the set; which groups images are drawn for.
        labels: The classes.
        number: Images of each.
        recipe: How they are drawn.
        models: What they are drawn with; without feedback they are drawn once.
        prepared: Prepared data, of which validation images are shown beside.
        batch_size: Images at a time.
        advance: Called with the number of images done since the last call.
    """
    val, train = read_prepared(prepared, "val"), read_prepared(prepared, "train")
    plain = replace(recipe, synthesize=recipe.synthesize.model_copy(update={"feedback": "none"}))
    ways = [("without feedback", plain, replace(models, feedback=None))]
    if models.feedback is not None:
        ways.append((f"with feedback {recipe.synthesize.feedback}", recipe, models))
    shown = []
    for label in labels:
        name = plan.class_names[label]
        real = val.of_class(label)
        real, split = (real, "validation") if len(real) else (train.of_class(label), "training")
        rows = []
        if len(real):
            files = [real.file(row) for row in range(min(number, len(real)))]
            about = [f"real {split} image of {name}"] * len(files)
            rows.append(Row(f"real, {split}", [picture_of(data) for data in files], about))
        part = Part(label, name, 0, 0, number, _groups(plan, label, number))
        for title, how, with_ in ways:
            with TemporaryDirectory(prefix="fgds-preview-") as folder:
                out = Path(folder)
                path = out / write_part(part, how, with_, "", out, batch_size=batch_size).path
                table, images = read_table(path, images=False), read_images(path)
                told = zip(
                    column_values(table, "index"),
                    column_values(table, "prompt"),
                    column_values(table, "seed"),
                    strict=True,
                )
                about = [
                    f"{name} {index}, {title}: {prompt!r}, seed {seed}"
                    for index, prompt, seed in told
                ]
                files = [images.file(row) for row in range(len(images))]
            rows.append(Row(title, [picture_of(data) for data in files], about))
            advance(number)
        shown.append(Shown(name, rows))
    return shown


def _groups(plan: Plan, label: int, number: int) -> tuple[str, ...]:
    """The groups that the first images of a class are drawn for; empty without groups."""
    parts = sorted((p for p in plan.parts if p.label == label), key=lambda p: p.first_index)
    groups = tuple(group for part in parts for group in part.groups)
    return tuple(groups[i % len(groups)] for i in range(number)) if groups else ()
