"""Lists of paths and labels, each a small copy of one that is published."""

import hashlib
import io
import unicodedata

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from fgds_core.data.config import DataConfig, PrepareConfig
from fgds_core.data.prepare import prepare
from fgds_core.data.sources import class_names, open_source, published
from fgds_core.data.sources.rewrites import places_256_to_easyformat, places_easyformat_to_256
from fgds_core.errors import InputError
from fgds_core.images.formats import PNG, encode_picture

IMAGENET = {
    "train": """\
train/n01440764/n01440764_190.JPEG 0
train/n01440764/n01440764_191.JPEG 0
train/n15075141/n15075141_10.JPEG 1
""",
    "validation": """\
train/n01440764/n01440764_762.JPEG 0
train/n15075141/n15075141_10125.JPEG 1
""",
    "test": """\
val/n01440764/ILSVRC2012_val_00029930.JPEG 0
val/n15075141/ILSVRC2012_val_00007556.JPEG 1
""",
}

PLACES = {
    "train": """\
train/airfield/00004851.jpg 0
train/apartment_building-outdoor/00000794.jpg 1
train/zen_garden/00000151.jpg 2
""",
    "validation": """\
train/airfield/00002049.jpg 0
train/apartment_building-outdoor/00000795.jpg 1
train/zen_garden/00000152.jpg 2
""",
    "test": """\
val/airfield/Places365_val_00003597.jpg 0
val/apartment_building-outdoor/Places365_val_00003598.jpg 1
val/zen_garden/Places365_val_00003599.jpg 2
""",
}

PLACES_256 = {
    "train": """\
data_256/a/airfield/00004851.jpg 0
data_256/a/apartment_building/outdoor/00000794.jpg 1
data_256/z/zen_garden/00000151.jpg 2
""",
    "validation": """\
data_256/a/airfield/00002049.jpg 0
data_256/a/apartment_building/outdoor/00000795.jpg 1
data_256/z/zen_garden/00000152.jpg 2
""",
    "test": """\
val_256/Places365_val_00003597.jpg 0
val_256/Places365_val_00003598.jpg 1
val_256/Places365_val_00003599.jpg 2
""",
}


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    return encode_picture(Image.fromarray(pixels), PNG)


def paths_in(lists, columns=1):
    lines = [line for text in lists.values() for line in text.split("\n") if line.strip()]
    return [line.rsplit(maxsplit=columns)[0] for line in lines]


