import json
import tracemalloc
from decimal import Decimal
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter

from fgds_core.data.config import CocoData, DataConfig
from fgds_core.data.sources import class_names, json_entries, open_source
from fgds_core.errors import InputError
from fgds_core.images.formats import PNG, encode_picture

CATEGORIES = {0: "Hermodice carunculata", 1: "Panthera leo", 2: "Rosa canina"}
KINGDOMS = ("Animalia", "Animalia", "Plantae")


def coco_data(root, **changes):
    return CocoData.model_validate(
        {
            "kind": "coco",
            "root": str(root),
            "train": "train2018.json",
            "validation": {"fraction": 0.25, "seed": 0},
            "test": "val2018.json",
        }
        | changes
    )


def entries_of(labels, first_id):
    """What a file says; annotations stand in another order than images."""
    images = [
        {
            "id": first_id + i,
            "width": 9,
            "height": 9,
            "file_name": f"train_val2018/{KINGDOMS[label]}/{label}/{first_id + i:08x}.jpg",
            "license": 3,
            "rights_holder": "A. \u00c5ngstr\u00f6m",
        }
        for i, label in enumerate(labels)
    ]
    annotations = [
        {"id": first_id + i, "image_id": first_id + i, "category_id": label}
        for i, label in enumerate(labels)
    ]
    categories = [
        {"id": number, "name": name, "supercategory": KINGDOMS[number]}
        for number, name in CATEGORIES.items()
    ]
    return {
        "info": {"year": 2018, "contributor": None},
        "images": images,
        "licenses": [{"id": 3, "name": "CC", "url": "x"}],
        "annotations": annotations[::-1],
        "categories": categories,
    }


TRAIN, TEST = [0] * 8 + [1] * 4 + [2] * 3 + [0], [0, 1, 2]


def write_inaturalist(root, change=lambda train, test: None):
    train, test = entries_of(TRAIN, 1), entries_of(TEST, 500)
    shades = count()
    for image in train["images"] + test["images"]:
        path = root / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_picture(Image.new("L", (9, 9), next(shades)), PNG))
    change(train, test)
    (root / "train2018.json").write_text(json.dumps(train))
    (root / "val2018.json").write_text(json.dumps(test, indent=1))


def test_images_are_joined_to_their_categories(tmp_path):
    write_inaturalist(tmp_path)
    source = open_source(coco_data(tmp_path))
    assert source.class_names == tuple(CATEGORIES.values())
    rows = [row for split in ("train", "val") for row in source.rows(split)]
    paths = [image["file_name"] for image in entries_of(TRAIN, 1)["images"]]
    assert {(row.path, row.label) for row in rows} == set(zip(paths, TRAIN, strict=True))
    assert [row.label for row in source.rows("test")] == TEST
    assert rows[0].read() == (tmp_path / rows[0].path).read_bytes()
    assert source.files is not None
    read = {Path(path).relative_to(tmp_path).as_posix() for path in source.files()}
    others = {image["file_name"] for image in entries_of(TEST, 500)["images"]}
    assert read == {*paths, *others, "train2018.json", "val2018.json"}


def test_validation_images_are_drawn_from_those_of_training_and_it_is_said(tmp_path):
    write_inaturalist(tmp_path)
    source = open_source(coco_data(tmp_path))
    assert source.num_images == {"train": 12, "val": 4, "test": 3}
    splits = {split: [row.path for row in source.rows(split)] for split in source.num_images}
    assert {split: len(set(paths)) for split, paths in splits.items()} == source.num_images
    assert not set(splits["train"]) & set(splits["val"])
    assert "4 of 16 training images" in source.notes[-1]


def test_a_validation_file_is_read_where_there_is_one(tmp_path):
    write_inaturalist(tmp_path)
    write_inaturalist(tmp_path)
    (tmp_path / "own.json").write_text(json.dumps(entries_of([2, 1], 1)))
    with pytest.raises(InputError, match=r"2 of the 21 image files .*\n  .*own\.json, image 1:"):
        open_source(coco_data(tmp_path, validation="own.json"))
    with pytest.raises(InputError, match="is read for train and for validation"):
        open_source(coco_data(tmp_path, validation="train2018.json"))


def test_ids_with_gaps_are_classes_in_their_order(tmp_path):
    def spread(train, test):
        for file in (train, test):
            file["categories"].reverse()
            for entry in file["categories"]:
                entry["id"] = 90 - 7 * entry["id"]
            for entry in file["annotations"]:
                entry["category_id"] = 90 - 7 * entry["category_id"]

    write_inaturalist(tmp_path, spread)
    source = open_source(coco_data(tmp_path))
    assert source.class_names == ("Rosa canina", "Panthera leo", "Hermodice carunculata")
    assert [row.label for row in source.rows("test")] == [2, 1, 0]


