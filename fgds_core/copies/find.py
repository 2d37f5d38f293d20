"""Which images are copies of real ones, by thresholds that real images set.

How far an image is from the real one that is most like it says little by itself: trousers are all
alike, landscapes are not. It is therefore divided by the mean distance to the five real images of
training and validation that come next. Of an image that is nobody's copy that ratio is near 1.
What is small is learned from real images that are no copies either: validation images beside
training images, and so on for each split. Test images are looked at for nothing else.

M images.

Source: Carlini et al. (2023), Extracting Training Data from Diffusion Models,
    https://arxiv.org/abs/2301.13188 (the ratio)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.stats import betabinom

from fgds_core.copies.hashes import ORIENTATIONS
from fgds_core.copies.search import WAYS, Floats, Nearest, Queries
from fgds_core.copies.thumbnails import Pictures, Rows, joined

NEIGHBOURS = 5
"""Real images that say how far from each other images like this are."""

KNOWN = ("train", "val")
"""Splits among which these neighbours are looked for: never test."""

BESIDE = {"train": "val", "val": "train", "test": "val"}
"""Real images of which split are compared with each, to learn what is near."""

COUNTED = {"val": "val"}
"""Further real images whose false alarms are counted, without themselves: training images alone
are mostly of the frequent classes, and of rare ones, which are drawn most, they tell little."""

SAMPLE = 500
"""Real images that are compared with a split, at most."""

LEAST = 50
"""With fewer, a threshold does not follow from them."""

PERCENTILE = 1.0
SHARE = 0.75
"""A ratio is small below this share of this percentile of the ratios of real images."""

MOST = {"picture": 0.4, "part": 0.65, "features": 0.4}
"""A larger ratio is never small, however far apart real images are."""

FOLDS = 10
"""Parts of the real images that are held out in turn, to count false alarms."""

EXACT = 1e-5
"""Distance up to which an image is the same, however near others are."""

FEW = 0.1
"""The threshold where there are too few real images for one."""


SUSPECTED: dict[str, pa.DataType] = {
    "row": pa.int64(),
    "split": pa.string(),
    "reference": pa.int64(),
    "way": pa.string(),
    "orientation": pa.string(),
    "distance": pa.float64(),
    "ratio": pa.float64(),
    "threshold": pa.float64(),
}
"""The columns of `copies_of`."""


@dataclass(frozen=True)
class Chance:
    """How many of some images are suspected without being copies.

    Attributes:
        num_images: How many there are.
        alarms: Of the real images that tell, those that are suspected, and a half.
        others: The rest of them, and a half.
        is_known: Whether there are enough real images to tell.
    """

    num_images: int
    alarms: float
    others: float
    is_known: bool

    @property
    def expected(self) -> float | None:
        """The mean number; None where it is unknown."""
        if not self.is_known:
            return None
        return self.num_images * self.alarms / (self.alarms + self.others)

    @property
    def interval(self) -> tuple[int, int] | None:
        """Numbers between which it lies in 95 of 100 cases; None where they are unknown."""
        if not self.is_known:
            return None
        low, high = betabinom.ppf([0.025, 0.975], self.num_images, self.alarms, self.others)
        return int(low), int(high)

    def of_more(self, number: int) -> float:
        """How probable so many or more are."""
        return float(betabinom.sf(number - 1, self.num_images, self.alarms, self.others))


@dataclass(frozen=True)
class Calibration:
    """What is near enough for a copy, and how often real images are as near.

    Attributes:
        thresholds: The ratio below which an image is suspected, by split and way.
        num_real: Real images that were compared with the split; with `val` both training images
            and, without themselves, validation images.
        num_alarms: How many of these would be suspected, in any of the ways, by thresholds that
            are learned from the others: a tenth of them at a time is held out.
    """

    thresholds: Mapping[str, Mapping[str, float]]
    num_real: Mapping[str, int]
    num_alarms: Mapping[str, int]

    def by_chance(self, split: str, num_images: int) -> Chance:
        """How many of so many other images would be suspected by chance.

        The share is known from a few hundred real images alone, so a number is beta-binomial: its
        spread is that of a count and that of the share behind it, with Jeffreys' prior.

        Source: Brown et al. (2001), https://doi.org/10.1214/ss/1009213286
        """
        alarms, others = self.num_alarms[split], self.num_real[split] - self.num_alarms[split]
        return Chance(num_images, alarms + 0.5, others + 0.5, self.num_real[split] >= LEAST)


@dataclass(frozen=True, eq=False)
class _Candidate:
    """The real image of a split that each image may be a copy of, [M] each."""

    ratio: Floats
    distance: Floats
    row: Rows
    orientation: Rows


def calibrate(
    references: Mapping[str, Pictures], device: str = "cpu", ways: Collection[str] = WAYS
) -> Calibration:
    """Learns from real images what is near.

    Args:
        references: The real images by split: `train` and `val`, and `test` where copies of its
            images are looked for too.
        device: Where it is computed.
        ways: In which of the `WAYS` images are compared; by features where they have some.
    """
    asked = _Asked.of(None, references)
    return asked.calibration(asked.candidates(references, device, ways))


def copies_of(
    images: Pictures,
    references: Mapping[str, Pictures],
    calibration: Calibration | None = None,
    device: str = "cpu",
    ways: Collection[str] = WAYS,
) -> tuple[pa.Table, Calibration]:
    """Looks for images that are copies of real ones, whole or in part, mirrored or turned.

    Args:
        images: Images that may be copies.
        references: The real images by split, as of `calibrate`.
        calibration: What `calibrate` says of these; None asks it at the same time, which reads the
            references once.
        device: Where it is computed.
        ways: As of `calibrate`.

    Returns:
        The calibration, and a row for each image and split of which it may have a copy, the
        nearest first: `row` of the image, `split`, `reference` (its row in the split), `way`,
        `orientation`, `distance`, `ratio` and `threshold`.
    """
    asked = _Asked.of(images, references if calibration is None else {})
    found = asked.candidates(references, device, ways)
    known = asked.calibration(found) if calibration is None else calibration
    return _suspected(len(images), found, known), known


@dataclass(frozen=True, eq=False)
class _Asked:
    """Images that are asked about: those that may be copies, and then real ones to learn from.

    Attributes:
        pictures: All of them, [M].
        images: How many of them may be copies.
        real: Which of them are real images, and of which row, by split: the first of them, and the
            rows.
    """

    pictures: Pictures
    images: int
    real: Mapping[str, tuple[int, Rows]]

    @classmethod
    def of(cls, images: Pictures | None, references: Mapping[str, Pictures]) -> _Asked:
        sets = [] if images is None else [images]
        start = sum(map(len, sets))
        num_images, real = start, {}
        for split in KNOWN:
            if split in references and len(references[split]):
                rows = _spread(len(references[split]), SAMPLE)
                sets.append(references[split].take(rows))
                real[split] = (start, rows)
                start += len(rows)
        return cls(joined(sets), num_images, real)

    def candidates(
        self, references: Mapping[str, Pictures], device: str, ways: Collection[str]
    ) -> dict[tuple[str, str], _Candidate]:
        """Of each split and in each way, what each image may be a copy of."""
        queries = Queries.of(self.pictures, device)
        found: dict[tuple[str, str], _Candidate] = {}
        for way, nearest in WAYS.items():
            if way not in ways or (way == "features" and self.pictures.features is None):
                continue
            near = {
                split: nearest(queries, pictures, self._own(split), device)
                for split, pictures in references.items()
                if len(pictures)
            }
            for split, its in near.items():
                others = {k: v for k, v in near.items() if k in KNOWN}
                found[split, way] = _candidate(split, its, others, way != "features")
        return found

    def _own(self, split: str) -> Rows:
        """Which image of a split each image is, -1 for none."""
        own = np.full(len(self.pictures), -1, dtype=np.int64)
        if split in self.real:
            start, rows = self.real[split]
            own[start : start + len(rows)] = rows
        return own

    def calibration(self, found: Mapping[tuple[str, str], _Candidate]) -> Calibration:
        """What the real images among them say."""
        thresholds: dict[str, dict[str, float]] = {}
        num_real, num_alarms = {}, {}
        for split in dict.fromkeys(split for split, _ in found):
            start, rows = self.real.get(BESIDE[split], (0, np.empty(0, dtype=np.int64)))
            ratios = {
                way: its.ratio[start : start + len(rows)]
                for (of, way), its in found.items()
                if of == split
            }
            thresholds[split] = {way: _threshold(way, values) for way, values in ratios.items()}
            num_real[split] = len(rows)
            num_alarms[split] = _held_out_alarms(ratios)
            first, further = self.real.get(COUNTED.get(split, ""), (0, rows[:0]))
            chosen = slice(first, first + len(further))
            num_real[split] += len(further)
            num_alarms[split] += _alarms(
                {way: found[split, way].ratio[chosen] for way in ratios}, thresholds[split]
            )
        return Calibration(thresholds, num_real, num_alarms)


def _candidate(
    split: str, nearest: Nearest, known: Mapping[str, Nearest], is_picture: bool
) -> _Candidate:
    """The likeliest reference of each image, and how much nearer it is than what comes next.

    Args:
        split: Of the references.
        nearest: Those that are most like each image.
        known: The same of all splits among which neighbours are looked for.
        is_picture: Whether no distance is the same picture, and not only the same to a network.
    """
    each = np.arange(len(nearest.likely))
    others = []
    for name, its in known.items():
        distance = its.distance.copy()  # [M, K]
        if name == split:
            distance[each, nearest.likely] = np.inf
        others.append(distance)
    ordered = np.sort(np.concatenate(others, axis=1), axis=1)[:, :NEIGHBOURS]
    there = np.isfinite(ordered)
    total = np.where(there, ordered, 0).sum(axis=1)
    usual = total / np.maximum(there.sum(axis=1), 1)
    # With no other image to compare with, an image is compared with one of no likeness
    usual = np.where(there.any(axis=1), usual, 1.0)
    ratio = np.full(len(usual), np.inf)
    np.divide(nearest.closest, usual, out=ratio, where=usual > EXACT)
    if is_picture:
        ratio[nearest.closest <= EXACT] = 0  # also where all its neighbours are
    return _Candidate(
        np.where(np.isfinite(nearest.closest), ratio, np.inf).astype(np.float32),
        nearest.closest,
        nearest.row[each, nearest.likely],
        nearest.orientation[each, nearest.likely],
    )


def _threshold(way: str, ratios: Floats) -> float:
    if len(ratios) < LEAST:
        return FEW
    return min(MOST[way], SHARE * float(np.percentile(ratios, PERCENTILE)))


def _held_out_alarms(ratios: Mapping[str, Floats]) -> int:
    """How many real images are suspected in any way, by thresholds learned without them.

    Args:
        ratios: By way, of the same images, [N] each.
    """
    alarms = 0
    for fold in range(FOLDS):
        out: dict[str, Floats] = {}
        learned: dict[str, float] = {}
        for way, values in ratios.items():
            is_out = np.arange(len(values)) % FOLDS == fold
            out[way], learned[way] = values[is_out], _threshold(way, values[~is_out])
        alarms += _alarms(out, learned)
    return alarms


def _alarms(ratios: Mapping[str, Floats], thresholds: Mapping[str, float]) -> int:
    """How many images are suspected in any way."""
    suspected = [values < thresholds[way] for way, values in ratios.items()]
    return int(np.any(suspected, axis=0).sum())


def _spread(num_images: int, most: int) -> Rows:
    return np.linspace(0, num_images - 1, min(most, num_images)).astype(np.int64)


def _suspected(
    num_images: int, found: Mapping[tuple[str, str], _Candidate], known: Calibration
) -> pa.Table:
    """See `copies_of`."""
    rows: list[dict[str, Any]] = []
    for split in dict.fromkeys(split for split, _ in found):
        # Of the ways in which an image is suspected, the one by which it is nearest
        ways = [way for of, way in found if of == split]
        closeness = np.stack(
            [
                found[split, way].ratio[:num_images] / max(known.thresholds[split][way], 1e-9)
                for way in ways
            ]
        )  # [ways, M]
        which = closeness.argmin(axis=0)
        for row in np.flatnonzero(closeness.min(axis=0) < 1).tolist():
            way = ways[which[row]]
            its = found[split, way]
            rows.append(
                {
                    "row": row,
                    "split": split,
                    "reference": int(its.row[row]),
                    "way": way,
                    "orientation": ORIENTATIONS[its.orientation[row]],
                    "distance": float(its.distance[row]),
                    "ratio": float(its.ratio[row]),
                    "threshold": known.thresholds[split][way],
                }
            )
    rows.sort(key=lambda each: (each["ratio"] / max(each["threshold"], 1e-9), each["row"]))
    return pa.Table.from_pylist(rows, schema=pa.schema(SUSPECTED))
