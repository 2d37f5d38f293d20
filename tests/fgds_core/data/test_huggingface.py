import io
import json
import shutil
from pathlib import Path

import datasets
import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from fgds_core.data.config import DataConfig, HuggingfaceData
from fgds_core.data.sources import class_names, open_source
from fgds_core.errors import InputError

LABELS = {"train": [0, 1] * 10 + [1], "test": [1, 0, 1], "validation": [0, 1]}
DRAWN = {"fraction": 0.2, "seed": 0}


def hub_data(root, **changes):
    names = {"train": "train", "validation": "validation", "test": "test"}
    return HuggingfaceData.model_validate(
        {"kind": "huggingface", "root": str(root)} | names | changes
    )


def made(splits=tuple(LABELS)):
    """A data set of the library; the shade of an image tells where it stands."""
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["dog", "cat"]),
            "place": datasets.Value("string"),
        }
    )

    def split(number, name):
        labels = LABELS[name]
        images = [Image.new("RGB", (4, 4), (i, number, 0)) for i in range(len(labels))]
        columns = {"image": images, "label": labels, "place": ["snow"] * len(labels)}
        return datasets.Dataset.from_dict(columns, features=features)

    return datasets.DatasetDict({name: split(i, name) for i, name in enumerate(splits)})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    datasets.disable_progress_bars()
    folder = tmp_path_factory.mktemp("hub") / "saved"
    made().save_to_disk(folder, num_shards={"train": 3, "test": 1, "validation": 1})
    return folder


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """The files of a repository on the hub."""
    folder = tmp_path_factory.mktemp("hub") / "repository"
    for subset in ("plain", "other"):
        for name, split in made().items():
            for shard in range(2):
                path = folder / subset / f"{name}-{shard:05}-of-00002.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                split.shard(2, shard, contiguous=True).to_parquet(path)
    (folder / "code.py").write_text("raise SystemExit")
    return folder


def seen(source, split):
    return [
        (Image.open(io.BytesIO(row.read())).getpixel((0, 0))[0], row.label)
        for row in source.rows(split)
    ]


def test_a_saved_data_set_is_read_in_its_order(saved):
    source = open_source(hub_data(saved))
    assert source.class_names == ("dog", "cat") == class_names(hub_data(saved))
    assert source.num_images == {"train": 21, "val": 2, "test": 3}
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        assert seen(source, split) == list(enumerate(LABELS[name]))
    assert not source.has_groups
    assert sum(1 for _ in source.files()) == 5
    grouped = open_source(hub_data(saved, group_column="place"))
    assert {row.group for row in grouped.rows("test")} == {"snow"}


def test_what_was_chosen_before_it_was_saved_is_what_is_read(tmp_path):
    whole = made()
    chosen = datasets.DatasetDict(whole | {"train": whole["train"].select([5, 2])})
    chosen.save_to_disk(tmp_path)
    assert seen(open_source(hub_data(tmp_path)), "train") == [(5, 1), (2, 0)]


def test_validation_images_are_drawn_where_there_is_no_split(saved):
    source = open_source(hub_data(saved, validation=DRAWN))
    assert source.num_images == {"train": 17, "val": 4, "test": 3}
    train, val = seen(source, "train"), seen(source, "val")
    assert sorted(train + val) == list(enumerate(LABELS["train"]))
    assert [label for _, label in val].count(0) == 2
    assert "4 of 21 training images" in source.notes[0]


@pytest.fixture
def hub(repository, monkeypatch):
    """The hub, which notes what is asked of it."""
    asked = []

    def snapshot_download(name, *, repo_type, revision, allow_patterns, local_dir):
        asked.append((name, repo_type, revision))
        if name != "someone/pets":
            raise OSError("404: no such repository")
        for path in repository.rglob("*"):
            relative = path.relative_to(repository)
            if any(relative.match(pattern) for pattern in allow_patterns):
                (place := Path(local_dir) / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)
        (Path(local_dir) / ".cache").mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return asked


COMMIT = "0123456789abcdef" * 2 + "01234567"
PETS = {"repository": "someone/pets", "revision": COMMIT, "subset": "plain"}