def write(root, lists, paths=None, columns=1):
    """Writes lists and the images that they, or other paths, name."""
    for name, text in lists.items():
        root.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.txt").write_bytes(text.encode())
    for seed, path in enumerate(paths_in(lists, columns) if paths is None else paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(picture(seed))


def section(root, **changes):
    lists = {name: f"{name}.txt" for name in ("train", "validation", "test")}
    value = {"kind": "list", "root": str(root)} | lists | changes
    return TypeAdapter(DataConfig).validate_python(value)


def rows(source, split):
    return [(row.path, row.label, row.group) for row in source.rows(split)]


def test_imagenet_lt_keeps_the_order_of_lists_and_labels(tmp_path):
    write(tmp_path, IMAGENET)
    source = open_source(section(tmp_path))
    assert source.class_names == ("n01440764", "n15075141")
    assert source.num_images == {"train": 3, "val": 2, "test": 2}
    assert source.published
    assert not source.has_groups
    assert rows(source, "train") == [
        ("train/n01440764/n01440764_190.JPEG", 0, None),
        ("train/n01440764/n01440764_191.JPEG", 0, None),
        ("train/n15075141/n15075141_10.JPEG", 1, None),
    ]
    assert rows(source, "test")[1] == ("val/n15075141/ILSVRC2012_val_00007556.JPEG", 1, None)
    first = next(source.rows("train"))
    assert first.read() == (tmp_path / first.path).read_bytes()


def test_lists_may_lie_beside_the_folder_of_the_images(tmp_path):
    write(tmp_path / "imagenet", {}, paths_in(IMAGENET))
    write(tmp_path / "lists", IMAGENET)
    lists = {name: f"lists/{name}.txt" for name in IMAGENET}
    with pytest.raises(
        InputError, match=r"7 of the 7 image files .* set data.images to imagenet:"
    ):
        open_source(section(tmp_path, **lists))
    source = open_source(section(tmp_path, images="imagenet", **lists))
    assert rows(source, "val")[0] == ("imagenet/train/n01440764/n01440764_762.JPEG", 0, None)


def test_the_flat_validation_images_of_imagenet_are_read_by_a_rewrite(tmp_path):
    flat = [
        path.replace("val/n01440764", "val").replace("val/n15075141", "val")
        for path in paths_in(IMAGENET)
    ]
    write(tmp_path, IMAGENET, flat)
    with pytest.raises(InputError, match=r"set data.path_rewrite to {pattern: 'val/"):
        open_source(section(tmp_path))
    rewrite = {"pattern": "val/[^/]+/(.*)", "replacement": r"val/\1"}
    source = open_source(section(tmp_path, path_rewrite=rewrite))
    assert rows(source, "test")[0][0] == "val/ILSVRC2012_val_00029930.JPEG"
    assert rows(source, "train")[0][0] == "train/n01440764/n01440764_190.JPEG"


@pytest.mark.parametrize(
    ("lists", "disk", "rewrite"),
    [
        (PLACES, PLACES_256, "places_easyformat_to_256"),
        (PLACES_256, PLACES, "places_256_to_easyformat"),
    ],
)
def test_either_lists_of_places_read_either_archive(tmp_path, lists, disk, rewrite):
    write(tmp_path, lists, paths_in(disk))
    with pytest.raises(InputError, match=f"other archive of Places: set .* to {rewrite}"):
        open_source(section(tmp_path))
    source = open_source(section(tmp_path, path_rewrite=rewrite))
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        assert [path for path, _, _ in rows(source, split)] == paths_in({name: disk[name]})


def test_lists_with_groups_and_tabs_are_rewritten_too(tmp_path):
    lists = {
        name: text.replace(" ", "\t").replace("\n", "\tday\n") for name, text in PLACES_256.items()
    }
    write(tmp_path, lists, paths_in(PLACES))
    data = section(tmp_path, groups=True, path_rewrite="places_256_to_easyformat")
    source = open_source(data)
    assert [row.path for row in source.rows("test")] == paths_in({"test": PLACES["test"]})
    assert {row.group for row in source.rows("test")} == {"day"}


def test_a_path_without_a_class_folder_is_rewritten_to_itself():
    rewrite = places_easyformat_to_256(lambda: iter(()))
    assert rewrite("train//1.jpg", 0) == "train//1.jpg"


def test_the_rewrites_of_places_undo_each_other():
    train = list(zip(paths_in({"train": PLACES_256["train"]}), range(3), strict=True))
    there = places_easyformat_to_256(lambda: iter(()))
    back = places_256_to_easyformat(lambda: iter(train))
    for name in PLACES:
        old, new = paths_in({name: PLACES[name]}), paths_in({name: PLACES_256[name]})
        assert [there(path, label) for label, path in enumerate(old)] == new
        assert [back(path, label) for label, path in enumerate(new)] == old


INATURALIST = {
    "train": """\
train_val2018/Plantae/1/9f8ecb39e5f767e39e9b28e34488f179.jpg 1
train_val2018/Animalia/0/b6c3fd6ab147464f3311e195e860169e.jpg 0
train_val2018/Plantae/1/0.jpg 1
train_val2018/Animalia/0/1.jpg 0
train_val2018/Insecta/2/cb75e788cfe2bfe52485a7d146bf1494.jpg 2
train_val2018/Plantae/1/2.jpg 1
train_val2018/Plantae/1/3.jpg 1
""",
    "test": """\
train_val2018/Insecta/2/x.jpg 2
train_val2018/Plantae/1/x.jpg 1
train_val2018/Animalia/0/x.jpg 0
""",
}


def test_inaturalist_validates_on_images_drawn_from_training(tmp_path):
    write(tmp_path, INATURALIST)
    drawn = {"fraction": 0.5, "seed": 0}
    source = open_source(section(tmp_path, validation=drawn))
    assert source.num_images == {"train": 4, "val": 3, "test": 3}
    train, val = rows(source, "train"), rows(source, "val")
    again = open_source(section(tmp_path, validation=drawn))
    assert val == rows(again, "val")
    assert sorted(label for _, label, _ in val) == [0, 1, 1]
    in_list = paths_in({"train": INATURALIST["train"]})
    assert sorted(path for path, _, _ in train + val) == sorted(in_list)
    for own in (train, val):  # in the order of the list
        paths = [path for path, _, _ in own]
        assert paths == [path for path in in_list if path in paths]
    assert any(
        "no validation split is published: 3 of 7 training images" in note
        and "1 classes of one training image have none" in note
        for note in source.notes
    )


def test_spaces_byte_order_marks_and_both_line_ends_are_read(tmp_path):
    lists = {
        "train": "\ufeffa b/1 2.png 0\r\n./hot air balloon/x.png 1\r\n",
        "validation": "v/1.png 0\n\nv/2.png\t1\n",
        "test": "t/1.png 0\r\nt/2.png 1",
    }
    paths = ["a b/1 2.png", "hot air balloon/x.png", "v/1.png", "v/2.png", "t/1.png", "t/2.png"]
    write(tmp_path, lists, paths)
    source = open_source(section(tmp_path))
    found = [path for split in ("train", "val", "test") for path, _, _ in rows(source, split)]
    assert found == paths
    assert source.class_names == ("a b", "hot air balloon")


def test_names_in_the_other_unicode_form_and_links_are_followed(tmp_path):
    root = tmp_path / "raw"
    write(root, IMAGENET, [])
    write(tmp_path / "elsewhere", {}, paths_in(IMAGENET))
    (root / "train").symlink_to("../elsewhere/train")
    (root / "val").mkdir()
    for path in paths_in({"test": IMAGENET["test"]}):
        (root / path).parent.mkdir()
        (root / path).symlink_to(tmp_path / "elsewhere" / path)
    source = open_source(section(root))
    assert "3 links lead out of" in source.left_out
    (root / "val").rename(root / unicodedata.normalize("NFD", "caf\u00e9"))
    text = IMAGENET["test"].replace("val/", "caf\u00e9/")
    (root / "test.txt").write_text(text)
    moved = open_source(section(root))
    assert [row.read() for row in moved.rows("test")] == [
        row.read_bytes()
        for row in map(
            tmp_path.joinpath,
            (f"elsewhere/{path}" for path in paths_in({"test": IMAGENET["test"]})),
        )
    ]


GROUPED = {
    "train": "x/1.png 0 snow\nx/2.png 0 grass\nx/3.png 1 snow\n",
    "validation": "x/4.png 0 snow\nx/5.png 1 snow\n",
    "test": "x/6.png 0 grass\nx/7.png 1 rock\n",
}


def test_a_third_column_is_the_group_and_may_have_no_training_image(tmp_path):
    write(tmp_path / "raw", GROUPED, columns=2)
    source = open_source(section(tmp_path / "raw", groups=True))
    assert rows(source, "train")[1] == ("x/2.png", 0, "grass")
    assert any(
        "1 of 4 pairs of class and group have images but none for training" in note
        for note in source.notes
    )
    config = PrepareConfig(image_size=8, interpolation="bicubic", crop="center")
    meta = prepare(section(tmp_path / "raw", groups=True), config, tmp_path / "out")
    assert meta.groups == ("grass", "rock", "snow")
    assert meta.counts["train"] == (2, 1)


def test_numbers_of_groups_that_are_not_asked_for_are_told(tmp_path):
    lists = {
        name: text.replace("snow", "0").replace("grass", "1").replace("rock", "2")
        for name, text in GROUPED.items()
    }
    write(tmp_path, lists, columns=2)
    with pytest.raises(InputError, match=r"set data.groups to true"):
        open_source(section(tmp_path))


# Names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n01440764 tench\nn15075141 toilet tissue\n", ("tench", "toilet tissue")),
        ("tench\r\ntoilet tissue\r\n", ("tench", "toilet tissue")),
        ("1 toilet tissue\n0 tench\n", ("tench", "toilet tissue")),
        ('["tench", "toilet tissue"]', ("tench", "toilet tissue")),
        ('{"toilet tissue": 1, "tench": 0}', ("tench", "toilet tissue")),
        ('{"1": "toilet tissue", "0": "tench"}', ("tench", "toilet tissue")),
        (
            '{"0": ["n01440764", "tench"], "1": ["n15075141", "toilet tissue"]}',
            ("tench", "toilet tissue"),
        ),
        (
            '[{"id": 1, "name": "Hermodice carunculata", "kingdom": "Animalia"}, '
            '{"id": 0, "name": "tench"}]',
            ("tench", "Hermodice carunculata"),
        ),
        ("airfield airfield\nart_studio-x art_studio-x\n", ("airfield", "art studio x")),
        ("n01440764 crane\nn15075141 crane\n", ("crane (n01440764)", "crane (n15075141)")),
    ],
)
def test_names_come_from_every_published_form(tmp_path, text, names):
    write(tmp_path, IMAGENET)
    (tmp_path / "names").write_text(text)
    data = section(tmp_path, class_names="names")
    source = open_source(data)
    assert source.class_names == class_names(data) == names
    assert any("told apart as crane (n01440764)" in note for note in source.notes) == (
        "crane" in text
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tench\n", "line 3: 1 is none of the 1 that data.class_names names"),
        ("a\nb\nc\n", r"1 classes have no image in any split, of the labels 2; add images"),
        ("n15075141 tissue\nn01440764 tench\n", "label 0 lies in n01440764, which is 1 in data"),
        ('{"0": "a", "2": "b"}', "the labels must be 0, 1, 2"),
        ("{", "cannot be read .* a name a line, or an id and a name, or JSON"),
        ("[3]", "has no id and name"),
        ('[{"id": 0, "name": 5}]', "has no id and name"),
        ('{"0": 1, "1": [2]}', "cannot be read"),
        ("a\n\x07\n", "is no name; use visible characters"),
    ],
)
def test_names_that_do_not_fit_are_told(tmp_path, text, message):
    write(tmp_path, IMAGENET)
    (tmp_path / "names").write_text(text)
    with pytest.raises(InputError, match=message):
        open_source(section(tmp_path, class_names="names"))
    with pytest.raises(InputError, match=r"nowhere does not exist; give a file of names"):
        open_source(section(tmp_path, class_names="nowhere"))


