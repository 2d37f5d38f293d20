"""Makes Fashion-LT, the embedded long-tailed data set, from Fashion-MNIST.

Command: `python -m assets.fashion_lt` (seconds). It needs the four `idx` files of Fashion-MNIST
(MIT licence), e.g. from the Debian package `dataset-fashion-mnist`, and writes three Parquet
files, a fourth of pictures that are in none of these, and the data card to `assets/fashion-lt/`.
Same input, same bytes.
"""

import argparse
import gzip
import hashlib
import io
import json
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

CLASS_NAMES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FOLDER = Path(__file__).parent / "fashion-lt"
SPLITS = ("train", "validation", "test")
UNUSED = "unused"
UNUSED_PER_CLASS = 195
"""As many as fill the rarest class up to 200."""
IMAGES_MAGIC = 2051
LABELS_MAGIC = 2049

Pixels = NDArray[np.uint8]  # [N, 28, 28], grey, white garment on black
Labels = NDArray[np.int64]  # [N]


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Reads one gzipped `idx` file of unsigned bytes.

    Args:
        path: `*-images-idx3-ubyte.gz` or `*-labels-idx1-ubyte.gz`.

    Returns:
        The array in the file's own shape, [N, 28, 28] or [N].

    Raises:
        ValueError: The file is missing, is no such file, or is shorter than its header says.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing: name the Fashion-MNIST folder with --source")
    data = gzip.decompress(path.read_bytes())
    (magic,) = struct.unpack(">I", data[:4])
    if magic not in (IMAGES_MAGIC, LABELS_MAGIC):
        raise ValueError(f"{path} is no idx file of bytes (magic number {magic})")
    num_axes = magic & 0xFF
    shape = struct.unpack(f">{num_axes}I", data[4 : 4 + 4 * num_axes])
    array = np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * num_axes)
    if array.size != int(np.prod(shape)):
        raise ValueError(f"{path} holds {array.size} bytes, its header promises {shape}")
    return array.reshape(shape)


def read_source(source: Path, part: str) -> tuple[Pixels, Labels]:
    """Reads one official part of Fashion-MNIST.

    Args:
        source: Folder of the four `idx` files.
        part: `train` (60,000 images) or `t10k` (10,000 images).

    Returns:
        Pixels, [N, 28, 28], and labels, [N].
    """
    images = read_idx(source / f"{part}-images-idx3-ubyte.gz")  # [N, 28, 28]
    labels = read_idx(source / f"{part}-labels-idx1-ubyte.gz")  # [N]
    return images, labels.astype(np.int64)


def content_hash(image: Pixels) -> str:
    """Hash of an image's pixels, so that equal pictures are equal whatever their file.

    Args:
        image: Grey image, [28, 28].

    Returns:
        The sha256 in hex.
    """
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def first_of_each(images: Pixels, taken: set[str]) -> NDArray[np.int64]:
    """Indices of images seen for the first time and not in `taken`, in order.

    Args:
        images: Grey images, [N, 28, 28].
        taken: Content hashes that are not free; the new ones are added.

    Returns:
        Indices into `images`.
    """
    kept = []
    for index, image in enumerate(images):
        digest = content_hash(image)
        if digest not in taken:
            taken.add(digest)
            kept.append(index)
    return np.array(kept, dtype=np.int64)


def long_tail(num_classes: int, max_count: int, imbalance_factor: float) -> list[int]:
    """Exponential profile: the largest class first, the smallest 1/imbalance_factor of it.

    Args:
        num_classes: K.
        max_count: Images of the largest class.
        imbalance_factor: Largest count over smallest count.

    Returns:
        K counts, decreasing.

    Source: Cui et al. (2019), https://arxiv.org/abs/1901.05555
    """
    last = num_classes - 1
    return [round(max_count * imbalance_factor ** (-k / last)) for k in range(num_classes)]


def shot_bin(count: int) -> str:
    """The bin of a class by its real training count: many > 100, medium 20 to 100, few < 20."""
    return "many" if count > 100 else "few" if count < 20 else "medium"


