import io
import json
import struct

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from sets import gather

from fgds_core.data.config import FolderData, ParquetData, PrepareConfig
from fgds_core.data.jpeg import bare_jpeg
from fgds_core.data.meta import read_meta
from fgds_core.data.pictures import content_digest, prepare_picture, to_rgb, to_square
from fgds_core.data.prepare import prepare, summary
from fgds_core.data.sources import open_source
from fgds_core.data.splits import read_prepared
from fgds_core.errors import InputError
from fgds_core.files import sha256_tree
from fgds_core.images.formats import decode_picture, encode_picture
from fgds_core.images.pixels import decode_images, encode, from_uint8
from fgds_core.images.table import image_table, read_table, write_images
from fgds_core.processes import Workers

SPLITS = ("train", "val", "test")


def config(**changes):
    settings = {"image_size": 8, "interpolation": "bicubic", "crop": "center"} | changes
    return PrepareConfig.model_validate(settings)


def folder_data(root, groups=False):
    split = {"by": "folders", "train": "train", "validation": "val", "test": "test"}
    return FolderData.model_validate(
        {"kind": "folder", "root": str(root), "split": split, "groups": groups}
    )


def picture(seed, size=(11, 9), mode="RGB"):
    bands = len(Image.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0], bands) if bands > 1 else (size[1], size[0])
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def raw(tmp_path):
    """Three splits of two classes, every image different."""
    root = tmp_path / "raw"
    seed = 0
    for split in SPLITS:
        for name, num_images in (("cat", 3), ("dog", 2)):
            (root / split / name).mkdir(parents=True)
            for i in range(num_images):
                seed += 1
                (root / split / name / f"{i}.png").write_bytes(encoded(picture(seed)))
    return root


def test_writes_splits_and_meta(raw, tmp_path):
    done = []
    out = tmp_path / "prepared"
    meta = prepare(folder_data(raw), config(), out, advance=done.append)
    assert sum(done) == 15
    assert {path.name for path in out.iterdir()} == {
        "train.parquet",
        "val.parquet",
        "test.parquet",
        "meta.json",
    }
    assert read_meta(out) == meta
    assert meta.class_names == ("cat", "dog")
    assert meta.image_size == 8
    assert meta.counts == dict.fromkeys(SPLITS, (3, 2))
    assert meta.bins == {"cat": "few", "dog": "few"}
    assert meta.groups is None
    assert meta.duplicates == dict.fromkeys(SPLITS, 0)
    images = read_prepared(out, "train")
    assert images.size == (8, 8)
    assert images.labels.tolist() == [0, 0, 0, 1, 1]
    paths = read_table(out / "val.parquet")["image"].combine_chunks().field("path")
    assert paths[0].as_py() == "val/cat/0.png"


def test_same_input_gives_same_bytes(raw, tmp_path):
    prepare(folder_data(raw), config(), tmp_path / "a")
    prepare(folder_data(raw), config(), tmp_path / "b")
    assert sha256_tree(tmp_path / "a") == sha256_tree(tmp_path / "b")


def test_images_of_the_right_size_keep_their_pixels(tmp_path):
    images = from_uint8(torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8))
    for i, split in enumerate(("train", "validation", "test")):
        table = image_table(images[2 * i : 2 * i + 2], [0, 1], ("cat", "dog"))
        write_images(tmp_path / f"{split}.parquet", table)
    paths = {s: f"{s}.parquet" for s in ("train", "validation", "test")}
    for crop in ("center", "none"):
        data = ParquetData.model_validate({"kind": "parquet", "root": str(tmp_path), **paths})
        prepare(data, config(crop=crop), tmp_path / "out")
        assert torch.equal(gather(read_prepared(tmp_path / "out", "val")), images[2:4])


