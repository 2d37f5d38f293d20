"""CSV files with a row for each image, each a small copy of one that is published."""

import csv

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from fgds_core.data.config import DataConfig, PrepareConfig
from fgds_core.data.prepare import prepare
from fgds_core.data.sources import class_names, open_source, published
from fgds_core.errors import InputError
from fgds_core.images.formats import PNG, encode_picture

WATERBIRDS = """\
img_id,img_filename,y,split,place,place_filename
1,001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg,1,2,1,/o/ocean/00004600.jpg
2,001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg,1,1,0,/b/bamboo/00003975.jpg
5,001.Black_footed_Albatross/Black_Footed_Albatross_0014_89.jpg,1,0,1,/l/natural/00002930.jpg
6,002.Cactus_Wren/Cactus_Wren_0001.jpg,0,0,0,/b/bamboo_forest/00000001.jpg
7,002.Cactus_Wren/Cactus_Wren_0002.jpg,0,1,0,/b/bamboo_forest/00000002.jpg
8,002.Cactus_Wren/Cactus_Wren_0003.jpg,0,2,1,/o/ocean/00000003.jpg
"""
AS_WATERBIRDS = {"filename_column": "img_filename", "group_column": "place"}

WATERBIRDS_LONG = """\
img_filename,class_id,class_name,y,split,split_name,unique_img_filename,place,place_filename
001.A/1.jpg,1,A,1,0,train,001.A_1.jpg,1,/o/1.jpg
002.B/2.jpg,2,B,0,0,train,002.B_2.jpg,0,/b/2.jpg
001.A/3.jpg,1,A,1,1,val,001.A_3.jpg,1,/o/3.jpg
002.B/4.jpg,2,B,0,1,val,002.B_4.jpg,0,/b/4.jpg
001.A/5.jpg,1,A,1,2,test,001.A_5.jpg,0,/o/5.jpg
002.B/6.jpg,2,B,0,2,test,002.B_6.jpg,1,/b/6.jpg
"""

NICO = """\
filename,y,a,split
/data/nicopp/public_dg_0416/train/autumn/car/autumn_1.jpg,0,0,0
/data/nicopp/public_dg_0416/train/dim/car/dim_1.jpg,0,1,0
/data/nicopp/public_dg_0416/train/autumn/fishing rod/autumn_2.jpg,1,0,0
/data/nicopp/public_dg_0416/train/autumn/car/autumn_3.jpg,0,0,1
/data/nicopp/public_dg_0416/train/dim/fishing rod/dim_2.jpg,1,1,1
/data/nicopp/public_dg_0416/train/autumn/car/autumn_4.jpg,0,0,2
/data/nicopp/public_dg_0416/train/dim/fishing rod/dim_3.jpg,1,1,2
/data/nicopp/public_dg_0416/train/water/fishing rod/water_1.jpg,1,5,2
"""

METASHIFT = """\
,filename,y,a,split
0,train/cat/cat(indoor)/1.jpg,0,0,0
17,train/dog/dog(outdoor)/2.jpg,1,1,0
3,test/cat/cat(outdoor)/3.jpg,0,1,1
4,test/dog/dog(indoor)/4.jpg,1,0,1
9,test/cat/cat(outdoor)/5.jpg,0,1,2
5,test/dog/dog(indoor)/6.jpg,1,0,2
"""

CELEBA = """\
id,filename,split,y,a
0,000001.jpg,0,0,0
1,000002.jpg,0,1,1
2,000003.jpg,1,0,1
3,000004.jpg,1,1,0
4,000005.jpg,2,0,0
5,000006.jpg,2,1,1
"""