def split_source(
    labels: Labels, free: NDArray[np.int64], seed: int, counts: list[int], num_validation: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Chooses the long-tailed training images and the balanced validation images.

    Args:
        labels: Labels of all images of the official training part, [N].
        free: Indices that may be chosen.
        seed: Decides the order of the classes along the tail, and the images.
        counts: Images per rank, largest first, [K].
        num_validation: Validation images per class.

    Returns:
        Indices of the training split and of the validation split, each increasing.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(counts))  # order[rank] = class
    train, validation = [], []
    for rank, label in enumerate(order):
        members = rng.permutation(free[labels[free] == label])
        train.append(members[: counts[rank]])
        validation.append(members[counts[rank] : counts[rank] + num_validation])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(validation))


def choose_unused(images: Pixels, labels: Labels, folder: Path, seed: int) -> NDArray[np.int64]:
    """Chooses pictures of no split, equally many of each class.

    They are among those that the embedded generator's corpus holds out: it has seen none of them.

    Args:
        images: All images of the official training part, [N, 28, 28].
        labels: Their labels, [N].
        folder: Where the three splits are.
        seed: Decides which.

    Returns:
        Indices into `images`, increasing.
    """
    from assets.corpus import free_garments  # which imports this module

    free, held_out = free_garments(images, labels, folder)
    rng = np.random.default_rng([seed, 1])
    chosen = [
        rng.choice(free[held_out & (labels[free] == label)], UNUSED_PER_CLASS, replace=False)
        for label in range(len(CLASS_NAMES))
    ]
    return np.sort(np.concatenate(chosen))


def encode_png(image: Pixels) -> bytes:
    """A grey PNG with fixed settings, so that equal pixels give equal bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=9)
    return buffer.getvalue()


def write_split(
    path: Path, images: Pixels, labels: Labels, indices: NDArray[np.int64], part: str
) -> None:
    """Writes one split as Parquet with the Hugging Face image and class-label convention.

    Args:
        path: File to write.
        images: All images of the official part, [N, 28, 28].
        labels: Their labels, [N].
        indices: Which of them make the split.
        part: Name of the official part; with the index it names each picture's origin.
    """
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(CLASS_NAMES), "_type": "ClassLabel"},
    }
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("label", pa.int64()),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    rows = [{"bytes": encode_png(images[i]), "path": f"{part}-{i:05d}.png"} for i in indices]
    table = pa.table({"image": rows, "label": labels[indices]}, schema=schema)
    pq.write_table(
        table, path, compression="zstd", compression_level=9, row_group_size=2000, version="2.6"
    )


CARD = """\
# Fashion-LT

A long-tailed version of Fashion-MNIST for the pipeline's embedded default: 28x28 grey pictures
of {num_classes} kinds of garment, white on black.

- **Source**: Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, https://arxiv.org/abs/1708.07747),
  70,000 product pictures by Zalando SE. **Licence: MIT**, Copyright (c) 2017 Zalando SE.
- **Made by** `python -m assets.fashion_lt` with seed {seed}, at most {max_count} images a class,
  imbalance factor {imbalance_factor:g}. Same input, same bytes.
- **train**: exponential profile; the seed gives the order of the classes along the tail. Seed 0
  was taken as it came, without looking at any accuracy; it makes t-shirt, which is easily
  confused with the frequent shirt, a few-shot class, beside the distinct bag and trouser.
- **validation**: {num_validation} images a class, from the rest of the official 60,000.
- **test**: the official {num_test:,} test images.
- **unused**: {num_unused} images a class that are in no split: "more real images", the ceiling
  of what synthetic ones can be worth. They are among those of the official 60,000 that the corpus
  of the embedded generator (`assets/tiny-unclip`) holds out, so it was trained on none of them;
  but it was trained on thousands of others like them. Some of them train in Fashion-Contexts.
- No picture is in two files (sha256 of the pixels); {num_dropped} of the official 60,000 repeat
  an earlier training or a test picture and were left out.
