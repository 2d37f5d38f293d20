"""What lies at a path is told by names and layout, and the section that is made of it reads it."""

import json
import os
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fgds_core.data.recognise import recognise
from fgds_core.data.sources import open_source
from fgds_core.errors import InputError
from fgds_core.images.formats import PNG, encode_picture
from fgds_core.images.table import image_table

SHADES = iter(range(2**24))


def picture(side=12):
    """A picture that no other is like."""
    shade = next(SHADES)
    return encode_picture(
        Image.new("RGB", (side, side), (shade % 256, shade // 256 % 256, shade // 65536)), PNG
    )


def write(root, counts, suffix=".jpg"):
    """Writes pictures, {folder: count}."""
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / folder / f"{number}{suffix}").write_bytes(picture())
    return root


def write_named(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(picture())


def opened(path, **options):
    found = recognise(str(path), **options)
    return found, open_source(found.data)


def test_class_folders_without_splits(tmp_path):
    root = write(tmp_path / "my flowers", {"daisy": 20, "rosé: rouge": 8}, ".png")
    found, source = opened(root)
    assert found.data.kind == "folder"
    assert found.data.split.by == "fractions"
    assert source.class_names == ("daisy", "rosé: rouge")
    assert sum(source.num_images.values()) == 28
    assert "validate" in found.choices[0]


@pytest.mark.parametrize("names", [("train", "validation", "test"), ("Train", "valid", "test")])
def test_folders_of_splits(tmp_path, names):
    write(tmp_path / "f", {f"{split}/{name}": 3 for split in names for name in ("cat", "dog")})
    found, source = opened(tmp_path / "f")
    assert (found.data.split.train, found.data.split.test) == (names[0], names[2])
    assert source.num_images == {"train": 6, "val": 6, "test": 6}
    assert found.choices == ()


@pytest.mark.parametrize(("held_out", "words"), [("test", 0), ("val", 1)])
def test_without_a_third_split_some_training_images_validate(tmp_path, held_out, words):
    write(tmp_path / "f", {f"train/{name}": 20 for name in ("cat", "dog")})
    write(tmp_path / "f", {f"{held_out}/{name}": 5 for name in ("cat", "dog")})
    found, source = opened(tmp_path / "f")
    assert found.data.split.test == held_out
    assert source.num_images == {"train": 36, "val": 4, "test": 10}
    assert len(found.choices) == words
    assert "4 of 40 training images" in source.notes[0]
    paths = {split: {row.path for row in source.rows(split)} for split in source.num_images}
    assert len(set.union(*paths.values())) == 50


def test_what_an_archive_was_unpacked_to_is_entered(tmp_path):
    write(tmp_path / "f" / "flowers" / "images", {"daisy": 9, "rose": 9})
    assert recognise(str(tmp_path / "f")).data.root == str(tmp_path / "f" / "flowers" / "images")


def test_of_training_images_alone_all_splits_are_drawn(tmp_path):
    write(tmp_path / "f", {"train/cat": 30, "train/dog": 30})
    found, source = opened(tmp_path / "f")
    assert found.data.root == str(tmp_path / "f" / "train")
    assert source.num_images == {"train": 36, "val": 12, "test": 12}


def test_groups_in_classes_and_in_splits(tmp_path):
    layout = {f"{name}/{group}": 6 for name in ("cat", "dog", "owl") for group in ("day", "night")}
    found, source = opened(write(tmp_path / "f", layout))
    assert found.data.kind == "folder"
    assert found.data.groups
    assert source.class_names == ("cat", "dog", "owl")

    for split in ("train", "val", "test"):
        write(tmp_path / "g" / split, layout)
    found, source = opened(tmp_path / "g")
    assert found.data.groups
    assert source.has_groups
    assert source.num_images == {"train": 36, "val": 36, "test": 36}


NICO = {f"{context}/{name}": 20 for context in ("autumn", "dim") for name in ("car", "hot air")}


def test_nico_is_read_context_first_by_its_file_of_numbers(tmp_path):
    root = tmp_path / "nicopp"
    write(root / "public_dg_0416" / "train", NICO | {"dim/car": 90, "dim/hot air": 80})
    write(root / "public_dg_0416", {"public_test_flat": 3})
    (root / "dg_label_id_mapping.json").write_text(json.dumps({"hot air": 1, "car": 0}))
    for given in (root, root / "public_dg_0416" / "train"):
        found, source = opened(given)
        assert found.data.kind == "contexts"
        assert found.data.root == str(root)
        assert found.data.folder == "public_dg_0416/train"
        assert found.data.held_out == 75
        assert source.class_names == ("car", "hot air")


def test_of_a_small_nico_some_images_train(tmp_path):
    root = tmp_path / "nicopp"
    write(root / "public_dg_0416" / "train", NICO)
    (root / "dg_label_id_mapping.json").write_text(json.dumps({"hot air": 1, "car": 0}))
    found, source = opened(root)
    assert found.data.held_out == 6
    assert source.num_images == {"train": 56, "val": 8, "test": 16}


def test_two_levels_without_names_that_are_known(tmp_path):
    counts = {f"{one}/{two}": 9 for one in ("north", "south") for two in ("cat", "dog", "owl")}
    found, source = opened(write(tmp_path / "f", counts))
    assert found.data.kind == "contexts"  # fewer outer names, each class in both
    assert source.class_names == ("cat", "dog", "owl")
    assert "--classes outer" in found.choices[0]

    found, source = opened(tmp_path / "f", classes="outer")
    assert found.data.kind == "folder"
    assert source.class_names == ("north", "south")

    write(tmp_path / "g", {"animals/cat": 9, "animals/dog": 9, "cars/van": 9, "cars/bus": 9})
    with pytest.raises(InputError, match="--classes outer or --classes inner"):
        recognise(str(tmp_path / "g"))


def lists_of(root, name="ImageNet_LT", splits=("train", "val", "test"), group=""):
    for split in splits:
        home = "val" if split == "test" else "train"
        lines = [
            f"{home}/{wnid}/{wnid}_{split}{number}.JPEG"
            for wnid in ("n01440764", "n01443537")
            for number in range(3)
        ]
        write_named(root, lines)
        text = "".join(f"{line} {i // 3}{group}\n" for i, line in enumerate(lines))
        (root / f"{name}_{split}.txt").write_text(text)


def test_lists_with_a_file_of_names(tmp_path):
    root = tmp_path / "imagenet"
    lists_of(root)
    (root / "classnames.txt").write_text("n01440764 tench\nn01443537 goldfish\n")
    found, source = opened(root)
    assert found.data.kind == "list"
    assert source.class_names == ("tench", "goldfish")
    assert source.num_images == {"train": 6, "val": 6, "test": 6}
    assert recognise(str(root / "ImageNet_LT_val.txt")).data == found.data


def test_lists_whose_images_lie_beside_their_folder(tmp_path):
    lists_of(tmp_path / "set")
    (tmp_path / "set" / "lists").mkdir()
    for path in (tmp_path / "set").glob("*.txt"):
        path.rename(path.parent / "lists" / path.name)
    lists = tmp_path / "set" / "lists"
    for given in (tmp_path / "set", lists, lists / "ImageNet_LT_train.txt"):
        found, source = opened(given)
        assert found.data.root == str(tmp_path / "set")
        assert found.data.train == "lists/ImageNet_LT_train.txt"
        assert source.num_images["test"] == 6


def test_lists_with_groups_and_without_a_validation_list(tmp_path):
    lists_of(tmp_path / "set", splits=("train", "test"), group=" night")
    found, source = opened(tmp_path / "set")
    assert found.data.groups
    assert source.num_images == {"train": 4, "val": 2, "test": 6}


def test_two_sets_of_lists_are_not_mixed(tmp_path):
    lists_of(tmp_path / "set")
    lists_of(tmp_path / "set", name="Other")
    with pytest.raises(InputError, match="2 sets of lists"):
        recognise(str(tmp_path / "set"))
    found = recognise(str(tmp_path / "set" / "Other_train.txt"))
    assert found.data.test == "Other_test.txt"


@pytest.mark.parametrize(
    ("text", "begins"),
    [("path,label\n", "path,label"), ("\n0/0.jpg,0\n", "0/0.jpg,0"), ("0/0.jpg\n", "0/0.jpg")],
)
def test_a_file_named_as_a_list_that_is_none_is_told(tmp_path, text, begins):
    lists_of(tmp_path / "set")
    (train,) = (tmp_path / "set").glob("*train.txt")
    (val,) = (tmp_path / "set").glob("*val.txt")
    lines = val.read_text()
    val.write_text(text)
    assert val.name in " ".join(recognise(str(tmp_path / "set")).choices)
    val.write_text(lines)
    train.write_text(text)
    with pytest.raises(InputError, match=f"{train.name} is no list: .* begins with '{begins}'"):
        recognise(str(tmp_path / "set"))


def test_lists_may_have_tabs(tmp_path):
    lists_of(tmp_path / "set")
    for path in (tmp_path / "set").glob("*.txt"):
        path.write_text(path.read_text().replace(".jpg ", ".jpg\t"))
    assert opened(tmp_path / "set")[0].data.kind == "list"


def csv_of(root, header, rows, name="metadata.csv"):
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join([header, *rows, ""]))


def test_waterbirds(tmp_path):
    root, rows = tmp_path / "waterbird_complete95_forest2water2", []
    for number in range(12):
        y, place, split = number % 2, number // 2 % 2, number // 4
        name = f"{number:03}.Bird/Bird_{number}.jpg"
        write_named(root, [name])
        rows.append(f"{number + 1},{name},{y},{split},{place},/o/ocean/1.jpg")
    csv_of(root, "img_id,img_filename,y,split,place,place_filename", rows)
    found, source = opened(root)
    assert found.data.kind == "csv"
    assert source.class_names == ("landbird", "waterbird")
    assert {row.group for row in source.rows("train")} == {"land", "water"}
    assert source.num_images == {"train": 4, "val": 4, "test": 4}


def test_csv_with_words_names_and_paths_of_another_machine(tmp_path):
    root, rows = tmp_path / "set", []
    for number, split in enumerate(["train"] * 8 + ["test"] * 4 + ["no_fg"] * 2):
        name = f"images/{number}.jpg"
        write_named(root, [name])
        label, group = number % 2, number // 2 % 2
        rows.append(f"/data/set/{name},{label},{group},{'ab'[label]},{'xy'[group]},{split}")
    csv_of(root, "filename,y,a,y_name,a_name,split", rows)
    found, source = opened(root)
    assert source.class_names == ("a", "b")
    assert {row.group for row in source.rows("train")} == {"x", "y"}
    assert source.num_images == {"train": 6, "val": 2, "test": 4}
    assert "no_fg" in found.choices[-1]


@pytest.mark.parametrize("first", ["id_val", "val"])
def test_a_split_that_is_named_exactly_comes_before_one_like_it(tmp_path, first):
    second = {"id_val": "val", "val": "id_val"}[first]
    rows = []
    for number, split in enumerate(f"train {first} id_test test {second}".split() * 2):
        write_named(tmp_path / "set", [f"{number}.jpg"])
        rows.append(f"{number}.jpg,{number % 2},{split}")
    csv_of(tmp_path / "set", "filename,y,split", rows)
    splits = opened(tmp_path / "set")[0].data.splits
    assert (splits.train, splits.validation, splits.test) == ("train", "val", "test")


KNOWN = {
    "metadata_waterbirds.csv": (("landbird", "waterbird"), {"land", "water"}),
    "metadata_celeba.csv": (("without blond hair", "with blond hair"), {"woman", "man"}),
    "metadata.csv": (("0", "1"), {"0", "1"}),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_csv_files_of_subpopbench_get_names_that_prompts_can_speak_of(tmp_path, name):
    rows = []
    for number in range(12):
        write_named(tmp_path / "set", [f"{number}.jpg"])
        rows.append(f"{number},{number}.jpg,{number // 4},{number % 2},{number // 2 % 2}")
    csv_of(tmp_path / "set", "id,filename,split,y,a", rows, name)
    source = opened(tmp_path / "set")[1]
    groups = {row.group for row in source.rows("train")}
    assert (source.class_names, groups) == KNOWN[name]


def test_a_csv_of_nico_names_its_contexts(tmp_path):
    contexts = ["autumn", "dim", "grass", "outdoor", "rock", "water"]
    rows = []
    for number in range(36):
        path = f"public_dg_0416/train/{contexts[number % 6]}/car/{number}.jpg"
        write_named(tmp_path / "nicopp", [path])
        rows.append(f"/data/nicopp/{path},{number // 6 % 2},{number % 6},{number // 12}")
    csv_of(tmp_path / "nicopp", "filename,y,a,split", rows)
    (tmp_path / "nicopp" / "dg_label_id_mapping.json").write_text('{"van": 1, "car": 0}')
    source = opened(tmp_path / "nicopp")[1]
    assert source.class_names == ("car", "van")
    assert all(f"/{row.group}/" in row.path for row in source.rows("train"))


def test_groups_that_are_one_and_the_same_are_not_read(tmp_path):
    rows = []
    for number in range(12):
        write_named(tmp_path / "set", [f"{number}.jpg"])
        rows.append(f"{number}.jpg,{number % 2},0,{number // 4}")
    csv_of(tmp_path / "set", "filename,y,a,split", rows)
    found, source = opened(tmp_path / "set")
    assert not source.has_groups
    assert "Groups are not read" in found.choices[-1]


@pytest.mark.parametrize("form", ["kaggle", "text"])
def test_celeba(tmp_path, form):
    root = tmp_path / "celeba"
    names = [f"{number:06}.jpg" for number in range(1, 13)]
    write_named(root, [f"img_align_celeba/img_align_celeba/{name}" for name in names])
    values = [("1", "-1" if i % 2 else "1", "-1" if i % 3 else "1") for i in range(12)]
    if form == "kaggle":
        rows = [",".join([name, *each]) for name, each in zip(names, values, strict=True)]
        csv_of(root, "image_id,Young,Blond_Hair,Male", rows, "list_attr_celeba.csv")
        splits = [f"{name},{i // 4}" for i, name in enumerate(names)]
        csv_of(root, "image_id,partition", splits, "list_eval_partition.csv")
    else:
        rows = ["  ".join([name, *each]) for name, each in zip(names, values, strict=True)]
        csv_of(root / "Anno", "12", ["Young Blond_Hair Male ", *rows], "list_attr_celeba.txt")
        splits = [f"{name} {i // 4}" for i, name in enumerate(names)]
        csv_of(root / "Eval", splits[0], splits[1:], "list_eval_partition.txt")
    found, source = opened(root)
    assert found.data.kind == "celeba"
    assert source.class_names == ("without blond hair", "with blond hair")
    assert {row.group for row in source.rows("train")} == {"woman", "man"}
    assert source.num_images == {"train": 4, "val": 4, "test": 4}


def test_coco(tmp_path):
    root = tmp_path / "inat"
    for split in ("train", "val"):
        names = [f"train_val2018/Aves/{i % 2}/{split}{i}.jpg" for i in range(10)]
        write_named(root, names)
        tree = {
            "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
            "annotations": [{"id": i, "image_id": i, "category_id": i % 2} for i in range(10)],
            "categories": [{"id": i, "name": name} for i, name in enumerate(("owl", "wren"))],
        }
        (root / f"{split}2018.json").write_text(json.dumps(tree))
    found, source = opened(root)
    assert found.data.kind == "coco"
    assert found.data.test == "val2018.json"
    assert source.class_names == ("owl", "wren")
    assert source.num_images == {"train": 8, "val": 2, "test": 10}
    names = [{"id": i, "name": name} for i, name in enumerate(("Strix aluco", "Parus major"))]
    (root / "categories.json").write_text(json.dumps(names))
    assert opened(root)[1].class_names == ("owl", "wren")  # which are names
    for split in ("train", "val"):
        path = root / f"{split}2018.json"
        path.write_text(path.read_text().replace('"owl"', '"0000"').replace('"wren"', '"0001"'))
    assert opened(root)[1].class_names == ("Strix aluco", "Parus major")


def parquet_of(path, labels, names=("cat", "dog"), image="image"):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = image_table([picture() for _ in labels], labels, names)
    if image != "image":
        metadata = {b"huggingface": table.schema.metadata[b"huggingface"]}
        table = table.rename_columns([image, "label"]).replace_schema_metadata(metadata)
    pq.write_table(table, path)


def test_parquet_of_three_splits(tmp_path):
    root = tmp_path / "set"
    for shard in range(2):
        parquet_of(root / "data" / f"train-0000{shard}-of-00002.parquet", [0, 1, 1])
    parquet_of(root / "data" / "validation-00000-of-00001.parquet", [0, 1])
    parquet_of(root / "data" / "test-00000-of-00001.parquet", [0, 1], image="image")
    found, source = opened(root)
    assert found.data.kind == "parquet"
    assert source.num_images == {"train": 6, "val": 2, "test": 2}
    assert source.class_names == ("cat", "dog")
    assert recognise(str(root / "data" / "test-00000-of-00001.parquet")).data.kind == "parquet"


def test_parquet_of_two_splits_and_other_names_of_columns(tmp_path):
    root = tmp_path / "set"
    parquet_of(root / "train-00000-of-00001.parquet", [0, 1] * 10, image="img")
    parquet_of(root / "test-00000-of-00001.parquet", [0, 1], image="img")
    found, source = opened(root)
    assert found.data.kind == "huggingface"
    assert found.data.image_column == "img"
    assert source.num_images == {"train": 18, "val": 2, "test": 2}


def test_parquet_of_numbers_without_names(tmp_path):
    for split in ("train", "val", "test"):
        columns = {"image": [picture() for _ in range(4)], "label": [0, 1, 2, 1]}
        (tmp_path / "set").mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), tmp_path / "set" / f"{split}.parquet")
    found, source = opened(tmp_path / "set")
    assert source.class_names == ("0", "1", "2")
    assert "numbers" in found.choices[0]


