import errno
import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from micro import contents, random_images

from fgds_core import files
from fgds_core.errors import InputError
from fgds_core.files import sha256_file, write_json
from fgds_core.images.pixels import from_uint8
from fgds_core.images.table import image_table, write_images
from fgds_core.synthesis import shards
from fgds_core.synthesis.card import write_card
from fgds_core.synthesis.columns import COLUMNS, synthetic_schema
from fgds_core.synthesis.record import (
    class_folder,
    finished_part,
    part_path,
    sidecar_path,
    write_synthetic_part,
)
from fgds_core.synthesis.relabel import relabel_parts, relabelled_parts

NAMES = ("cat", "T-shirt/top", "ankle boot")


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
        "attempt": [0] * num_rows,
        "criterion_first": [0.5] * num_rows,
        "criterion_last": [0.7] * num_rows,
        "criterion_final": [0.8] * num_rows,
        "guided_steps": [6] * num_rows,
        "skipped_steps": [0] * num_rows,
        "nonfinite_steps": [0] * num_rows,
    }
    return image_table(
        random_images(num_rows, seed=seed + 10 * label + first_index),
        [label] * num_rows,
        class_names,
        extra,
        schema=synthetic_schema(class_names),
    )


def write_part(out, label=1, part=0, first_index=0, fingerprint="f", **rows):
    path = part_path(label, NAMES[label], part)
    table = synthetic_rows(label, first_index, **rows)
    return write_synthetic_part(out, path, table, fingerprint)


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
    assert class_folder(label, name) == folder


@settings(deadline=None)
@given(st.integers(0, 9999), st.text(max_size=80))
def test_class_folders_hold_safe_characters_only(label, name):
    folder = class_folder(label, name)
    assert set(folder) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert len(folder) <= 80


def test_synthetic_set_comes_back_in_order_of_class_and_index(tmp_path):
    record = write_index(tmp_path, write_set(tmp_path))
    assert record.num_rows == 8
    assert record.sha256 == sha256_file(tmp_path / "_index.json")
    images, table = shards.read_synthetic(tmp_path)
    assert images.labels.tolist() == [1] * 5 + [2] * 3
    assert images.groups is None
    assert table["index"].to_pylist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert table.schema.equals(synthetic_schema(NAMES).remove(0), check_metadata=True)
    assert torch.equal(from_uint8(images.__getitems__([3, 4])), random_images(2, seed=13))


def test_datasets_library_shows_pictures_and_class_names(tmp_path):
    import datasets

    images = random_images()
    table = image_table(images, [0, 1, 2, 1], NAMES, {"group": ["a"] * 4})
    write_images(tmp_path / "plain.parquet", table)
    write_images(tmp_path / "synthetic.parquet", synthetic_rows())
    for name in ("plain", "synthetic"):
        rows = datasets.load_dataset(
            "parquet", data_files=str(tmp_path / f"{name}.parquet"), cache_dir=str(tmp_path / "c")
        )["train"]
        assert rows.features["label"].names == list(NAMES)
        assert rows[0]["image"].size == (8, 8)


def test_index_does_not_depend_on_the_order_of_the_parts(tmp_path):
    records = write_set(tmp_path)
    first = write_index(tmp_path, records)
    assert first == write_index(tmp_path, records[::-1])


def test_index_says_what_was_wanted_and_made(tmp_path):
    write_set(tmp_path)
    value = json.loads((tmp_path / "_index.json").read_text())
    assert value["fingerprint"] == "set"
    assert value["made_by"] == {"generator": "tiny"}
    assert [(c["wanted"], c["present"]) for c in value["classes"]] == [(0, 0), (5, 5), (3, 3)]
    assert value["parts"][0]["seeds"] == [1000, 1001, 1002]
    assert shards.read_index(tmp_path).wanted == (0, 5, 3)


def test_fingerprint_travels_in_the_part_and_beside_it(tmp_path):
    record = write_part(tmp_path, fingerprint="abc")
    metadata = pq.read_schema(tmp_path / record.path).metadata
    assert metadata[b"fgds_fingerprint"] == b"abc"
    sidecar = json.loads((tmp_path / sidecar_path(record.path)).read_text())
    assert sidecar["fingerprint"] == "abc"
    assert sidecar["sha256"] == record.sha256


def test_part_counts_as_finished_by_fingerprint_and_bytes(tmp_path):
    record = write_part(tmp_path)
    path = tmp_path / record.path
    assert finished_part(tmp_path, record.path, "f") == record
    assert finished_part(tmp_path, record.path, "other") is None
    assert finished_part(tmp_path, "01-t-shirt-top/part-00009.parquet", "f") is None
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert finished_part(tmp_path, record.path, "f") is None
    write_part(tmp_path)
    (tmp_path / sidecar_path(record.path)).write_text("{")
    assert finished_part(tmp_path, record.path, "f") is None


