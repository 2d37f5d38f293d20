import io
import os
import pickle
import pickletools
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from torchvision.datasets import CIFAR10

from fgds_core.data.config import CifarData, DataConfig
from fgds_core.data.imbalance import PROFILES
from fgds_core.data.sources import cifar, class_names, open_source
from fgds_core.data.sources.pickles import read_pickle
from fgds_core.errors import InputError
from fgds_core.images.formats import PNG, encode_picture
from fgds_core.images.table import image_table

ANIMALS = ("ant", "bat", "cat", "dog")


def cifar_data(root, kind="exp", factor=10, seed=0, validation=2):
    return CifarData.model_validate(
        {
            "kind": "cifar",
            "root": str(root),
            "imbalance": {"type": kind, "factor": factor, "seed": seed},
            "validation_per_class": validation,
        }
    )


def pixels(number, seed):
    return np.random.default_rng(seed).integers(0, 256, (number, 3072), dtype=np.uint8)


def python2(value):
    """A pickle as Python 2 wrote the published ones: text is bytes there, and names are numpy 1's.

    Python 3 writes bytes for it by a call; an opcode of Python 2 has them directly.
    """

    def save_bytes(pickler, text):
        content = text.encode("latin-1") if isinstance(text, str) else text
        pickler.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)
        pickler.memoize(text)

    file = io.BytesIO()
    pickler = pickle._Pickler(file, protocol=2)
    pickler.dispatch = pickler.dispatch | {bytes: save_bytes, str: save_bytes}
    pickler.dump(value)
    written = file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert "_codecs" not in {str(arg).split(" ")[0] for _, arg, _ in pickletools.genops(written)}
    return written


def write_cifar10(root, per_class=20, write=python2):
    """Five batches of mixed labels, as the published ones; returns the labels in their order."""
    labels = np.random.default_rng(0).permutation(np.repeat(range(4), per_class)).tolist()
    root.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(np.array_split(labels, 5), 1):
        batch = {
            b"batch_label": b"training batch",
            b"labels": part.tolist(),
            b"data": pixels(len(part), number),
            b"filenames": [b"a.png"] * len(part),
        }
        (root / f"data_batch_{number}").write_bytes(write(batch))
    test = {b"labels": [0, 1, 2, 3], b"data": pixels(4, 9)}
    (root / "test_batch").write_bytes(write(test))
    meta = {b"label_names": [name.encode() for name in ANIMALS], b"num_vis": 3072}
    (root / "batches.meta").write_bytes(write(meta))
    return labels


def ldam_pick(labels, factor, num_classes=4, seed=0):
    """An independent plain transcription of LDAM-DRW's loop."""
    targets = np.array(labels, dtype=np.int64)
    most = len(targets) / num_classes
    np.random.seed(seed)
    kept = []
    for k in range(num_classes):
        count = int(most * (1 / factor) ** (k / (num_classes - 1.0)))
        places = np.where(targets == k)[0]
        np.random.shuffle(places)
        kept.append(places[:count].tolist())
    return kept


@pytest.mark.parametrize(
    ("factor", "counts"),
    [
        (10, [5000, 3871, 2997, 2320]),
        (50, [5000, 3237, 2096, 1357]),
        (100, [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]),
        (200, [5000, 2775, 1540, 854]),
    ],
)
def test_the_profile_is_cifar_10_lt(factor, counts):
    assert PROFILES["exp"](5000.0, factor, 10)[: len(counts)] == counts


@pytest.mark.parametrize(
    ("mean", "num_classes", "factor", "total", "last"),
    [
        (5000.0, 10, 10, 20431, 500),
        (5000.0, 10, 50, 13996, 100),
        (5000.0, 10, 100, 12406, 50),
        (5000.0, 10, 200, 11203, 25),
        (500.0, 100, 10, 19573, 50),
        (500.0, 100, 50, 12608, 10),
        (500.0, 100, 100, 10847, 5),
        (500.0, 100, 200, 9502, 2),
    ],
)
def test_the_profiles_have_the_published_totals(mean, num_classes, factor, total, last):
    counts = PROFILES["exp"](mean, factor, num_classes)
    assert (sum(counts), counts[0], counts[-1]) == (total, mean, last)


def test_a_step_leaves_the_first_half_whole():
    assert PROFILES["step"](5000.0, 100, 10) == [5000] * 5 + [50] * 5


def test_the_pick_is_that_of_ldam_bit_for_bit(tmp_path):
    labels = write_cifar10(tmp_path / "cifar-10-batches-py")
    source = open_source(cifar_data(tmp_path, validation=1))
    assert source.class_names == ANIMALS == class_names(cifar_data(tmp_path))
    names = [f"data_batch_{b}#{i}" for b in range(1, 6) for i in range(16)]
    kept = ldam_pick(labels, 10)
    assert list(map(len, kept)) == [20, 9, 4, 2]
    wanted = {names[place] for places in kept for place in places} - {names[kept[0][-1]]}
    train = list(source.rows("train"))
    assert {row.path for row in train} == wanted
    assert {row.path for row in open_source(cifar_data(tmp_path, seed=1)).rows("train")} != wanted
    assert [row.label for row in train] == [labels[names.index(row.path)] for row in train]