def test_pickles_of_cifar(tmp_path):
    import pickle

    root = tmp_path / "cifar-10-batches-py"
    root.mkdir()
    (root / "batches.meta").write_bytes(pickle.dumps({"label_names": ["ant", "bat"]}))
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 3072), dtype=np.uint8)
    for name in [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]:
        batch = {"data": pixels, "labels": [0, 1] * 500}
        (root / name).write_bytes(pickle.dumps(batch))
    for given in (tmp_path, root):
        found, source = opened(given)
        assert found.data.kind == "cifar"
        assert source.num_images == {"train": 2505, "val": 40, "test": 1000}


# What is refused


def refused(path, match):
    with pytest.raises(InputError, match=match):
        opened(path)


def test_paths_that_lead_to_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("hello\n")
    write_named(tmp_path, ["one.png"])
    refused(tmp_path / "none", "does not exist")
    refused(tmp_path / "empty", "is empty")
    refused(tmp_path / "a.txt", "nothing that is known")
    refused(tmp_path / "one.png", "is one image")
    refused("x" * 5000, "cannot be read")
    refused("", "no path was given")
    refused("~nobody-of-this-name/flowers", "write the path out")
    refused("s3://bucket/flowers", "is an address; bring the data to a folder")


def test_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a", "b")
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz"):
        pass
    for name in ("a.zip", "cifar-10-python.tar.gz"):
        refused(tmp_path / name, "is an archive; unpack it")
    (tmp_path / "f").mkdir()
    (tmp_path / "a.zip").rename(tmp_path / "f" / "a.zip")
    refused(tmp_path / "f", "is an archive; unpack it")


