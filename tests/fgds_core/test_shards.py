import errno
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from fgds_core import shards
from fgds_core.errors import InputError

NAMES = ("cat", "T-shirt/top", "ankle boot")


def random_images(num_images=4, size=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (num_images, 3, size, size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return shards.from_uint8(pixels)


def synthetic_rows(label=1, first_index=0, num_rows=3, seed=0, class_names=NAMES):
    extra = {
        "group": [None] * num_rows,
        "prompt": ["a photo of a cat"] * num_rows,
        "seed": [seed + 1000 * label + first_index + i for i in range(num_rows)],
        "index": list(range(first_index, first_index + num_rows)),
        "conditioning_id": [5] * num_rows,
        "embedding_dropout": [0.4] * num_rows,
        "noise_level": [0] * num_rows,
        "guidance_scale": [2.0] * num_rows,
        "feedback": ["entropy"] * num_rows,
        "feedback_scale": [0.02] * num_rows,
        "criterion_first": [0.5] * num_rows,
        "criterion_last": [0.7] * num_rows,
        "criterion_final": [0.8] * num_rows,
        "guided_steps": [6] * num_rows,
        "skipped_steps": [0] * num_rows,
        "nonfinite_steps": [0] * num_rows,
        "judge_label": [None] * num_rows,
        "judge_probability": [None] * num_rows,
    }
    return shards.image_table(
        random_images(num_rows, seed=seed + 10 * label + first_index),
        [label] * num_rows,
        class_names,
        extra,
        schema=shards.synthetic_schema(class_names),
    )


def write_part(out, label=1, part=0, first_index=0, fingerprint="f", **rows):
    path = shards.part_path(label, NAMES[label], part)
    table = synthetic_rows(label, first_index, **rows)
    return shards.write_synthetic_part(out, path, table, fingerprint)


def write_set(out):
    records = [
        write_part(out, label=2, part=0),
        write_part(out, label=1, part=1, first_index=3, num_rows=2),
        write_part(out, label=1, part=0),
    ]
    write_index(out, records)
    return records


def write_index(out, records, wanted=(0, 5, 3), **changes):
    arguments = {"fingerprint": "set", "made_by": {"generator": "tiny"}} | changes
    return shards.write_index(out, records, class_names=NAMES, wanted=wanted, **arguments)


# Pixels


def test_all_bytes_come_back_exactly():
    pixels = torch.arange(256, dtype=torch.uint8)
    floats = shards.from_uint8(pixels)
    assert floats.dtype == torch.float32
    assert floats.min() == -1
    assert floats.max() == 1
    assert torch.equal(shards.to_uint8(floats), pixels)


def test_converting_leaves_its_input_alone():
    pixels = torch.arange(4, dtype=torch.float32)
    shards.from_uint8(pixels)
    assert torch.equal(pixels, torch.arange(4, dtype=torch.float32))


@settings(deadline=None, max_examples=40)
@given(hnp.arrays("uint8", st.tuples(st.integers(1, 3), st.just(3), *[st.integers(1, 9)] * 2)))
def test_images_come_back_exactly_from_png(pixels):
    images = shards.from_uint8(torch.from_numpy(pixels))
    assert torch.equal(shards.decode_images(shards.encode_png(images)), images)


def test_values_beyond_the_range_are_clamped_and_nan_is_refused():
    assert shards.to_uint8(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]
    with pytest.raises(ValueError, match="finite"):
        shards.to_uint8(torch.tensor([float("nan")]))


def test_grey_images_become_rgb():
    data = shards.png_bytes(Image.new("L", (4, 2), 51))
    assert torch.equal(shards.decode_images([data]), torch.full((1, 3, 2, 4), 51 / 127.5 - 1))


def picture_bytes(kind, **options):
    buffer = io.BytesIO()
    noise = shards.to_uint8(random_images(1, 32))[0].permute(1, 2, 0).numpy()
    Image.fromarray(noise).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
def test_truncated_images_are_refused_though_they_open(kind, kept):
    data = picture_bytes(kind)
    with pytest.raises(InputError, match=r"shard\.parquet, row 1"):
        shards.decode_images([data, data[: int(kept * len(data))]], source="shard.parquet")


def test_any_flipped_bit_in_png_pixels_is_found():
    data = bytearray(picture_bytes("PNG", compress_level=0))
    data[len(data) // 2] ^= 1  # stored without compression: decodes without complaint
    with pytest.raises(InputError, match="not a readable image"):
        shards.decode_picture(bytes(data))


def test_images_of_different_sizes_and_missing_ones_are_refused():
    small, large = (shards.png_bytes(Image.new("RGB", (s, s))) for s in (4, 5))
    with pytest.raises(InputError, match="row 1: the image is 5x5 pixels, the first one 4x4"):
        shards.decode_images([small, large])
    with pytest.raises(InputError, match="row 0: holds no image bytes"):
        shards.decode_images(pa.array([{"bytes": None, "path": "x.png"}]))


# Tables


def test_table_comes_back_from_its_file(tmp_path):
    images, groups = random_images(), ["a", "b", "a", "b"]
    table = shards.image_table(images, [0, 1, 2, 1], NAMES, {"group": groups})
    record = shards.write_images(tmp_path / "x" / "t.parquet", table, root=tmp_path)
    assert record == shards.FileRecord(
        "x/t.parquet", shards.sha256_file(tmp_path / record.path), 4
    )
    read = shards.read_images(tmp_path / record.path)
    assert torch.equal(read.images, images)
    assert read.labels.tolist() == [0, 1, 2, 1]
    assert read.groups == tuple(groups)
    assert read.class_names == NAMES
    assert len(read) == 4


def test_same_rows_give_the_same_bytes_whatever_their_chunks(tmp_path):
    table = shards.image_table(random_images(), [0, 1, 2, 1], NAMES)
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    first, second = (
        shards.write_images(tmp_path / name, rows)
        for name, rows in (("a.parquet", table), ("b.parquet", chunked))
    )
    assert first.sha256 == second.sha256


def test_no_codec_but_png_decides_about_the_bytes(tmp_path):
    shards.write_images(tmp_path / "t.parquet", shards.image_table([b"x"], [0], ["only"]))
    with pq.ParquetFile(tmp_path / "t.parquet") as file:
        columns = file.metadata.row_group(0)
        codecs = {columns.column(i).compression for i in range(columns.num_columns)}
    assert codecs == {"UNCOMPRESSED"}


def test_datasets_library_shows_pictures_and_class_names(tmp_path):
    import datasets

    images = random_images()
    table = shards.image_table(images, [0, 1, 2, 1], NAMES, {"group": ["a"] * 4})
    shards.write_images(tmp_path / "plain.parquet", table)
    shards.write_images(tmp_path / "synthetic.parquet", synthetic_rows())
    for name in ("plain", "synthetic"):
        rows = datasets.load_dataset(
            "parquet", data_files=str(tmp_path / f"{name}.parquet"), cache_dir=str(tmp_path / "c")
        )["train"]
        assert rows.features["label"].names == list(NAMES)
        assert rows[0]["image"].size == (8, 8)
    assert rows.features["judge_label"].dtype == "int64"


def test_large_table_is_cut_into_row_groups(tmp_path):
    num_rows = shards.ROW_GROUP_ROWS + 1
    table = shards.image_table([b"x"] * num_rows, [0] * num_rows, ["only"])
    shards.write_images(tmp_path / "t.parquet", table)
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
        shards.image_table(*arguments)


def test_table_must_have_the_columns_of_its_schema():
    schema = shards.synthetic_schema(NAMES)
    with pytest.raises(ValueError, match=r"missing .*'prompt'.*unknown \['colour'\]"):
        shards.image_table([b"x"], [0], NAMES, {"colour": ["red"]}, schema=schema)


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "t.parquet"
    table = shards.image_table(random_images(), [0, 1, 2, 1], NAMES)
    record = shards.write_images(path, table)

    def pieces():
        yield table
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        shards.write_image_batches(path, table.schema, pieces())
    assert shards.sha256_file(path) == record.sha256
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_is_said_in_words(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards.os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*x\.json .*No space left"):
        shards.write_json(tmp_path / "x.json", {})
    assert list(tmp_path.iterdir()) == []


def test_unreadable_tables_are_refused_by_name(tmp_path):
    path = tmp_path / "t.parquet"
    with pytest.raises(InputError, match=r"t\.parquet does not exist"):
        shards.read_images(path)
    table = shards.image_table(random_images(), [0, 1, 2, 1], NAMES)
    shards.write_images(path, table)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"t\.parquet is not a readable Parquet file"):
        shards.read_images(path)
    shards.write_images(path, table.drop_columns("label"))
    with pytest.raises(InputError, match=r"lacks the columns \['label'\]; it has \['image'\]"):
        shards.read_images(path)
    shards.write_images(path, table.replace_schema_metadata(None))
    with pytest.raises(InputError, match="does not name its classes"):
        shards.read_images(path)
    wrong = table.set_column(1, "label", pa.array([0, 3, 0, 0]))
    shards.write_images(path, wrong.replace_schema_metadata(table.schema.metadata))
    with pytest.raises(InputError, match=r"row 1: label 3 is not in 0\.\.2"):
        shards.read_images(path)


def test_half_given_groups_are_refused(tmp_path):
    table = shards.image_table([b"x"] * 2, [0, 1], NAMES, {"group": ["a", None]})
    with pytest.raises(InputError, match="row 1: has no group"):
        shards.table_images(table)


# Files


def test_tree_digest_depends_on_names_and_contents_only(tmp_path):
    for name, order in (("a", "12"), ("b", "21")):
        for file in order:
            path = tmp_path / name / file / "f"
            path.parent.mkdir(parents=True)
            path.write_text(file)
    digest = shards.sha256_tree(tmp_path / "a")
    assert digest == shards.sha256_tree(tmp_path / "b")
    (tmp_path / "a/1/f").rename(tmp_path / "a/1/g")
    assert digest != shards.sha256_tree(tmp_path / "a")
    (tmp_path / "b/1/f").write_text("2")
    assert digest != shards.sha256_tree(tmp_path / "b")
    with pytest.raises(InputError, match="does not exist"):
        shards.sha256_tree(tmp_path / "c")


def test_json_is_deterministic_and_refuses_nan(tmp_path):
    shards.write_json(tmp_path / "a.json", {"b": 1, "a": [2]})
    shards.write_json(tmp_path / "b.json", {"a": [2], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        shards.write_json(tmp_path / "a.json", {"a": float("nan")})


# The synthetic set


@pytest.mark.parametrize(
    ("label", "name", "folder"),
    [
        (6, "shirt", "06-shirt"),
        (1, "T-shirt/top", "01-t-shirt-top"),
        (123, "../Crème brûlée", "123-creme-brulee"),
        (7, "猫", "07"),
    ],
)
def test_class_folders_are_safe_names(label, name, folder):
    assert shards.class_folder(label, name) == folder


@settings(deadline=None)
@given(st.integers(0, 9999), st.text(max_size=80))
def test_class_folders_hold_safe_characters_only(label, name):
    folder = shards.class_folder(label, name)
    assert set(folder) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert len(folder) <= 80


def test_synthetic_set_comes_back_in_order_of_class_and_index(tmp_path):
    record = write_index(tmp_path, write_set(tmp_path))
    assert record.num_rows == 8
    assert record.sha256 == shards.sha256_file(tmp_path / "index.json")
    images, table = shards.read_synthetic(tmp_path)
    assert images.labels.tolist() == [1] * 5 + [2] * 3
    assert images.groups is None
    assert table["index"].to_pylist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert table.schema.equals(shards.synthetic_schema(NAMES), check_metadata=True)
    assert torch.equal(images.images[3:5], random_images(2, seed=13))


def test_index_does_not_depend_on_the_order_of_the_parts(tmp_path):
    records = write_set(tmp_path)
    first = write_index(tmp_path, records)
    assert first == write_index(tmp_path, records[::-1])


def test_index_says_what_was_wanted_and_made(tmp_path):
    write_set(tmp_path)
    value = json.loads((tmp_path / "index.json").read_text())
    assert value["fingerprint"] == "set"
    assert value["made_by"] == {"generator": "tiny"}
    assert [(c["wanted"], c["present"]) for c in value["classes"]] == [(0, 0), (5, 5), (3, 3)]
    assert value["parts"][0]["seeds"] == [1000, 1001, 1002]
    assert shards.read_index(tmp_path).wanted == (0, 5, 3)


def test_fingerprint_travels_in_the_part_and_beside_it(tmp_path):
    record = write_part(tmp_path, fingerprint="abc")
    metadata = pq.read_schema(tmp_path / record.path).metadata
    assert metadata[b"fgds_fingerprint"] == b"abc"
    sidecar = json.loads((tmp_path / record.path).with_suffix(".json").read_text())
    assert sidecar["fingerprint"] == "abc"
    assert sidecar["sha256"] == record.sha256


def test_part_counts_as_finished_by_fingerprint_and_bytes(tmp_path):
    record = write_part(tmp_path)
    path = tmp_path / record.path
    assert shards.finished_part(tmp_path, record.path, "f") == record
    assert shards.finished_part(tmp_path, record.path, "other") is None
    assert shards.finished_part(tmp_path, "01-t-shirt-top/part-00009.parquet", "f") is None
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert shards.finished_part(tmp_path, record.path, "f") is None
    write_part(tmp_path)
    path.with_suffix(".json").write_text("{")
    assert shards.finished_part(tmp_path, record.path, "f") is None


def test_part_killed_before_its_sidecar_is_not_finished(tmp_path, monkeypatch):
    record = write_part(tmp_path)

    def killed(path, value, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(shards, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        write_part(tmp_path, seed=7)
    assert shards.finished_part(tmp_path, record.path, "f") is None


def replaced(table, column, values):
    position = table.schema.get_field_index(column)
    return table.set_column(position, table.schema.field(position), pa.array(values))


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("label", [1, 1, 2], "holds one class"),
        ("index", [0, 2, 1], "follow each other"),
        ("seed", [4, 5, 4], "twice"),
        ("prompt", ["a", None, "b"], r"null values in \['prompt'\]"),
    ],
)
def test_rows_that_are_no_part_are_refused(tmp_path, column, values, message):
    rows = replaced(synthetic_rows(), column, values)
    with pytest.raises(ValueError, match=message):
        shards.write_synthetic_part(tmp_path, "01-x/part-00000.parquet", rows, "f")
    assert list(tmp_path.rglob("*.parquet")) == []


def test_tables_with_other_columns_or_no_rows_are_no_part(tmp_path):
    with pytest.raises(ValueError, match="columns must be"):
        shards.write_synthetic_part(tmp_path, "p", shards.image_table([b"x"], [0], NAMES), "f")
    with pytest.raises(ValueError, match="at least one image"):
        shards.write_synthetic_part(tmp_path, "p", synthetic_rows().slice(0, 0), "f")


def test_no_index_no_data_set(tmp_path):
    write_set(tmp_path)
    shards.remove_index(tmp_path)
    with pytest.raises(InputError, match=r"index\.json does not exist; run the stage synthesize"):
        shards.read_synthetic(tmp_path)


def first_part(folder):
    return folder / "01-t-shirt-top" / "part-00000.parquet"


def flip_a_bit(folder):
    data = bytearray(first_part(folder).read_bytes())
    data[len(data) // 3] ^= 16
    first_part(folder).write_bytes(data)


def truncate(folder):
    first_part(folder).write_bytes(first_part(folder).read_bytes()[:-1])


def put_another_part_in_its_place(folder):
    write_part(folder, seed=99)


@pytest.mark.parametrize(
    "damage",
    [lambda f: first_part(f).unlink(), flip_a_bit, truncate, put_another_part_in_its_place],
    ids=["missing", "bit", "truncated", "replaced"],
)
def test_damaged_part_is_named(tmp_path, damage):
    write_set(tmp_path)
    damage(tmp_path)
    with pytest.raises(
        InputError, match=r"01-t-shirt-top/part-00000\.parquet (is missing|has chang)"
    ):
        shards.read_synthetic(tmp_path)


def test_part_nobody_named_is_refused(tmp_path):
    write_set(tmp_path)
    write_part(tmp_path, label=0)
    with pytest.raises(InputError, match=r"does not name: 00-cat/part-00000\.parquet"):
        shards.read_synthetic(tmp_path)


def test_part_of_another_fingerprint_is_refused(tmp_path):
    write_set(tmp_path)
    index = json.loads((tmp_path / "index.json").read_text())
    index["parts"][0]["fingerprint"] = "another"
    shards.write_json(tmp_path / "index.json", index)
    with pytest.raises(InputError, match=r"part-00000\.parquet belongs to another synthetic set"):
        shards.read_synthetic(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"parts": 3}'])
def test_damaged_index_is_refused(tmp_path, text):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(InputError, match=r"index\.json is damaged"):
        shards.read_index(tmp_path)


def test_unfinished_classes_get_no_index(tmp_path):
    records = write_set(tmp_path)
    shards.remove_index(tmp_path)
    with pytest.raises(
        InputError, match=r"not finished: T-shirt/top \(5 of 7\), ankle boot \(3 of 4"
    ):
        write_index(tmp_path, records, wanted=(0, 7, 4))
    assert not (tmp_path / "index.json").exists()


def test_index_refuses_gaps_overlaps_and_repeated_seeds(tmp_path):
    records = write_set(tmp_path)
    with pytest.raises(ValueError, match="starts at index 3, expected 0"):
        write_index(tmp_path, records[:2])
    with pytest.raises(ValueError, match="expected 3"):
        write_index(tmp_path, [*records, records[0]])
    same_seeds = write_part(tmp_path, label=2, seed=-1000)  # the seeds of class 1
    with pytest.raises(ValueError, match="3 seeds come more than once"):
        write_index(tmp_path, [same_seeds, *records[1:]])
    with pytest.raises(InputError, match="raise target_per_class"):
        write_index(tmp_path, [], wanted=(0, 0, 0))
    with pytest.raises(ValueError, match="wanted must have 3 entries"):
        write_index(tmp_path, records, wanted=(5,))


def test_index_is_made_without_reading_parts(tmp_path):
    records = write_set(tmp_path)
    first = write_index(tmp_path, records)
    for file in tmp_path.rglob("*.parquet"):
        file.unlink()
    assert write_index(tmp_path, records) == first


def test_parts_of_earlier_runs_are_removed_and_nothing_else(tmp_path):
    records = write_set(tmp_path)
    stale = write_part(tmp_path, label=0)
    note = tmp_path / "02-ankle-boot" / "part-notes.txt"
    note.write_text("mine")
    (first_part(tmp_path).parent / "part-00003.parquet.part").write_text("half")
    removed = shards.remove_foreign_parts(tmp_path, records)
    assert removed == [
        "00-cat/part-00000.json",
        stale.path,
        "01-t-shirt-top/part-00003.parquet.part",
    ]
    assert note.exists()
    assert not (tmp_path / "00-cat").exists()
    assert len(shards.read_synthetic(tmp_path)[0]) == 8


# Prepared data


def prepared(folder: Path) -> shards.Meta:
    table = shards.image_table(random_images(), [0, 1, 2, 1], NAMES)
    records = {s: shards.write_images(folder / f"{s}.parquet", table) for s in shards.SPLITS}
    meta = shards.Meta(
        class_names=NAMES,
        image_size=8,
        counts={split: (1, 2, 1) for split in shards.SPLITS},
        bins=dict.fromkeys(NAMES, "few"),
        groups=None,
        duplicates=dict.fromkeys(shards.SPLITS, 0),
        content_sha256={split: record.sha256 for split, record in records.items()},
    )
    shards.write_meta(folder, meta)
    return meta


def test_prepared_data_come_back(tmp_path):
    meta = prepared(tmp_path)
    assert shards.read_meta(tmp_path) == meta
    assert torch.equal(shards.read_prepared(tmp_path, "val").images, random_images())
    with pytest.raises(ValueError, match="split must be one of"):
        shards.read_prepared(tmp_path, "validation")


def test_prepared_data_that_changed_are_refused(tmp_path):
    prepared(tmp_path)
    table = shards.image_table(random_images(seed=5), [0, 1, 2, 1], NAMES)
    shards.write_images(tmp_path / "val.parquet", table)
    with pytest.raises(InputError, match=r"val\.parquet is not the file meta\.json speaks of"):
        shards.read_prepared(tmp_path, "val")
    (tmp_path / "meta.json").write_text('{"class_names": []}')
    with pytest.raises(InputError, match=r"meta\.json is damaged"):
        shards.read_prepared(tmp_path, "train")
