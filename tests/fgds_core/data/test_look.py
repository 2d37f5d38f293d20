"""A look at raw data says what the stage prepare will find, and judges flips with care."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.stats import binomtest

from fgds_core.data.config import FolderData, PrepareConfig
from fgds_core.data.look import look
from fgds_core.data.mirror import SIDE, _by_chance, mirrored
from fgds_core.data.prepare import prepare
from fgds_core.data.sources import Source, SourceImage, open_source
from fgds_core.images.formats import PNG, encode_picture

LIMITS = {"max_image_bytes": 10**8, "max_image_pixels": 10**7}


def noise(rng, side=20, grey=False):
    shape = (side, side) if grey else (side, side, 3)
    return Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))


def write(folder, pictures):
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        data = picture if isinstance(picture, bytes) else encode_picture(picture, PNG)
        (folder / f"{number}.png").write_bytes(data)


def folder_data(root, groups=False):
    split = {"by": "folders", "train": "train", "validation": "val", "test": "test"}
    data = {"kind": "folder", "root": str(root), "groups": groups, "split": split}
    return FolderData.model_validate(data)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def root(tmp_path, rng):
    for split, count in (("train", 6), ("val", 3), ("test", 2)):
        for name in ("cat", "dog"):
            write(tmp_path / "f" / split / name, [noise(rng) for _ in range(count)])
    return tmp_path / "f"


def test_counts_sizes_formats_and_colours(root, rng):
    write(root / "train" / "owl", [noise(rng, 40, grey=True).convert("RGB"), noise(rng, 10)])
    write(root / "val" / "owl", [noise(rng, 40, grey=True).convert("L")])
    write(root / "test" / "owl", [noise(rng)])
    (root / "test" / "owl" / "1.jpg").write_bytes(encode_picture(noise(rng), PNG))
    seen = look(open_source(folder_data(root)), **LIMITS)
    assert seen.counts == {"train": (6, 6, 2), "val": (3, 3, 1), "test": (2, 2, 2)}
    assert seen.looked == seen.num_images == 27
    assert seen.formats == {"PNG": 27}
    assert seen.num_grey == 2
    assert sorted(set(seen.sides[:, 0].tolist())) == [10, 20, 40]
    assert not seen.repeats.within
    assert not seen.repeats.across


def test_what_cannot_be_read_is_what_prepare_stops_on(root, tmp_path):
    (root / "train" / "cat" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    (root / "val" / "dog" / "bad.jpg").write_bytes(b"")
    seen = look(open_source(folder_data(root)), **LIMITS)
    assert seen.num_unreadable == 2
    assert seen.looked == 23
    config = PrepareConfig(image_size=16, interpolation="bicubic", crop="center")
    with pytest.raises(ValueError, match="2 images cannot be used") as error:
        prepare(folder_data(root), config, tmp_path / "out")
    for line in seen.unreadable:
        assert line in str(error.value)


def copies(root):
    first = (root / "train" / "cat" / "0.png").read_bytes()
    (root / "train" / "cat" / "copy.png").write_bytes(first)
    (root / "test" / "cat" / "copy.png").write_bytes(first)
    picture = Image.open(root / "val" / "dog" / "0.png")
    picture.save(root / "test" / "dog" / "again.png", compress_level=1)  # other bytes
    return open_source(folder_data(root))


def test_pictures_that_occur_twice_are_those_that_prepare_counts(root, tmp_path):
    repeats = look(copies(root), **LIMITS).repeats
    config = PrepareConfig(
        image_size=16, interpolation="bicubic", crop="center", overlaps="report"
    )
    meta = prepare(folder_data(root), config, tmp_path / "out")
    assert repeats.of_pixels
    assert repeats.across == meta.overlaps == {"train-test": 1, "val-test": 1}
    assert repeats.within == {name: n for name, n in meta.duplicates.items() if n} == {"train": 1}
    assert ("train: train/cat/0.png", "test: test/cat/copy.png") in repeats.pairs


def test_of_many_pictures_some_of_each_class_are_decoded_and_files_compared(root):
    seen = look(copies(root), most=12, **LIMITS)
    assert seen.num_images == 25
    assert seen.looked == 12  # two of each class in each split
    assert seen.counts["train"] == (7, 6)
    assert not seen.repeats.of_pixels
    assert seen.repeats.across == {"train-test": 1}  # byte by byte
    again = look(copies(root), most=12, **LIMITS)
    assert np.array_equal(again.sides, seen.sides)


def test_of_more_classes_than_pictures_some_classes_are_looked_at(rng):
    rows = [SourceImage(encode_picture(noise(rng), PNG), str(k), k, None) for k in range(100)]
    source = Source(
        tuple(map(str, range(100))),
        False,
        dict.fromkeys(("train", "val", "test"), 100),
        lambda split: iter(rows),
    )
    seen = look(source, most=30, **LIMITS)
    assert seen.looked == 30
    assert seen.repeats.across == {"train-val": 100, "train-test": 100, "val-test": 100}


def test_cells_without_training_images(tmp_path, rng):
    for split, groups in (("train", "a"), ("val", "ab"), ("test", "ab")):
        for name in ("cat", "dog"):
            for group in groups:
                write(tmp_path / "f" / split / name / group, [noise(rng) for _ in range(2)])
    write(tmp_path / "f" / "train" / "dog" / "b", [noise(rng)])
    seen = look(open_source(folder_data(tmp_path / "f", groups=True)), **LIMITS)
    assert seen.groups == ("a", "b")
    assert seen.empty_cells() == [("cat", "b", 4)]


def test_processes_change_nothing(root):
    source = open_source(folder_data(root))
    alone, shared = (look(source, workers=number, **LIMITS) for number in (0, 2))
    assert alone.counts == shared.counts
    assert np.array_equal(alone.sides, shared.sides)


# Mirror images


def letters(rng, letter, number):
    """A letter, moved and stretched at random."""
    images = []
    for _ in range(number):
        image = Image.new("L", (40, 40), int(rng.integers(0, 60)))
        place = tuple(int(each) for each in rng.integers(6, 12, 2))
        ImageDraw.Draw(image).text(place, letter, fill=255, font_size=int(rng.integers(20, 28)))
        images.append(np.asarray(image.resize((SIDE, SIDE))))
    return images


def scenes(rng, number):
    """Blobs at any place on ground of any shade: left and right mean nothing."""
    images = []
    for _ in range(number):
        image = Image.new("L", (40, 40), int(rng.integers(0, 255)))
        for _ in range(4):
            x, y, radius = (int(each) for each in rng.integers(2, 38, 3))
            box = (x - radius / 4, y - radius / 4, x + radius / 4, y + radius / 4)
            ImageDraw.Draw(image).ellipse(box, fill=int(rng.integers(0, 255)))
        images.append(np.asarray(image.resize((SIDE, SIDE))))
    return images


def test_letters_are_told_from_their_mirror_images(rng):
    labelled = [(k, image) for k, x in enumerate("RFGK") for image in letters(rng, x, 20)]
    found = mirrored(labelled)
    assert set(found.told_apart) == {0, 1, 2, 3}
    assert found.share > 0.9
    assert not found.may_flip


def test_scenes_are_not(rng):
    found = mirrored([(k, image) for k in range(4) for image in scenes(rng, 40)])
    assert not found.told_apart
    assert 0.4 < found.share < 0.6
    assert found.may_flip


def test_one_class_of_letters_among_scenes_is_enough(rng):
    images = [(k, image) for k in range(4) for image in scenes(rng, 40)]
    found = mirrored(images + [(4, image) for image in letters(rng, "R", 20)])
    assert set(found.told_apart) == {4}
    assert not found.may_flip


def test_in_doubt_there_is_no_flip(rng):
    assert not mirrored([]).may_flip
    assert not mirrored([(0, image) for image in scenes(rng, 10)]).may_flip
    even = np.full((SIDE, SIDE), 7, np.uint8)
    found = mirrored([(0, even)] * 50)
    assert found.num_images == 0  # nothing to tell them by
    assert not found.may_flip


@pytest.mark.parametrize(("number", "of"), [(0, 5), (8, 8), (15, 20), (45, 60)])
def test_chance_is_that_of_a_binomial_test(number, of):
    wanted = binomtest(number, of, 0.5, alternative="greater").pvalue
    assert _by_chance(number, of) == pytest.approx(wanted)