KAGGLE = """\
image_id,5_o_Clock_Shadow,Blond_Hair,Male
000001.jpg,-1,-1,-1
000002.jpg,-1,1,1
000003.jpg,1,-1,1
000004.jpg,-1,1,-1
000005.jpg,1,-1,-1
000006.jpg,-1,1,1
"""
KAGGLE_SPLITS = "image_id,partition\r\n" + "\r\n".join(
    f"00000{number}.jpg,{(number - 1) // 2}" for number in range(1, 7)
)
AS_CELEBA = {
    "filename_column": "image_id",
    "label_column": "Blond_Hair",
    "group_column": "Male",
    "split_column": "partition",
    "split_file": "list_eval_partition.csv",
}


def write(root, text, column="filename", below=""):
    """Writes the file and the images that it names."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "metadata.csv").write_bytes(text.encode())
    for seed, row in enumerate(csv.DictReader(text.splitlines())):
        path = root / below / row[column].removeprefix("/data/nicopp/")
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), dtype=np.uint8)
        path.write_bytes(encode_picture(Image.fromarray(pixels), PNG))


def section(root, **changes):
    value = {"kind": "csv", "root": str(root), "file": "metadata.csv"} | changes
    return TypeAdapter(DataConfig).validate_python(value)


def rows(source, split):
    return [(row.path, row.label, row.group) for row in source.rows(split)]


def test_waterbirds_is_read_with_its_own_columns(tmp_path):
    write(tmp_path, WATERBIRDS, "img_filename")
    source = open_source(section(tmp_path, **AS_WATERBIRDS))
    assert source.class_names == ("0", "1")
    assert source.has_groups
    assert source.published
    assert rows(source, "train") == [
        ("001.Black_footed_Albatross/Black_Footed_Albatross_0014_89.jpg", 1, "1"),
        ("002.Cactus_Wren/Cactus_Wren_0001.jpg", 0, "0"),
    ]
    assert source.num_images == {"train": 2, "val": 2, "test": 2}
    data = section(
        tmp_path,
        class_names=["landbird", "waterbird"],
        group_names=["land", "water"],
        **AS_WATERBIRDS,
    )
    source = open_source(data)
    assert source.class_names == class_names(data) == ("landbird", "waterbird")
    assert [group for _, _, group in rows(source, "train")] == ["water", "land"]
    with pytest.raises(InputError, match=r"has no column filename; .* of Waterbirds: set data"):
        open_source(section(tmp_path))


def test_the_other_form_of_waterbirds_is_read(tmp_path):
    write(tmp_path, WATERBIRDS_LONG, "img_filename")
    source = open_source(section(tmp_path, **AS_WATERBIRDS))
    assert rows(source, "test") == [("001.A/5.jpg", 1, "0"), ("002.B/6.jpg", 0, "1")]
    words = section(
        tmp_path, label_column="class_name", split_column="split_name", **AS_WATERBIRDS
    )
    assert open_source(words).class_names == ("A", "B")
    assert rows(open_source(words), "test") == [("001.A/5.jpg", 0, "0"), ("002.B/6.jpg", 1, "1")]


@pytest.mark.parametrize("edition", sorted(published.CELLS))
def test_published_splits_are_known_by_their_counts(edition):
    cells = {split: list(counts) for split, counts in published.CELLS[edition].items()}
    assert published.cells_note(cells) == f"by its counts: {edition}"
    cells["val"][3] += 1
    assert published.cells_note(cells) == "by its counts: no split that is known"


def test_a_known_split_is_told(tmp_path, monkeypatch):
    write(tmp_path, WATERBIRDS, "img_filename")
    cells = {"train": (1, 0, 0, 1), "val": (1, 0, 1, 0), "test": (0, 1, 0, 1)}
    monkeypatch.setitem(published.CELLS, "Waterbirds, six of them", cells)
    notes = open_source(section(tmp_path, **AS_WATERBIRDS)).notes
    assert any(note.endswith("by its counts: Waterbirds, six of them") for note in notes)
    assert "2 of 4 pairs of class and group have images but none for training" in notes


def test_absolute_paths_of_another_machine_are_found_below_the_root(tmp_path):
    write(tmp_path / "raw", NICO)
    names = '{"car": 0, "fishing rod": 1}'
    (tmp_path / "raw/dg_label_id_mapping.json").write_text(names)
    contexts = ["autumn", "dim", "grass", "outdoor", "rock", "water"]
    data = section(tmp_path / "raw", class_names="dg_label_id_mapping.json", group_names=contexts)
    source = open_source(data)
    assert source.class_names == ("car", "fishing rod")
    assert rows(source, "train")[2] == (
        "public_dg_0416/train/autumn/fishing rod/autumn_2.jpg",
        1,
        "autumn",
    )
    assert any("paths are absolute; /data/nicopp/ is read as" in note for note in source.notes)
    # A group without a training image is no mistake: NICO++ has some
    config = PrepareConfig(image_size=8, interpolation="bicubic", crop="center")
    meta = prepare(data, config, tmp_path / "out")
    assert meta.groups == ("autumn", "dim", "water")
    assert meta.counts == {"train": (2, 1), "val": (1, 1), "test": (1, 2)}


def test_absolute_paths_that_lie_nowhere_are_told_once(tmp_path):
    write(tmp_path, CELEBA)
    (tmp_path / "metadata.csv").write_text(NICO)
    with pytest.raises(InputError, match=r"line 2: /data/.* is an absolute path, and no last"):
        open_source(section(tmp_path))


def test_absolute_paths_below_the_root_and_relative_ones_are_the_same(tmp_path):
    relative = NICO.replace("/data/nicopp/", "")
    write(tmp_path, relative)
    before = rows(open_source(section(tmp_path)), "test")
    (tmp_path / "metadata.csv").write_text(NICO.replace("/data/nicopp", str(tmp_path)))
    assert rows(open_source(section(tmp_path)), "test") == before
    inner = section(tmp_path, images="public_dg_0416")
    assert rows(open_source(inner), "test") == before


def test_an_unnamed_index_column_is_none_of_ours(tmp_path):
    write(tmp_path, METASHIFT)
    source = open_source(section(tmp_path))
    assert rows(source, "train") == [
        ("train/cat/cat(indoor)/1.jpg", 0, "0"),
        ("train/dog/dog(outdoor)/2.jpg", 1, "1"),
    ]


@pytest.mark.parametrize("folder", ["img_align_celeba", "img_align_celeba/img_align_celeba"])
def test_celeba_is_read_wherever_its_images_lie(tmp_path, folder):
    write(tmp_path, CELEBA, below=folder)
    with pytest.raises(InputError, match=f"set data.images to {folder}:"):
        open_source(section(tmp_path))
    source = open_source(section(tmp_path, images=folder))
    assert rows(source, "val") == [
        (f"{folder}/000003.jpg", 0, "1"),
        (f"{folder}/000004.jpg", 1, "0"),
    ]


def test_celeba_of_kaggle_has_its_splits_in_another_file(tmp_path):
    write(tmp_path, KAGGLE.replace("\n", "\r\n"), "image_id")
    (tmp_path / "list_eval_partition.csv").write_bytes(KAGGLE_SPLITS.encode())
    source = open_source(section(tmp_path, **AS_CELEBA))
    assert source.class_names == ("not Blond Hair", "Blond Hair")
    write(tmp_path / "same", CELEBA)
    same = open_source(section(tmp_path / "same"))
    for split in ("train", "val", "test"):
        own = [
            (path, label, {"not Male": "0", "Male": "1"}[group])
            for path, label, group in rows(source, split)
        ]
        assert own == rows(same, split)
    with pytest.raises(InputError, match=r"of CelebA: set data.filename_column to image_id"):
        open_source(section(tmp_path))
    (tmp_path / "list_eval_partition.csv").write_text("image_id,partition\n000001.jpg,0\n")
    with pytest.raises(InputError, match=r"line 3: 000002.jpg is not in data.split_file"):
        open_source(section(tmp_path, **AS_CELEBA))
    (tmp_path / "list_eval_partition.csv").write_text(
        "image_id,partition\n000001.jpg,0\n000001.jpg,2\n"
    )
    with pytest.raises(InputError, match=r"line 3: 000001.jpg is in two splits, 0 and 2"):
        open_source(section(tmp_path, **AS_CELEBA))
    (tmp_path / "list_eval_partition.csv").write_bytes(KAGGLE_SPLITS.encode())
    with pytest.raises(InputError, match=r"data.group_names: .* give two names, not 1"):
        open_source(section(tmp_path, **AS_CELEBA, group_names=["Male"]))


def test_splits_may_be_words_and_others_are_left_out_if_it_is_said(tmp_path):
    words = CELEBA
    for number, word in enumerate(("train", "val", "test")):
        words = words.replace(f"jpg,{number},", f"jpg,{word},")
    write(tmp_path, words)
    source = open_source(section(tmp_path))
    assert source.num_images == {"train": 2, "val": 2, "test": 2}
    write(tmp_path, words + "6,000007.jpg,mixed_rand,0,0\n")
    with pytest.raises(
        InputError, match=r"line 8: the split 'mixed_rand' is not known; say which"
    ):
        open_source(section(tmp_path))
    splits = {"train": "train", "validation": "val", "test": "mixed_rand"}
    write(tmp_path, words + "6,000007.jpg,mixed_rand,0,0\n7,000008.jpg,mixed_rand,1,0\n")
    source = open_source(section(tmp_path, splits=splits))
    assert [path for path, _, _ in rows(source, "test")] == ["000007.jpg", "000008.jpg"]
    assert any("rows of other splits are left out: 2 of test" in n for n in source.notes)


def test_a_validation_split_is_drawn_where_the_file_has_none(tmp_path):
    text = "filename,y,a,split\n" + "".join(
        f"{i}.jpg,{i % 2},{i % 3},{'test' if i > 7 else 'train'}\n" for i in range(12)
    )
    write(tmp_path, text)
    with pytest.raises(InputError, match=r"names no validation image; draw some"):
        open_source(section(tmp_path))
    source = open_source(section(tmp_path, validation={"fraction": 0.3, "seed": 0}))
    assert source.num_images == {"train": 6, "val": 2, "test": 4}
    assert sorted(label for _, label, _ in rows(source, "val")) == [0, 1]
    drawn = [path for split in ("train", "val") for path, _, _ in rows(source, split)]
    assert sorted(drawn) == [f"{i}.jpg" for i in range(8)]
    assert any("no validation split is published: 2 of 8" in note for note in source.notes)
    write(tmp_path, CELEBA)
    with pytest.raises(InputError, match=r"line 4: is for validation, and data.validation draws"):
        open_source(section(tmp_path, validation={"fraction": 0.3, "seed": 0}))


def test_data_without_groups_are_read_and_it_is_told(tmp_path):
    write(tmp_path, CELEBA)
    none = open_source(section(tmp_path, group_column=None))
    assert not none.has_groups
    write(tmp_path, CELEBA.replace("y,a", "y,b"))
    source = open_source(section(tmp_path))
    assert not source.has_groups
    assert rows(source, "train") == rows(none, "train")
    assert any("has no column a of groups" in note for note in source.notes)
    with pytest.raises(InputError, match="has no column c; it has id, filename, split, y, b"):
        open_source(section(tmp_path, group_column="c"))


def test_whole_numbers_of_pandas_are_whole_numbers(tmp_path):
    write(tmp_path, METASHIFT)
    before = open_source(section(tmp_path))
    floats = METASHIFT.replace(".jpg,0,", ".jpg,0.0,").replace(".jpg,1,", ".jpg,1.0,")
    write(tmp_path, floats)
    after = open_source(section(tmp_path))
    assert after.class_names == before.class_names
    assert rows(after, "val") == rows(before, "val")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1.jpg,0,0,0", "1.jpg,0,0", r"line 2: has 4 columns, the first line 5"),
        ("1.jpg,0,0,0", "1.jpg,,0,0", r"line 2: has no y \(''\); fill it"),
        ("1.jpg,0,0,0", "1.jpg,0,nan,0", r"line 2: has no a \('nan'\)"),
        ("1.jpg,0,0,0", "1.jpg,0,0,7", r"line 2: the split '7' is not known"),
        ("1.jpg,0,0,0", "1.jpg,5,0,0", r"labels must be 0\.\.K-1 without gaps.*: 2, 3, 4"),
        ("train/cat/cat(indoor)/1", "../1", r"line 2: \.\./1\.jpg must lie below"),
        ("train/cat/cat(indoor)/1", "/etc/1", r"line 2: /etc/1\.jpg must lie below"),
        ("train/cat/cat(indoor)/1", "none/1", r"1 of the 6 image .*line 2: none/1\.jpg"),
        ("train/cat/cat(indoor)/1", '"x', "is no CSV"),
        ("filename,y,a", "filename,y,y", "has two columns y"),
        (",filename,y,a,split", "filename;y;a;split", "has no column filename, y, split"),
    ],
)
def test_mistakes_in_files_are_named(tmp_path, old, new, message):
    write(tmp_path, METASHIFT)
    assert METASHIFT.count(old) == 1
    (tmp_path / "metadata.csv").write_text(METASHIFT.replace(old, new))
    with pytest.raises(InputError, match="(?s)" + message):
        open_source(section(tmp_path))


def test_missing_files_and_names_that_do_not_fit_are_named(tmp_path):
    write(tmp_path, METASHIFT)
    with pytest.raises(InputError, match=r"data.file: the file .*x.csv does not exist"):
        open_source(section(tmp_path, file="x.csv"))
    with pytest.raises(
        InputError, match=r"the column a: 1 is none of the 1 that data.group_names"
    ):
        open_source(section(tmp_path, group_names=["indoor"]))
    (tmp_path / "metadata.csv").write_text(METASHIFT.replace("jpg,0,", "jpg,cat,"))
    with pytest.raises(InputError, match=r"data.class_names: the column y holds cat, which"):
        open_source(section(tmp_path, class_names=["1", "2"]))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"file": 1}, "file"),
        ({"splits": {"train": 0}}, "test"),
        ({"splits": {"train": 0, "validation": "0", "test": 2}}, "must differ"),
        ({"validation": "val"}, "validation"),
        ({"delimiter": ";"}, "delimiter"),
    ],
)
def test_bad_parameters_name_their_key(tmp_path, change, key):
    with pytest.raises(ValidationError, match=key):
        section(tmp_path, **change)


CONDUIT = """\
filename,y,a,y_name,a_name,split
train/dim/car/1.jpg,1,0,car,'=dim,0
train/rock/'=bird/2.jpg,0,1,'=bird,rock,0
'=3.jpg,1,1,car,rock,1
4.jpg,0,0,'=bird,'=dim,2
"""


def test_names_beside_numbers_are_read_as_they_were_before_the_file_was_written(tmp_path):
    write(tmp_path, CONDUIT)
    (tmp_path / "'=3.jpg").rename(tmp_path / "=3.jpg")
    source = open_source(section(tmp_path))
    assert source.class_names == ("=bird", "car")
    assert rows(source, "train") == [
        ("train/dim/car/1.jpg", 1, "=dim"),
        ("train/rock/'=bird/2.jpg", 0, "rock"),
    ]
    assert rows(source, "val") == [("=3.jpg", 1, "rock")]
    own = open_source(section(tmp_path, class_names=["a", "b"], group_names=["x", "y"]))
    assert own.class_names == ("a", "b")
    assert rows(own, "test") == [("4.jpg", 0, "x")]
    write(tmp_path, CONDUIT.replace("1,1,car,rock", "1,1,bus,rock"))
    with pytest.raises(InputError, match=r"line 4: y 1 is called bus, before it was car"):
        open_source(section(tmp_path))