def test_layouts_that_are_none(tmp_path):
    refused(write(tmp_path / "flat", {".": 3}), "no folders of classes")
    refused(write(tmp_path / "one", {"cat": 30}), "only one class")
    refused(write(tmp_path / "mixed", {"cat": 3, "dog/big": 3}), "different depths")
    refused(write(tmp_path / "deep", {"a/b/c/d": 3}), "only one class")
    (tmp_path / "texts" / "a").mkdir(parents=True)
    (tmp_path / "texts" / "a" / "b.md").write_text("c")
    refused(tmp_path / "texts", "holds no images")


def test_links_that_lead_in_circles(tmp_path):
    root = write(tmp_path / "f", {"cat": 9, "dog": 9})
    (root / "again").symlink_to(root)
    refused(root, "is a link back to a folder that it lies in")
    (root / "again").unlink()
    (root / "cat" / "again").symlink_to(root)
    refused(root, "is a link back to a folder that it lies in")
    (root / "cat" / "again").unlink()
    os.symlink("loop", root / "loop")
    refused(root, "leads nowhere")


def test_data_that_are_prepared_already(tmp_path):
    root = tmp_path / "prepared"
    parquet_of(root / "train.parquet", [0, 1])
    (root / "meta.json").write_text("{}")
    refused(root, "prepared already")


