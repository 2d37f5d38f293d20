import io
import json
import struct
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from micro import random_images
from PIL import Image, TiffImagePlugin
from sets import gather

from fgds_core.errors import InputError
from fgds_core.files import FileRecord, sha256_file
from fgds_core.images.dataset import read_images
from fgds_core.images.formats import (
    FORMATS,
    PNG,
    Encoding,
    decode_picture,
    encode_picture,
    is_picture,
)
from fgds_core.images.pixels import decode_images, encode, from_uint8, to_uint8
from fgds_core.images.table import (
    ROW_GROUP_BYTES,
    ROW_GROUP_ROWS,
    class_names_of,
    image_table,
    write_image_batches,
    write_images,
)
from fgds_core.synthesis.columns import synthetic_schema

NAMES = ("cat", "T-shirt/top", "ankle boot")


def test_all_bytes_come_back_exactly():
    pixels = torch.arange(256, dtype=torch.uint8)
    floats = from_uint8(pixels)
    assert floats.dtype == torch.float32
    assert floats.min() == -1
    assert floats.max() == 1
    assert torch.equal(to_uint8(floats), pixels)


def test_converting_leaves_its_input_alone():
    pixels = torch.arange(4, dtype=torch.float32)
    from_uint8(pixels)
    assert torch.equal(pixels, torch.arange(4, dtype=torch.float32))


@settings(deadline=None, max_examples=40)
@given(hnp.arrays("uint8", st.tuples(st.integers(1, 3), st.just(3), *[st.integers(1, 9)] * 2)))
def test_images_come_back_exactly_from_png(pixels):
    images = from_uint8(torch.from_numpy(pixels))
    assert torch.equal(decode_images(encode(images, PNG)), images)


@pytest.mark.parametrize("quality", [75, 95])
def test_jpeg_keeps_the_full_resolution_of_colours(quality):
    images = random_images()
    files = encode(images, Encoding("jpeg", quality))
    picture = Image.open(io.BytesIO(files[0]))
    assert picture.format == "JPEG"
    assert {layer[1:3] for layer in picture.layer} == {(1, 1)}
    assert decode_images(files).shape == images.shape
    assert files == encode(images, Encoding("jpeg", quality))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gif",), "png or jpeg, got 'gif'"),
        (("png", 95), "png has no quality"),
        (("jpeg",), "from 1 to 100, got None"),
        (("jpeg", 0), "from 1 to 100, got 0"),
        (("jpeg", 101), "from 1 to 100, got 101"),
    ],
)
def test_encodings_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Encoding(*arguments)


def test_values_beyond_the_range_are_clamped_and_nan_is_refused():
    assert to_uint8(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]
    with pytest.raises(ValueError, match="finite"):
        to_uint8(torch.tensor([float("nan")]))


def test_grey_images_become_rgb():
    data = encode_picture(Image.new("L", (4, 2), 51), PNG)
    assert torch.equal(decode_images([data]), torch.full((1, 3, 2, 4), 51 / 127.5 - 1))


def picture_bytes(kind, **options):
    buffer = io.BytesIO()
    noise = to_uint8(random_images(1, 32))[0].permute(1, 2, 0).numpy()
    Image.fromarray(noise).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
def test_truncated_images_are_refused_though_they_open(kind, kept):
    data = picture_bytes(kind)
    with pytest.raises(InputError, match=r"shard\.parquet, row 1"):
        decode_images([data, data[: int(kept * len(data))]], source="shard.parquet")


