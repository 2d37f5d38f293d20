"""CelebA in both of its forms, small copies of what is published."""

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from fgds_core.data.config import DataConfig
from fgds_core.data.sources import class_names, open_source, published
from fgds_core.errors import InputError
from fgds_core.images.formats import PNG, encode_picture

ATTRIBUTES = """\
6
5_o_Clock_Shadow Blond_Hair Male Young\x20
000001.jpg -1 -1 -1  1
000002.jpg -1  1  1  1
000003.jpg  1 -1  1 -1
000004.jpg -1  1 -1  1
000005.jpg  1 -1 -1  1
000006.jpg -1  1  1 -1
"""
PARTITION = """\
000001.jpg 0
000002.jpg 0
000003.jpg 1
000004.jpg 1
000005.jpg 2
000006.jpg 2
"""
KAGGLE = "\r\n".join(
    ["image_id,5_o_Clock_Shadow,Blond_Hair,Male,Young"]
    + [",".join(line.split()) for line in ATTRIBUTES.splitlines()[2:]]
)
KAGGLE_PARTITION = "\r\n".join(
    ["image_id,partition", *(line.replace(" ", ",") for line in PARTITION.splitlines())]
)
TEXT = {"list_attr_celeba.txt": ATTRIBUTES, "list_eval_partition.txt": PARTITION}
AS_CSV = {"list_attr_celeba.csv": KAGGLE, "list_eval_partition.csv": KAGGLE_PARTITION}
ORIGINAL = {"Anno/list_attr_celeba.txt": ATTRIBUTES, "Eval/list_eval_partition.txt": PARTITION}


def write(root, files, images="img_align_celeba"):
    (root / images).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(text.encode())
    for number in range(1, 7):
        pixels = np.random.default_rng(number).integers(0, 256, (9, 7, 3), dtype=np.uint8)
        data = encode_picture(Image.fromarray(pixels), PNG)
        (root / images / f"{number:06}.jpg").write_bytes(data)


def section(root, **changes):
    value = {"kind": "celeba", "root": str(root)} | changes
    return TypeAdapter(DataConfig).validate_python(value)


def found(source):
    return {
        split: [(row.path.rpartition("/")[2], row.label, row.group) for row in source.rows(split)]
        for split in ("train", "val", "test")
    }


@pytest.mark.parametrize(
    ("files", "images"),
    [
        (TEXT, "img_align_celeba"),
        (ORIGINAL, "Img/img_align_celeba"),
        (AS_CSV, "img_align_celeba/img_align_celeba"),
        (TEXT, "."),
    ],
)
def test_both_forms_are_one_data_set(tmp_path, files, images):
    write(tmp_path, files, images)
    data = section(tmp_path)
    source = open_source(data)
    assert source.class_names == class_names(data) == ("not Blond Hair", "Blond Hair")
    assert source.has_groups
    assert source.published
    assert found(source) == {
        "train": [("000001.jpg", 0, "not Male"), ("000002.jpg", 1, "Male")],
        "val": [("000003.jpg", 0, "Male"), ("000004.jpg", 1, "not Male")],
        "test": [("000005.jpg", 0, "not Male"), ("000006.jpg", 1, "Male")],
    }
    assert [row.read()[:4] for row in source.rows("val")] == [b"\x89PNG"] * 2
    assert len(list(source.files())) == 8
    assert any("no split that is known" in note for note in source.notes)


def test_attributes_and_names_are_chosen(tmp_path):
    write(tmp_path, TEXT)
    data = section(tmp_path, label="Young", group=None, class_names=["old", "young"])
    source = open_source(data)
    assert source.class_names == class_names(data) == ("old", "young")
    assert found(source)["val"] == [("000003.jpg", 0, None), ("000004.jpg", 1, None)]
    named = open_source(section(tmp_path, group_names=["a woman", "a man"]))
    assert [group for _, _, group in found(named)["test"]] == ["a woman", "a man"]


def test_the_official_split_is_known_by_its_counts(tmp_path, monkeypatch):
    write(tmp_path, TEXT)
    small = {
        split: counts
        for split, counts in zip(
            ("train", "val", "test"), [(1, 0, 0, 1), (0, 1, 1, 0), (1, 0, 0, 1)], strict=True
        )
    }
    monkeypatch.setitem(published.CELLS, "CelebA, the official split", small)
    source = open_source(section(tmp_path))
    assert any("CelebA, the official split" in note for note in source.notes)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("list_attr_celeba", "6\n5", "7\n5", "holds 6 images, but says that there are 7"),
        ("list_attr_celeba", "Blond_Hair", "Hair", "no attribute Blond_Hair; .* it has 5_o_Clock"),
        ("list_attr_celeba", "-1  1 -1  1\n000005", "-1  1 -1\n000005", "line 6: has 4 values"),
        ("list_attr_celeba", "000003.jpg  1 -1", "000003.jpg  1 2", "line 5: .* got '2'"),
        ("list_attr_celeba", "000003", "000009", r"000009\.jpg is not in .*partition"),
        ("list_attr_celeba", "000003", "\udcff", "cannot be read"),
        ("list_eval_partition", "4.jpg 1", "4.jpg 3", "line 4: must be an image and 0, 1 or 2"),
        ("list_eval_partition", "4.jpg", "3.jpg", r"line 4: 000003\.jpg comes twice"),
        ("list_eval_partition", " 2", " 0", "the test split names no image"),
    ],
)
def test_damage_is_named(tmp_path, file, old, new, message):
    write(tmp_path, TEXT)
    path = tmp_path / f"{file}.txt"
    path.write_bytes(path.read_text().replace(old, new).encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=message):
        open_source(section(tmp_path))


def test_what_is_missing_is_named(tmp_path):
    write(tmp_path, TEXT)
    (tmp_path / "img_align_celeba/000004.jpg").unlink()
    with pytest.raises(InputError, match=r"1 of the 6 image files .* unpack img_align_celeba"):
        open_source(section(tmp_path))
    (tmp_path / "list_attr_celeba.txt").unlink()
    with pytest.raises(InputError, match=r"no list_attr_celeba.txt or list_attr_celeba.csv in"):
        open_source(section(tmp_path))
    write(tmp_path / "whole", TEXT)
    with pytest.raises(InputError, match="give two names, without Male and with it, not 1"):
        open_source(section(tmp_path / "whole", group_names=["man"]))
    with pytest.raises(ValidationError, match="must be different attributes"):
        section(tmp_path, label="Male")
