import json
import os
import subprocess
import sys
import unicodedata
from itertools import chain
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from fgds_core.data.config import DataConfig, FolderData, ParquetData, SplitFractions
from fgds_core.data.meta import SPLITS
from fgds_core.data.sources import SOURCES, class_names, open_source
from fgds_core.data.sources.folder import _drawn
from fgds_core.errors import InputError
from fgds_core.files import check_root, hash_file
from fgds_core.images.formats import PNG, encode_picture
from fgds_core.images.table import image_table, write_images

KINDS = get_args(get_args(DataConfig)[0])

SPLIT_FOLDERS = {"by": "folders", "train": "train", "validation": "val", "test": "test"}
FRACTIONS = {"by": "fractions", "validation": 0.2, "test": 0.3, "seed": 0}


def png(shade):
    return encode_picture(Image.new("L", (3, 3), shade), PNG)


def folder_data(root, split=SPLIT_FOLDERS, groups=False):
    return FolderData.model_validate(
        {"kind": "folder", "root": str(root), "split": split, "groups": groups}
    )


def parquet_data(folder, **settings):
    paths = {split: f"{split}.parquet" for split in ("train", "validation", "test")}
    return ParquetData.model_validate(
        {"kind": "parquet", "root": str(folder), **paths, **settings}
    )


