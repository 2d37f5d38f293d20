"""Pictures for the report: synthetic images, what they were made from and what they are near to.

Of each class a few real training images, the first synthetic ones, and those that a person should
look at: what the judge holds for worst and for best, and suspected copies. Each synthetic picture
carries what its row in the set says of it. They are kept as the page shows them, and a few classes
at a time are in memory.

M synthetic images.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fgds_core.assess.closest import nearest
from fgds_core.assess.estimates import rounded
from fgds_core.assess.guidance_steps import BY_STEP
from fgds_core.assess.observe import Observed
from fgds_core.images.formats import PNG, decode_picture, encode_picture
from fgds_core.images.table import ROW_GROUP_ROWS, image_schema, image_table

THUMBNAIL = 96  # pixels; larger pictures are shrunk to keep the page small

OF_A_KIND = 3
"""Worst images of a class, best ones, and suspected copies, that are shown beside the first."""

NOTES: dict[str, pa.DataType] = {
    "index": pa.int64(),
    "seed": pa.int64(),
    "prompt": pa.string(),
    "feedback": pa.string(),
    "criterion_first": pa.float64(),
    "criterion_final": pa.float64(),
    "guided_steps": pa.int64(),
    "skipped_steps": pa.int64(),
    "nonfinite_steps": pa.int64(),
}
"""What is repeated of an image's row in the synthetic set; null of real images."""

Twin = Callable[[int, int, int], bytes | None]
"""(label, index in the class, seed) -> the file of an image that was drawn from the same seed
without feedback; None where there is none."""

COLUMNS: dict[str, pa.DataType] = {
    "item": pa.int64(),
    "of": pa.int64(),
    "role": pa.string(),
    "rank": pa.int64(),
    "distance": pa.float64(),
    "why": pa.string(),
    **NOTES,
    "judge_label": pa.int64(),
    "judge_score": pa.float64(),
    **dict.fromkeys(BY_STEP, pa.string()),
}
"""Beside image and label: number of the synthetic image among those shown of its class (null of
what belongs to none), that class, what the picture is (synthetic; unguided, conditioning or real,
which stand beside one; class, a training image of the class), the neighbour's place or 0, the
neighbour's distance to the synthetic image in feature space, why the image is shown (of `WHY`, by
commas), `NOTES`, the class the judge sees and how sure it is of the intended one, and what was
noted of the steps of guidance, numbers with blanks between."""

WHY = ("first", "worst", "best", "copy")


@dataclass(frozen=True)
class Grid:
    """How much is shown of a class.

    Attributes:
        num_images: First synthetic images, and training images, at most.
        num_neighbours: Training images beside each synthetic one.
    """

    num_images: int
    num_neighbours: int


@dataclass(frozen=True, eq=False)
class Suspicion:
    """What is known of each synthetic image that makes it worth a look; None is not known.

    Attributes:
        judge_label: The class the judge sees, [M].
        judge_score: How sure the judge is of the intended class, larger is surer, [M].
        copy: How far each is from what it may be a copy of, NaN where it is no copy, [M].
    """

    judge_label: NDArray[np.int64] | None = None
    judge_score: NDArray[np.float64] | None = None
    copy: NDArray[np.float64] | None = None


@dataclass(eq=False)
class _Class:
    """The pictures of one class: rows of training images, and of synthetic ones with why."""

    real: NDArray[np.int64]
    why: dict[int, list[str]] = field(default_factory=dict)


def neighbour_schema(class_names: Sequence[str]) -> pa.Schema:
    """The schema of the table of pictures: image, label and `COLUMNS`."""
    return image_schema(class_names, COLUMNS)