def test_parquet_files_of_the_hub_are_brought_once_for_each_revision(hub, tmp_path):
    data = hub_data(tmp_path, **PETS)
    assert class_names(data) is None
    for _ in range(2):
        source = open_source(data)
        assert seen(source, "train") == list(enumerate(LABELS["train"]))
    assert hub == [("someone/pets", "dataset", COMMIT)]
    assert source.notes == (f"someone/pets of the hub at {COMMIT}",)
    assert source.published
    assert class_names(data) == ("dog", "cat")
    assert not list(tmp_path.rglob("*.py"))
    assert not list(tmp_path.rglob(".cache"))
    moved = open_source(hub_data(tmp_path, **PETS | {"revision": "refs/convert/parquet"}))
    assert len(hub) == 2
    assert "which may move" in moved.notes[0]


def test_another_subset_of_the_same_revision_is_brought_too(hub, tmp_path):
    for subset in ("plain", "other"):
        source = open_source(hub_data(tmp_path, **PETS | {"subset": subset}))
        assert {Path(path).parent.name for path in source.files()} == {subset}
    assert len(hub) == 2


def test_a_folder_of_parquet_files_for_each_split_is_known(repository, tmp_path):
    for name in LABELS:
        (tmp_path / name).mkdir()
        for i, path in enumerate(sorted((repository / "plain").glob(f"{name}-*"))):
            shutil.copy(path, tmp_path / name / f"{i:04}.parquet")
    source = open_source(hub_data(tmp_path))
    assert seen(source, "train") == list(enumerate(LABELS["train"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (PETS | {"repository": "someone/else"}, r"someone/else cannot be brought .* \(404"),
        (PETS | {"subset": "none"}, r"has no files none/\*\.parquet at 01234.*refs/convert"),
        (PETS | {"subset": None}, r"split t\w+ lies in several folders .* other, plain"),
        (PETS | {"test": "exam"}, r"data\.test: there is no split exam .* test, train, val"),
        (PETS | {"image_column": "img"}, "has no column img; it has image, label, place"),
    ],
)
def test_what_the_hub_does_not_have_is_named(hub, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        open_source(hub_data(tmp_path, **changes))


def damage_state(folder):
    (folder / "test/state.json").write_text("{}")


def name_another_file(folder):
    state = {"_data_files": [{"filename": "../train/data-00000-of-00003.arrow"}]}
    (folder / "test/state.json").write_text(json.dumps(state))


def name_no_split(folder):
    (folder / "dataset_dict.json").write_text('{"splits": 5}')


def name_a_split_elsewhere(folder):
    (folder / "dataset_dict.json").write_text('{"splits": ["../saved/train"]}')


def cut(folder):
    path = next((folder / "test").glob("*.arrow"))
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_state, r"test/state\.json is damaged .*save the data set again"),
        (name_another_file, "is no Arrow file of the split test"),
        (name_no_split, r"dataset_dict\.json is damaged .*save the data set again"),
        (name_a_split_elsewhere, r"dataset_dict\.json is damaged"),
        (cut, r"test/data-.*\.arrow is not a readable Arrow file"),
        (lambda folder: shutil.rmtree(folder / "test"), r"test/state\.json does not exist"),
    ],
)
def test_a_damaged_saved_data_set_is_named(saved, tmp_path, damage, message):
    shutil.copytree(saved, folder := tmp_path / "saved")
    damage(folder)
    with pytest.raises(InputError, match=message):
        open_source(hub_data(folder))


@pytest.mark.parametrize(
    "changes", [{"repository": "a/b"}, {"revision": "main"}, {"subset": "../x"}, {"subset": "/x"}]
)
def test_a_section_that_cannot_be_right_is_refused(tmp_path, changes):
    with pytest.raises(ValidationError):
        hub_data(tmp_path, **changes)


def test_the_section_is_told_apart_by_its_kind(tmp_path):
    data = hub_data(tmp_path, **PETS)
    assert TypeAdapter(DataConfig).validate_python(data.model_dump()) == data