def test_either_archive_of_places_gives_the_same_names(tmp_path):
    for folder, lists in (("a", PLACES), ("b", PLACES_256)):
        write(tmp_path / folder, lists)
        names = open_source(section(tmp_path / folder)).class_names
        assert names == ("airfield", "apartment_building-outdoor", "zen_garden")


def test_classes_without_names_are_called_by_their_labels_if_folders_do_not_tell(tmp_path):
    lists = {name: "x/1.png 0\nx/2.png 1\n".replace("x", name) for name in IMAGENET}
    write(tmp_path, lists)
    source = open_source(section(tmp_path))
    assert source.class_names == ("0", "1")
    assert any("called by their labels" in note for note in source.notes)


def test_the_files_that_are_read_are_known_and_no_other(tmp_path):
    write(tmp_path, IMAGENET)
    (tmp_path / "names.json").write_text('["tench", "toilet tissue"]')
    (tmp_path / "train/n01440764/other.JPEG").write_bytes(picture(99))
    for changes, lists in (
        ({}, ["train.txt", "validation.txt", "test.txt"]),
        ({"class_names": "names.json"}, ["train.txt", "validation.txt", "test.txt", "names.json"]),
        ({"validation": {"fraction": 0.5, "seed": 0}}, ["train.txt", "test.txt"]),
    ):
        source = open_source(section(tmp_path, **changes))
        images = {row.content for split in ("train", "val", "test") for row in source.rows(split)}
        assert set(source.files()) == images | {str(tmp_path / name) for name in lists}