def neighbour_tables(
    synthetic: Observed,
    train: Observed,
    rows: pa.Table,
    by_class: Sequence[NDArray[np.int64]],
    grid: Grid,
    suspicion: Suspicion = Suspicion(),
    twin: Twin = lambda label, index, seed: None,
) -> Iterator[pa.Table]:
    """Some synthetic images of each class, each with what it was made from and is near to.

    Args:
        synthetic: The synthetic images.
        train: The real training images.
        rows: The columns of the synthetic set without the images, M rows.
        by_class: Rows of the synthetic images of each class.
        grid: How many are shown.
        suspicion: Which ones are shown beside the first.
        twin: The same images without feedback.

    Yields:
        The rows of some classes, about `ROW_GROUP_ROWS` at a time.
    """
    if not grid.num_images:
        return
    class_names = synthetic.images.class_names
    train_labels = train.labels
    own = [np.flatnonzero(train_labels == k) for k in range(len(by_class))]
    shown = [
        _Class(own[k][: grid.num_images], chosen(of_class, grid.num_images, suspicion))
        for k, of_class in enumerate(by_class)
    ]
    items = np.array([row for its in shown for row in its.why], dtype=np.int64)
    if len(items):
        distances, near = nearest(
            synthetic.features.take(items), train.features, grid.num_neighbours
        )
    place = {row: position for position, row in enumerate(items.tolist())}
    conditioning = rows["conditioning_id"].to_numpy().astype(np.float64)
    notes = rows.select(list(NOTES))

    def of_image(k: int, item: int, row: int) -> Iterator[tuple[bytes, int, dict[str, Any]]]:
        stands = {"item": item, "of": k, "rank": 0}
        said = {"why": ",".join(shown[k].why[row]), **notes.slice(row, 1).to_pylist()[0]}
        if suspicion.judge_label is not None:
            said["judge_label"] = int(suspicion.judge_label[row])
        if suspicion.judge_score is not None:
            said["judge_score"] = rounded(float(suspicion.judge_score[row]))
        for name in BY_STEP:
            if name in rows.column_names and (steps := rows[name][row].as_py()) is not None:
                said[name] = " ".join(f"{value:.3g}" for value in steps)
        yield _picture(synthetic, row), k, stands | {"role": "synthetic"} | said
        if (file := twin(k, said["index"], said["seed"])) is not None:
            yield thumbnail(file), k, stands | {"role": "unguided"}
        source = conditioning[row]
        if not np.isnan(source):
            picture = _picture(train, int(own[k][int(source)]))
            yield picture, k, stands | {"role": "conditioning"}
        for rank, neighbour in enumerate(near[place[row]].tolist()):
            distance = rounded(float(distances[place[row], rank]))
            beside = stands | {"role": "real", "rank": rank, "distance": distance}
            yield _picture(train, neighbour), int(train_labels[neighbour]), beside

    def of_class(k: int) -> Iterator[tuple[bytes, int, dict[str, Any]]]:
        for rank, row in enumerate(shown[k].real.tolist()):
            yield _picture(train, row), k, {"of": k, "role": "class", "rank": rank}
        for item, row in enumerate(shown[k].why):
            yield from of_image(k, item, row)

    held: list[tuple[bytes, int, dict[str, Any]]] = []
    for k in range(len(shown)):
        pictures = list(of_class(k))
        if held and len(held) + len(pictures) > ROW_GROUP_ROWS:
            yield _table(held, class_names)
            held = []
        held += pictures
    if held:
        yield _table(held, class_names)


def chosen(rows: NDArray[np.int64], num_images: int, suspicion: Suspicion) -> dict[int, list[str]]:
    """Which synthetic images of a class are shown, and why each is: of `WHY`.

    Args:
        rows: The synthetic images of the class.
        num_images: Of the first ones.
        suspicion: What is known of all synthetic images.
    """
    why: dict[int, list[str]] = {int(row): ["first"] for row in rows[:num_images]}

    def show(some: NDArray[np.int64], reason: str) -> None:
        for row in some.tolist():
            why.setdefault(row, []).append(reason)

    if suspicion.judge_score is not None:
        order = rows[np.argsort(suspicion.judge_score[rows], kind="stable")]
        each = min(OF_A_KIND, len(rows) // 2)  # no image is both
        show(order[:each], "worst")
        show(order[::-1][:each], "best")
    if suspicion.copy is not None:
        copies = rows[~np.isnan(suspicion.copy[rows])]
        show(copies[np.argsort(suspicion.copy[copies], kind="stable")][:OF_A_KIND], "copy")
    return why


def _table(
    rows: Sequence[tuple[bytes, int, dict[str, Any]]], class_names: Sequence[str]
) -> pa.Table:
    pictures, labels, extra = zip(*rows, strict=True)
    columns = {name: [values.get(name) for values in extra] for name in COLUMNS}
    schema = neighbour_schema(class_names)
    return image_table(pictures, labels, class_names, columns, schema=schema)


def _picture(seen: Observed, row: int) -> bytes:
    return thumbnail(seen.images.file(row))


def thumbnail(file: bytes) -> bytes:
    """An encoded image as the page shows it: without loss when small, else smaller."""
    image = decode_picture(file).convert("RGB")
    if max(image.size) <= THUMBNAIL:
        return encode_picture(image, PNG)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