def test_any_flipped_bit_in_png_pixels_is_found():
    data = bytearray(picture_bytes("PNG", compress_level=0))
    data[len(data) // 2] ^= 1  # stored without compression: decodes without complaint
    with pytest.raises(InputError, match="not a readable image"):
        decode_picture(bytes(data))


def test_images_of_different_sizes_and_missing_ones_are_refused():
    small, large = (encode_picture(Image.new("RGB", (s, s)), PNG) for s in (4, 5))
    with pytest.raises(InputError, match="row 1: the image is 5x5 pixels, the first one 4x4"):
        decode_images([small, large])
    with pytest.raises(InputError, match="row 0: holds no image bytes"):
        decode_images(pa.array([{"bytes": None, "path": "x.png"}]))


def test_table_comes_back_from_its_file(tmp_path):
    images, groups = random_images(), ["a", "b", "a", "b"]
    table = image_table(images, [0, 1, 2, 1], NAMES, {"group": groups})
    record = write_images(tmp_path / "x" / "t.parquet", table, root=tmp_path)
    assert record == FileRecord("x/t.parquet", sha256_file(tmp_path / record.path), 4)
    read = read_images(tmp_path / record.path)
    assert torch.equal(gather(read), images)
    assert read.labels.tolist() == [0, 1, 2, 1]
    assert read.groups == tuple(groups)
    assert read.class_names == NAMES
    assert len(read) == 4


def test_same_rows_give_the_same_bytes_whatever_their_chunks(tmp_path):
    table = image_table(random_images(), [0, 1, 2, 1], NAMES)
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    first, second = (
        write_images(tmp_path / name, rows)
        for name, rows in (("a.parquet", table), ("b.parquet", chunked))
    )
    assert first.sha256 == second.sha256


def test_no_codec_but_png_decides_about_the_bytes(tmp_path):
    write_images(tmp_path / "t.parquet", image_table([b"x"], [0], ["only"]))
    with pq.ParquetFile(tmp_path / "t.parquet") as file:
        columns = file.metadata.row_group(0)
        codecs = {columns.column(i).compression for i in range(columns.num_columns)}
    assert codecs == {"UNCOMPRESSED"}


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_row_group_is_bounded_and_holds_its_files_as_they_are(tmp_path, size):
    num_rows = 1500
    files = [bytes([row % 256]) * (size + row % 7) for row in range(num_rows)]
    write_images(tmp_path / "t.parquet", image_table(files, [0] * num_rows, ["only"]))
    content = (tmp_path / "t.parquet").read_bytes()
    start = 0
    with pq.ParquetFile(tmp_path / "t.parquet") as file:
        for index in range(file.num_row_groups):
            images = file.metadata.row_group(index).column(0)
            own = files[start : start + images.num_values]
            as_they_are = b"".join(len(data).to_bytes(4, "little") + data for data in own)
            end = images.data_page_offset + images.total_compressed_size
            assert content[end - len(as_they_are) : end] == as_they_are  # no second page between
            assert images.path_in_schema == "image.bytes"
            assert images.num_values <= ROW_GROUP_ROWS
            assert sum(map(len, own)) <= ROW_GROUP_BYTES
            start += images.num_values
        assert start == num_rows
        assert file.num_row_groups == (2 if size == 1 else 3)


def test_an_image_larger_than_a_row_group_has_one_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("fgds_core.images.table.ROW_GROUP_BYTES", 10)
    table = image_table([b"x" * n for n in (4, 6, 1, 30, 2)], [0] * 5, ["only"])
    write_images(tmp_path / "t.parquet", table)
    with pq.ParquetFile(tmp_path / "t.parquet") as file:
        groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        assert file.read() == table
    assert groups == [2, 1, 1, 1]


def test_large_table_is_cut_into_row_groups(tmp_path):
    num_rows = ROW_GROUP_ROWS + 1
    table = image_table([b"x"] * num_rows, [0] * num_rows, ["only"])
    write_images(tmp_path / "t.parquet", table)
    with pq.ParquetFile(tmp_path / "t.parquet") as file:
        assert file.metadata.num_row_groups == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([b"x"], [0, 1], NAMES), "one length"),
        (([b"x"], [3], NAMES), r"labels must be in 0\.\.2"),
        (([b"x"], [0], ["a", "a"]), "differ"),
    ],
)
def test_tables_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        image_table(*arguments)


def test_table_must_have_the_columns_of_its_schema():
    schema = synthetic_schema(NAMES)
    with pytest.raises(ValueError, match=r"missing .*'prompt'.*unknown \['colour'\]"):
        image_table([b"x"], [0], NAMES, {"colour": ["red"]}, schema=schema)


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "t.parquet"
    table = image_table(random_images(), [0, 1, 2, 1], NAMES)
    record = write_images(path, table)

    def pieces():
        yield table
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_image_batches(path, table.schema, pieces())
    assert sha256_file(path) == record.sha256
    assert list(tmp_path.iterdir()) == [path]