def test_groups_are_carried_through(tmp_path):
    for seed, split in enumerate(SPLITS):
        for i, group in enumerate(("snow", "grass")):
            folder = tmp_path / "raw" / split / "cat" / group
            folder.mkdir(parents=True)
            (folder / "a.png").write_bytes(encoded(picture(10 * seed + i)))
        (tmp_path / "raw" / split / "dog" / "snow").mkdir(parents=True)
        (tmp_path / "raw" / split / "dog/snow/a.png").write_bytes(encoded(picture(10 * seed + 5)))
    meta = prepare(folder_data(tmp_path / "raw", groups=True), config(), tmp_path / "out")
    assert meta.groups == ("grass", "snow")
    own = {"cat": {"grass": 1, "snow": 1}, "dog": {"snow": 1}}
    assert meta.group_counts == {split: own for split in SPLITS}
    assert meta.cells == [{"grass": 1, "snow": 1}, {"grass": 0, "snow": 1}]
    assert read_meta(tmp_path / "out") == meta
    assert "1 of 4 groups (class x group) have no training images" in summary(meta)
    assert read_prepared(tmp_path / "out", "test").groups == ("grass", "snow", "snow")


def test_all_corrupt_images_are_named_at_once(raw, tmp_path):
    for i in range(25):
        data = encoded(picture(100 + i))
        (raw / "val" / "dog" / f"bad{i:02d}.png").write_bytes(data[: len(data) // 2])
    (raw / "train/cat/text.jpg").write_text("no picture")
    with pytest.raises(InputError) as caught:
        prepare(folder_data(raw), config(), tmp_path / "out")
    message = str(caught.value)
    assert message.startswith("26 images cannot be used")
    assert "train: train/cat/text.jpg" in message
    assert "val: val/dog/bad18.png" in message
    assert "val: val/dog/bad19.png" not in message
    assert message.endswith("... and 6 more")
    assert not (tmp_path / "out").exists()


def test_limits_of_bytes_and_pixels_are_parameters(raw, tmp_path):
    (raw / "train/cat/big.bmp").write_bytes(encoded(picture(300, size=(60, 60)), "BMP"))
    with pytest.raises(InputError, match=r"cat/big\.bmp: too large: .*max_image_bytes"):
        prepare(folder_data(raw), config(max_image_bytes=5000), tmp_path / "out")
    with pytest.raises(InputError, match=r"cat/big\.bmp: too large: 60 x 60 .*max_image_pixels"):
        prepare(folder_data(raw), config(max_image_pixels=100), tmp_path / "out")


def test_what_is_prepared_and_what_is_left_out_are_told(raw, tmp_path, caplog):
    (raw / "train/cat/notes.txt").write_text("x")
    with caplog.at_level("INFO", logger="fgds_core"):
        meta = prepare(folder_data(raw), config(), tmp_path / "out")
    assert "left out below" in caplog.text
    assert summary(meta) == (
        "prepared 5 training, 5 validation, 5 test images of 8 x 8 pixels\n"
        "2 classes (2 few); smallest: dog with 2 training images"
    )


def test_image_in_two_splits_is_refused_whatever_its_file_format(raw, tmp_path):
    for i in range(7):
        pixels = picture(200 + i)
        (raw / "train" / "cat" / f"same{i}.png").write_bytes(encoded(pixels))
        (raw / "test" / "dog" / f"copy{i}.bmp").write_bytes(encoded(pixels, "BMP"))
    with pytest.raises(InputError) as caught:
        prepare(folder_data(raw), config(), tmp_path / "out")
    message = str(caught.value)
    assert message.startswith("7 images occur in two splits")
    assert "train: train/cat/same0.png = test: test/dog/copy0.bmp" in message
    assert "same5" not in message
    assert message.endswith("... and 2 more")


def test_images_in_two_splits_are_counted_or_left_out_of_training(raw, tmp_path, monkeypatch):
    def copy(source, *places):
        for place in places:
            (raw / place).write_bytes((raw / source).read_bytes())

    monkeypatch.setattr("fgds_core.data.prepare.ROW_GROUP_ROWS", 2)
    copy("val/cat/0.png", "train/dog/a.png", "train/cat/b.png", "test/cat/c.png")
    copy("test/dog/0.png", "train/dog/d.png")
    reported = prepare(folder_data(raw), config(overlaps="report"), tmp_path / "report")
    assert reported.overlaps == {"train-val": 1, "train-test": 2, "val-test": 1}
    assert reported.counts["train"] == (4, 4)
    assert reported.duplicates == {"train": 1, "val": 0, "test": 0}
    assert read_meta(tmp_path / "report") == reported
    assert "images in two splits: 1 train-val, 2 train-test, 1 val-test; prepare.overlaps" in (
        summary(reported)
    )
    dropped = prepare(folder_data(raw), config(overlaps="drop"), tmp_path / "drop")
    assert dropped.overlaps == reported.overlaps | {"dropped": 3}
    assert "; 3 copies were left out of training" in summary(dropped)
    for place in ("train/dog/a.png", "train/cat/b.png", "train/dog/d.png"):
        (raw / place).unlink()
    clean = prepare(folder_data(raw), config(overlaps="drop"), tmp_path / "clean")
    assert clean.overlaps == {"val-test": 1}
    assert (dropped.counts, dropped.duplicates) == (clean.counts, clean.duplicates)
    assert torch.equal(
        gather(read_prepared(tmp_path / "drop", "train")),
        gather(read_prepared(tmp_path / "clean", "train")),
    )
    for split in ("val", "test"):
        assert dropped.content_sha256[split] == clean.content_sha256[split]


def test_dropping_leaves_no_empty_row_group(raw, tmp_path, monkeypatch):
    monkeypatch.setattr("fgds_core.data.prepare.ROW_GROUP_ROWS", 1)
    (raw / "val/cat/x.png").write_bytes((raw / "train/cat/0.png").read_bytes())
    meta = prepare(folder_data(raw), config(overlaps="drop"), tmp_path / "out")
    with pq.ParquetFile(tmp_path / "out/train.parquet") as file:
        groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert groups == [1] * sum(meta.counts["train"])
    assert len(gather(read_prepared(tmp_path / "out", "train"))) == len(groups)


def test_dropping_is_not_offered_where_it_changes_nothing(raw, tmp_path):
    (raw / "test/cat/x.png").write_bytes((raw / "val/cat/0.png").read_bytes())
    meta = prepare(folder_data(raw), config(overlaps="report"), tmp_path / "out")
    assert summary(meta).endswith("images in two splits: 1 val-test")


def test_a_class_that_is_dropped_from_training_is_named(raw, tmp_path, caplog):
    for i in range(2):
        (raw / f"test/cat/x{i}.png").write_bytes((raw / f"train/dog/{i}.png").read_bytes())
    meta = prepare(folder_data(raw), config(overlaps="drop"), tmp_path / "out")
    assert meta.counts["train"] == (3, 0)
    assert "no train images of the classes dog" in caplog.text


def test_repeated_images_within_a_split_are_kept_and_counted(raw, tmp_path):
    data = (raw / "train/cat/0.png").read_bytes()
    (raw / "train/cat/again.png").write_bytes(data)
    meta = prepare(folder_data(raw), config(), tmp_path / "out")
    assert meta.duplicates == {"train": 1, "val": 0, "test": 0}
    assert meta.counts["train"] == (4, 2)


def test_failed_run_leaves_earlier_data_as_they_were(raw, tmp_path):
    out = tmp_path / "out"
    prepare(folder_data(raw), config(), out)
    before = sha256_tree(out)
    (raw / "test/dog/bad.png").write_text("no picture")
    with pytest.raises(InputError):
        prepare(folder_data(raw), config(image_size=16), out)
    assert sha256_tree(out) == before


def test_leftovers_of_a_killed_run_vanish(raw, tmp_path):
    out = tmp_path / "out"
    (out / "new.part").mkdir(parents=True)
    (out / "new.part" / "train.parquet.part").write_text("half")
    prepare(folder_data(raw), config(), out)
    assert not (out / "new.part").exists()


def parquet_of(folder, labels):
    seed = 0
    for split in ("train", "validation", "test"):
        files = []
        for _ in labels[split]:
            seed += 1
            files.append(encoded(picture(seed)))
        table = image_table(files, labels[split], ("cat", "dog"))
        write_images(folder / f"{split}.parquet", table)
    paths = {split: f"{split}.parquet" for split in labels}
    return ParquetData.model_validate({"kind": "parquet", "root": str(folder), **paths})


def test_a_class_without_training_images_is_legal_and_told(tmp_path, caplog):
    data = parquet_of(tmp_path, {"train": [0, 0], "validation": [0, 1], "test": [0, 1]})
    meta = prepare(data, config(), tmp_path / "out")
    assert (meta.counts["train"], meta.bins) == ((2, 0), {"cat": "few", "dog": "few"})
    assert "no train images of the classes dog" in caplog.text
    assert "no training images: dog; such a class is drawn from text alone" in summary(meta)


def test_a_class_without_any_image_is_named(tmp_path):
    data = parquet_of(tmp_path, {"train": [0, 0], "validation": [0], "test": [0]})
    with pytest.raises(InputError, match="classes without any image: dog"):
        prepare(data, config(), tmp_path / "out")


def test_class_without_validation_images_is_told(tmp_path, caplog):
    data = parquet_of(tmp_path, {"train": [0, 1], "validation": [0], "test": [0, 1]})
    assert prepare(data, config(), tmp_path / "out").counts["val"] == (1, 0)
    assert "no val images of the classes dog" in caplog.text


def test_split_without_images_is_refused(tmp_path):
    data = parquet_of(tmp_path, {"train": [0, 1], "validation": [0], "test": []})
    with pytest.raises(InputError, match="the test split holds no images"):
        prepare(data, config(), tmp_path / "out")
    data = parquet_of(tmp_path, {"train": [], "validation": [0, 1], "test": [0, 1]})
    with pytest.raises(InputError, match="the training split holds no images"):
        prepare(data, config(), tmp_path / "out")


def test_bins_come_from_the_training_counts(tmp_path):
    data = parquet_of(
        tmp_path, {"train": [0] * 101 + [1] * 20, "validation": [0, 1], "test": [0, 1]}
    )
    assert prepare(data, config(), tmp_path / "out").bins == {"cat": "many", "dog": "medium"}
    assert json.loads((tmp_path / "out/meta.json").read_text())["counts"]["train"] == [101, 20]


def test_a_split_larger_than_a_row_group_keeps_its_order(tmp_path, monkeypatch):
    monkeypatch.setattr("fgds_core.data.prepare.ROW_GROUP_ROWS", 2)
    data = parquet_of(tmp_path, {"train": [0, 1, 1, 0, 1], "validation": [0, 1], "test": [0, 1]})
    prepare(data, config(), tmp_path / "out")
    assert read_prepared(tmp_path / "out", "train").labels.tolist() == [0, 1, 1, 0, 1]


# Single pictures


def test_exif_orientation_is_applied():
    upright = picture(0)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show rotated by 90 degrees clockwise
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    read = Image.open(io.BytesIO(encoded(turned, "PNG", exif=exif)))
    assert to_rgb(read).tobytes() == upright.tobytes()


def exif_of(*entries, following=0):
    """EXIF with one directory of (tag, type, count, 4 bytes)."""
    out = struct.pack("<H", len(entries))
    for tag, kind, count, value in entries:
        out += struct.pack("<HHL", tag, kind, count) + value
    return b"II*\0" + struct.pack("<L", 8) + out + struct.pack("<L", following)


def short(number):
    return struct.pack("<HH", number, 0)


TURNED = (0x0112, 3, 1, short(6))

DAMAGED_EXIF = {
    "text as resolution": (exif_of(TURNED, (0x11A, 2, 4, b"abc\0")), True),
    "text as unit": (exif_of(TURNED, (0x128, 2, 4, b"abc\0")), True),
    "negative unit": (exif_of(TURNED, (0x128, 8, 1, struct.pack("<hh", -5, 0))), True),
    "NaN": (exif_of(TURNED, (0x11A, 11, 1, struct.pack("<f", float("nan")))), True),
    "loop": (exif_of(TURNED, following=8), True),
    "inner loop": (exif_of(TURNED, (0x8769, 4, 1, struct.pack("<L", 8))), True),
    "position beyond": (exif_of(TURNED, (0x8825, 4, 1, struct.pack("<L", 2**32 - 9))), True),
    "cut": (b"II", False),
    "no header": (b"\0\x08\0\x02\x01\x12\0\x03", False),
    "huge count": (exif_of((0x0112, 3, 2**32 - 1, short(6))), False),
    "unknown type": (exif_of((0x0112, 99, 1, short(6))), False),
    "many entries": (b"II*\0" + struct.pack("<LH", 8, 65535) + b"\0" * 99, False),
    "noise": (bytes(range(200)), False),
    "orientation 0": (exif_of((0x0112, 3, 1, short(0))), False),
    "orientation 9": (exif_of((0x0112, 3, 1, short(9))), False),
    "orientation as text": (exif_of((0x0112, 2, 4, b"top\0")), False),
    "two orientations": (exif_of((0x0112, 3, 2, struct.pack("<HH", 6, 3))), True),
}


@pytest.mark.parametrize("name", DAMAGED_EXIF)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_spoils_no_picture(name, kind):
    exif, turned = DAMAGED_EXIF[name]
    data = encoded(picture(0, size=(12, 8)), kind, exif=b"Exif\0\0" + exif)
    assert to_rgb(decode_picture(data)).size == ((8, 12) if turned else (12, 8))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        *((mode, "TIFF") for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "LAB")),
        *((mode, "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
        *((mode, "JPEG") for mode in ("L", "RGB", "CMYK", "YCbCr")),
        ("I;16", "TIFF"),
        ("I;16", "PPM"),
        ("1", "PPM"),
        ("P", "GIF"),
        ("RGBA", "WEBP"),
        ("RGB", "AVIF"),
        ("P", "BMP"),
    ],
)
def test_every_documented_mode_is_read(mode, kind):
    assert to_rgb(decode_picture(encoded(Image.new(mode, (6, 4)), kind))).mode == "RGB"


def test_bright_sixteen_bits_stay_bright():
    shades = np.array([[0, 65535, 32768]], dtype=np.uint16)
    for kind in ("PNG", "TIFF", "PPM"):
        read = to_rgb(decode_picture(encoded(Image.fromarray(shades), kind)))
        assert list(read.convert("L").get_flattened_data()) == [0, 255, 128]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "MPO"])
