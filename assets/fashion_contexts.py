"""Makes Fashion-Contexts, the embedded data set with groups: garments in front of grounds.

Command: `python -m assets.fashion_contexts` (a minute). It needs the four `idx` files of
Fashion-MNIST (MIT licence), e.g. from the Debian package `dataset-fashion-mnist`, and
`assets/fashion-lt/`, and writes three Parquet files, a fourth of pictures that are in none of
these, and the data card to `assets/fashion-contexts/`. Same input, same bytes.

Training garments are those that the embedded generator's corpus holds out, so it has seen none.
"""

import argparse
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from assets.corpus import COLOURS, Look, appearance_hash, free_garments, paint, resize
from assets.fashion_lt import (
    CLASS_NAMES,
    DEBIAN_FOLDER,
    SPLITS,
    UNUSED,
    Labels,
    Pixels,
    encode_png,
    first_of_each,
    read_source,
)
from assets.fashion_lt import FOLDER as FASHION_LT

FOLDER = Path(__file__).parent / "fashion-contexts"


@dataclass(frozen=True)
class Ground:
    """A group: what is behind the garment."""

    context: str  # the corpus' word for the rendering
    colour: str
    pattern: str  # "" is none


GROUNDS = {
    "black": Ground("target", "black", ""),
    "white": Ground("inverted", "white", ""),
    "red": Ground("background", "red", ""),
    "green striped": Ground("scene", "green", "striped"),
    "yellow checked": Ground("scene", "yellow", "checked"),
}
"""Groups by name. A name is what the corpus' captions say between "on a" and "background", so the
generator's text encoder knows it."""

TRAIN_COUNTS = (100, 15, 6, 2, 0)
"""Training images of a class in its own ground and in the next ones, in the order of GROUNDS."""

TARGET_PER_GROUP = 40
"""What train and the unused images together hold of each cell at least; as the recipe has it."""


@dataclass(frozen=True)
class Garments:
    """Garments and what they shall stand before.

    Attributes:
        images: Grey pictures of one official part, uint8 [M, 28, 28].
        part: Name of that part.
        labels: Class of each garment that is used, [N].
        indices: Its place in the part, [N].
        grounds: Its group, N of them.
    """

    images: Pixels
    part: str
    labels: Labels
    indices: NDArray[np.int64]
    grounds: tuple[str, ...]


def train_counts() -> dict[str, list[int]]:
    """Training images of every class in every group; class k has ground k modulo 5 as its own."""
    num_grounds = len(GROUNDS)
    return {
        name: [TRAIN_COUNTS[(place - k) % num_grounds] for place in range(num_grounds)]
        for k, name in enumerate(CLASS_NAMES)
    }


def unused_counts() -> dict[str, list[int]]:
    """Unused images of every class in every group: what the training images lack."""
    return {
        name: [max(TARGET_PER_GROUP - count, 0) for count in counts]
        for name, counts in train_counts().items()
    }


def validating(fashion_lt: Path) -> NDArray[np.int64]:
    """Places in the official training part of Fashion-LT's validation pictures."""
    images = pq.read_table(fashion_lt / "validation.parquet", columns=["image"])["image"]
    names = [Path(image["path"]).stem for image in images.to_pylist()]  # such as train-00042
    return np.array([int(name.removeprefix("train-")) for name in names], dtype=np.int64)


def place_garments(
    images: Pixels,
    part: str,
    labels: Labels,
    free: NDArray[np.int64],
    counts: list[dict[str, list[int]]],
    rng: np.random.Generator,
) -> list[Garments]:
    """Puts garments before grounds, each one before one ground of one split.

    Args:
        images: Grey pictures of one official part, [M, 28, 28].
        part: Name of that part.
        labels: Their classes, [M].
        free: Indices that may be used.
        counts: Of each split, how many of each class each ground gets.
        rng: Shuffles the garments.

    Returns:
        The garments of each split, by class and ground.
    """
    chosen: list[list[int]] = [[] for _ in counts]
    grounds: list[list[str]] = [[] for _ in counts]
    for label, name in enumerate(CLASS_NAMES):
        members = iter(rng.permutation(free[labels[free] == label]).tolist())
        for split, wanted in enumerate(counts):
            for ground, count in zip(GROUNDS, wanted[name], strict=True):
                chosen[split] += [next(members) for _ in range(count)]
                grounds[split] += [ground] * count
    placed = []
    for own, before in zip(chosen, grounds, strict=True):
        indices = np.array(own, dtype=np.int64)
        placed.append(Garments(images, part, labels[indices], indices, tuple(before)))
    return placed