def write_folders(root, counts, start=0):
    """Writes images root/<name>/<i>.png for {name: count}."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            start += 1
            (root / name / f"{i}.png").write_bytes(png(start % 256))


def write_split_folders(root):
    for split in ("train", "val", "test"):
        write_folders(root / split, {"dog": 2, "cat": 1})


def write_tables(folder, columns, **changes):
    for split in ("train", "validation", "test"):
        table = pa.table(columns | changes.get(split, {}))
        pq.write_table(table, folder / f"{split}.parquet")


# Folders


def test_folders_give_classes_in_order_of_their_names(tmp_path):
    write_split_folders(tmp_path)
    (tmp_path / "train" / ".hidden").mkdir()
    source = open_source(folder_data(tmp_path))
    assert source.class_names == ("cat", "dog")
    assert source.num_images == {"train": 3, "val": 3, "test": 3}
    assert not source.has_groups
    rows = list(source.rows("val"))
    assert [row.path for row in rows] == ["val/cat/0.png", "val/dog/0.png", "val/dog/1.png"]
    assert [row.label for row in rows] == [0, 1, 1]
    assert rows[0].read() == (tmp_path / "val/cat/0.png").read_bytes()


def test_group_folders_become_groups(tmp_path):
    for split in ("train", "val", "test"):
        write_folders(tmp_path / split / "cat", {"snow": 1, "grass": 1})
        write_folders(tmp_path / split / "dog", {"snow": 1})
    source = open_source(folder_data(tmp_path, groups=True))
    assert source.class_names == ("cat", "dog")
    assert [row.group for row in source.rows("train")] == ["grass", "snow", "snow"]


def test_files_that_are_no_images_are_left_out_and_told(tmp_path):
    write_split_folders(tmp_path)
    (tmp_path / "train/cat/notes.txt").write_text("x")
    (tmp_path / "train/cat/.DS_Store").write_text("x")
    (tmp_path / "train/cat/UPPER.PNG").write_bytes(png(9))
    source = open_source(folder_data(tmp_path))
    assert source.num_images["train"] == 4
    assert "1 hidden or system files and folders (train/cat/.DS_Store)" in source.left_out
    assert "1 files and folders that are no images in their place (train/cat/notes" in (
        source.left_out
    )


def remove_class(root):
    for file in (root / "val/dog").iterdir():
        file.unlink()
    (root / "val/dog").rmdir()


def empty_class(root):
    for file in (root / "train/dog").iterdir():
        file.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_class, "in val are missing: dog, unknown: none"),
        (lambda root: write_folders(root / "test", {"cow": 1}), "missing: none, unknown: cow"),
        (empty_class, r"class dog: .*train/dog holds no images"),
        (lambda root: write_folders(root / "train/cat", {"snow": 1}), "set data.groups to true"),
        (
            lambda root: (root / "val").rename(root / "valid"),
            r"data\.split\.validation: .*/val does not exist; .* are: test, train, valid$",
        ),
    ],
)
def test_folders_that_do_not_fit_are_named(tmp_path, damage, message):
    write_split_folders(tmp_path)
    damage(tmp_path)
    with pytest.raises(InputError, match=message):
        open_source(folder_data(tmp_path))


def test_missing_or_flat_root_is_named(tmp_path):
    with pytest.raises(InputError, match=r"data\.root: the folder .*/nowhere does not exist"):
        open_source(folder_data(tmp_path / "nowhere"))
    (tmp_path / "a.png").write_bytes(png(1))
    with pytest.raises(InputError, match="holds no class folders"):
        open_source(folder_data(tmp_path, FRACTIONS))


def test_image_outside_the_group_folders_is_named(tmp_path):
    write_split_folders(tmp_path)
    with pytest.raises(InputError, match=r"train/cat/0\.png lies in no group folder"):
        open_source(folder_data(tmp_path, groups=True))


def drawn(root, split=FRACTIONS):
    source = open_source(folder_data(root, split))
    return {name: [row.path for row in source.rows(name)] for name in SPLITS}


def test_drawn_splits_hold_every_image_once_and_every_class(tmp_path):
    write_folders(tmp_path, {"cat": 10, "dog": 3, "emu": 2, "fox": 1})
    splits = drawn(tmp_path)
    assert sorted(chain(*splits.values())) == sorted(
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")
    )
    sizes = {
        name: {split: sum(p.startswith(name) for p in splits[split]) for split in SPLITS}
        for name in ("cat", "dog", "emu", "fox")
    }
    assert sizes == {
        "cat": {"train": 5, "val": 2, "test": 3},
        "dog": {"train": 1, "val": 1, "test": 1},
        "emu": {"train": 1, "val": 0, "test": 1},
        "fox": {"train": 1, "val": 0, "test": 0},
    }


@given(
    st.integers(1, 60),
    st.floats(0, 1, exclude_min=True, exclude_max=True),
    st.floats(0, 1, exclude_min=True, exclude_max=True),
    st.integers(0, 9),
)
def test_drawn_splits_keep_training_images_whatever_the_fractions(count, validation, test, seed):
    split = SplitFractions.model_construct(validation=validation, test=test, seed=seed)
    files = [str(i) for i in range(count)]
    splits = _drawn("cat", files, split)
    assert sorted(chain(*(splits[name] for name in SPLITS))) == sorted(files)
    assert splits["train"]
    if count >= 3:
        assert splits["val"]
        assert splits["test"]


def test_drawn_splits_depend_on_their_seed_and_not_on_other_classes(tmp_path):
    write_folders(tmp_path, {"cat": 20, "cow": 3})
    first = drawn(tmp_path)
    assert first == drawn(tmp_path)
    assert first != drawn(tmp_path, FRACTIONS | {"seed": 1})
    write_folders(tmp_path, {"ant": 5})
    again = drawn(tmp_path)
    assert first == {s: [p for p in again[s] if p.startswith("c")] for s in SPLITS}


def test_drawn_splits_are_in_order_of_their_folders(tmp_path):
    for name in ("cat", "dog"):
        write_folders(tmp_path / name, {"snow": 4, "snow-2": 4})
    source = open_source(folder_data(tmp_path, FRACTIONS, groups=True))
    for split in SPLITS:
        paths = [row.path for row in source.rows(split)]
        assert paths == [str(path) for path in sorted(map(Path, paths))]


# Parquet


def images_column(num_images=2):
    return [{"bytes": png(i), "path": f"{i}.png"} for i in range(num_images)]


def test_own_tables_are_read(tmp_path):
    table = image_table([png(0), png(1)], [1, 0], ("cat", "dog"), {"group": ["a", "b"]})
    for split in ("train", "validation", "test"):
        write_images(tmp_path / f"{split}.parquet", table)
    source = open_source(parquet_data(tmp_path))
    assert source.class_names == ("cat", "dog")
    assert source.has_groups
    assert source.num_images == {"train": 2, "val": 2, "test": 2}
    rows = list(source.rows("test"))
    assert [(row.read(), row.label, row.group) for row in rows] == [
        (png(0), 1, "a"),
        (png(1), 0, "b"),
    ]
    assert [row.path for row in rows] == ["test.parquet#0", "test.parquet#1"]
    assert not open_source(parquet_data(tmp_path, group_column=None)).has_groups


def test_labels_may_be_names_and_images_plain_bytes(tmp_path):
    write_tables(tmp_path, {"picture": [png(0), png(1)], "class": ["dog", "cat"]})
    columns = {"image_column": "picture", "label_column": "class"}
    source = open_source(parquet_data(tmp_path, **columns))
    assert source.class_names == ("cat", "dog")
    assert [row.label for row in source.rows("train")] == [1, 0]
    source = open_source(parquet_data(tmp_path, class_names=["dog", "cat"], **columns))
    assert [row.label for row in source.rows("train")] == [0, 1]


def test_numbers_take_the_names_given(tmp_path):
    write_tables(tmp_path, {"image": images_column(), "label": [0, 1]})
    source = open_source(parquet_data(tmp_path, class_names=["cat", "dog"]))
    assert source.class_names == ("cat", "dog")
    assert [row.path for row in source.rows("train")] == ["0.png", "1.png"]
    with pytest.raises(InputError, match=r"list the names in data\.class_names"):
        open_source(parquet_data(tmp_path))


def test_a_folder_of_files_is_one_split(tmp_path):
    write_tables(tmp_path, {"image": images_column(), "label": ["a", "b"]})
    (tmp_path / "many").mkdir()
    for name in ("2.parquet", "1.parquet"):
        (tmp_path / "many" / name).write_bytes((tmp_path / "train.parquet").read_bytes())
    assert open_source(parquet_data(tmp_path, train="many")).num_images["train"] == 4


@pytest.mark.parametrize("label", [-1, 2, "cow"])
def test_label_out_of_range_names_file_and_row(tmp_path, label):
    filler = "cat" if isinstance(label, str) else 0
    write_tables(
        tmp_path,
        {"image": images_column(), "label": ["cat", "dog"]},
        test={"label": [filler, label]},
    )
    source = open_source(parquet_data(tmp_path, class_names=["cat", "dog"]))
    with pytest.raises(
        InputError, match=rf"test\.parquet, row 1: label {label!r} is none of the 2"
    ):
        list(source.rows("test"))


def test_missing_column_is_named_with_the_columns_there_are(tmp_path):
    write_tables(tmp_path, {"img": images_column(), "label": [0, 1]})
    with pytest.raises(InputError, match="has no column image; it has img, label"):
        open_source(parquet_data(tmp_path))


def test_missing_files_and_no_parquet_are_named(tmp_path):
    with pytest.raises(InputError, match=r"data\.train: .*train\.parquet does not exist"):
        open_source(parquet_data(tmp_path))
    (tmp_path / "train.parquet").mkdir()
    with pytest.raises(InputError, match=r"holds no \*\.parquet file"):
        open_source(parquet_data(tmp_path))
    (tmp_path / "train.parquet").rmdir()
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.parquet").write_text("no")
    with pytest.raises(InputError, match="is not a readable Parquet file"):
        open_source(parquet_data(tmp_path))


def test_images_must_be_bytes(tmp_path):
    write_tables(tmp_path, {"image": ["a.png", "b.png"], "label": ["a", "b"]})
    with pytest.raises(InputError, match="column image is string, but must hold the bytes"):
        open_source(parquet_data(tmp_path))
    write_tables(tmp_path, {"image": [png(0), None], "label": ["a", "b"]})
    rows = list(open_source(parquet_data(tmp_path)).rows("train"))
    assert rows[0].problem is None
    assert "train.parquet, row 1: holds no image bytes" in rows[1].problem


def test_groups_must_be_everywhere_or_nowhere(tmp_path):
    columns = {"image": images_column(), "label": ["a", "b"]}
    write_tables(tmp_path, columns, train={"group": ["x", None]})
    with pytest.raises(InputError, match=r"validation\.parquet has no column group"):
        open_source(parquet_data(tmp_path))
    write_tables(tmp_path, columns | {"group": ["x", None]})
    source = open_source(parquet_data(tmp_path))
    with pytest.raises(InputError, match="row 1: has no group"):
        list(source.rows("train"))


def test_class_names_that_differ_between_splits_are_named(tmp_path):
    for split, names in (("train", "ab"), ("validation", "ab"), ("test", "ba")):
        table = image_table([png(0)], [0], tuple(names))
        write_images(tmp_path / f"{split}.parquet", table)
    with pytest.raises(InputError, match=r"test\.parquet names the classes \['b', 'a'\]"):
        open_source(parquet_data(tmp_path))


LABELS = ["b", "a"]

EMBEDDED = [{"bytes": png(0), "path": None}, {"bytes": png(1), "path": None}]


@pytest.mark.parametrize(
    ("image", "label"),
    [
        (pa.array([png(0), png(1)], pa.large_binary()), LABELS),
        (pa.array([png(0), png(1)], pa.binary_view()), LABELS),
        (pa.array([png(0), png(1)]).dictionary_encode(), LABELS),
        (EMBEDDED, pa.array(LABELS, pa.large_string())),
        (EMBEDDED, pa.array(LABELS, pa.string_view())),
        (EMBEDDED, pa.array(LABELS).dictionary_encode()),
        (EMBEDDED, pa.array([1, 0], pa.uint8())),
        (EMBEDDED, pa.array([1, 0], pa.int64()).dictionary_encode()),
        (EMBEDDED, pa.array([True, False])),
        (EMBEDDED, pa.array([1, 0], pa.int8()).cast(pa.int8())),
        (EMBEDDED, pa.array([1.0, 0.0])),
        (EMBEDDED, pa.array([1.0, 0.0], pa.float32())),
    ],
)
def test_labels_and_images_may_be_stored_in_many_ways(tmp_path, image, label):
    write_tables(tmp_path, {"image": image, "label": label})
    rows = list(open_source(parquet_data(tmp_path, class_names=["a", "b"])).rows("train"))
    assert [row.label for row in rows] == [1, 0]
    assert [row.read() for row in rows] == [png(0), png(1)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [[0], [1]]}, r"column label is list<.*one class in each row"),
        ({"label": [{"x": 0}, {"x": 1}]}, "column label is struct<"),
        ({"label": pa.array([0, 1], pa.timestamp("s"))}, "column label is timestamp"),
        ({"label": pa.array([0, 1], pa.decimal128(5, 0))}, "column label is decimal128"),
        ({"label": [b"a", b"b"]}, "column label is binary"),
        ({"label": pa.nulls(2)}, "column label is null"),
        ({"label": pa.array([0, 1], pa.date32())}, "column label is date32"),
        ({"image": [[1, 2], [3, 4]]}, "column image is list<"),
        ({"image": [{"path": "a"}, {"path": "b"}]}, "column image is struct<path"),
        ({"image": [{"bytes": "a"}, {"bytes": "b"}]}, "column image is struct<bytes: string>"),
        ({"image": [{"bytes": [1]}, {"bytes": [2]}]}, "column image is struct<bytes: list"),
        ({"image": [[[[1]]], [[[2]]]]}, "embed_table_storage"),
        ({"group": [["x"], ["y"]]}, "column group is list<.*set data.group_column to null"),
        ({"group": [b"x", b"y"]}, "column group is binary"),
    ],
)
def test_columns_of_a_wrong_kind_are_refused_once(tmp_path, columns, message):
    write_tables(tmp_path, {"image": EMBEDDED, "label": [0, 1]} | columns)
    with pytest.raises(InputError, match=message):
        open_source(parquet_data(tmp_path, class_names=["a", "b"]))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [0, None]}, "row 1: has no label"),
        ({"label": [0.0, float("nan")]}, "row 1: has no label"),
        ({"label": [0.0, 0.5]}, "row 1: label 0.5 is none of the 2"),
        ({"label": ["a", None]}, "row 1: has no label"),
        ({"label": ["a", "A"]}, "row 1: label 'A' is none of the 2"),
        ({"group": ["x", None]}, "row 1: has no group"),
        ({"group": [0.0, float("nan")]}, "row 1: has no group"),
        ({"group": ["x", "a\nb"]}, "row 1: 'a.*' is no name"),
        ({"image": [{"bytes": None, "path": "a.png"}] * 2}, "row 0: holds the path.*embed_table_"),
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path, columns, message):
    write_tables(tmp_path, {"image": EMBEDDED, "label": [0, 1]} | columns)
    with pytest.raises(InputError, match=message):
        list(open_source(parquet_data(tmp_path, class_names=["a", "b"])).rows("train"))


def test_a_column_that_is_there_twice_is_named(tmp_path):
    table = pa.table([EMBEDDED, [0, 1], [0, 1]], names=["image", "label", "label"])
    for split in ("train", "validation", "test"):
        pq.write_table(table, tmp_path / f"{split}.parquet")
    with pytest.raises(InputError, match=r"train\.parquet has 2 columns label"):
        open_source(parquet_data(tmp_path, class_names=["a", "b"]))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "a"], "names the class a more than once"),
        (["caf\u00e9", "cafe\u0301"], "names the class caf\u00e9 more than once"),
        (["a", ""], "is no name"),
        (["a", "b\n"], "is no name"),
        ([], "names no classes"),
    ],
)
def test_class_names_of_a_file_must_be_names(tmp_path, names, message):
    feature = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    table = pa.table({"image": EMBEDDED, "label": [0, 1]})
    for split in ("train", "validation", "test"):
        pq.write_table(
            table.replace_schema_metadata({b"huggingface": json.dumps(feature)}),
            tmp_path / f"{split}.parquet",
        )
    with pytest.raises(InputError, match=message):
        open_source(parquet_data(tmp_path))


def test_columns_may_have_dots_in_their_names(tmp_path):
    write_tables(tmp_path, {"jpg.image": EMBEDDED, "a.label": LABELS, "a": [1, 2]})
    data = parquet_data(tmp_path, image_column="jpg.image", label_column="a.label")
    assert [row.label for row in open_source(data).rows("train")] == [1, 0]


def test_splits_may_share_a_folder_and_be_named_by_patterns(tmp_path):
    write_tables(tmp_path, {"image": EMBEDDED, "label": LABELS})
    (tmp_path / "data").mkdir()
    content = (tmp_path / "train.parquet").read_bytes()
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        (tmp_path / "data" / f"{name}.parquet").write_bytes(content)
        (tmp_path / "data" / f"._{name}.parquet").write_bytes(b"\0\5\x16\7")
    source = open_source(
        parquet_data(tmp_path, train="data/train-*.parquet", test="data/test-?????-of-*.parquet")
    )
    assert source.num_images == {"train": 4, "val": 2, "test": 2}
    assert "not read" not in source.left_out
    half = open_source(parquet_data(tmp_path, train="data/train-00000-of-00002.parquet"))
    assert (
        "not read: 1 of the 2 files train-*-of-00002.parquet (data/train-00001-of-00002.parquet)"
        in half.left_out
    )
    with pytest.raises(InputError, match=r"data\.train: no file .* fits the pattern data/x-\*"):
        open_source(parquet_data(tmp_path, train="data/x-*"))


def test_of_a_folder_the_parquet_files_are_read_and_the_rest_is_told(tmp_path):
    write_tables(tmp_path, {"image": EMBEDDED, "label": LABELS})
    many = tmp_path / "many"
    (many / "label=a").mkdir(parents=True)
    content = (tmp_path / "train.parquet").read_bytes()
    for name in ("1.parquet", "2.PARQUET", "part-3"):
        (many / name).write_bytes(content)
    for name in ("._1.parquet", "_SUCCESS", ".2.parquet.crc", "desktop.ini"):
        (many / name).write_bytes(b"\0\5\x16\7")
    source = open_source(parquet_data(tmp_path, train="many"))
    assert source.num_images["train"] == 6
    assert "3 hidden or system files" in source.left_out
    assert "label=a, many/_SUCCESS" in source.left_out


@pytest.mark.parametrize("damage", ["cut", "no end", "encrypted", "text", "empty"])
def test_damaged_parquet_files_are_named(tmp_path, damage):
    write_tables(tmp_path, {"image": EMBEDDED, "label": LABELS})
    path = tmp_path / "test.parquet"
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[: len(content) // 2],
            "no end": content[:-4],
            "encrypted": b"PARE" + content[4:-4] + b"PARE",
            "text": b"label,image\n",
            "empty": b"",
        }[damage]
    )
    with pytest.raises(InputError, match=r"test\.parquet is not a readable Parquet file"):
        open_source(parquet_data(tmp_path))


def test_damaged_pages_and_texts_are_named(tmp_path):
    write_tables(tmp_path, {"image": EMBEDDED, "label": LABELS})
    path = tmp_path / "train.parquet"
    path.write_bytes(path.read_bytes().replace(b"\x01\0\0\0b\x01", b"\x01\0\0\0\xff\x01"))
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"train\.parquet is not a readable Parquet file"):
        list(open_source(parquet_data(tmp_path, class_names=["a", "b"])).rows("train"))


def test_empty_tables_are_named(tmp_path):
    write_tables(tmp_path, {"image": EMBEDDED, "label": LABELS})
    pq.write_table(pq.read_table(tmp_path / "train.parquet").slice(0, 0), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="column label holds no labels"):
        open_source(parquet_data(tmp_path, train="x.parquet"))
    pq.write_table(pa.table({}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="has no column image, label; it has none"):
        open_source(parquet_data(tmp_path, train="x.parquet"))


def test_images_beyond_the_limit_are_no_bytes_but_a_problem(tmp_path):
    write_tables(tmp_path, {"image": EMBEDDED, "label": LABELS})
    row = next(open_source(parquet_data(tmp_path), max_image_bytes=9).rows("val"))
    assert "more than 9" in row.problem
    with pytest.raises(InputError, match="more than 9"):
        row.read()


# What lies on people's disks


def test_pictures_are_known_by_their_content(tmp_path):
    write_split_folders(tmp_path)
    names = (
        "a.jfif",
        "b.jpe",
        "c.JPG",
        "d.jpg_large",
        "e",
        "f.png.bak",
        "g.txt",
        "h.PNG ",
        "i.",
        "j",
    )
    for i, name in enumerate(names):
        (tmp_path / "train/cat" / name).write_bytes(png(100 + i))
    for i, (name, kind) in enumerate({"k": "AVIF", "l.x": "PPM", "m": "BMP", "n": "TIFF"}.items()):
        Image.new("RGB", (9, 9), (i, 9, 9)).save(tmp_path / "train/cat" / name, kind)
    for name in ("notes.txt", "BMW", "P5 of us.txt", "x.pdf", "x.json", "Thumbs.db"):
        (tmp_path / "train/cat" / name).write_bytes(name.encode())
    source = open_source(folder_data(tmp_path))
    assert source.num_images["train"] == 3 + 14
    assert "5 files and folders that are no images in their place" in source.left_out
    assert "1 hidden or system files and folders (train/cat/Thumbs.db)" in source.left_out
    assert "\n" not in source.left_out


def test_what_systems_leave_behind_is_left_out_and_told(tmp_path):
    write_split_folders(tmp_path)
    places = [
        "__MACOSX/cat", "train/__MACOSX/cat", "train/cat/@eaDir/0.png", "val/lost+found",
        "train/.Trash-1000/files", "test/$RECYCLE.BIN/S-1", "System Volume Information",
        "train/#recycle", "train/dog/.AppleDouble", "train/dog/.ipynb_checkpoints",
    ]  # fmt: skip
    for place in places:
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "picture.png").write_bytes(png(250))
    (tmp_path / "train/cat/empty").mkdir()
    (tmp_path / "train/cat/texts").mkdir()
    (tmp_path / "train/cat/texts/a.txt").write_text("a")
    (tmp_path / "train/README").write_text("a")
    (tmp_path / "unlabelled").mkdir()
    source = open_source(folder_data(tmp_path))
    assert source.num_images == {"train": 3, "val": 3, "test": 3}
    assert "10 hidden or system files and folders (System Volume Information, " in source.left_out
    assert "unlabelled" in source.left_out
    assert "1 empty folders (train/cat/empty)" in source.left_out


@pytest.mark.parametrize("where", ["train/caf\u00e9", "test/caf\u00e9", "val/caf\u00e9", "all"])
def test_names_are_one_in_whatever_unicode_form(tmp_path, where):
    for split in ("train", "val", "test"):
        write_folders(tmp_path / split, {"caf\u00e9": 1, "dog": 1})
        if where in (f"{split}/caf\u00e9", "all"):
            other = unicodedata.normalize("NFD", "caf\u00e9")
            (tmp_path / split / "caf\u00e9").rename(tmp_path / split / other)
    assert open_source(folder_data(tmp_path)).class_names == ("caf\u00e9", "dog")
    if where != "all":
        return
    write_folders(tmp_path / "train", {"caf\u00e9": 1})
    with pytest.raises(InputError, match="holds the class caf\u00e9 twice"):
        open_source(folder_data(tmp_path))


def test_split_folders_and_labels_are_found_in_the_other_unicode_form(tmp_path):
    write_split_folders(tmp_path)
    (tmp_path / "train").rename(tmp_path / "entrai\u0302nement")
    split = SPLIT_FOLDERS | {"train": "entra\u00eenement"}
    assert open_source(folder_data(tmp_path, split)).num_images["train"] == 3
    labels = ["cafe\u0301", "caf\u00e9", "bar"]
    write_tables(tmp_path, {"image": images_column(3), "label": labels})
    source = open_source(parquet_data(tmp_path))
    assert source.class_names == ("bar", "caf\u00e9")
    assert [row.label for row in source.rows("test")] == [1, 1, 0]


@pytest.mark.parametrize(
    "name",
    [
        b"train/cat/caf\xe9.png",
        b"train/caf\xe9/0.png",
        b"train/cat/\x93quoted\x94",
        b"test/cat/\xff",
        b"train/cat/\xed\xb3\xa9",
        b"train/cat/gr\xfc\xdfe/0.png",
    ],
)
def test_names_that_are_no_utf8_are_refused_and_shown(tmp_path, name):
    write_split_folders(tmp_path)
    path = os.path.join(os.fsencode(tmp_path), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(png(7))
    with pytest.raises(InputError, match=r"the name is not UTF-8.*convmv") as caught:
        open_source(folder_data(tmp_path))
    assert "\\x" in str(caught.value)
    str(caught.value).encode()


def test_odd_names_of_files_and_classes_are_read(tmp_path):
    write_split_folders(tmp_path)
    names = [
        "a\nb.png",
        "a\tb",
        " .png",
        "x.png.",
        "-rf",
        "\U0001f600.png",
        "\u202e.png",
        "n" * 255,
    ]
    for i, name in enumerate(names):
        (tmp_path / "train/cat" / name).write_bytes(png(100 + i))
    for split in ("train", "val", "test"):
        write_folders(tmp_path / split, {"\U0001f468\u200d\U0001f469": 1, "a b.": 1, "-x": 1})
    rows = list(open_source(folder_data(tmp_path)).rows("train"))
    assert len(rows) == 3 + len(names) + 3
    write_folders(tmp_path / "train", {"a\nb": 1})
    with pytest.raises(InputError, match="is no name; use visible characters"):
        open_source(folder_data(tmp_path))


def test_linked_files_and_folders_are_read_and_told(tmp_path):
    root, away = tmp_path / "raw", tmp_path / "away"
    write_split_folders(root)
    (root / "test").rename(away)
    (root / "test").symlink_to(away)
    (root / "train/dog").rename(tmp_path / "dog")
    (tmp_path / "twice").symlink_to(tmp_path / "dog")
    (root / "train/dog").symlink_to("../../twice")
    (root / "train/cat/linked").symlink_to(root / "val/cat/0.png")
    (root / "train/cat/out.png").symlink_to("../../../twice/0.png")
    source = open_source(folder_data(root))
    assert source.num_images == {"train": 5, "val": 3, "test": 3}
    assert "3 links lead out of" in source.left_out
    assert "(test, train/dog, train/cat/out.png)" in source.left_out


@pytest.mark.parametrize(
    ("place", "target", "message"),
    [
        (
            "train/cat/x.png",
            "nowhere",
            "train/cat/x.png is a link to nowhere, which leads nowhere",
        ),
        ("train/cow", "nowhere", "train/cow is a link to nowhere"),
        ("train/cat/x.png", "x.png", "x.png is a link to x.png, which leads nowhere"),
        ("train/cat/top", "/", "top is a link back to a folder that it lies in"),
        ("train/cat/up", "..", "up is a link back to a folder that it lies in"),
        ("train/cat/self", ".", "self is a link back"),
        ("train/cow", "..", "is a link back|lies deeper|holds folders"),
        ("train/cat/zero", "/dev/zero", "is neither a file nor a folder but a pipe, socket or"),
        ("train/cat/null.png", "/dev/null", "is neither a file nor a folder"),
    ],
)
def test_links_that_lead_nowhere_or_in_circles_are_refused(tmp_path, place, target, message):
    write_split_folders(tmp_path)
    (tmp_path / place).symlink_to(target)
    with pytest.raises(InputError, match=message):
        open_source(folder_data(tmp_path))


def test_two_links_that_make_a_circle_are_refused(tmp_path):
    root = tmp_path / "raw"
    write_split_folders(root)
    (root / "train/cat/a").symlink_to(tmp_path / "other")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/b").symlink_to(root / "train/cat")
    with pytest.raises(InputError, match="a/b is a link back to a folder that it lies in"):
        open_source(folder_data(root))


@pytest.mark.parametrize("place", ["train/cat/x.png", "train/x", "val/dog/pipe"])
def test_a_pipe_is_refused_rather_than_read(tmp_path, place):
    write_split_folders(tmp_path)
    os.mkfifo(tmp_path / place)
    with pytest.raises(InputError, match=f"{place} is neither a file nor a folder but a pipe"):
        open_source(folder_data(tmp_path))


def test_a_pipe_for_a_parquet_file_is_refused(tmp_path):
    write_tables(tmp_path, {"image": EMBEDDED, "label": LABELS})
    os.mkfifo(tmp_path / "pipe.parquet")
    with pytest.raises(InputError, match=r"data\.train: .*pipe\.parquet is a pipe"):
        open_source(parquet_data(tmp_path, train="pipe.parquet"))


def test_what_may_not_be_read_is_named(tmp_path, monkeypatch):
    write_split_folders(tmp_path)
    listdir, open_ = os.listdir, Path.open

    def refuse(path):
        if str(path).endswith("val/dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(InputError, match=r"val/dog cannot be read \(Permission denied\); correct"):
        open_source(folder_data(tmp_path))
    monkeypatch.setattr(os, "listdir", listdir)

    def refuse_file(path, *arguments, **options):
        if path.name == "0.png":
            raise PermissionError(13, "Permission denied", str(path))
        return open_(path, *arguments, **options)

    source = open_source(folder_data(tmp_path))
    monkeypatch.setattr(Path, "open", refuse_file)
    with pytest.raises(InputError, match=r"0\.png cannot be read \(Permission denied\); correct"):
        hash_file(tmp_path / "train/cat/0.png", "sha256")
    with pytest.raises(InputError, match=r"^cannot be read \(Permission denied\)$"):
        next(source.rows("train")).read()


def test_large_files_are_refused_unread(tmp_path):
    write_split_folders(tmp_path)
    with (tmp_path / "train/cat/0.png").open("wb") as file:
        file.truncate(30 * 10**9)  # takes no space
    with pytest.raises(InputError, match=r"cat/0\.png: too large: 30000000000 bytes are more"):
        open_source(folder_data(tmp_path), max_image_bytes=1000)


def test_one_class_is_refused(tmp_path):
    for split in ("train", "val", "test"):
        write_folders(tmp_path / split, {"cat": 1})
    with pytest.raises(InputError, match="only one class, cat"):
        open_source(folder_data(tmp_path))


@pytest.mark.parametrize("number", [1, 2])
def test_too_few_images_to_draw_all_splits_are_refused(tmp_path, number):
    write_folders(tmp_path, {"cat": number, "dog": number})
    with pytest.raises(InputError, match="the validation split holds no images; add some"):
        open_source(folder_data(tmp_path, FRACTIONS))


def test_split_folders_are_no_classes(tmp_path):
    write_split_folders(tmp_path)
    for groups in (True, False):
        with pytest.raises(InputError, match=r"data\."):
            open_source(folder_data(tmp_path, FRACTIONS, groups=groups))
    with pytest.raises(InputError, match=r"holds the folders test, train, val, which are splits"):
        open_source(folder_data(tmp_path, FRACTIONS, groups=True))


def test_nothing_is_read_for_two_splits(tmp_path):
    write_split_folders(tmp_path)
    with pytest.raises(InputError, match=r"val is read for validation and for test"):
        open_source(folder_data(tmp_path, SPLIT_FOLDERS | {"test": "val"}))
    write_tables(tmp_path, {"image": EMBEDDED, "label": ["a", "b"]})
    for train in ("*.parquet", "./test.parquet", "."):
        with pytest.raises(InputError, match=r"parquet is read for train and for"):
            open_source(parquet_data(tmp_path, train=train))


@pytest.mark.parametrize("train", ["x" * 5000, "x" * 300 + "/y", "a**/b", "x" * 300 + "*"])
def test_paths_that_can_be_none_are_named(tmp_path, train):
    write_tables(tmp_path, {"image": EMBEDDED, "label": ["a", "b"]})
    with pytest.raises(InputError, match=r"data"):
        open_source(parquet_data(tmp_path, train=train))
    with pytest.raises(InputError, match=r"data\.root: the folder .* does not exist"):
        check_root(train)


def test_no_name_from_a_file_floods_a_message(tmp_path):
    write_tables(tmp_path, {"image": EMBEDDED, "label": ["y" * 10**5, "b"]})
    for settings in ({}, {"class_names": ["a", "b"]}, {"label_column": "group"}):
        with pytest.raises(InputError) as caught:
            list(open_source(parquet_data(tmp_path, **settings)).rows("train"))
        assert len(str(caught.value)) < 400
    columns = {f"\x1b{i}": [i] for i in range(100)}
    write_tables(tmp_path, columns)
    with pytest.raises(InputError, match=r"it has \\x1b0, \\x1b1, .*, \.\.\.: set") as caught:
        open_source(parquet_data(tmp_path))
    assert len(str(caught.value)) < 400


def test_a_link_to_what_the_system_makes_is_refused(tmp_path):
    write_split_folders(tmp_path)
    (tmp_path / "train/cat/x.png").symlink_to("/proc/self/mem")
    with pytest.raises(InputError, match="is a link to /proc/self/mem, which is the system's"):
        open_source(folder_data(tmp_path))


def test_images_too_deep_are_refused(tmp_path):
    write_split_folders(tmp_path)
    write_folders(tmp_path / "train/cat/a", {"b": 1})
    with pytest.raises(InputError, match="a/b holds images but lies deeper than <class>; move"):
        open_source(folder_data(tmp_path))


@pytest.mark.parametrize("root", [".", "./", "", "..", "/", "pics/.."])
def test_the_workspace_is_no_folder_of_raw_images(tmp_path, monkeypatch, root):
    (tmp_path / "pics").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"data\.root: .* is the folder the pipeline runs in"):
        check_root(root)


@pytest.mark.parametrize(
    "change",
    [{"train": "../train.parquet"}, {"test": "/etc/x.parquet"}, {"validation": "a/../../x"}],
)
def test_what_is_read_lies_below_the_root(tmp_path, change):
    write_tables(tmp_path, {"image": EMBEDDED, "label": LABELS})
    with pytest.raises(InputError, match=r"data\..*must lie below data\.root"):
        open_source(parquet_data(tmp_path, **change))


# The section of the parameters


def parse(value):
    return TypeAdapter(DataConfig).validate_python(value)


def test_kind_decides_about_the_section():
    folder = {"kind": "folder", "root": "x", "split": FRACTIONS, "groups": False}
    assert isinstance(parse(folder), FolderData)
    tables = {"kind": "parquet", "root": "x", "train": "a", "validation": "b", "test": "c"}
    assert isinstance(parse(tables), ParquetData)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"kind": "lmdb"}, "kind"),
        ({"root": 3}, "root"),
        ({"colour": 1}, "colour"),
        ({"split": FRACTIONS | {"test": 1.0}}, "test"),
        ({"split": FRACTIONS | {"test": 0.8}}, "add up to less than 1"),
        ({"split": FRACTIONS | {"by": "hand"}}, "by"),
        ({"split": {"by": "folders", "train": "t"}}, "validation"),
        ({"groups": "yes"}, "groups"),
    ],
)
def test_bad_parameters_name_their_key(change, key):
    folder = {"kind": "folder", "root": "x", "split": FRACTIONS, "groups": False}
    with pytest.raises(ValidationError, match=key):
        parse(folder | change)


def test_class_names_must_differ():
    parquet = {"kind": "parquet", "root": "x", "train": "a", "validation": "b", "test": "c"}
    with pytest.raises(ValidationError, match="must differ"):
        parse(parquet | {"class_names": ["a", "a"]})


def test_a_kind_of_data_is_a_module_that_loads_no_networks():
    kinds = {get_args(kind.model_fields["kind"].annotation)[0] for kind in KINDS}
    assert set(SOURCES) == kinds
    loaded = f"import sys, {', '.join(SOURCES.values())}; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True)
    assert said.stdout == "False\n", said.stderr


def test_the_names_of_classes_are_known_early_where_no_label_has_to_be_read(tmp_path):
    root = tmp_path / "raw"
    write_split_folders(root)
    assert class_names(folder_data(root)) == open_source(folder_data(root)).class_names
    (root / "test").rename(root / "train/test")  # whatever else is wrong with the layout
    assert class_names(folder_data(root)) == ("cat", "dog", "test")
    write_tables(tmp_path, {"image": EMBEDDED, "label": LABELS})
    assert class_names(parquet_data(tmp_path)) is None
    assert class_names(parquet_data(tmp_path, class_names=["a", "b"])) == ("a", "b")
    table = image_table([png(0)], [0], ("cat", "dog"))
    write_images(tmp_path / "train.parquet", table)
    assert class_names(parquet_data(tmp_path, train="tr*.parquet")) == ("cat", "dog")
    assert class_names(parquet_data(tmp_path, train="none")) is None