def test_pixels_come_in_planes(tmp_path):
    write_cifar10(tmp_path)
    rows = list(open_source(cifar_data(tmp_path)).rows("test"))
    picture = np.asarray(Image.open(io.BytesIO(rows[2].read())))
    planes = pixels(4, 9)[2].reshape(3, 32, 32)
    for channel in range(3):
        np.testing.assert_array_equal(picture[:, :, channel], planes[channel])


@pytest.mark.parametrize("kind", ["exp", "step"])
def test_other_training_images_validate_and_it_is_said(tmp_path, kind):
    write_cifar10(tmp_path)
    source = open_source(cifar_data(tmp_path, kind, validation=3))
    train, val = (list(source.rows(split)) for split in ("train", "val"))
    assert source.num_images == {"train": len(train), "val": len(val), "test": 4}
    assert Counter(row.label for row in val) == dict.fromkeys(range(4), 3)
    assert not {row.path for row in train} & {row.path for row in val}
    left = [17, 9, 4, 2] if kind == "exp" else [17, 17, 2, 2]
    assert [Counter(row.label for row in train)[k] for k in range(4)] == left
    edition, pick = source.notes
    assert edition.startswith("CIFAR-10: not the published files (data_batch_1, ")
    assert f"pick of {35 if kind == 'exp' else 44} training images ({kind}, factor 10" in pick
    assert "3 other training images of each class validate, of the pick itself 3 of ant" in pick


def test_names_of_another_file_are_not_the_published_ones(tmp_path, monkeypatch):
    write_cifar10(tmp_path)
    digests = dict(CIFAR10.train_list + CIFAR10.test_list)
    monkeypatch.setattr(cifar, "hash_file", lambda path, _: digests.get(path.name))
    assert open_source(cifar_data(tmp_path)).notes[0] == (
        "CIFAR-10: not the published files (batches.meta differ)"
    )


def test_a_factor_of_one_picks_all(tmp_path):
    write_cifar10(tmp_path)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"")
    source = open_source(cifar_data(tmp_path, factor=1, validation=2))
    assert source.files is not None
    batches = {f"data_batch_{number}" for number in range(1, 6)}
    assert {Path(path).name for path in source.files()} == {*batches, "test_batch", "batches.meta"}
    assert source.num_images == {"train": 72, "val": 8, "test": 4}


def test_cifar_100_has_its_fine_labels(tmp_path):
    labels = {b"fine_labels": [0, 1] * 5, b"coarse_labels": [7] * 10}
    for name in ("train", "test"):
        content = labels | {b"data": pixels(10, name == "test")}
        (tmp_path / name).write_bytes(python2(content))
    names = {b"fine_label_names": [b"apple", b"bee"], b"coarse_label_names": [b"x"] * 8}
    (tmp_path / "meta").write_bytes(python2(names))
    source = open_source(cifar_data(tmp_path, factor=2, validation=1))
    assert source.class_names == ("apple", "bee")
    assert source.num_images == {"train": 4 + 2, "val": 2, "test": 10}
    assert source.notes[0].startswith("CIFAR-100")


@pytest.mark.parametrize(("image", "label"), [("img", "label"), ("img", "fine_label")])
def test_parquet_files_of_the_hub_give_the_same_pick(tmp_path, image, label):
    labels = write_cifar10(tmp_path / "python")
    folder = tmp_path / "hub" / "plain_text"
    folder.mkdir(parents=True)
    for split, own in (("train", labels), ("test", [0, 1, 2, 3])):
        files = [
            encode_picture(Image.new("RGB", (32, 32), (i, len(own), 0)), PNG)
            for i in range(len(own))
        ]
        table = image_table(files, own, ANIMALS, {}, paths=[str(i) for i in range(len(own))])
        metadata = {
            key: value.replace(b'"label"', f'"{label}"'.encode())
            for key, value in table.schema.metadata.items()
        }
        names = {"image": image, "label": label}
        table = table.rename_columns([names[name] for name in table.column_names])
        table = table.append_column("coarse_label", pa.array([0] * len(own)))
        pq.write_table(
            table.replace_schema_metadata(metadata), folder / f"{split}-00000-of-00001.parquet"
        )
    tables = open_source(cifar_data(tmp_path / "hub"))
    assert tables.class_names == ANIMALS == class_names(cifar_data(tmp_path / "hub"))
    pickles = open_source(cifar_data(tmp_path / "python"))
    for split in ("train", "val"):
        places = [int(row.path) for row in tables.rows(split)]
        assert [f"data_batch_{p // 16 + 1}#{p % 16}" for p in places] == [
            row.path for row in pickles.rows(split)
        ]