def test_unreadable_tables_are_refused_by_name(tmp_path):
    path = tmp_path / "t.parquet"
    with pytest.raises(InputError, match=r"t\.parquet does not exist"):
        read_images(path)
    table = image_table(random_images(), [0, 1, 2, 1], NAMES)
    write_images(path, table)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"t\.parquet is not a readable Parquet file"):
        read_images(path)
    write_images(path, table.drop_columns("label"))
    with pytest.raises(InputError, match=r"lacks the columns \['label'\]; it has \['image'\]"):
        read_images(path)
    write_images(path, table.replace_schema_metadata(None))
    with pytest.raises(InputError, match="does not name its classes"):
        read_images(path)
    wrong = table.set_column(1, "label", pa.array([0, 3, 0, 0]))
    write_images(path, wrong.replace_schema_metadata(table.schema.metadata))
    with pytest.raises(InputError, match=r"row 1: label 3 is not in 0\.\.2"):
        read_images(path)


# Files from the wild


def _encoded(kind):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 60)).save(buffer, kind)
    return buffer.getvalue()


def chunk(kind, data):
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def png_of(width, height, *chunks):
    """The beginning of a PNG file of that size, then the chunks."""
    header = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


PIXELS = chunk(b"IDAT", zlib.compress(b"\0\1\2\3\4\5\6"))


@pytest.mark.parametrize(
    "text",
    [
        chunk(b"tEXt", b"k\0" + b"x" * 2_000_000),
        chunk(b"tEXt", b"k\0" + b"x" * 900_000) * 80,
        chunk(b"zTXt", b"k\0\0" + zlib.compress(b"x" * 5_000_000)),
        chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(b"x" * 5_000_000)),
        chunk(b"iCCP", b"k\0\0" + zlib.compress(b"x" * 5_000_000)),
        chunk(b"iCCP", b"k\0\0no profile"),
        chunk(b"zTXt", b"k\0\7no text"),
        chunk(b"eXIf", b"no EXIF"),
        chunk(b"prVt", b"anything"),
    ],
)
def test_whatever_describes_a_png_its_pixels_are_read(text):
    picture = decode_picture(png_of(2, 1, text, PIXELS))
    assert picture.tobytes() == b"\1\2\3\4\5\6"


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [
        (60_000, 60_000, "more than 178956970 pixels"),
        (2, 1, "2 x 1 pixels are more than 1;.*prepare.max_image_pixels"),
        (12_000, 9_000, "12000 x 9000 pixels are more than 1"),
    ],
)
def test_large_pictures_are_refused_before_they_are_decoded(width, height, message, recwarn):
    with pytest.raises(InputError, match=message):
        decode_picture(png_of(width, height, PIXELS), max_pixels=1)
    assert not recwarn.list


@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        _encoded("ICO"),
        _encoded("TGA"),
        _encoded("JPEG2000"),
        _encoded("PDF"),
        _encoded("PCX"),
        _encoded("SGI"),
        _encoded("DDS"),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        b"text",
        b"",
        b"\0" * 99,
    ],
)
def test_only_the_documented_formats_are_opened(data, monkeypatch):
    started = []
    monkeypatch.setattr("subprocess.Popen.__init__", lambda *a, **k: started.append(a))
    monkeypatch.setattr("subprocess.check_call", lambda *a, **k: started.append(a))
    with pytest.raises(InputError, match=r"not a readable image .*PNG, JPEG, WEBP"):
        decode_picture(data)
    with pytest.raises(InputError, match="row 0: not a readable image"):
        decode_images([data])
    assert not started


@pytest.mark.parametrize("kind", FORMATS)
def test_the_documented_formats_are_opened_and_known(kind, tmp_path):
    (tmp_path / "file").write_bytes(_encoded(kind))
    assert is_picture(tmp_path / "file")
    assert decode_picture(_encoded(kind)).size == (8, 8)


@pytest.mark.parametrize("tags", [{254: 1}, {254: 5}, {50706: b"\1\4\0\0"}])
def test_previews_in_raw_pictures_of_cameras_are_no_pictures(tags):
    kept = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        kept[tag] = value
    with pytest.raises(InputError, match="preview of a camera's raw picture; convert it"):
        decode_picture(picture_bytes("TIFF", tiffinfo=kept))


@pytest.mark.parametrize(
    "names", [None, "ab", {"0": "a"}, [["a"], ["b"]], [None, "b"], 5, "[" * 20000]
)
def test_names_of_classes_in_metadata_are_a_list_of_names_or_none(names):
    text = json.dumps({"info": {"features": {"label": {"names": names}}}})
    if names == "[" * 20000:
        text = names
    schema = pa.schema([("label", pa.int64())], metadata={b"huggingface": text.encode()})
    assert class_names_of(schema) is None