- **Columns**: `image` (PNG bytes, and as path the official part and the index in it), `label`.

| class | label | train | bin | validation | test | unused |
|---|---|---|---|---|---|---|
{class_rows}

Bins by training count: many > 100, medium 20 to 100, few < 20.

| file | images | sha256 |
|---|---|---|
{file_rows}
"""


def make(
    source: Path,
    out: Path,
    seed: int,
    max_count: int,
    imbalance_factor: float,
    num_validation: int,
) -> None:
    """Writes the three splits, the unused pictures and the card.

    Args:
        source: Folder of the four `idx` files.
        out: Folder to write to.
        seed: Decides class order and the chosen images.
        max_count: Training images of the largest class.
        imbalance_factor: Largest training count over the smallest.
        num_validation: Validation images per class.
    """
    train_images, train_labels = read_source(source, "train")
    test_images, test_labels = read_source(source, "t10k")
    taken = {content_hash(image) for image in test_images}
    free = first_of_each(train_images, taken)
    counts = long_tail(len(CLASS_NAMES), max_count, imbalance_factor)
    train, validation = split_source(train_labels, free, seed, counts, num_validation)
    test = np.arange(len(test_images))

    out.mkdir(parents=True, exist_ok=True)
    write_split(out / "train.parquet", train_images, train_labels, train, "train")
    write_split(out / "validation.parquet", train_images, train_labels, validation, "train")
    write_split(out / "test.parquet", test_images, test_labels, test, "t10k")
    unused = choose_unused(train_images, train_labels, out, seed)
    write_split(out / f"{UNUSED}.parquet", train_images, train_labels, unused, "train")
    used = np.concatenate([train, validation, unused])
    assert len(np.unique(used)) == len(used), "no picture may be in two files"

    num_classes = len(CLASS_NAMES)
    per_split = {
        "train": np.bincount(train_labels[train], minlength=num_classes),
        "validation": np.bincount(train_labels[validation], minlength=num_classes),
        "test": np.bincount(test_labels, minlength=num_classes),
        UNUSED: np.bincount(train_labels[unused], minlength=num_classes),
    }
    class_rows = [
        f"| {name} | {k} | {per_split['train'][k]} | {shot_bin(per_split['train'][k])} "
        f"| {per_split['validation'][k]} | {per_split['test'][k]} "
        f"| {per_split[UNUSED][k]} |"
        for k, name in sorted(enumerate(CLASS_NAMES), key=lambda c: -per_split["train"][c[0]])
    ]
    file_rows = [
        f"| {split}.parquet | {per_split[split].sum()} "
        f"| {hashlib.sha256((out / f'{split}.parquet').read_bytes()).hexdigest()} |"
        for split in (*SPLITS, UNUSED)
    ]
    card = CARD.format(
        num_classes=num_classes,
        seed=seed,
        max_count=max_count,
        imbalance_factor=imbalance_factor,
        num_validation=num_validation,
        num_test=len(test),
        num_unused=UNUSED_PER_CLASS,
        num_dropped=len(train_images) - len(free),
        class_rows="\n".join(class_rows),
        file_rows="\n".join(file_rows),
    )
    (out / "README.md").write_text(card)


def main() -> None:
    """Reads the command line and makes the data set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--source", type=Path, default=DEBIAN_FOLDER, help="folder of the four idx .gz files"
    )
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="class order and choice of images")
    parser.add_argument("--max-count", type=int, default=500, help="images of the largest class")
    parser.add_argument(
        "--imbalance-factor", type=float, default=100, help="largest count over smallest"
    )
    parser.add_argument("--num-validation", type=int, default=200, help="images per class")
    args = parser.parse_args()
    try:
        make(
            args.source,
            args.out,
            args.seed,
            args.max_count,
            args.imbalance_factor,
            args.num_validation,
        )
    except ValueError as error:
        parser.exit(1, f"fashion_lt: {error}\n")
    print((args.out / "README.md").read_text())


if __name__ == "__main__":
    main()
