"""The real images that each image is most like: by hash, by a part of them, by features.

Every image is compared with every other, exactly, a block of pairs at a time: memory holds some
numbers an image of those that are asked about, and a few blocks. Parts are searched among the
images of the same class alone, which is where an image comes from that was drawn for it: there are
140 windows to an image.

M images asked about, N references, B of them in a block, W windows, T vectors of a centre, D
features, K nearest references that are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fgds_core.copies.hashes import (
    BITS,
    CENTRE,
    FINE_BITS,
    ORIENTATIONS,
    PLACES,
    SMALLEST,
    centre,
    oriented,
    whole,
    windowed,
    windows,
)
from fgds_core.copies.thumbnails import SIDE, Bytes, Pictures, Rows
from fgds_core.copies.tones import toned

Floats = NDArray[np.float32]

KEPT = 6
"""References of each image that are kept: what it may be a copy of, and five neighbours."""

SCORES = {"cpu": 2**21, "cuda": 2**28}
"""Likenesses that are held at a time on each kind of device: 8 MB and 1 GB."""

_REFERENCES = 4096
"""References that are read at a time."""

_QUERIES = 32_768
"""Images whose features are held at a time: 100 MB of 768 numbers each."""

_ASKED = 8192
"""Images of a class whose parts are looked for at a time: 18 MB for each reference."""

_CLOSER = 2
"""References of each image that are looked at more closely: as if they had its tones, and their
parts between the pixels."""

_MOVES = (1.0, 0.5)
"""By how many pixels a part is moved to fit better: its middle, and its sides outwards."""


@dataclass(frozen=True, eq=False)
class Queries:
    """The images that are asked about, [M].

    Attributes:
        pictures: What they are.
        whole: Their hashes, float32 [M, BITS**2].
        centre: Those of their centres with tangents, float32 [M, T, BITS**2].
    """

    pictures: Pictures
    whole: Tensor
    centre: Tensor

    @classmethod
    def of(cls, pictures: Pictures, device: str = "cpu") -> Queries:
        """Hashes pictures, a block at a time."""
        nothing = pictures.thumbnails[np.empty(0, dtype=np.int64)]
        blocks = [nothing, *(x for _, x in _blocks(pictures))]
        hashes = [(whole(x, device).cpu(), centre(x, device=device).cpu()) for x in blocks]
        wholes, centres = (torch.cat(each) for each in zip(*hashes, strict=True))
        return cls(pictures, wholes, centres)

    def __len__(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True, eq=False)
class Nearest:
    """The references that are most like each image.

    Attributes:
        distance: 1 minus the correlation of the hashes or the cosine of the features, the least
            first, [M, K]; infinite where there is nothing more to compare with.
        row: Which reference, [M, K].
        orientation: In which of the `ORIENTATIONS` it was found, [M, K].
        likely: Which of the K it may be a copy of, [M].
        closest: The distance of that one, looked at more closely where there is a way, [M].
    """

    distance: Floats
    row: Rows
    orientation: Rows
    likely: Rows
    closest: Floats


def _scores(device: str) -> int:
    """Likenesses that are held at a time on a device; of other kinds as many as on a CPU."""
    return SCORES.get(torch.device(device).type, SCORES["cpu"])


def by_picture(
    queries: Queries, references: Pictures, own: Rows | None = None, device: str = "cpu"
) -> Nearest:
    """By the hashes of whole pictures, in all orientations.

    All references are searched as they are; the likeliest are then compared in the image's tones.

    Args:
        queries: The images.
        references: What they may be copies of.
        own: Which reference each image itself is, and is not compared with, [M]; -1 is none.
        device: Where it is computed.
    """
    best = _Best(len(queries))
    step = max(1, _scores(device) // _REFERENCES)
    for rows, x in _blocks(references):
        others = whole(x, device).T  # [BITS**2, B]
        for begin in range(0, len(queries), step):
            some = slice(begin, begin + step)
            asked = queries.whole[some].to(device)
            likeness = asked @ others  # [M, B]
            orientation = torch.zeros_like(likeness, dtype=torch.uint8)
            for k in range(1, len(ORIENTATIONS)):
                other = oriented(asked, k) @ others
                orientation[other > likeness] = k
                likeness = likeness.maximum(other)
            best.update(some, likeness, rows, orientation, own)
    found = best.found()
    likely, closest = _in_its_tones(queries.pictures, references, found, device)
    return Nearest(found.distance, found.row, found.orientation, likely, closest)


def by_part(
    queries: Queries, references: Pictures, own: Rows | None = None, device: str = "cpu"
) -> Nearest:
    """By their centres and the parts of references of the same class, mirrored ones too.

    The windows of all references are searched along the tangents of the centre; of those that hold
    the likeliest ones, the part is then looked for more closely. Arguments as of `by_picture`.
    """
    best = _Best(len(queries))
    window = np.zeros((len(queries), KEPT), dtype=np.int64)
    odd = torch.arange(BITS * BITS, device=device) % 2 == 1  # frequencies that mirroring turns
    for label, chosen in _by_class(queries.pictures.labels, _ASKED):
        of_class = np.flatnonzero(references.labels == label)
        asked = queries.centre[torch.from_numpy(chosen)].to(device).flatten(0, 1)  # [M * T, ..]
        step = max(1, _scores(device) // (len(PLACES) * len(asked)))
        for begin in range(0, len(of_class), step):
            rows = of_class[begin : begin + step]
            flat = windows(references.thumbnails[rows], device).flatten(0, 1)  # [B * W, ..]
            even_part = asked[:, ~odd] @ flat[:, ~odd].T  # [M * T, B * W]
            odd_part = asked[:, odd] @ flat[:, odd].T
            sizes = (len(chosen), -1, len(rows), len(PLACES))
            plain, at = _along((even_part + odd_part).view(sizes)).max(dim=2)  # [M, B] each
            mirrored, mirrored_at = _along(even_part.sub_(odd_part).view(sizes)).max(dim=2)
            better = mirrored > plain
            code = torch.where(better, mirrored_at, at) * 2 + better  # window and orientation
            best.update(chosen, plain.maximum(mirrored), rows, code, own)
    window, orientation = best.orientation // 2, best.orientation % 2
    found = best.found(orientation)
    likely, closest = _closer(queries.pictures, references, found, window, device)
    return Nearest(found.distance, found.row, orientation, likely, closest)


def by_features(
    queries: Queries, references: Pictures, own: Rows | None = None, device: str = "cpu"
) -> Nearest:
    """By the cosine of features; arguments as of `by_picture`."""
    best = _Best(len(queries))
    asked, known = queries.pictures.features, references.features
    if asked is None or known is None:
        return best.found()
    step = max(1, _scores(device) // _REFERENCES)
    for place, x in asked.blocks(_QUERIES):
        normed = _unit(x, device)  # [M, D]
        for rows, y in known.blocks(_REFERENCES):
            others = _unit(y, device).T  # [D, B]
            for begin in range(0, len(normed), step):
                likeness = normed[begin : begin + step] @ others  # [M, B]
                some = slice(place.start + begin, place.start + begin + len(likeness))
                is_as = torch.zeros_like(likeness, dtype=torch.uint8)
                best.update(some, likeness, np.arange(rows.start, rows.stop), is_as, own)
    return best.found()


WAYS: dict[str, Callable[[Queries, Pictures, Rows | None, str], Nearest]] = {
    "picture": by_picture,
    "part": by_part,
    "features": by_features,
}
"""In which ways images are compared."""


def _along(likeness: Tensor) -> Tensor:
    """How like hashes are to others that may move along their tangents.

    Args:
        likeness: Of each hash and then its tangents to others, [B, T, ...].

    Returns:
        That of the nearest point of the plane which they span, [B, ...]; 0 where the hash itself
        is nothing like it.
    """
    squares = likeness.square().sum(dim=1)
    return squares.masked_fill_(likeness[:, 0] <= 0, 0).sqrt_()


def _in_its_tones(
    queries: Pictures, references: Pictures, found: Nearest, device: str
) -> tuple[Rows, Floats]:
    """Compares images with their likeliest references, as if these had their tones.

    Args:
        queries: The images, M.
        references: The real images.
        found: Which of them are likeliest.
        device: Where it is computed.

    Returns:
        Which of the K is the likeliest, and its distance, [M] each.
    """
    closest = np.full((len(queries), _CLOSER), np.inf, dtype=np.float32)
    for k, some in _pairs(found):
        pictures = queries.thumbnails[some]
        others = toned(references.thumbnails[found.row[some, k]], pictures, device=device)
        hashes = whole(pictures, device)
        every = torch.stack([oriented(hashes, way) for way in range(len(ORIENTATIONS))])
        turned = torch.from_numpy(found.orientation[some, k]).to(device)
        asked = every[turned, torch.arange(len(some), device=device)]  # [B, BITS**2]
        closest[some, k] = 1 - (asked * whole(others, device)).sum(dim=1).cpu().numpy()
    return _likeliest(closest)


def _closer(
    queries: Pictures, references: Pictures, found: Nearest, window: Rows, device: str
) -> tuple[Rows, Floats]:
    """Looks for the parts of the likeliest references between the windows, in more frequencies.

    What is found is compared as it is, and as if it had the image's tones.

    Args:
        queries: The images, M.
        references: The real images.
        found: Which of them are likeliest.
        window: In which of the `PLACES`, [M, K].
        device: Where it is computed.

    Returns:
        Which of the K is the likeliest, and its distance, [M] each.
    """
    closest = np.full((len(queries), _CLOSER), np.inf, dtype=np.float32)
    every = torch.tensor(PLACES, dtype=torch.float32, device=device)  # [W, 3]
    for k, some in _pairs(found):
        images = queries.thumbnails[some]
        asked = centre(images, FINE_BITS, device)  # [B, T, ..]
        turned = torch.from_numpy(found.orientation[some, k] == 1).to(device)
        asked = torch.where(turned[:, None, None], oriented(asked, 1), asked)
        pictures = references.thumbnails[found.row[some, k]]
        place = every[torch.from_numpy(window[some, k]).to(device)]  # [B, 3]
        likeness, place = _settled(asked, pictures, place)
        others = toned(pictures, images[:, _WITHIN], place, device)
        in_its_tones = _along(asked @ windowed(others, place[:, None], FINE_BITS).mT)[:, 0]
        closest[some, k] = 1 - likeness.maximum(in_its_tones).cpu().numpy()
    return _likeliest(closest)


def _pairs(found: Nearest) -> Iterator[tuple[int, Rows]]:
    """The pairs that are looked at more closely: which of the K, and some of the M images."""
    for k in range(_CLOSER):
        there = np.flatnonzero(np.isfinite(found.distance[:, k]))
        for begin in range(0, len(there), _PAIRS):
            yield k, there[begin : begin + _PAIRS]


def _likeliest(closest: Floats) -> tuple[Rows, Floats]:
    """Which of distances [M, K] is the least, and what it is, [M] each."""
    likely = closest.argmin(axis=1)
    return likely, np.maximum(closest[np.arange(len(closest)), likely], 0)


def _settled(asked: Tensor, pictures: Bytes, place: Tensor) -> tuple[Tensor, Tensor]:
    """Where centres fit best into pictures near some places, and how like they are there.

    Args:
        asked: Hashes of the centres with tangents, [B, T, ..].
        pictures: Thumbnails, [B, SIDE * SIDE].
        place: Where to begin: top, left and side, [B, 3].

    Returns:
        Likeness [B] and place [B, 3].
    """
    likeness = asked.new_zeros(len(place))
    for size in _MOVES:
        steps = torch.tensor([-size, 0.0, size], device=place.device)
        down, right, out = torch.cartesian_prod(steps, steps, steps).T  # [27] each
        side = (place[:, 2:] + 2 * out).clamp(min=SMALLEST - 2, max=SIDE)  # [B, 27]
        corner = place[:, None, :2] + torch.stack([down - out, right - out], dim=1)  # [B, 27, 2]
        corner = corner.clamp(min=0).minimum(SIDE - side[..., None])
        places = torch.cat([corner, side[..., None]], dim=-1)  # [B, 27, 3]
        each = _along(asked @ windowed(pictures, places, FINE_BITS).mT)  # [B, 27]
        likeness, best = each.max(dim=1)
        place = places[torch.arange(len(place), device=place.device), best]
    return likeness, place


_PAIRS = 1024
"""Pairs that are looked at more closely at a time."""

_WITHIN = np.add.outer(
    SIDE * np.arange(CENTRE[0], CENTRE[0] + CENTRE[2]), np.arange(CENTRE[1], CENTRE[1] + CENTRE[2])
).ravel()
"""Pixels of a thumbnail that its centre holds."""


def _unit(x: Tensor, device: str) -> Tensor:
    """float32 of length 1, [B, D]; 0 where there is no direction or a number is not finite."""
    normed = F.normalize(x.to(device), dim=1).float()
    return normed.masked_fill_(~normed.isfinite().all(dim=1, keepdim=True), 0)


class _Best:
    """The likeliest references so far of each of M images."""

    def __init__(self, num_images: int) -> None:
        self.likeness = np.full((num_images, KEPT), -np.inf, dtype=np.float32)
        self.row = np.full((num_images, KEPT), -1, dtype=np.int64)
        self.orientation = np.zeros((num_images, KEPT), dtype=np.int64)

    def update(
        self,
        which: slice | Rows,
        likeness: Tensor,
        rows: Rows,
        orientation: Tensor,
        own: Rows | None,
    ) -> None:
        """Takes references that are more like some images than those so far.

        Args:
            which: The images, M of them.
            likeness: Of each to each reference, [M, B]; changed where it is the same image.
            rows: Of the references, in order, [B].
            orientation: What to note of each pair, [M, B].
            own: Which reference each of all images itself is; None is none.
        """
        if own is not None:
            at = np.searchsorted(rows, own[which]).clip(max=len(rows) - 1)
            same = np.flatnonzero(rows[at] == own[which])
            likeness[torch.from_numpy(same), torch.from_numpy(at[same])] = -torch.inf
        new, places = likeness.topk(min(KEPT, len(rows)), dim=1)  # [M, K]
        noted = orientation.gather(1, places).cpu().numpy().astype(np.int64)
        every = np.concatenate([self.likeness[which], new.cpu().numpy()], axis=1)
        order = np.argsort(-every, axis=1, kind="stable")[:, :KEPT]
        for name, values in (("row", rows[places.cpu().numpy()]), ("orientation", noted)):
            kept = getattr(self, name)
            kept[which] = np.take_along_axis(
                np.concatenate([kept[which], values], axis=1), order, axis=1
            )
        self.likeness[which] = np.take_along_axis(every, order, axis=1)

    def found(self, orientation: Rows | None = None) -> Nearest:
        """The outcome, with other orientations than those noted if they are given."""
        distance = np.maximum(1 - self.likeness, 0)
        noted = self.orientation if orientation is None else orientation
        first = np.zeros(len(distance), dtype=np.int64)
        return Nearest(distance, self.row, noted, first, distance[:, 0])


def _blocks(pictures: Pictures) -> Iterator[tuple[Rows, Bytes]]:
    for begin in range(0, len(pictures), _REFERENCES):
        rows = np.arange(begin, min(begin + _REFERENCES, len(pictures)), dtype=np.int64)
        yield rows, pictures.thumbnails[rows]


def _by_class(labels: Rows, most: int) -> Iterator[tuple[int, Rows]]:
    """Each class that there is, with its rows, so many at a time."""
    order = np.argsort(labels, kind="stable")
    classes, starts = np.unique(labels[order], return_index=True)
    if len(classes):
        for label, rows in zip(classes.tolist(), np.split(order, starts[1:]), strict=True):
            for begin in range(0, len(rows), most):
                yield label, rows[begin : begin + most]