def test_of_several_frames_the_first_is_read(kind):
    first = Image.new("RGB", (8, 8), "white")
    data = encoded(first, kind, save_all=True, append_images=[Image.new("RGB", (8, 8), "black")])
    assert to_rgb(decode_picture(data)).getpixel((0, 0)) == (255, 255, 255)


def test_transparent_parts_become_white():
    glass = Image.new("RGBA", (2, 2), (200, 0, 0, 0))
    assert to_rgb(glass).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "LA"])
def test_other_modes_become_rgb(mode):
    assert to_rgb(Image.new(mode, (2, 2))).mode == "RGB"


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_grey_of_sixteen_bits_keeps_its_range(mode):
    shades = np.array([[0, 128, 257, 32768, 65535]], dtype=">u2" if mode[-1] == "B" else "<u2")
    picture = Image.frombytes(mode, (5, 1), shades.tobytes())
    assert list(to_rgb(picture).convert("L").get_flattened_data()) == [0, 0, 1, 128, 255]


@pytest.mark.parametrize(("mode", "kind"), [("I", "32-bit"), ("F", "floating-point")])
def test_pixels_without_a_known_range_are_refused(mode, kind):
    with pytest.raises(InputError, match=f"{kind} pixels .* save the image with 8 or 16 bits"):
        to_rgb(Image.new(mode, (2, 2)))