# Official or not


def test_official_lists_are_known_by_their_digest(tmp_path, monkeypatch):
    write(tmp_path, IMAGENET)
    digest = hashlib.sha256(IMAGENET["test"].encode()).hexdigest()
    monkeypatch.setitem(published.OFFICIAL, digest, "ImageNet-LT test")
    notes = open_source(section(tmp_path)).notes
    assert "data.test: the official list ImageNet-LT test" in notes
    assert "data.validation: not an official list that is known by its digest" in notes
    assert {len(digest) for digest in published.OFFICIAL} == {32, 64}


def test_the_training_list_of_imagenet_lt_is_known_by_its_counts(tmp_path):
    path = tmp_path / "list"
    path.write_text("")
    counts = [1280, 5, *[114] * 209, *[115] * 789]
    assert "counts as ImageNet-LT train has" in published.list_note("data.train", path, counts)
    assert "not an official" in published.list_note("data.train", path, [1, *counts[1:]])


# Mistakes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": "x.png\n"}, r"train.txt, line 1: 'x.png' must be `path label`"),
        ({"train": "a.png 0\nb.png one\n"}, "line 2: the label must be a whole number from 0"),
        ({"train": "a.png -1\n"}, "whole number from 0 to 1,000,000, got '-1'"),
        ({"train": "a.png 99999999999\n"}, "whole number from 0 to 1,000,000, got '99999999999'"),
        ({"train": "a.png 00000000099999999999\n"}, "whole number from 0 to 1,000,000"),
        ({"train": "../a.png 0\n"}, r"line 1: \.\./a\.png must lie below data\.root"),
        ({"train": "/etc/passwd 0\n"}, r"/etc/passwd must lie below data\.root"),
        ({"train": "a\0.png 0\n"}, "is no path of a file"),
        ({"train": ""}, "train.txt names no image"),
        ({"test": "\n\n"}, "test.txt names no image"),
        ({"train": "a.png 0\nb.png 3\n"}, r"of 0\.\.3 1 have no image: 2"),
        ({name: "a.png 1\nb.png 2\n" for name in IMAGENET}, "count labels from 0"),
        ({name: "a.png 0\n" for name in IMAGENET}, "there is only one class"),
    ],
)
def test_mistakes_in_lists_are_named(tmp_path, change, message):
    write(tmp_path, IMAGENET)
    write(tmp_path, change, ["a.png", "b.png"])
    with pytest.raises(InputError, match=message):
        open_source(section(tmp_path))


