"""Planted copies are found among garments and among textures, and real images are no copies."""

import io
from functools import cache

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from far import FAR, far_device
from micro import ROOT
from PIL import Image, ImageEnhance
from sizes import Sizes

from fgds_core.copies import find
from fgds_core.copies.find import FEW, LEAST, Calibration, calibrate, copies_of
from fgds_core.copies.hashes import (
    BITS,
    FINE_BITS,
    ORIENTATIONS,
    PLACES,
    centre,
    oriented,
    whole,
    windowed,
    windows,
)
from fgds_core.copies.search import Queries, by_features, by_part, by_picture
from fgds_core.copies.thumbnails import SIDE, Pictures, joined, shrink, write_thumbnails
from fgds_core.copies.tones import toned
from fgds_core.errors import InputError


def pictures(images, labels):
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    return Pictures(shrink(pixels.permute(0, 3, 1, 2)), np.asarray(labels))


def texture(rng, side):
    """Coloured noise whose power falls with the frequency, as that of photographs does."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    frequency[0, 0] = 1
    noise = rng.normal(size=(3, side, side)) + 2 * rng.normal(size=(side, side))
    x = np.fft.ifft2(np.fft.fft2(noise) / frequency ** rng.uniform(0.8, 2.2)).real
    x = (x - x.mean()) / x.std()
    return Image.fromarray(np.clip(128 + 45 * x, 0, 255).astype(np.uint8).transpose(1, 2, 0))


def garments(split, step):
    """Some images of Fashion-MNIST at 32 pixels, with their classes."""
    rows = pq.read_table(ROOT / "assets" / "fashion-lt" / f"{split}.parquet").to_pylist()[::step]
    images = [Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB") for row in rows]
    resized = [image.resize((32, 32), Image.Resampling.BICUBIC) for image in images]
    return resized, [row["label"] for row in rows]


@cache
def real(kind):
    """Images and classes of training, validation and test, and of images that are in none."""
    if kind == "garments":
        steps = {"train": 3, "validation": 4, "test": 20, "unused": 6}
        return {split: garments(split, step) for split, step in steps.items()}
    rng = np.random.default_rng(0)
    counts = {"train": 120, "validation": 120, "test": 120, "unused": 120}
    return {
        split: ([texture(rng, int(kind)) for _ in range(n)], [k % 3 for k in range(n)])
        for split, n in counts.items()
    }


@cache
def references(kind):
    names = {"train": "train", "val": "validation", "test": "test"}
    return {split: pictures(*real(kind)[name]) for split, name in names.items()}


@cache
def calibration(kind):
    return calibrate(references(kind))


def cropped(image, share, across, down):
    side = image.size[0]
    left, top = across * (1 - share) * side, down * (1 - share) * side
    box = (left, top, left + share * side, top + share * side)
    return image.resize(image.size, Image.Resampling.BICUBIC, box=box)


def compressed(image, quality):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def moved(image, right, down):
    step = image.size[0] // 32
    shift = (1, 0, -right * step, 0, 1, -down * step)
    return image.transform(image.size, Image.Transform.AFFINE, shift)


PLANTED = {
    "exact": lambda image: image,
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "a tenth of each side cut off": lambda image: cropped(image, 0.9, 0.3, 0.8),
    "a fifth of each side cut off": lambda image: cropped(image, 0.8, 0.55, 0.1),
    "cropped and mirrored": lambda image: cropped(
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 0.85, 0.7, 0.4
    ),
    "recompressed": lambda image: compressed(image, 50),
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "brightened until much is white": lambda image: ImageEnhance.Brightness(image).enhance(1.8),
    "darkened": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "moved": lambda image: moved(image, 2, -1),
}


@pytest.mark.parametrize("kind", ["garments", "64", "96"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_planted_copies_are_found(kind, split):
    images, labels = real(kind)[{"val": "validation"}.get(split, split)]
    chosen = range(3, len(images), len(images) // 4)
    planted = [(edit(images[row]), row) for edit in PLANTED.values() for row in chosen]
    asked = pictures([image for image, _ in planted], [labels[row] for _, row in planted])
    suspected, _ = copies_of(asked, references(kind), calibration(kind))
    found = {
        (row["row"], row["reference"]) for row in suspected.to_pylist() if row["split"] == split
    }
    names = [name for name in PLANTED for _ in chosen]
    missed = [names[place] for place, (_, row) in enumerate(planted) if (place, row) not in found]
    assert not missed
    assert suspected["ratio"].to_pylist()[0] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("kind", ["garments", "64"])
def test_real_images_are_hardly_ever_taken_for_copies_and_as_often_as_is_said(kind):
    fresh = pictures(*real(kind)["unused"])
    suspected, known = copies_of(fresh, references(kind), calibration(kind))
    for split in ("train", "val", "test"):
        there = sum(row["split"] == split for row in suspected.to_pylist())
        assert there <= 0.03 * len(fresh)
        chance = known.by_chance(split, len(fresh))
        assert chance.expected <= 0.03 * len(fresh)
        low, high = chance.interval
        assert low <= there <= high


def test_what_chance_gives_is_said_of_images_that_were_held_out():
    """Of random splits of real images, the stated interval holds as many as it says."""
    drawn = [real("garments")[name] for name in ("train", "validation", "unused")]
    every = joined([pictures(*each) for each in drawn])
    rng = np.random.default_rng(0)
    held = []
    for _ in range(4):
        order = rng.permutation(len(every))
        train, val, fresh = (every.take(np.sort(rows)) for rows in np.split(order, [400, 800]))
        suspected, known = copies_of(fresh, {"train": train, "val": val})
        for split in ("train", "val"):
            there = sum(row["split"] == split for row in suspected.to_pylist())
            low, high = known.by_chance(split, len(fresh)).interval
            held.append(low <= there <= high)
    assert sum(held) >= 7  # of 8


def test_an_alarm_is_counted_by_thresholds_that_the_image_did_not_set():
    # Nine in ten are alike, and one of each fold is much nearer: it sets the threshold it is under
    ratios = np.full(200, 1.0, dtype=np.float32)
    ratios[[3, 50]] = 0.3
    assert find._threshold("picture", ratios) == pytest.approx(0.4)
    assert find._held_out_alarms({"picture": ratios}) == 2
    one = np.linspace(0.1, 1, 100, dtype=np.float32) ** 4  # the first sets what is small
    in_sample = int((one < find._threshold("picture", one)).sum())
    assert find._held_out_alarms({"picture": one}) >= in_sample


def test_the_interval_of_a_number_by_chance_knows_that_the_rate_is_not_known():
    few, many = (Calibration({}, {"val": n}, {"val": n // 100}) for n in (100, 10_000))
    assert few.by_chance("val", 1000).expected == pytest.approx(10, rel=0.5)
    (low, high), (least, most) = (each.by_chance("val", 1000).interval for each in (few, many))
    assert low < least < 10 < most < high
    assert few.by_chance("val", 1000).of_more(high + 1) < 0.025
    assert few.by_chance("val", 1000).of_more(0) == 1


def test_thresholds_that_are_learned_at_the_same_time_are_the_same():
    asked = references("64")["train"].take(np.arange(5))
    at_once, known = copies_of(asked, references("64"))
    assert known == calibration("64")
    after, _ = copies_of(asked, references("64"), known)
    assert at_once.equals(after)


def test_a_few_real_images_set_no_threshold_and_no_rate():
    few = {split: its.take(np.arange(20)) for split, its in references("64").items()}
    suspected, known = copies_of(few["val"].take(np.arange(3)), few)
    assert {row["split"] for row in suspected.to_pylist()} == {"val"}
    assert known.thresholds["train"] == {"picture": FEW, "part": FEW}
    assert known.num_real["train"] == 20 < LEAST
    chance = known.by_chance("train", 100)
    assert chance.expected is None
    assert chance.interval is None


def test_without_other_images_of_the_class_only_the_same_picture_is_a_copy():
    one = references("64")["train"].take(np.arange(1))
    other = references("64")["val"].take(np.arange(1))
    suspected, _ = copies_of(joined([one, other]), {"train": one})
    assert suspected["row"].to_pylist() == [0]


def test_pictures_that_say_nothing_are_no_copies_of_each_other():
    flat = pictures([Image.new("RGB", (32, 32), (grey,) * 3) for grey in (0, 90, 90)], [0, 0, 0])
    suspected, _ = copies_of(flat, references("64") | {"train": flat}, calibration("64"))
    assert not [row for row in suspected.to_pylist() if row["split"] == "train"]


def thumbnails(number, seed=0):
    rng = np.random.default_rng(seed)
    return pictures([texture(rng, 32) for _ in range(number)], [0] * number).thumbnails


def test_a_hash_is_the_cosine_transform_of_the_pixels():
    from scipy.fft import dctn

    x = thumbnails(3)
    expected = dctn(x.reshape(-1, SIDE, SIDE).astype(float), axes=(1, 2), norm="ortho")
    low = expected[:, :BITS, :BITS].reshape(3, -1)
    low[:, 0] = 0
    # Pixels are areas here and points there, so the highest frequencies differ a little
    assert whole(x).numpy() == pytest.approx(
        low / np.linalg.norm(low, axis=1, keepdims=True), abs=0.01
    )


def test_an_orientation_of_a_hash_is_the_hash_of_the_oriented_picture():
    x = thumbnails(4)
    pixels = x.reshape(-1, SIDE, SIDE)
    for k in range(len(ORIENTATIONS)):
        turned = pixels.transpose(0, 2, 1) if k & 4 else pixels
        turned = turned[:, :, ::-1] if k & 1 else turned
        turned = turned[:, ::-1] if k & 2 else turned
        turned = np.ascontiguousarray(turned).reshape(len(x), -1)
        assert torch.allclose(oriented(whole(x), k), whole(turned), atol=1e-5)


def test_windows_are_those_of_their_places():
    x = thumbnails(2)
    places = torch.tensor(PLACES, dtype=torch.float32).expand(2, -1, 3)
    assert torch.allclose(windows(x), windowed(x, places), atol=1e-5)
    assert torch.allclose(windows(x)[:, 0], whole(x), atol=1e-5)


def test_tangents_lead_from_a_centre_to_a_part_that_has_moved():
    x = thumbnails(20)
    vectors = centre(x)
    gram = vectors @ vectors.mT
    assert torch.allclose(gram, torch.eye(4).expand_as(gram), atol=1e-4)
    near = windowed(x, torch.tensor([[2.4, 1.7, 27.5]]).expand(20, 1, 3))[:, 0]
    likeness = torch.einsum("btd,bd->bt", vectors, near)
    straight, along = 1 - likeness[:, 0], 1 - likeness.square().sum(dim=1).sqrt()
    assert (along < 0.3 * straight).all()


def test_a_picture_in_the_tones_of_a_brighter_one_is_that_one():
    x = thumbnails(5)
    bright = np.clip(1.7 * x.astype(float) - 20, 0, 255).astype(np.uint8)
    assert (bright == 255).mean() > 0.2
    assert toned(x, bright).numpy() == pytest.approx(bright.astype(float), abs=0.05)
    # whatever the order of the others' pixels, and of what tones the rest of the picture is
    rows = np.add.outer(SIDE * np.arange(4, 28), np.arange(2, 26)).ravel()
    shuffled = np.random.default_rng(0).permuted(bright[:, rows], axis=1)
    found = toned(x, shuffled, torch.tensor([[4.0, 2.0, 24.0]]).expand(5, 3)).numpy()
    assert found[:, rows] == pytest.approx(bright[:, rows].astype(float), abs=0.05)
    # pixels of one value stay alike, and have the mean of what they would be
    flat = np.full((1, SIDE * SIDE), 7, dtype=np.uint8)
    assert toned(flat, x[:1]).numpy() == pytest.approx(x[0].mean(), abs=0.01)


def test_a_copy_that_is_half_white_is_nearer_than_its_shape_to_others():
    """Without the other's tones a saturated copy is as near to any image of its outline."""
    rng = np.random.default_rng(4)
    coats = [texture(rng, 32).point(lambda v: 150 + v // 3) for _ in range(60)]
    shape = Image.new("L", (32, 32), 0)
    shape.paste(255, (6, 3, 26, 30))
    coats = [Image.composite(each, Image.new("RGB", (32, 32)), shape) for each in coats]
    known = pictures(coats, [0] * 60)
    white = [ImageEnhance.Brightness(each).enhance(1.25) for each in coats]
    for way in (by_picture, by_part):
        found = way(Queries.of(pictures(white, [0] * 60)), known)
        assert found.row[np.arange(60), found.likely].tolist() == list(range(60))
        others = np.where(found.row == np.arange(60)[:, None], np.inf, found.distance).min(axis=1)
        assert (found.closest < 0.1 * others).all()


def test_every_pair_is_compared_whatever_the_blocks(monkeypatch):
    rng = np.random.default_rng(1)
    asked = Pictures(thumbnails(30, seed=2), rng.integers(2, size=30))
    known = Pictures(thumbnails(50, seed=3), rng.integers(2, size=50))
    whole_set, own = whole(asked.thumbnails), np.full(30, -1)
    found = by_picture(Queries.of(asked), known, own)
    others = whole(known.thumbnails)
    each = torch.stack([oriented(whole_set, k) @ others.T for k in range(8)]).amax(dim=0)
    assert found.distance[:, :6] == pytest.approx(1 - each.topk(6, dim=1).values.numpy(), abs=1e-5)
    table = copies_of(asked, {"train": known, "val": asked})
    for name, value in (("_REFERENCES", 7), ("SCORES", {"cpu": 300}), ("_PAIRS", 3)):
        monkeypatch.setattr(f"fgds_core.copies.search.{name}", value)
    again = copies_of(asked, {"train": known, "val": asked})
    assert (
        again[0]
        .drop_columns(["distance", "ratio", "threshold"])
        .equals(table[0].drop_columns(["distance", "ratio", "threshold"]))
    )
    assert again[0]["ratio"].to_pylist() == pytest.approx(table[0]["ratio"].to_pylist(), abs=1e-3)


def test_no_tensor_is_of_all_pairs_however_large_a_class_is(monkeypatch):
    for name, value in (("_REFERENCES", 16), ("SCORES", {"cpu": 1000}), ("_ASKED", 12)):
        monkeypatch.setattr(f"fgds_core.copies.search.{name}", value)
    monkeypatch.setattr("fgds_core.copies.search._PAIRS", 2)
    asked = Pictures(thumbnails(120, seed=2), np.zeros(120, dtype=np.int64))
    known = Pictures(thumbnails(30, seed=3), np.zeros(30, dtype=np.int64))
    queries = Queries.of(asked, "cpu")
    with Sizes() as sizes:
        for way in (by_picture, by_part):
            way(queries, known)
    largest = max(np.prod(shape, dtype=int) for shape in sizes.shapes if len(shape) > 1)
    hashes, closer = 120 * 4 * BITS**2, 2 * 27 * FINE_BITS * SIDE  # of images, and of two pairs
    assert largest <= max(hashes, closer)
    assert 120 * 4 * len(PLACES) > 2 * largest  # of one reference beside the whole class


def test_another_device_finds_the_same():
    known = {split: its.take(np.arange(60)) for split, its in references("64").items()}
    white = ImageEnhance.Brightness(real("64")["train"][0][5]).enhance(1.6)
    asked = joined([known["val"].take(np.arange(3)), pictures([white], [2])])
    here, _ = copies_of(asked, known)
    with far_device():
        there, _ = copies_of(asked, known, device=FAR)
    assert here.num_rows == 4
    assert there.equals(here)


class Vectors:
    """Features in memory."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def blocks(self, size):
        for start in range(0, len(self), size):
            place = slice(start, min(start + size, len(self)))
            yield place, torch.from_numpy(self.values[place])

    def take(self, which):
        return Vectors(self.values[which])


def test_features_are_compared_by_their_cosine_and_with_all_references():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 8)), rng.normal(size=(40, 8))
    asked = Pictures(thumbnails(20), np.zeros(20, dtype=np.int64), Vectors(x))
    known = Pictures(thumbnails(40, seed=1), np.ones(40, dtype=np.int64), Vectors(y))
    found = by_features(Queries.of(asked), known)
    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
    expected = 1 - x @ y.T
    assert found.row[:, 0].tolist() == expected.argmin(axis=1).tolist()
    assert found.distance == pytest.approx(np.sort(expected, axis=1)[:, :6], abs=1e-6)


def test_an_image_is_not_compared_with_itself():
    known = references("64")["train"]
    found = by_picture(Queries.of(known), known, np.arange(len(known)))
    assert (found.row[:, 0] != np.arange(len(known))).all()
    assert (found.distance[:, 0] > 0.01).all()


def test_thumbnails_on_disk_are_those_in_memory(tmp_path):
    x = torch.randint(0, 256, (50, 3, 40, 40), dtype=torch.uint8)
    stored = write_thumbnails(tmp_path / "thumbnails", x.split(8))
    rows = np.array([3, 4, 5, 49, 0, 7])
    assert (stored[rows] == shrink(x)[rows]).all()
    assert len(stored) == 50
    with pytest.raises(InputError, match="make room"):
        write_thumbnails(tmp_path / "nowhere" / "thumbnails", x.split(8))
    (tmp_path / "thumbnails").write_bytes(b"short")
    with pytest.raises(OSError, match="ends before row 5"):
        stored[rows]