def test_center_crop_keeps_the_middle_and_none_keeps_all():
    wide = Image.new("RGB", (24, 8), "red")
    wide.paste("blue", (8, 0, 16, 8))
    assert set(to_square(wide, config()).get_flattened_data()) == {(0, 0, 255)}
    stretched = to_square(wide, config(crop="none"))
    assert stretched.size == (8, 8)
    assert stretched.getpixel((0, 4)) == (255, 0, 0)


def test_square_images_are_resized_the_same_under_both_crops():
    square = picture(0, size=(28, 28))
    for interpolation in ("bilinear", "bicubic", "lanczos"):
        first = to_square(square, config(image_size=32, interpolation=interpolation))
        second = to_square(square, config(image_size=32, interpolation=interpolation, crop="none"))
        assert first.tobytes() == second.tobytes()


def test_digest_sees_pixels_and_shape():
    assert content_digest(Image.new("RGB", (4, 2))) != content_digest(Image.new("RGB", (2, 4)))
    assert content_digest(picture(0)) == content_digest(picture(0))
    assert content_digest(picture(0)) != content_digest(picture(1))


@pytest.mark.parametrize(
    "change", [{"image_size": 0}, {"image_size": "32"}, {"interpolation": "best"}, {"crop": True}]
)
def test_bad_parameters_name_their_key(change):
    with pytest.raises(ValidationError, match=next(iter(change))):
        config(**change)


