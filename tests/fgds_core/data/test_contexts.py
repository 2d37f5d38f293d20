import csv
import hashlib
import json
import random
from io import StringIO
from pathlib import Path

import pytest
from PIL import Image
from pydantic import TypeAdapter

from fgds_core.data.config import ContextsData, DataConfig, PrepareConfig
from fgds_core.data.meta import SPLITS
from fgds_core.data.prepare import prepare
from fgds_core.data.sources import class_names, open_source
from fgds_core.errors import InputError
from fgds_core.images.formats import PNG, encode_picture

NUMBERS = {"hot air balloon": 2, "car": 0, "owl": 1}
FOLDER = "public_dg_0416/train"


def contexts_data(root, **settings):
    return ContextsData.model_validate(
        {
            "kind": "contexts",
            "root": str(root),
            "folder": FOLDER,
            "class_ids": "dg_label_id_mapping.json",
        }
        | settings
    )


def write_nico(root, counts, numbers=NUMBERS, suffix=".jpg"):
    """Writes images of different shades, {(context, class): count}."""
    root.mkdir(exist_ok=True)
    (root / "dg_label_id_mapping.json").write_text(json.dumps(numbers))
    shades = iter(range(10**6))
    for (context, name), count in counts.items():
        folder = root / FOLDER / context / name
        folder.mkdir(parents=True)
        for i in range(count):
            shade = next(shades)
            picture = Image.new("RGB", (9, 9), (shade % 256, shade // 256, 7))
            (folder / f"{context}_{i:06}{suffix}").write_bytes(encode_picture(picture, PNG))


SMALL = {
    ("water", "car"): 100,
    ("autumn", "owl"): 4,
    ("autumn", "hot air balloon"): 76,
    ("autumn", "car"): 90,
    ("water", "hot air balloon"): 77,
    ("water", "owl"): 80,
}


@pytest.fixture
def nico(tmp_path):
    write_nico(tmp_path / "nicopp", SMALL)
    return tmp_path / "nicopp"


def subpop_rule(root, numbers, contexts):
    """An independent transcription of the benchmark's rule, with the files sorted."""
    rows = [
        (path.relative_to(root).as_posix(), numbers[name], a)
        for a, context in enumerate(contexts)
        for name in numbers
        for path in sorted((root / FOLDER / context / name).glob("*.jpg"))
    ]
    groups = {}
    for path, y, a in rows:
        groups.setdefault(a + len(contexts) * y, []).append(path)
    random.seed(666)
    splits = dict.fromkeys((path for path, _, _ in rows), 0)
    for paths in groups.values():
        random.shuffle(paths)
        size = min(len(paths), 75)
        splits |= dict.fromkeys(paths[: size // 3], 1)
        splits |= dict.fromkeys(paths[size // 3 : size], 2)
    return [(path, y, a, splits[path]) for path, y, a in rows]


def test_the_splits_are_the_rule_on_sorted_files(nico):
    source = open_source(contexts_data(nico))
    assert source.class_names == ("car", "owl", "hot air balloon")
    assert source.class_names == class_names(contexts_data(nico))
    wanted = subpop_rule(nico, NUMBERS, ["autumn", "water"])
    for number, split in enumerate(SPLITS):
        rows = list(source.rows(split))
        assert {(row.path, row.label, row.group) for row in rows} == {
            (path, y, ["autumn", "water"][a]) for path, y, a, s in wanted if s == number
        }
        assert source.num_images[split] == len(rows)
    written = list(csv.DictReader(StringIO(source.metadata)))
    assert list(written[0]) == ["filename", "y", "a", "y_name", "a_name", "split"]
    assert [
        (row["filename"], int(row["y"]), int(row["a"]), int(row["split"])) for row in written
    ] == wanted
    assert {(row["y_name"], row["y"]) for row in written} == {
        (name, str(number)) for name, number in NUMBERS.items()
    }


def test_a_small_group_has_no_training_images_and_it_is_said(nico):
    source = open_source(contexts_data(nico))
    cells = {
        split: [row.path for row in source.rows(split) if "/autumn/owl/" in row.path]
        for split in SPLITS
    }
    assert {split: len(paths) for split, paths in cells.items()} == {
        "train": 0,
        "val": 1,
        "test": 3,
    }
    (note,) = source.notes
    assert "seed 666, at most 75 images" in note
    assert "not the splits of its published results; 1 of 6 groups have no training" in note
    assert hashlib.sha256(source.metadata.encode()).hexdigest() in note


def test_the_order_on_the_disk_and_the_folder_above_change_nothing(nico, tmp_path):
    write_nico(other := tmp_path / "elsewhere", dict(reversed(SMALL.items())))
    first, again = (open_source(contexts_data(root)) for root in (nico, other))
    assert first.metadata == again.metadata
    assert first.metadata != open_source(contexts_data(nico, seed=0)).metadata


def test_classes_without_a_file_of_numbers_are_sorted_and_other_names_can_be_read(tmp_path):
    counts = {(c, n): 4 for c in ("sun", "rain") for n in ("dog", "ant")}
    write_nico(tmp_path / "own", counts, suffix=".PNG")
    settings = {"class_ids": None, "pattern": "*.PNG", "held_out": 3}
    source = open_source(contexts_data(tmp_path / "own", **settings))
    assert source.class_names == ("ant", "dog")
    assert source.num_images == {"train": 4, "val": 4, "test": 8}
    assert {row.group for row in source.rows("train")} == {"rain", "sun"}


def test_an_empty_context_changes_nothing(nico):
    before = open_source(contexts_data(nico))
    (nico / FOLDER / "a_first_one/car").mkdir(parents=True)
    after = open_source(contexts_data(nico))
    assert (after.metadata, after.notes) == (before.metadata, before.notes)


def test_other_files_are_left_out_and_told(nico):
    (nico / FOLDER / "water/car/more.png").write_bytes(b"")
    (nico / FOLDER / "readme.txt").write_text("")
    source = open_source(contexts_data(nico))
    assert sum(source.num_images.values()) == sum(SMALL.values())
    assert source.files is not None
    assert set(map(Path, source.files())) == {
        *nico.rglob("*.jpg"),
        nico / "dg_label_id_mapping.json",
    }
    assert "2 files and folders that are no images in their place" in source.left_out


def test_prepare_writes_the_splits_down(nico, tmp_path):
    config = PrepareConfig(image_size=8, interpolation="bicubic", crop="none")
    meta = prepare(contexts_data(nico), config, out := tmp_path / "prepared", workers=0)
    assert meta.groups == ("autumn", "water")
    source = open_source(contexts_data(nico))
    assert (out / "metadata.csv").read_text() == source.metadata
    folders = {"kind": "folder", "root": str(nico / FOLDER), "groups": False}
    split = {"by": "fractions", "validation": 0.1, "test": 0.1, "seed": 0}
    for context in ("autumn", "water"):
        data = folders | {"root": str(nico / FOLDER / context), "split": split}
        prepare(TypeAdapter(DataConfig).validate_python(data), config, out, workers=0)
        assert not (out / "metadata.csv").exists()


def rewrite(numbers):
    return lambda root: (root / "dg_label_id_mapping.json").write_text(json.dumps(numbers))


@pytest.mark.parametrize(
    ("damage", "settings", "message"),
    [
        (None, {"folder": "train"}, r"data\.folder: .*/train does not exist; .*public_dg_0416"),
        (None, {"folder": "../nicopp"}, r"data\.folder: .* must lie below data\.root"),
        (None, {"folder": "."}, r"no number for the class train .*correct data\.folder"),
        (None, {"folder": f"{FOLDER}/water/car"}, "holds no context folders"),
        (None, {"class_ids": "ids.json"}, r"ids\.json does not exist; name a JSON file"),
        (None, {"pattern": "*.png"}, r"holds no images \*\.png of the classes car"),
        (rewrite({"car": 0, "owl": 1}), {}, "no number for the class hot air balloon"),
        (rewrite(NUMBERS | {"ant": 3}), {}, r"holds no images \*\.jpg of the classes ant"),
        (rewrite(NUMBERS | {"car": 3}), {}, "must number the classes 0, 1, 2"),
        (rewrite(NUMBERS | {"car": "0"}), {}, "must number the classes 0, 1, 2"),
        (rewrite([1]), {}, "not a JSON object"),
        (lambda root: (root / FOLDER / "dim").mkdir(), {}, "dim holds no class folders"),
    ],
)
def test_a_layout_that_does_not_fit_is_named(nico, damage, settings, message):
    if damage:
        damage(nico)
    with pytest.raises(InputError, match=message):
        open_source(contexts_data(nico, **settings))


def test_the_section_is_told_apart_by_its_kind(nico):
    data = contexts_data(nico)
    assert TypeAdapter(DataConfig).validate_python(data.model_dump()) == data


def test_the_splits_written_down_are_read_again(nico):
    first = open_source(contexts_data(nico))
    (nico / "metadata.csv").write_text(first.metadata)
    section = {"kind": "csv", "root": str(nico), "file": "metadata.csv"}
    section |= {"class_names": "dg_label_id_mapping.json", "group_names": ["autumn", "water"]}
    again = open_source(TypeAdapter(DataConfig).validate_python(section))
    assert again.class_names == first.class_names
    for split in SPLITS:
        read = {(row.path, row.label, row.group) for row in again.rows(split)}
        assert read == {(row.path, row.label, row.group) for row in first.rows(split)}


def test_classes_without_training_images_are_counted_and_told(nico, tmp_path):
    source = open_source(contexts_data(nico, held_out=90))
    (note,) = source.notes
    assert "2 classes have none at all: a lower data.held_out" in note
    assert {row.label for row in source.rows("train")} == {0}
    assert {row.label for row in source.rows("test")} == {0, 1, 2}