class Bomb:
    def __reduce__(self):
        return os.system, ("touch opened",)


class Loader:
    def __reduce__(self):
        return np.load, ("opened", "r", True)


HOSTILE = {
    "a call": (Bomb(), r"wants to load (posix|nt|os)\.system"),
    "a call in an array": (np.array([Bomb()], dtype=object), r"wants to load \w+\.system"),
    "a library": (Loader(), r"wants to load numpy(\.\w+)*\.load"),
    "objects": (np.array([{}], dtype=object), "array of object"),
    "a class": (Counter("a"), r"wants to load collections\.Counter"),
}


@pytest.mark.parametrize("protocol", [0, 2])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused_by_what_it_wants(tmp_path, monkeypatch, name, protocol):
    monkeypatch.chdir(tmp_path)
    write_cifar10(root := tmp_path / "cifar")
    hostile, message = HOSTILE[name]
    content = pickle.dumps({b"data": hostile, b"labels": [0]}, protocol=protocol)
    (root / "data_batch_3").write_bytes(content)
    with pytest.raises(InputError, match=f"data_batch_3.*{message}"):
        open_source(cifar_data(root))
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("dtype", ["u1", "<i8", ">i4", "<f4", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_as_they_were(tmp_path, dtype, order):
    array = np.asarray(np.arange(6).reshape(2, 3), dtype=dtype, order=order)
    for number, content in enumerate((pickle.dumps({"a": array}, 2), python2({b"a": array}))):
        (path := tmp_path / str(number)).write_bytes(content)
        found = read_pickle(path)["a"]
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype


def cut(path):
    path.write_bytes(path.read_bytes()[:-400])


def replaced(**changes):
    def damage(path):
        content = {b"labels": [0, 1], b"data": pixels(2, 0)} | {
            key.encode(): value for key, value in changes.items()
        }
        path.write_bytes(python2({k: v for k, v in content.items() if v is not None}))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "is no readable pickle"),
        (lambda path: path.write_bytes(pickle.dumps([1])), "holds no dictionary"),
        (lambda path: path.unlink(), "data_batch_2 does not exist; .* data_batch_1"),
        (replaced(labels=None), "has no labels, only data"),
        (replaced(labels=[0]), "labels must hold 2 whole numbers from 0 to 3"),
        (replaced(labels=[0, 4]), "labels must hold 2 whole numbers from 0 to 3"),
        (replaced(data=pixels(2, 0)[:, :-1]), "no array of N x 3072 bytes"),
        (replaced(data=b"x" * 6144), "no array of N x 3072 bytes"),
    ],
)
def test_a_damaged_batch_is_named(tmp_path, damage, message):
    write_cifar10(tmp_path)
    damage(tmp_path / "data_batch_2")
    with pytest.raises(InputError, match=f"data_batch_2.*{message.removeprefix('data_batch_2')}"):
        open_source(cifar_data(tmp_path))


def test_too_strong_an_imbalance_or_too_many_validation_images_are_told(tmp_path):
    write_cifar10(tmp_path)
    with pytest.raises(InputError, match=r"data\.imbalance\.factor: 21 leaves .* dog .* most 20"):
        open_source(cifar_data(tmp_path, factor=21))
    with pytest.raises(InputError, match=r"data\.validation_per_class: 20 leaves none of the 20"):
        open_source(cifar_data(tmp_path, validation=20))
    with pytest.raises(ValidationError, match="factor"):
        cifar_data(tmp_path, factor=0.01)


def test_a_folder_without_cifar_is_told(tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"neither the python version of CIFAR .* unpack"):
        open_source(cifar_data(tmp_path))
    assert class_names(cifar_data(tmp_path)) is None


def test_the_section_is_told_apart_by_its_kind(tmp_path):
    data = cifar_data(tmp_path)
    parsed = TypeAdapter(DataConfig).validate_python(data.model_dump())
    assert parsed == data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02]r\xff\xff\xff\x7f.", "keeps something at the place 2147483647"),
        (b"]p99999999999\n.", "keeps something at the place 99999999999"),
        (b"\x80\x02" + b"]" * 60 + b".", "more than 50 steps"),
        (b"\x80\x04\x95" + b"\xff" * 7 + b"\x7f].", "is no readable pickle"),
        (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.", "is no readable pickle"),
        (b"\x80\x02]" + b"a" * 300, "more than 200 bytes"),
    ],
)
def test_a_pickle_takes_no_more_memory_than_it_has_bytes(tmp_path, monkeypatch, content, message):
    monkeypatch.setattr("fgds_core.data.sources.pickles._MOST_STEPS", 50)
    monkeypatch.setattr("fgds_core.data.sources.pickles._MOST_BYTES", 200)
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_pickle(tmp_path / "a")