def test_part_killed_before_its_sidecar_is_not_finished(tmp_path, monkeypatch):
    record = write_part(tmp_path)

    def killed(path, value, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("fgds_core.synthesis.record.write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        write_part(tmp_path, seed=7)
    assert finished_part(tmp_path, record.path, "f") is None


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
        write_synthetic_part(tmp_path, "01-x/part-00000.parquet", rows, "f")
    assert list(tmp_path.rglob("*.parquet")) == []


def test_tables_with_other_columns_or_no_rows_are_no_part(tmp_path):
    with pytest.raises(ValueError, match="columns must be"):
        write_synthetic_part(tmp_path, "p", image_table([b"x"], [0], NAMES), "f")
    with pytest.raises(ValueError, match="at least one image"):
        write_synthetic_part(tmp_path, "p", synthetic_rows().slice(0, 0), "f")


def test_no_index_no_data_set(tmp_path):
    write_set(tmp_path)
    shards.remove_index(tmp_path)
    with pytest.raises(InputError, match=r"_index\.json does not exist; run the stage synthesize"):
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
    index = json.loads((tmp_path / "_index.json").read_text())
    index["parts"][0]["fingerprint"] = "another"
    write_json(tmp_path / "_index.json", index)
    with pytest.raises(InputError, match=r"part-00000\.parquet belongs to another synthetic set"):
        shards.read_synthetic(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"parts": 3}'])
def test_damaged_index_is_refused(tmp_path, text):
    (tmp_path / "_index.json").write_text(text)
    with pytest.raises(InputError, match=r"_index\.json is damaged"):
        shards.read_index(tmp_path)


def test_unfinished_classes_get_no_index(tmp_path):
    records = write_set(tmp_path)
    shards.remove_index(tmp_path)
    with pytest.raises(
        InputError, match=r"not finished: T-shirt/top \(5 of 7\), ankle boot \(3 of 4"
    ):
        write_index(tmp_path, records, wanted=(0, 7, 4))
    assert not (tmp_path / "_index.json").exists()


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


def finished_set(out):
    """Two classes, with card and index."""
    write_part(out, label=1, num_rows=2)
    write_part(out, label=2)
    records = [finished_part(out, part_path(label, NAMES[label], 0), "f") for label in (1, 2)]
    write_card(out, (0, 2, 3))
    write_index(out, records, wanted=(0, 2, 3))
    return records


def test_the_folder_itself_is_a_data_set_for_datasets_and_pandas(tmp_path):
    import datasets
    import pandas as pd

    out = tmp_path / "data" / "synthetic"
    finished_set(out)
    rows = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert list(rows) == ["train"]
    train = rows["train"]
    assert train.column_names == ["image", "label", *COLUMNS]
    assert train.features["label"].names == list(NAMES)
    assert train["label"][:] == [1, 1, 2, 2, 2]
    assert train[0]["image"].size == (8, 8)
    table = pd.read_parquet(out)
    assert table["seed"].tolist() == train["seed"][:]
    assert table["group"].isna().all()


@pytest.mark.parametrize("name", ["test", "validation set", "train"])
def test_a_class_may_be_named_like_a_split(tmp_path, name):
    import datasets

    out, names = tmp_path / "synthetic", ("cat", name)
    for label in (0, 1):
        rows = synthetic_rows(label, class_names=names)
        write_synthetic_part(out, part_path(label, names[label], 0), rows, "f")
    write_card(out, (3, 3))
    rows = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert {split: len(each) for split, each in rows.items()} == {"train": 6}


def test_the_card_explains_every_column(tmp_path):
    write_card(tmp_path, (0, 2000, 3))
    text = (tmp_path / "_README.md").read_text()
    _, front_matter, body = text.split("---\n", 2)
    assert yaml.safe_load(front_matter) == yaml.safe_load(
        (tmp_path / ".huggingface.yaml").read_text()
    )
    assert yaml.safe_load(front_matter)["license"] == "other"
    assert "2,003 images" in body
    explained = [row.split("`")[1] for row in body.splitlines() if row.startswith("| `")]
    assert explained == synthetic_schema(NAMES).names


def test_what_earlier_versions_left_beside_the_parts_goes_with_the_next_index(tmp_path):
    records = finished_set(tmp_path)
    (tmp_path / "index.json").write_text("{}")
    first_part(tmp_path).with_suffix(".json").write_text("{}")
    assert shards.remove_foreign_parts(tmp_path, records) == ["01-t-shirt-top/part-00000.json"]
    write_index(tmp_path, records, wanted=(0, 2, 3))
    assert not (tmp_path / "index.json").exists()


PLANNED = ["01-t-shirt-top/part-00000.parquet", "00-cat/part-00000.parquet"]


def link_the_folder(out):
    out.rename(out.with_name("elsewhere"))
    out.symlink_to("elsewhere")


def link_a_class(out):
    (out / "01-t-shirt-top").rename(out.with_name("shirts"))
    (out / "01-t-shirt-top").symlink_to("../shirts")


def link_a_class_that_is_still_to_draw(out):
    (out.parent / "cats").mkdir()
    (out / "00-cat").symlink_to(out.parent / "cats")


def link_nowhere(out):
    (out / "00-cat").symlink_to("nowhere")


def link_a_part(out):
    first_part(out).rename(out.parent / "mine.parquet")
    first_part(out).symlink_to(out.parent / "mine.parquet")


def link_any_folder(out):
    (out.parent / "others").mkdir()
    (out / "others").symlink_to(out.parent / "others")


def a_file_for_the_folder(out):
    shutil.rmtree(out)
    out.write_text("x")


def a_file_for_a_class(out):
    (out / "00-cat").write_text("x")


def a_folder_for_a_part(out):
    first_part(out).unlink()
    first_part(out).mkdir()


def a_pipe_for_a_part(out):
    first_part(out).unlink()
    os.mkfifo(first_part(out))


def a_backup(out):
    shutil.copytree(out / "01-t-shirt-top", out / "backup")


def a_copy_of_a_class(out):
    shutil.copytree(out / "01-t-shirt-top", out / "01-t-shirt-top-copy")


def a_table_of_the_users(out):
    write_images(out / "mine.parquet", image_table([b"x"], [0], NAMES))


def a_table_in_a_class_folder(out):
    write_images(out / "02-ankle-boot" / "part-00001.parquet", image_table([b"x"], [0], NAMES))


def a_table_further_down(out):
    shutil.copytree(out / "02-ankle-boot", out / "02-ankle-boot" / "old" / "older")


@pytest.mark.parametrize(
    ("disturb", "message"),
    [
        (link_the_folder, r"synthetic is a symbolic link to elsewhere;"),
        (link_a_class, r"01-t-shirt-top is a symbolic link to \.\./shirts;"),
        (link_a_class_that_is_still_to_draw, "00-cat is a symbolic link to"),
        (link_nowhere, "00-cat is a symbolic link to nowhere"),
        (link_a_part, r"01-t-shirt-top/part-00000\.parquet is a symbolic link to"),
        (link_any_folder, "synthetic/others is a symbolic link to"),
        (a_file_for_the_folder, "synthetic is a file, a folder belongs there"),
        (a_file_for_a_class, "00-cat is a file, a folder belongs there"),
        (a_folder_for_a_part, r"part-00000\.parquet is no file"),
        (a_pipe_for_a_part, r"part-00000\.parquet is no file"),
        (a_backup, r"no run has drawn.*: backup/part-00000\.parquet; move"),
        (a_copy_of_a_class, r"01-t-shirt-top-copy/part-00000\.parquet; move"),
        (a_table_of_the_users, r": mine\.parquet; move"),
        (a_table_in_a_class_folder, r": 02-ankle-boot/part-00001\.parquet; move"),
        (a_table_further_down, r"02-ankle-boot/old/older/part-00000\.parquet; move"),
    ],
)
def test_a_place_that_is_not_the_sets_own_is_refused_and_kept(tmp_path, disturb, message):
    out = tmp_path / "synthetic"
    finished_set(out)
    shards.check_folder(out, PLANNED)
    disturb(out)
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(InputError, match=message):
        shards.check_folder(out, PLANNED)
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_part_that_dvc_has_linked_to_its_cache_is_as_good_as_its_bytes(tmp_path):
    out = tmp_path / "synthetic"
    record, _ = finished_set(out)
    link_a_part(out)
    shards.check_folder(out, PLANNED, is_cached=lambda link: True)
    kept = (tmp_path / "mine.parquet").read_bytes()
    assert finished_part(out, record.path, "f") == record
    write_part(out, label=1, seed=5)
    assert not first_part(out).is_symlink()
    assert (tmp_path / "mine.parquet").read_bytes() == kept


def test_a_new_place_and_that_of_a_killed_run_are_fine(tmp_path):
    shards.check_folder(tmp_path / "synthetic", PLANNED)
    finished_set(tmp_path)
    (first_part(tmp_path).parent / "part-00003.parquet.part").write_text("half")
    write_part(tmp_path / "relabelled.part")
    (tmp_path / "notes.txt").write_text("mine")
    shards.check_folder(tmp_path, PLANNED)


@pytest.mark.parametrize("kind", [errno.EACCES, errno.EROFS, errno.EPERM, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("place", ["synthetic", "01-t-shirt-top"])
def test_a_folder_that_cannot_be_written_is_named_at_the_start(tmp_path, monkeypatch, kind, place):
    out = tmp_path / "synthetic"
    finished_set(out)
    whole = tempfile.TemporaryFile

    def refusing(*, dir):
        if Path(dir).name == place:
            raise OSError(kind, os.strerror(kind))
        return whole(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", refusing)
    with pytest.raises(InputError, match=rf"{place} cannot be read and written \("):
        shards.check_folder(out, PLANNED)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(
    "name",
    ["part-00000.parquet", ".part-00000.json", ".huggingface.yaml", "_README.md", "_index.j"],
)
def test_a_disk_that_fails_at_any_file_leaves_no_set_and_the_next_run_a_whole_one(
    tmp_path, monkeypatch, name, number
):
    finished_set(tmp_path / "undisturbed")
    fsync = files.flush

    def failing(path):
        if path.name.startswith(name):
            raise OSError(number, os.strerror(number))
        fsync(path)

    out = tmp_path / "out"
    monkeypatch.setattr(files, "flush", failing)
    with pytest.raises(InputError, match=f"cannot write .*{os.strerror(number)}"):
        finished_set(out)
    assert not (out / "_index.json").exists()
    monkeypatch.undo()
    finished_set(out)
    assert contents(out) == contents(tmp_path / "undisturbed")


@contextmanager
def another_user():
    """Takes root's right to read and write everything; whoever else runs the tests has none."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("place", [".", "01-t-shirt-top", "01-t-shirt-top/part-00000.parquet"])
def test_what_may_not_be_read_is_named_at_the_start(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    out = Path("synthetic")
    finished_set(out)
    for path in (tmp_path, out, *out.rglob("*")):
        path.chmod(0o777)
    with another_user():
        shards.check_folder(out, PLANNED)
    (out / place).chmod(0)
    with another_user(), pytest.raises(InputError, match=rf"{out / place} cannot be read.*denied"):
        shards.check_folder(out, PLANNED)
    (out / place).chmod(0o755)


def test_parts_of_earlier_runs_are_removed_and_nothing_else(tmp_path):
    records = write_set(tmp_path)
    stale = write_part(tmp_path, label=0)
    note = tmp_path / "02-ankle-boot" / "part-notes.txt"
    note.write_text("mine")
    (first_part(tmp_path).parent / "part-00003.parquet.part").write_text("half")
    removed = shards.remove_foreign_parts(tmp_path, records)
    assert removed == [
        "00-cat/.part-00000.json",
        stale.path,
        "01-t-shirt-top/part-00003.parquet.part",
    ]
    assert note.exists()
    assert not (tmp_path / "00-cat").exists()
    assert len(shards.read_synthetic(tmp_path)[0]) == 8


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("猫", "犬", "鳥"), ("牛", "猫", "犬", "鳥")),  # folders are numbers alone
        (("猫", "犬", "鳥"), ("犬", "鳥")),
        (("a b", "a-b"), ("a-b", "a b")),
    ],
)
def test_parts_are_kept_where_the_folders_of_classes_collide(tmp_path, before, after):
    def fingerprint_of(label, names):
        return f"{label} of {names}"

    def pixels(names):
        return {
            name: shards.read_part(
                tmp_path,
                finished_part(tmp_path, part_path(label, name, 0), fingerprint_of(label, names)),
            )["image"]
            for label, name in enumerate(names)
            if name in before
        }

    for label, name in enumerate(before):
        rows = synthetic_rows(label, class_names=before)
        path = part_path(label, name, 0)
        write_synthetic_part(tmp_path, path, rows, fingerprint_of(label, before))
    of_before = pixels(before)
    found = list(relabelled_parts(tmp_path, after, fingerprint_of))
    kept = relabel_parts(tmp_path, after, fingerprint_of, found)
    assert len(kept) == len(set(before) & set(after))
    of_after = pixels(after)
    assert all(of_after[name].equals(of_before[name]) for name in of_after)
    labels = [record.label for record in kept]
    assert sorted(labels) == [label for label, name in enumerate(after) if name in before]
    assert list(relabelled_parts(tmp_path, after, fingerprint_of)) == []
    assert not [*tmp_path.glob("*.part")]