def test_names_can_come_from_another_file(tmp_path):
    def obfuscate(train, test):
        for entry in train["categories"] + test["categories"]:
            entry["name"] = "species"

    write_inaturalist(tmp_path, obfuscate)
    source = open_source(coco_data(tmp_path))
    assert source.class_names == ("species (0)", "species (1)", "species (2)")
    assert "3 categories" in source.notes[0]
    assert class_names(coco_data(tmp_path)) is None
    names = [{"id": number, "name": name} for number, name in CATEGORIES.items()]
    (tmp_path / "categories.json").write_text(json.dumps(names))
    named = coco_data(tmp_path, class_names="categories.json")
    assert open_source(named).class_names == tuple(CATEGORIES.values()) == class_names(named)
    with pytest.raises(InputError, match=r"names 2 classes, but .* has 3 categories"):
        open_source(coco_data(tmp_path, class_names=["a", "b"]))


def moved(train, test):
    for image in train["images"] + test["images"]:
        image["file_name"] = image["file_name"].removeprefix("train_val2018/")


def test_paths_may_begin_at_a_folder(tmp_path):
    write_inaturalist(tmp_path, moved)
    source = open_source(coco_data(tmp_path, images="train_val2018"))
    assert next(iter(source.rows("test"))).path == "train_val2018/Animalia/0/000001f4.jpg"
    with pytest.raises(InputError, match=r"19 of the 19 .* set data\.images to train_val2018"):
        open_source(coco_data(tmp_path))


def changed(name, place=0, **values):
    def change(train, test):
        for key, value in values.items():
            if value is None:
                del train[name][place][key]
            else:
                train[name][place][key] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda train, test: train["annotations"].pop(),
            "1 images have no annotation, .*image 1;",
        ),
        (lambda train, test: train["images"].pop(), "1 annotations are of images .* image 16;"),
        (lambda train, test: train.pop("categories"), r"train2018\.json has no categories"),
        (lambda train, test: test.pop("images"), r"val2018\.json has no images"),
        (lambda train, test: test.pop("annotations"), "3 images have no annotation"),
        (
            lambda train, test: train["annotations"].append({"image_id": 2, "category_id": 2}),
            "image 2 is of several categories",
        ),
        (
            lambda train, test: test["categories"][1].update(name="Puma"),
            r"val2018\.json, categories: 1 is Puma, but in .* Panthera leo",
        ),
        (
            lambda train, test: train["categories"].append({"id": 1, "name": "Puma"}),
            "id 1 stands for two",
        ),
        (changed("annotations", category_id=7), "image 16 is of category 7"),
        (changed("annotations", category_id="1"), "category_id must be a whole number, got '1'"),
        (changed("annotations", image_id=None), "has no image_id"),
        (changed("images", id=2), "two images have the id 2"),
        (changed("images", id=2**70), "id must be a whole number"),
        (changed("images", file_name=7), "file_name must be a text, got 7"),
        (changed("images", file_name="../a.jpg"), r"image 1: \.\./a\.jpg must lie below"),
        (changed("images", file_name="a\nb"), "do not lie below"),
        (changed("images", file_name="train_val2018/no.jpg"), "1 of the 19 image files"),
        (lambda train, test: train.update(images=[7]), "7 has no id"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, message):
    write_inaturalist(tmp_path, change)
    with pytest.raises(InputError, match=message):
        open_source(coco_data(tmp_path))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(
    st.dictionaries(st.text(), st.lists(JSON, max_size=5) | JSON.filter(lambda v: v != [])),
    st.sampled_from([None, 2]),
    st.booleans(),
    st.sampled_from(["utf-8", "utf-8-sig"]),
)
def test_entries_come_one_by_one(tmp_path_factory, value, indent, plain, encoding):
    text = json.dumps(value, indent=indent, ensure_ascii=plain)
    path = tmp_path_factory.mktemp("json") / "train.json"
    path.write_text(text, encoding=encoding)
    lists = json.loads(text, parse_float=Decimal).items()
    assert list(json_entries.json_entries(path)) == [
        (name, entry) for name, each in lists if isinstance(each, list) for entry in each
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"images": [{"id": 1}',
        '{"images": [{"id": 1} {"id": 2}]}',
        '{"images": [{"id": 1]}',
        '{"images": [' + "[" * 100_000,
        '{"images" [1]}',
        "{1: [1]}",
        '{"images": [{"id": 1}x]}',
        '{"images": [1]} {}',
        '{"a": ["\\ud800\\q"]}',
        '{"images": [{"id": ' + "9" * 6000 + "}]}",
    ],
)
def test_damaged_json_is_named(tmp_path, text):
    (path := tmp_path / "train.json").write_text(text)
    with pytest.raises(InputError, match=r"train\.json is no readable JSON object of lists"):
        list(json_entries.json_entries(path))


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "large.json"
    with path.open("w") as file:
        file.write('{"images": [{"id": 0}')
        for number in range(40_000):
            file.write(f', {{"id": {number}, "file_name": "{"x" * 200}"}}')
        file.write("]}")
    tracemalloc.start()
    try:
        number = sum(1 for _ in json_entries.json_entries(path))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert number == 40_001
    assert most < path.stat().st_size / 2


def test_the_section_is_told_apart_by_its_kind(tmp_path):
    data = coco_data(tmp_path)
    assert TypeAdapter(DataConfig).validate_python(data.model_dump()) == data