# Formats and processes


def jpeg_files(raw, **options):
    """The same pictures as JPEG files, 8 pixels a side."""
    for i, path in enumerate(sorted(raw.rglob("*.png"))):
        path.write_bytes(encoded(picture(500 + i, size=(8, 8)), "JPEG", **options))


def stored(folder, split="train"):
    return read_table(folder / f"{split}.parquet")["image"].combine_chunks().field("bytes")


def test_real_and_synthetic_images_have_one_last_step(raw, tmp_path):
    jpeg_files(raw)
    for settings in ({}, {"format": "jpeg"}, {"format": "jpeg", "quality": 80}):
        meta = prepare(folder_data(raw), config(**settings), tmp_path / "out")
        assert meta.encoding == config(**settings).encoding
        paths = [row.read() for row in open_source(folder_data(raw)).rows("train")]
        as_if_drawn = encode(decode_images(paths), read_meta(tmp_path / "out").encoding)
        assert stored(tmp_path / "out").to_pylist() == as_if_drawn


def test_jpeg_is_stored_at_its_quality_with_full_colours(raw, tmp_path):
    prepare(folder_data(raw), config(format="jpeg", quality=100), tmp_path / "out")
    (first, *_) = stored(tmp_path / "out").to_pylist()
    read = Image.open(io.BytesIO(first))
    assert read.format == "JPEG"
    assert {max(table) for table in read.quantization.values()} == {1}
    assert {layer[1:3] for layer in read.layer} == {(1, 1)}