def test_other_encodings_are_refused(tmp_path):
    write(tmp_path, IMAGENET)
    (tmp_path / "train.txt").write_bytes("caf\u00e9.png 0\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"train.txt is no UTF-8 text"):
        open_source(section(tmp_path))


def test_a_few_missing_images_are_no_matter_of_the_folder_they_begin_at(tmp_path):
    write(tmp_path, IMAGENET)
    (tmp_path / paths_in(IMAGENET)[1]).unlink()
    with pytest.raises(InputError, match=r"1 of the 7 image files .* the others do: bring these"):
        open_source(section(tmp_path))


def test_missing_images_are_counted_and_the_first_five_named(tmp_path):
    lists = IMAGENET | {"train": "".join(f"train/c{i % 2}/{i}.png {i % 2}\n" for i in range(9))}
    write(tmp_path, lists)
    for i in range(1, 8):
        (tmp_path / f"train/c{i % 2}/{i}.png").unlink()
    (tmp_path / "train/c1/7.png").mkdir()
    with pytest.raises(InputError) as caught:
        open_source(section(tmp_path))
    message = str(caught.value)
    assert message.startswith("7 of the 13 image files that are named do not lie below")
    assert "train.txt, line 2: train/c1/1.png" in message
    assert message.count("\n") == 6
    assert message.endswith("... and 2 more")


def test_missing_lists_large_files_and_lists_for_two_splits_are_named(tmp_path):
    write(tmp_path, IMAGENET)
    with pytest.raises(InputError, match=r"data.test: the file .*x.txt does not exist; it lies"):
        open_source(section(tmp_path, test="x.txt"))
    with pytest.raises(InputError, match=r"validation.txt is read for validation and for test"):
        open_source(section(tmp_path, test="validation.txt"))
    with pytest.raises(InputError, match=r"too large: .*; 6 more files are too large"):
        open_source(section(tmp_path), max_image_bytes=10)
    with pytest.raises(InputError, match=r"data.images: the folder .*nowhere does not exist"):
        open_source(section(tmp_path, images="nowhere"))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"validation": None}, "validation"),
        ({"validation": {"fraction": 0.1}}, "seed"),
        ({"validation": {"fraction": 1.0, "seed": 0}}, "fraction"),
        ({"path_rewrite": "places"}, "path_rewrite"),
        ({"path_rewrite": {"pattern": "(", "replacement": ""}}, "do not fit"),
        ({"path_rewrite": {"pattern": "a", "replacement": r"\1"}}, "do not fit"),
        ({"groups": 1}, "groups"),
        ({"labels": 1}, "labels"),
    ],
)
def test_bad_parameters_name_their_key(tmp_path, change, key):
    with pytest.raises(ValidationError, match=key):
        section(tmp_path, **change)


# From the list to prepared images


def test_published_duplicates_are_counted_and_odd_pictures_read(tmp_path):
    root = tmp_path / "raw"
    write(root, IMAGENET)
    copy = (root / "train/n01440764/n01440764_190.JPEG").read_bytes()
    (root / "val/n01440764/ILSVRC2012_val_00029930.JPEG").write_bytes(copy)
    cmyk = io.BytesIO()
    Image.new("CMYK", (9, 9), (0, 99, 0, 0)).save(cmyk, "JPEG")
    (root / "train/n15075141/n15075141_10.JPEG").write_bytes(cmyk.getvalue())
    config = PrepareConfig(image_size=8, interpolation="bicubic", crop="center")
    meta = prepare(section(root), config, tmp_path / "out")
    assert meta.overlaps == {"train-test": 1}
    assert meta.counts["train"] == (2, 1)
    dropped = prepare(
        section(root), config.model_copy(update={"overlaps": "drop"}), tmp_path / "out"
    )
    assert dropped.counts["train"] == (1, 1)
    with pytest.raises(InputError, match=r"1 images occur in two splits"):
        prepare(section(root), config.model_copy(update={"overlaps": "refuse"}), tmp_path / "out")


def test_a_class_may_have_no_training_image(tmp_path):
    write(tmp_path, IMAGENET)
    write(tmp_path, {"train": "a.png 0\n"}, ["a.png"])
    source = open_source(section(tmp_path))
    assert source.class_names == ("0", "1")  # no folder tells what the second is called
    assert {row.label for row in source.rows("train")} == {0}
    assert {row.label for row in source.rows("test")} == {0, 1}
