from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from fgds_core.config.data import DataConfig, FolderData, ParquetData, SplitFractions
from fgds_core.errors import InputError
from fgds_core.images import image_table, png_bytes, write_images
from fgds_core.sources import _drawn_splits, open_source
from fgds_core.splits import SPLITS

SPLIT_FOLDERS = {"by": "folders", "train": "train", "validation": "val", "test": "test"}
FRACTIONS = {"by": "fractions", "validation": 0.2, "test": 0.3, "seed": 0}


def png(shade):
    return png_bytes(Image.new("L", (3, 3), shade))


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
    assert rows[0].data == (tmp_path / "val/cat/0.png").read_bytes()


def test_group_folders_become_groups(tmp_path):
    for split in ("train", "val", "test"):
        write_folders(tmp_path / split / "cat", {"snow": 1, "grass": 1})
    source = open_source(folder_data(tmp_path, groups=True))
    assert source.class_names == ("cat",)
    assert [row.group for row in source.rows("train")] == ["grass", "snow"]


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
        (lambda root: (root / "val").rename(root / "valid"), r"/val does not exist; data\.split"),
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
    files = [Path(str(i)) for i in range(count)]
    splits = _drawn_splits({"cat": files}, split)
    assert sorted(chain(*(splits[name]["cat"] for name in SPLITS))) == sorted(files)
    assert splits["train"]["cat"]
    if count >= 3:
        assert splits["val"]["cat"]
        assert splits["test"]["cat"]


def test_drawn_splits_depend_on_their_seed_and_not_on_other_classes(tmp_path):
    write_folders(tmp_path, {"cat": 20})
    first = drawn(tmp_path)
    assert first == drawn(tmp_path)
    assert first != drawn(tmp_path, FRACTIONS | {"seed": 1})
    write_folders(tmp_path, {"ant": 5})
    again = drawn(tmp_path)
    assert first == {s: [p for p in again[s] if p.startswith("cat")] for s in SPLITS}


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
    assert [(row.data, row.label, row.group) for row in rows] == [
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