def test_jpeg_files_that_need_no_change_can_be_kept(raw, tmp_path):
    jpeg_files(raw, quality=60, progressive=True, exif=b"Exif\0\0" + exif_of(), comment=b"private")
    settings = config(format="jpeg", keep_bytes=True)
    prepare(folder_data(raw), settings, tmp_path / "out")
    kept = stored(tmp_path / "out", "val").to_pylist()
    sources = [row.read() for row in open_source(folder_data(raw)).rows("val")]
    assert torch.equal(decode_images(kept), decode_images(sources))
    for file, source in zip(kept, sources, strict=True):
        assert len(file) < len(source)
        assert b"Exif" not in file
        assert b"private" not in file
        assert bare_jpeg(file) == file


TURN = Image.Exif()
TURN[0x0112] = 6


@pytest.mark.parametrize(
    "data",
    [
        encoded(picture(0, size=(9, 8)), "JPEG"),
        encoded(picture(0, size=(8, 8)), "JPEG", exif=TURN),
        encoded(picture(0, size=(8, 8), mode="L"), "JPEG"),
        encoded(picture(0, size=(8, 8), mode="RGBA").convert("CMYK"), "JPEG"),
        encoded(picture(0, size=(8, 8)), "JPEG", keep_rgb=True),
        encoded(picture(0, size=(8, 8))),
        encoded(picture(0, size=(8, 8)), "WEBP", lossless=True),
    ],
    ids=["size", "turned", "grey", "CMYK", "RGB", "PNG", "WebP"],
)
def test_what_needs_a_change_is_encoded_once(data):
    settings = config(format="jpeg", keep_bytes=True)
    square = to_square(to_rgb(decode_picture(data)), settings)
    assert prepare_picture(data, settings).file == encode_picture(square, settings.encoding)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("restarts", [0, 1])
