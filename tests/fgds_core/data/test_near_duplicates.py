"""Images that are nearly the same in two splits."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from fgds_core.data.config import FolderData, PrepareConfig
from fgds_core.data.meta import read_meta
from fgds_core.data.near_duplicates import MOST_DISTANCE, near_duplicates, thumbnail
from fgds_core.data.prepare import prepare, summary
from fgds_core.data.splits import read_prepared

CHANGES = {
    "coded anew": lambda picture: coded(picture, 40),
    "scaled": lambda picture: picture.resize((97, 83)).resize((128, 128)),
    "mirrored": ImageOps.mirror,
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.2),
    "grey": lambda picture: ImageOps.grayscale(picture).convert("RGB"),
}


def scene(seed):
    """Blurred noise: large shapes, as photographs have."""
    noise = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((128, 128), Image.Resampling.BICUBIC)
    return picture.filter(ImageFilter.GaussianBlur(2))


def coded(picture, quality):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue()))


def searched(train, test, **options):
    pictures = [*train, scene(900), *test]
    thumbnails = bytearray(b"".join(map(thumbnail, pictures)))
    pixels = [picture.tobytes() for picture in pictures]
    firsts = np.array([pixels.index(each) for each in pixels])
    n = len(train)
    starts = {"train": (0, n), "val": (n, n + 1), "test": (n + 1, len(pictures))}
    return near_duplicates(thumbnails, firsts, starts, **options)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_copy_is_found_and_others_are_not(change):
    train = [scene(seed) for seed in range(80)]
    found = searched(train, [scene(500), change(train[17]), scene(501)])
    assert found.counts == {"train-test": 1}
    assert found.pairs == [(17, 82)]
    assert np.flatnonzero(found.leaked).tolist() == [17]
    assert 0 < found.threshold <= MOST_DISTANCE


def test_the_same_pixels_are_counted_elsewhere_and_any_number_of_threads_finds_the_same():
    train = [scene(seed) for seed in range(60)]
    test = [coded(train[seed], 60) for seed in (3, 9, 5)] + [train[7]]
    one, two = (searched(train, test, threads=threads) for threads in (1, 2))
    assert one.counts == two.counts == {"train-test": 3}
    assert one.pairs == two.pairs
    assert sorted(one.pairs) == [(3, 61), (5, 63), (9, 62)]


def test_where_training_images_are_alike_only_what_is_nearer_counts():
    rng = np.random.default_rng(0)
    ground = np.asarray(scene(0)).astype(np.int16)

    def variant(strength):
        noise = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        noise = np.asarray(noise.resize((128, 128), Image.Resampling.NEAREST)).astype(np.int16)
        return Image.fromarray((ground + strength * (noise - 128)).clip(0, 255).astype(np.uint8))

    train = [variant(0.05) for _ in range(100)]
    found = searched(train, [variant(0.05) for _ in range(20)] + [coded(train[4], 95)])
    assert found.threshold < 0.01
    assert found.pairs[0] == (4, 121)
    assert found.counts["train-test"] <= 3


def test_images_of_one_colour_and_few_training_images_say_nothing():
    flat = [Image.new("RGB", (32, 32), (shade, shade, shade)) for shade in range(100)]
    assert searched(flat, flat[:5]) is None
    found = searched(flat + [scene(seed) for seed in range(60)], flat[:5])
    assert found.counts == {}


def write(root, split, name, pictures):
    folder = root / split / name
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        picture.save(folder / f"{number:03}.png")


def test_prepare_reports_and_drops_them(tmp_path):
    root = tmp_path / "raw"
    train = [scene(seed) for seed in range(60)]
    write(root, "train", "cat", train[:30])
    write(root, "train", "dog", train[30:])
    for split, first in (("val", 100), ("test", 200)):
        write(
            root, split, "cat", [scene(first), coded(train[8], 70)][: 2 if split == "test" else 1]
        )
        write(root, split, "dog", [scene(first + 1)])
    data = FolderData.model_validate(
        {
            "kind": "folder",
            "root": str(root),
            "split": {"by": "folders", "train": "train", "validation": "val", "test": "test"},
            "groups": False,
        }
    )

    def prepared(near):
        config = PrepareConfig(
            image_size=32, interpolation="bicubic", crop="center", near_duplicates=near
        )
        return prepare(data, config, tmp_path / near, workers=0)

    reported = prepared("report")
    assert reported.near_duplicates["counts"] == {"train-test": 1}
    (pair,) = reported.near_duplicates["pairs"]
    assert pair == ["train: train/cat/008.png", "test: test/cat/001.png"]
    assert read_meta(tmp_path / "report") == reported
    said = summary(reported)
    assert "images nearly the same in two splits: 1 train-test (" in said
    assert "prepare.near_duplicates: drop" in said
    assert said.endswith("\n  train: train/cat/008.png ~ test: test/cat/001.png")
    dropped = prepared("drop")
    assert dropped.near_duplicates == reported.near_duplicates | {"dropped": 1}
    assert "; 1 of them were left out of training" in summary(dropped)
    assert (reported.counts["train"], dropped.counts["train"]) == ((30, 30), (29, 30))
    assert len(read_prepared(tmp_path / "drop", "train")) == 59
    assert prepared("off").near_duplicates is None
