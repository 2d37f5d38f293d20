"""Known lists and splits of published data sets, so that a run says whether it reads them.

Digests are those of the files that several public repositories hold byte for byte alike; counts
are those of the sets' papers and loaders.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fgds_core.files import hash_file

OFFICIAL = {
    "9af7ba688acf9532ff5845a8fb14a1e97fdc4c51ac48bc72c08ea9c3f7ff142e": "ImageNet-LT validation",
    "d1590191cf8a71fada7b1aaedaa2d139a2aea93ff2f1b755319d0bd8dbaa55d5": "ImageNet-LT test",
    "09410632a22045212fb3231623261e8426ba8dc1887a2b633afeab78ba9c8868": "Places-LT train",
    "09cf0e5abf684f946f60b6bf9c526a5ee85d09f555d2c4b9cfaaf22b19d04974": "Places-LT validation",
    "3c34622e44f036b17c7926b0b6bbdd3d335fa63077409ebb06da68afa7073cd9": "Places-LT test",
    "e7795ab1bf428a89f900854127b1e556": "Places-LT train",
    "2f6e727cd6c99c7b7fdecc9876875b1b": "Places-LT validation",
    "1347af35b053bd31cf782256306affe7": "Places-LT test",
    "efaeff65f80641b60864470e6f255aa69453406ef5717eec8c6681748f3a61f3": "iNaturalist 2018 "
    "validation",
}
"""What a list is by its sha256; of Places-LT in the easyformat style, by its md5."""

IMAGENET_LT_TRAIN = (115_846, 1_000, 5, 1_280)
"""Lines, classes, smallest and largest class of the one list whose digest is not known."""

CELLS = {
    "Waterbirds, the official split": {
        "train": (3498, 184, 56, 1057),
        "val": (467, 466, 133, 133),
        "test": (2255, 2255, 642, 642),
    },
    "Waterbirds, the split that was made again and circulates, not the official one": {
        "train": (3525, 186, 54, 1030),
        "val": (452, 452, 147, 148),
        "test": (2255, 2255, 642, 642),
    },
    "CelebA, the official split": {
        "train": (71629, 66874, 22880, 1387),
        "val": (8535, 8276, 2874, 182),
        "test": (9767, 7535, 2480, 180),
    },
}
"""Images of each class x group, the classes one after the other, of known splits."""


def list_note(parameter: str, path: Path, counts: Sequence[int]) -> str:
    """Whether a list is a published one, for one line to the user.

    Args:
        parameter: Whose list it is.
        path: The list.
        counts: Its images of each class, [K].
    """
    known = OFFICIAL.get(hash_file(path, "sha256")) or OFFICIAL.get(hash_file(path, "md5"))
    if known is not None:
        return f"{parameter}: the official list {known}"
    if (sum(counts), len(counts), min(counts), max(counts)) == IMAGENET_LT_TRAIN:
        return f"{parameter}: counts as ImageNet-LT train has, whose digest is not known"
    return f"{parameter}: not an official list that is known by its digest"


def cells_note(cells: Mapping[str, Sequence[int]]) -> str:
    """Whether the images of each class x group of each split are those of a published split."""
    found = {split: tuple(counts) for split, counts in cells.items()}
    known = [name for name, published in CELLS.items() if published == found]
    return f"by its counts: {known[0]}" if known else "by its counts: no split that is known"