def test_a_bare_jpeg_has_the_same_pixels(subsampling, progressive, restarts):
    data = encoded(
        picture(3, size=(200, 136)),
        "JPEG",
        subsampling=subsampling,
        progressive=progressive,
        restart_marker_blocks=restarts,
        icc_profile=b"profile" * 10_000,  # in several segments
        comment=b"note",
    )
    bare = bare_jpeg(data + b"what a telephone appends\xff\xd8\xff")
    assert b"profile" not in bare
    assert b"telephone" not in bare
    assert decode_picture(bare).tobytes() == decode_picture(data).tobytes()
    assert Image.open(io.BytesIO(bare)).info.keys() <= {
        "jfif", "jfif_version", "jfif_unit", "jfif_density", "progressive", "progression",
    }  # fmt: skip


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_no_damage_makes_a_bare_jpeg_of_other_pixels(at, value):
    data = bytearray(encoded(picture(3, size=(24, 24)), "JPEG", comment=b"note"))
    data[at % len(data)] = value
    try:
        pixels = decode_picture(bytes(data)).tobytes()
    except InputError:
        return
    bare = bare_jpeg(bytes(data))
    assert bare is None or decode_picture(bare).tobytes() == pixels


def test_keeping_bytes_needs_a_format_that_has_them():
    with pytest.raises(ValidationError, match=r"keep_bytes .* needs format jpeg"):
        config(keep_bytes=True)


class Waiting(Workers):
    def start(self):
        super().start()
        if self._begun is not None:
            self._begun.result()


def test_any_number_of_processes_writes_the_same_bytes(raw, tmp_path, monkeypatch):
    jpeg_files(raw)
    monkeypatch.setattr("fgds_core.data.prepare._CHUNK_ROWS", 1)
    prepare(folder_data(raw), config(format="jpeg"), tmp_path / "one", workers=0)
    monkeypatch.setattr("fgds_core.data.prepare._WORTH_PROCESSES", 0)
    monkeypatch.setattr("fgds_core.data.prepare.Workers", Waiting)
    prepare(folder_data(raw), config(format="jpeg"), tmp_path / "two", workers=2)
    assert sha256_tree(tmp_path / "one") == sha256_tree(tmp_path / "two")
    (raw / "val/dog/0.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"^1 images cannot .*\n  val: val/dog/0\.png: not"):
        prepare(folder_data(raw), config(format="jpeg"), tmp_path / "two", workers=2)
    assert sha256_tree(tmp_path / "one") == sha256_tree(tmp_path / "two")
