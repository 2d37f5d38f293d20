"""Which synthetic images are suspected to be copies of real ones, and what is said of them.

This is the one place where the assessment looks at test images, and it looks for copies of them:
a synthetic image that shows a test image would make every accuracy look better than it is. No
measure, threshold of a measure or choice knows them.

M synthetic images.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fgds_core.assess.neighbours import thumbnail
from fgds_core.assess.observe import Observed
from fgds_core.copies.find import SUSPECTED, Calibration, calibrate, copies_of
from fgds_core.copies.sets import conditioning_rows, pictures_of
from fgds_core.copies.thumbnails import Pictures
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.reading import Reading
from fgds_core.images.table import column_values, image_schema, image_table

SHOWN = 100
"""Pairs whose pictures are kept, the nearest."""

BY_CHANCE = 0.01
"""A number of suspects that is less likely by chance is worth a warning."""

_SPLITS = {"train": "training", "val": "validation", "test": "test"}

PAIRS: dict[str, pa.DataType] = {
    "pair": pa.int64(),
    "role": pa.string(),
    "index": pa.int64(),
    "split": pa.string(),
    "reference": pa.int64(),
    "conditioning": pa.bool_(),
    "way": pa.string(),
    "orientation": pa.string(),
    "distance": pa.float64(),
    "ratio": pa.float64(),
    "threshold": pa.float64(),
}
"""Beside image and label in the table of pairs: number of the pair, the nearest first, and which
of the two the picture is (synthetic or real); the others are those of `copies.parquet`."""


@dataclass(frozen=True, eq=False)
class Suspects:
    """The synthetic images that may be copies.

    Attributes:
        table: A row for each image and split of which it may have a copy, the nearest first:
            class, index (in the class, as in the set), split, reference (the row in the split),
            conditioning (whether it was made from that image), way, orientation, distance, ratio,
            threshold.
        row: Of the synthetic set, for each row of the table.
        calibration: How often real images would be suspected.
        drawn: Which of the M images were looked at: those of classes that real images fill are
            copies of these by nature, and were not.
    """

    table: pa.Table
    row: NDArray[np.int64]
    calibration: Calibration
    drawn: NDArray[np.bool_]

    @property
    def ratio(self) -> NDArray[np.float64]:
        """How near each image is to what it may copy, NaN where it is no suspect, [M]."""
        found = np.full(len(self.drawn), np.nan)
        ratios = self.table["ratio"].to_numpy()
        found[self.row[::-1]] = ratios[::-1]  # the nearest is written last
        return found

    def counts(self, chosen: NDArray[np.int64]) -> dict[str, dict[str, Any]]:
        """What is said of some images, by split.

        Returns:
            `num_suspected` images, how many of them of their own `conditioning` image and in which
            of the `ways` each is nearest, how many are `expected` by chance with the interval from
            `low` to `high` (95 %), as `num_alarms` of `num_real` real images are suspected too,
            and the `thresholds` by way.
        """
        splits, own, way = (
            self.table[name].to_numpy(zero_copy_only=False)
            for name in ("split", "conditioning", "way")
        )
        among = np.isin(self.row, chosen)
        num_drawn = int(self.drawn[chosen].sum())
        known = self.calibration
        found: dict[str, dict[str, Any]] = {}
        for split in known.thresholds:
            chance = known.by_chance(split, num_drawn)
            low, high = chance.interval or (None, None)
            found[split] = {
                "num_suspected": int((among & (splits == split)).sum()),
                "conditioning": int((among & (splits == split) & own).sum()),
                "ways": {
                    name: int((among & (splits == split) & (way == name)).sum())
                    for name in known.thresholds[split]
                },
                "expected": chance.expected,
                "low": low,
                "high": high,
                "num_real": known.num_real[split],
                "num_alarms": known.num_alarms[split],
                "thresholds": dict(known.thresholds[split]),
            }
        return found

    def warnings(self) -> list[str]:
        """What a person has to know before such images are used."""
        said = []
        for split, found in self.counts(np.arange(len(self.drawn))).items():
            number = found["num_suspected"]
            chance = self.calibration.by_chance(split, int(self.drawn.sum()))
            if number and chance.of_more(number) < BY_CHANCE:
                by_chance = "unknown"
                if found["expected"] is not None:
                    by_chance = f"{found['expected']:.1f}, at most {found['high']}"
                ways = ", ".join(f"{its} by {way}" for way, its in found["ways"].items() if its)
                said.append(
                    f"{number} synthetic images may be copies of {_SPLITS[split]} images ({ways};"
                    f" by chance: {by_chance}), {found['conditioning']} of them of what they were"
                    " made from, and stay in the set: see assess/copies.parquet, the nearest first"
                )
        return said


def suspects(
    synthetic: Observed,
    rows: pa.Table,
    real: Mapping[str, Observed],
    place: Path,
    device: str,
    reading: Reading,
    filled: Collection[int] = (),
) -> Suspects:
    """Looks for copies of real images.

    Args:
        synthetic: The synthetic images, M.
        rows: Their columns, in the same order.
        real: The real images by split, `test` among them.
        place: A folder for what is kept of the images meanwhile.
        device: Where it is computed.
        reading: How images are read; they are not told of again.
        filled: Classes that real images fill, which are not looked at.
    """

    def pictures(name: str, seen: Observed) -> Pictures:
        quiet = Reading(reading.batch_size, reading.workers)
        return pictures_of(seen.images, place / f"{name}-thumbnails", quiet, seen.features)

    references = {split: pictures(split, seen) for split, seen in real.items()}
    asked, drawn = pictures("synthetic", synthetic), ~np.isin(synthetic.labels, list(filled))
    if not drawn.all():
        asked = asked.take(np.flatnonzero(drawn))
    if drawn.any():
        found, known = copies_of(asked, references, None, device)
    else:
        found, known = pa.schema(SUSPECTED).empty_table(), calibrate(references, device)
    row = np.flatnonzero(drawn)[found["row"].to_numpy().astype(np.int64)]
    places = column_values(rows, "conditioning_id")
    source = conditioning_rows(synthetic.labels, places, real["train"].labels)
    own = (found["reference"].to_numpy() == source[row]) & (
        found["split"].to_numpy(zero_copy_only=False) == "train"
    )
    names = np.array(synthetic.images.class_names, dtype=object)
    said = {name: found[name].combine_chunks() for name in found.column_names}
    table = pa.table(
        {
            "class": pa.array(names[synthetic.labels[row]].tolist(), pa.string()),
            "index": pa.array(rows["index"].to_numpy()[row], pa.int64()),
            **{name: said[name] for name in ("split", "reference")},
            "conditioning": pa.array(own.tolist(), pa.bool_()),
            **{name: said[name] for name in found.column_names[3:]},
        }
    )
    return Suspects(table, row, known, drawn)


def pairs_schema(class_names: Sequence[str]) -> pa.Schema:
    """The schema of the table of pairs: image, label and `PAIRS`."""
    return image_schema(class_names, PAIRS)


def pair_tables(
    found: Suspects, synthetic: ImageDataset, real: Mapping[str, ImageDataset]
) -> Iterator[pa.Table]:
    """The nearest pairs side by side: first the synthetic image, then the real one.

    Args:
        found: The suspects.
        synthetic: The synthetic images.
        real: The real images by split.

    Yields:
        A table for each pair.
    """
    schema = pairs_schema(synthetic.class_names)
    for pair, (row, its) in enumerate(
        zip(found.row[:SHOWN].tolist(), found.table.slice(0, SHOWN).to_pylist(), strict=True)
    ):
        both = [(synthetic, row), (real[its["split"]], its["reference"])]
        columns = {name: [its.get(name)] * 2 for name in PAIRS}
        columns |= {"pair": [pair] * 2, "role": ["synthetic", "real"]}
        yield image_table(
            [thumbnail(images.file(place)) for images, place in both],
            [int(images.labels[place]) for images, place in both],
            synthetic.class_names,
            columns,
            schema=schema,
        )
