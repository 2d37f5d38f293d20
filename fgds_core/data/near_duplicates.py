"""Images that nearly occur in two splits: scaled, coded anew, brightened or mirrored.

Each image has a thumbnail of 16 x 16 grey pixels. Candidates are pairs whose perceptual hashes,
the signs of the thumbnail's low frequencies, differ in few bits; a pair is near when also the
thumbnails correlate more than almost all training images do with the one that is most like them.

N rows in a block, S the sample of training images.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Bytes = NDArray[np.uint8]
Rows = NDArray[np.int64]
Floats = NDArray[np.float32]

SIDE = 16
"""Pixels a side of a thumbnail."""

PERCENTILE = 1.0
"""Of the distances from training images to the one that is most like them: what is nearer is near.
So about one image in a hundred would be by chance, as for `assess.copies`."""

MOST_DISTANCE = 0.02
"""1 minus the correlation: two images that differ by more are never near."""

_SAMPLE = 1000
_LEAST = 50
"""Training images that the percentile needs, and of which a sample is drawn at most."""

_BITS = 8
"""Frequencies of the hash in each direction."""

_MOST_BITS = 10
"""Of 63, that the hashes of a candidate differ in."""

_FLAT = 2.0
"""Standard deviation of the pixels, in 1/255, below which an image says nothing."""

_BLOCK = 2**18
"""Pairs whose hashes are compared together: what the cache of a processor holds."""

_PART = 1024
"""Images that a thread takes at a time."""

SHOWN = 5


@dataclass(frozen=True)
class NearDuplicates:
    """What was found.

    Attributes:
        threshold: Distance, 1 minus the correlation of the thumbnails, below which pairs are near.
        counts: Images of the later split that are near to one of the earlier, for each pair of
            splits that has some, such as "train-test"; copies of the same pixels do not count.
        pairs: The nearest pairs, each by their rows counted over all splits.
        leaked: Which training images are near to one of validation or test, [N].
    """

    threshold: float
    counts: dict[str, int]
    pairs: list[tuple[int, int]]
    leaked: NDArray[np.bool_]


def thumbnail(picture: Image.Image) -> bytes:
    """The 16 x 16 grey pixels of a picture, row by row; all pictures have one size."""
    small = picture.resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=1.0)
    return small.convert("L").tobytes()


def near_duplicates(
    thumbnails: bytearray,
    firsts: Rows,
    starts: Mapping[str, tuple[int, int]],
    *,
    threads: int = 1,
) -> NearDuplicates | None:
    """Looks for images of one split that are near to one of another.

    Args:
        thumbnails: Of all images, one split after the other.
        firsts: The first row with the same pixels as each, [N].
        starts: Where each split begins among the rows and where it ends, "train" first.
        threads: How many look at a time.

    Returns:
        None where the training images are too few to tell what near is.

    Source: Zauner (2010), Implementation and Benchmarking of Perceptual Image Hash Functions,
        https://www.phash.org/docs/pubs/thesis_zauner.pdf (the hash)
    """
    pixels = np.frombuffer(thumbnails, dtype=np.uint8).reshape(-1, SIDE * SIDE)
    telling = np.concatenate([x.std(axis=1) >= _FLAT for _, x in _blocks(pixels)] or [[]])
    begin, end = starts["train"]
    train = begin + np.flatnonzero(telling[begin:end])
    if len(train) < _LEAST:
        return None
    threshold = min(MOST_DISTANCE, _usual_distance(pixels, firsts, train))
    plain = np.concatenate([_hashes(x) for _, x in _blocks(pixels)])
    mirrored = np.concatenate([_hashes(x, mirrored=True) for _, x in _blocks(pixels)])
    counts, found = {}, []
    for (name, (b, e)), (other, (c, d)) in combinations(starts.items(), 2):
        rows, others = (x + np.flatnonzero(telling[x:y]) for x, y in ((b, e), (c, d)))
        pairs = []
        for hashes in (plain, mirrored):
            look = partial(_near, pixels, firsts, threshold, plain[rows], rows, hashes is mirrored)
            some = [others[at : at + _PART] for at in range(0, len(others), _PART)]
            with ThreadPoolExecutor(threads) as pool:
                pairs += list(pool.map(look, [hashes[part] for part in some], some))
        near = np.concatenate([*pairs, _NO_PAIRS])
        if len(near):
            counts[f"{name}-{other}"] = len(np.unique(near["other"]))
            found.append(near)
    every = np.sort(np.concatenate([*found, _NO_PAIRS]), order=["distance", "row", "other"])
    leaked = np.zeros(end - begin, dtype=np.bool_)
    leaked[every["row"][every["row"] < end] - begin] = True
    nearest = list(dict.fromkeys(zip(every["row"].tolist(), every["other"].tolist(), strict=True)))
    return NearDuplicates(threshold, counts, nearest[:SHOWN], leaked)


_PAIR: Any = [("distance", np.float32), ("row", np.int64), ("other", np.int64)]
_NO_PAIRS = np.empty(0, dtype=_PAIR)


def _near(
    pixels: Bytes,
    firsts: Rows,
    threshold: float,
    hashes: NDArray[np.uint64],
    rows: Rows,
    mirrored: bool,
    other_hashes: NDArray[np.uint64],
    others: Rows,
) -> NDArray[Any]:
    """The near pairs of all rows with some others."""
    first, second = _alike(hashes, other_hashes)
    row, other = rows[first], others[second]
    distance = np.empty(len(row), dtype=np.float32)
    for at in range(0, len(row), _CHUNK):
        part = slice(at, at + _CHUNK)
        x, y = _standardised(pixels[row[part]]), _standardised(pixels[other[part]], mirrored)
        distance[part] = 1 - np.einsum("nd,nd->n", x, y)
    near = (distance < threshold) & (firsts[row] != firsts[other])
    found = np.empty(int(near.sum()), dtype=_PAIR)
    found["distance"], found["row"], found["other"] = distance[near], row[near], other[near]
    return found


def _alike(hashes: NDArray[np.uint64], others: NDArray[np.uint64]) -> tuple[Rows, Rows]:
    """The places of the pairs that differ in few bits, in the first and in the second."""
    step = max(1, _BLOCK // max(1, len(hashes)))
    shape = (step, len(hashes))
    differing, number = np.empty(shape, dtype=np.uint64), np.empty(shape, dtype=np.uint8)
    few = np.empty(shape, dtype=np.bool_)
    found = [np.empty((2, 0), dtype=np.int64)]
    for begin in range(0, len(others), step):
        some = others[begin : begin + step, None]
        size = slice(len(some))
        # Into the same memory each time, which is four times as fast as new memory
        np.bitwise_xor(some, hashes, out=differing[size])
        np.bitwise_count(differing[size], out=number[size])
        np.less_equal(number[size], _MOST_BITS, out=few[size])
        places = np.flatnonzero(few[size])
        if len(places):
            second, first = np.divmod(places, len(hashes))
            found.append(np.stack([first, second + begin]))
    first, second = np.concatenate(found, axis=1)
    return first, second


_CHUNK = 8192
"""Thumbnails that are numbers at a time: 8 MB."""


def _blocks(pixels: Bytes) -> Iterator[tuple[int, Bytes]]:
    for begin in range(0, len(pixels), _CHUNK):
        yield begin, pixels[begin : begin + _CHUNK]


def _standardised(pixels: Bytes, mirrored: bool = False) -> Floats:
    """Thumbnails with mean 0 and length 1, so that a product is a correlation, [N, 256]."""
    x = pixels.astype(np.float32)
    if mirrored:
        x = x.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(len(x), -1)
    x -= x.mean(axis=1, keepdims=True)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)
    return x


def _usual_distance(pixels: Bytes, firsts: Rows, train: Rows) -> float:
    """The percentile of the distances from training images to the different one next to them."""
    sample = train[np.linspace(0, len(train) - 1, min(_SAMPLE, len(train))).astype(np.int64)]
    most = np.full(len(sample), -1, dtype=np.float32)  # [S]
    queries = [_standardised(pixels[sample], mirrored) for mirrored in (False, True)]
    for begin in range(0, len(train), _CHUNK):
        rows = train[begin : begin + _CHUNK]
        x = _standardised(pixels[rows])
        same = firsts[sample][:, None] == firsts[rows]  # [S, N]
        for query in queries:
            likeness = query @ x.T  # [S, N]
            likeness[same] = -1
            np.maximum(most, likeness.max(axis=1), out=most)
    return float(np.percentile(1 - most, PERCENTILE))


def _hashes(pixels: Bytes, mirrored: bool = False) -> NDArray[np.uint64]:
    """One bit for each of the 63 lowest frequencies: whether it is above their median, [N]."""
    x = pixels.reshape(-1, SIDE, SIDE).astype(np.float32)
    places = (2 * np.arange(SIDE) + 1) * np.pi / (2 * SIDE)
    cosines = np.cos(np.arange(_BITS)[:, None] * places).astype(np.float32)  # [8, 16]
    frequencies = cosines @ x @ cosines.T  # [N, 8, 8], the cosine transform but for its scale
    if mirrored:
        frequencies[:, :, 1::2] *= -1  # a mirrored cosine of odd frequency has the other sign
    each = frequencies.reshape(len(x), -1)[:, 1:]  # [N, 63], without the mean
    bits = each > np.median(each, axis=1, keepdims=True)
    padded = np.concatenate([np.zeros((len(x), 1), dtype=np.bool_), bits], axis=1)
    return np.packbits(padded, axis=1).view(np.uint64)[:, 0]


def described(found: NearDuplicates, names: Sequence[Sequence[str]]) -> dict[str, Any]:
    """What `meta.json` says: threshold, counts, and the nearest pairs by their names."""
    return {
        "threshold": round(found.threshold, 6),
        "counts": found.counts,
        "pairs": [list(pair) for pair in names],
    }