def test_an_id_of_the_hub_without_network(monkeypatch):
    import huggingface_hub

    def unreachable(*given, **options):
        raise OSError("no network\nand a long story")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    refused("owner/flowers", r"cannot be reached \(no network\)")


def test_a_data_set_of_the_hub_is_brought_at_a_commit(tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.chdir(tmp_path)
    names = ["default/train/0000.parquet", "default/test/0000.parquet", "other/train/0.parquet"]
    for name in names:
        parquet_of(tmp_path / "remote" / name, [0, 1] * 10)

    class Info:
        sha = "c" * 40
        siblings = tuple(type("File", (), {"rfilename": n}) for n in ["README.md", *names])

    def bring(repository, *, local_dir, allow_patterns, revision, repo_type):
        assert revision == "c" * 40
        for path in (tmp_path / "remote").glob("default/*/*.parquet"):
            to = local_dir / path.relative_to(tmp_path / "remote")
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(path.read_bytes())

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *given, **options: Info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", bring)
    found, source = opened("owner/flowers")
    assert found.data.repository == "owner/flowers"
    assert found.data.revision == "c" * 40
    assert found.data.subset == "default"
    assert source.num_images == {"train": 18, "val": 2, "test": 20}


def test_a_tree_without_images_is_not_looked_through_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("fgds_core.data.recognise.trees._MOST_FOLDERS", 5)
    for name in range(9):
        (tmp_path / "top" / str(name) / "inner").mkdir(parents=True)
    refused(tmp_path, "holds no image in the first 5 folders")
