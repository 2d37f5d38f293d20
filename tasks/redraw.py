"""Finds how an image of the synthetic set was made, and makes it again."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgds_core.errors import InputError
from fgds_core.files import replacing
from fgds_core.images.table import image_paths
from fgds_core.synthesis.excluded import part_with
from fgds_core.synthesis.names import no_class
from fgds_core.synthesis.plan import Part
from fgds_core.synthesis.record import PartRecord
from fgds_core.synthesis.redraw import changes, redraw, resample, row_of, unlike
from fgds_core.synthesis.shards import SyntheticIndex, read_index, read_part
from tasks.round import Round
from tasks.survey import Survey
from tasks.workers.config import ComputeConfig
from tasks.workers.worker import this_worker
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Redrawn:
    """One image made again.

    Attributes:
        file: Where it lies now.
        part: Where the set has it.
        row: What the set holds of it but the image, by column.
        source: The row of the image in `train.parquet` that conditioned it, and where that came
            from; None for text alone.
        unlike: In what it differs from the one in the set; nothing if byte for byte equal.
        device: Where it was drawn.
    """

    file: Path
    part: Path
    row: dict[str, Any]
    source: str | None
    unlike: tuple[str, ...]
    device: str


def redraw_image(
    found: Survey, name: str, index: int, compute: ComputeConfig, out: Path
) -> Redrawn:
    """Makes one image of a finished set again.

    Args:
        found: The set as the parameters of now ask for it.
        name: The class.
        index: Place of the image within the class.
        compute: The device and the size of a batch.
        out: Gets the image, as the set stores it.

    Raises:
        InputError: There is no such image; or it was made by something else than what there is
            now, and says what differs.
    """
    workspace = found.rounds[0].workspace
    folder = workspace.synthetic
    known = read_index(folder)
    record = find(known, name, index, folder)
    each, part = made_as(found, known, record)
    was = row_of(read_part(folder, record), index)
    models = this_worker().models(each.sources(), compute, each.workspace, name)
    if name in each.resampled:
        now = resample(part, index, models.real, each.recipe.seed)
    else:
        now = redraw(
            part,
            index,
            was,
            each.recipe,
            models,
            batch_size=compute.batch_size,
            micro_batch=compute.micro_batch,
        )
    suffix = {"png": "png", "jpeg": "jpg"}[models.encoding.format]
    file = out / f"{Path(record.path).parent.name}-{index:05d}.{suffix}"
    with replacing(file) as temporary:
        temporary.write_bytes(now["image"]["bytes"])
    return Redrawn(
        file,
        folder / record.path,
        {column: value for column, value in was.items() if column != "image"},
        _source(was["conditioning_id"], models.real.labels.tolist(), record.label, workspace),
        tuple(unlike(was, now)),
        str(models.generator.device),
    )


def find(index: SyntheticIndex, name: str, place: int, folder: Path) -> PartRecord:
    """The part that holds an image.

    Args:
        index: Of the set.
        name: The image's class.
        place: Its place within the class.
        folder: The set, for the message.

    Raises:
        InputError: There is none; says which there are.
    """
    if name not in index.class_names:
        raise InputError(f"--class: {no_class(name, index.class_names)}")
    label = index.class_names.index(name)
    record = part_with(index.parts, label, place)
    if record is None:
        number = index.wanted[label]
        has = f"it has the images 0 to {number - 1:,}" if number else "it has none"
        raise InputError(f"--index: class {name!r} has no synthetic image {place:,}; {has}")
    return record


def made_as(found: Survey, index: SyntheticIndex, record: PartRecord) -> tuple[Round, Part]:
    """The round whose recipe has made a part, and the part as it asks for it.

    Args:
        found: The set as the parameters of now ask for it.
        index: Of the set that is there.
        record: The part.

    Raises:
        InputError: None has; says what differs.
    """
    names = found.whole.class_names
    name = index.class_names[record.label]
    if index.class_names == names:
        for each in found.goes:
            if each.part_fingerprint(record.label, names) != record.fingerprint:
                continue
            images = record.path, record.first_index, record.num_rows
            for part in each.plan.parts:
                if images == (part.path, part.first_index, part.num_images):
                    return each, part
            if not any(part.groups for part in each.plan.parts):
                place = int(Path(record.path).stem.removeprefix("part-"))
                part = Part(record.label, name, place, record.first_index, record.num_rows)
                return each, part
    raise InputError(_changed(found, index, record))


def _changed(found: Survey, index: SyntheticIndex, record: PartRecord) -> str:
    """What keeps an image from being made again."""
    name = index.class_names[record.label]
    if index.class_names != found.whole.class_names:
        differ = ["the classes are others"]
    else:
        differ = list(dict.fromkeys(_changes(found, index, name)))
        differ = differ or ["its round is planned otherwise"]
    return (
        f"{record.path} was made by something else than there is now: {'; '.join(differ)}. Put"
        " that back, or bring the set up to date with `dvc repro`"
    )


def _changes(found: Survey, index: SyntheticIndex, name: str) -> Iterator[str]:
    """What decides the images of a class and has changed, of any round."""
    rounds = index.made_by.get("rounds", [{}])
    for number, own in enumerate(rounds):
        if number == len(found.rounds):
            yield f"the classifier that guides round {number + 1} is to be trained again"
            return
        was = {key: value for key, value in {**index.made_by, **own}.items() if key != "wanted"}
        yield from changes(was, found.rounds[number].made_by, name)


def _source(place: int | None, labels: list[int], label: int, workspace: Workspace) -> str | None:
    """The real image that conditioned one: where it lies, and where it came from."""
    if place is None:
        return None
    row = [row for row, its in enumerate(labels) if its == label][place]
    path = workspace.prepared / "train.parquet"
    origin = image_paths(path)[row]
    return f"{path}, row {row}" + (f" ({origin})" if origin else "")