def looks_of(grounds: tuple[str, ...], rng: np.random.Generator) -> list[Look]:
    """How garments look before their grounds; before a colour they have any other colour."""
    looks = []
    for name in grounds:
        ground = GROUNDS[name]
        others = [colour for colour in COLOURS if colour != ground.colour]
        drawn = others[rng.integers(len(others))]
        garment = {"target": "white", "inverted": "black"}.get(ground.context, drawn)
        looks.append(Look(ground.context, garment, "", ground.colour, ground.pattern))
    return looks


def without_colour(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture, [H, W, 3]; as [H, W] if it is grey, for a file half as large."""
    is_grey = (picture == picture[..., :1]).all()
    return picture[..., 0] if is_grey else picture


def write_split(path: Path, garments: Garments, rng: np.random.Generator) -> set[str]:
    """Writes one split as Parquet with the Hugging Face image and class-label convention.

    Args:
        path: File to write.
        garments: What it holds.
        rng: Draws what the grounds leave open.

    Returns:
        Appearance hashes of the garments.
    """
    own = garments.images[garments.indices]  # [N, 28, 28]
    grey = torch.from_numpy(np.stack([resize(image) for image in own]))  # [N, 32, 32]
    pictures = paint(grey, looks_of(garments.grounds, rng), rng).permute(0, 2, 3, 1).numpy()
    hashes = [appearance_hash(image) for image in own]
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(CLASS_NAMES), "_type": "ClassLabel"},
        "group": {"dtype": "string", "_type": "Value"},
        "garment": {"dtype": "string", "_type": "Value"},
    }
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("label", pa.int64()),
            ("group", pa.string()),
            ("garment", pa.string()),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    rows = [
        {"bytes": encode_png(without_colour(picture)), "path": f"{garments.part}-{index:05d}.png"}
        for picture, index in zip(pictures, garments.indices.tolist(), strict=True)
    ]
    columns = {
        "image": rows,
        "label": garments.labels,
        "group": list(garments.grounds),
        "garment": hashes,
    }
    pq.write_table(
        pa.table(columns, schema=schema),
        path,
        compression="zstd",
        compression_level=9,
        row_group_size=2000,
        version="2.6",
    )
    return set(hashes)


CARD = """\
# Fashion-Contexts

Garments in front of grounds, the pipeline's embedded data set with groups, as NICO++ has animals
in surroundings: 32x32 colour pictures of {num_classes} kinds of garment before
{num_grounds} grounds.

- **Source**: Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, https://arxiv.org/abs/1708.07747),
  70,000 product pictures by Zalando SE. **Licence: MIT**, Copyright (c) 2017 Zalando SE.
- **Made by** `python -m assets.fashion_contexts` with seed {seed}. Same input, same bytes.
- **Groups** are the grounds, called as the captions of the embedded generator's corpus call them
  ("a red coat on a green striped background"). The renderings are that corpus' own
  (`assets/corpus.py`):
  {renderings}.
  Before a colour the garment has any other colour, and 60 % of these are resized, moved and
  mirrored.
- **train**: class k has the ground k modulo {num_grounds} as its own, and there and in the next
  ones, in order, {train_counts} images. So classes have equally many images, a ground
  tells much of the class, and of the {num_cells} cells {num_empty} have no image and {num_rare}
  have 1 to 10. The rule was taken as it came, without looking at any accuracy.
- **validation** and **test** have {num_validation} and {num_test} images in every cell.
- **unused**: {num_unused:,} images that fill every cell of train up to {target}: "more real
  images", the ceiling of what synthetic ones can be worth. They are rendered like train.
- **Garments**: each is in one picture of one file. Those of train are among the 2,000 that the
  corpus of the embedded generator (`assets/tiny-unclip`) holds out; those of validation and test
  are official test pictures, which are the test split of Fashion-LT; those of unused are further
  held-out ones and such as validate in Fashion-LT. That corpus holds nothing of Fashion-LT. So
  the generator, its decoders and the judge were trained on none of them, neither as they are nor
  mirrored nor as a negative; `assets/fashion_contexts.py` asserts it. They were trained on
  thousands of others like them. How good the generator is was measured with held-out garments,
  those of train and unused among them.
- **Columns**: `image` (PNG bytes, and as path the official part and the index in it), `label`,
  `group`, and `garment`, by which garments are known: the smallest sha256 of the grey 28x28
  picture, its mirror image and the negatives of both.

Training images:

| class | label | {ground_names} | all |
|---|---|{ground_line}|---|
{class_rows}

Unused images:

| class | label | {ground_names} | all |
|---|---|{ground_line}|---|
{unused_rows}

| file | images | sha256 |
|---|---|---|
{file_rows}
"""


def rows_of(counts: dict[str, list[int]]) -> str:
    """The rows of a table of cells, with the sum of each."""
    return "\n".join(
        f"| {name} | {k} | {' | '.join(map(str, counts[name]))} | {sum(counts[name])} |"
        for k, name in enumerate(CLASS_NAMES)
    )


def write_card(out: Path, seed: int, num_validation: int, num_test: int) -> None:
    """Writes the data card beside the files."""
    counts = train_counts()
    cells = [count for row in counts.values() for count in row]
    num_unused = sum(map(sum, unused_counts().values()))
    num_images = (sum(cells), num_validation * len(cells), num_test * len(cells), num_unused)
    card = CARD.format(
        num_classes=len(CLASS_NAMES),
        num_grounds=len(GROUNDS),
        seed=seed,
        renderings=", ".join(f"{name} is `{ground.context}`" for name, ground in GROUNDS.items()),
        train_counts=", ".join(map(str, TRAIN_COUNTS)),
        num_cells=len(cells),
        num_empty=cells.count(0),
        num_rare=sum(1 <= count <= 10 for count in cells),
        num_validation=num_validation,
        num_test=num_test,
        ground_names=" | ".join(GROUNDS),
        ground_line="|".join(["---"] * len(GROUNDS)),
        class_rows=rows_of(counts),
        unused_rows=rows_of(unused_counts()),
        num_unused=num_unused,
        target=TARGET_PER_GROUP,
        file_rows="\n".join(
            f"| {split}.parquet | {number} "
            f"| {hashlib.sha256((out / f'{split}.parquet').read_bytes()).hexdigest()} |"
            for split, number in zip((*SPLITS, UNUSED), num_images, strict=True)
        ),
    )
    (out / "README.md").write_text(card)


def make(
    source: Path, fashion_lt: Path, out: Path, seed: int, num_validation: int, num_test: int
) -> None:
    """Writes the three splits, the unused pictures and the card.

    Args:
        source: Folder of the four `idx` files.
        fashion_lt: Folder of Fashion-LT.
        out: Folder to write to.
        seed: Decides which garments are used and how they look.
        num_validation: Validation images of each class in each group.
        num_test: Test images of each class in each group.
    """
    images, labels = read_source(source, "train")
    free, held_out = free_garments(images, labels, fashion_lt)
    test_images, test_labels = read_source(source, "t10k")
    test_free = first_of_each(test_images, set())

    rng = np.random.default_rng([seed, 0])
    alike = [
        {name: [number] * len(GROUNDS) for name in CLASS_NAMES}
        for number in (num_validation, num_test)
    ]
    splits = place_garments(images, "train", labels, free[held_out], [train_counts()], rng)
    splits += place_garments(test_images, "t10k", test_labels, test_free, alike, rng)
    left = np.setdiff1d(free[held_out], splits[0].indices)
    others = np.concatenate([left, validating(fashion_lt)])
    rng = np.random.default_rng([seed, len(SPLITS) + 2])
    splits += place_garments(images, "train", labels, others, [unused_counts()], rng)

    out.mkdir(parents=True, exist_ok=True)
    taken = {appearance_hash(images[i]) for i in free[~held_out]}  # the generator's
    for number, (split, garments) in enumerate(zip((*SPLITS, UNUSED), splits, strict=True), 1):
        rng = np.random.default_rng([seed, number])
        hashes = write_split(out / f"{split}.parquet", garments, rng)
        assert len(hashes) == len(garments.indices), "no garment may be there twice"
        assert not hashes & taken, "no garment may be in two files, or have trained the generator"
        taken |= hashes
    write_card(out, seed, num_validation, num_test)


def main() -> None:
    """Reads the command line and makes the data set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--source", type=Path, default=DEBIAN_FOLDER, help="folder of the four idx .gz files"
    )
    parser.add_argument("--fashion-lt", type=Path, default=FASHION_LT, help="its folder")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="garments and their looks")
    parser.add_argument("--num-validation", type=int, default=20, help="images a cell")
    parser.add_argument("--num-test", type=int, default=60, help="images a cell")
    args = parser.parse_args()
    try:
        make(
            args.source,
            args.fashion_lt,
            args.out,
            args.seed,
            args.num_validation,
            args.num_test,
        )
    except ValueError as error:
        parser.exit(1, f"fashion_contexts: {error}\n")
    print((args.out / "README.md").read_text())


if __name__ == "__main__":
    main()
