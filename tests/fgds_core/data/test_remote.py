"""Raw images below s3://: the same data as in a folder of this machine."""

import csv
import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import TypeAdapter
from s3 import BUCKET

from fgds_core.data.config import DataConfig, PrepareConfig
from fgds_core.data.prepare import prepare
from fgds_core.data.sources import class_names, open_source
from fgds_core.errors import InputError
from fgds_core.files import sha256_tree
from fgds_core.images.formats import PNG, encode_picture
from fgds_core.images.table import image_table, write_images

SPLITS = ("train", "val", "test")
CONFIG = PrepareConfig(image_size=8, interpolation="bicubic", crop="center", near_duplicates="off")
FOLDERS = {"by": "folders", "train": "train", "validation": "val", "test": "test"}


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    return encode_picture(Image.fromarray(pixels), PNG)


@pytest.fixture
def raw(tmp_path):
    """A folder that several kinds of sources can read."""
    root = tmp_path / "raw"
    rows, seed = [], 0
    for number, split in enumerate(SPLITS):
        lines, images, labels = [], [], []
        for label, name in enumerate(("cat", "hot air balloon")):
            (root / split / name).mkdir(parents=True)
            for i in range(3 - label):
                seed += 1
                path = f"{split}/{name}/{i}#?*é.png"
                (root / path).write_bytes(picture(seed))
                lines.append(f"{path} {label}")
                rows.append({"filename": path, "y": label, "a": i, "split": number})
                images.append(picture(seed))
                labels.append(label)
        (root / f"{split}.txt").write_text("\n".join(lines))
        write_images(root / "tables" / f"{split}.parquet", image_table(images, labels, ("a", "b")))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    (root / "metadata.csv").write_text(text.getvalue())
    return root


@pytest.fixture
def far(raw, s3, _s3_server, monkeypatch):
    """The same objects in a bucket."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{_s3_server}")
    for path in raw.rglob("*"):
        if path.is_file():
            key = f"data/{path.relative_to(raw).as_posix()}"
            s3.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
    s3.put_object(Bucket=BUCKET, Key="data/train/", Body=b"")  # as a console makes folders
    return f"s3://{BUCKET}/data"


KINDS = {
    "folder": {"split": FOLDERS, "groups": False},
    "list": {"train": "train.txt", "validation": "val.txt", "test": "test.txt"},
    "csv": {"file": "metadata.csv"},
    "parquet": {
        f: f"tables/{s}.parquet"
        for f, s in zip(("train", "validation", "test"), SPLITS, strict=True)
    },
}


def section(kind, root):
    value = {"kind": kind, "root": str(root)} | KINDS[kind]
    return TypeAdapter(DataConfig).validate_python(value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bucket_is_prepared_to_the_same_bytes(raw, far, tmp_path, kind):
    if kind == "folder":
        (raw / "tables").rename(tmp_path / "tables")
    here, there = section(kind, raw), section(kind, far)
    assert class_names(there) is None
    source = open_source(there)
    assert source.class_names == open_source(here).class_names
    prepare(here, CONFIG, tmp_path / "here", workers=0)
    prepare(there, CONFIG, tmp_path / "there", source=source, workers=0)
    assert sha256_tree(tmp_path / "here") == sha256_tree(tmp_path / "there")
    assert pq.read_table(tmp_path / "there/test.parquet").num_rows == 5
    assert "fgds-bucket-" not in source.left_out + "".join(source.notes)


def test_the_digest_is_that_of_what_is_read(far, s3):
    def digests():
        return [open_source(section(kind, far)).digest for kind in ("csv", "list", "folder")]

    before = digests()
    assert digests() == before
    assert len(set(before)) == 3
    s3.put_object(Bucket=BUCKET, Key="data/train.txt", Body=b"train/cat/0#?*\xc3\xa9.png 0")
    s3.put_object(
        Bucket=BUCKET,
        Key="data/train.txt",
        Body=b"train/cat/0#?*\xc3\xa9.png 0\ntrain/cat/1#?*\xc3\xa9.png 1",
    )
    same, changed, too = digests()
    assert (same == before[0], changed == before[1], too == before[2]) == (True, False, False)


def test_a_picture_that_is_gone_is_named(far, s3, tmp_path):
    source = open_source(section("csv", far))
    s3.delete_object(Bucket=BUCKET, Key="data/train/cat/1#?*é.png")
    with pytest.raises(
        InputError, match=r"1 images cannot be used.*\n  train: .*1#\?\*é\.png: can"
    ):
        prepare(section("csv", far), CONFIG, tmp_path / "out", source=source, workers=0)


def test_mistakes_name_the_bucket_and_not_a_folder_of_this_machine(far, s3):
    s3.delete_object(Bucket=BUCKET, Key="data/val/cat/1#?*é.png")
    with pytest.raises(InputError, match=rf"1 of the 15 image files .* below {far};.*") as caught:
        open_source(section("csv", far))
    assert "fgds-bucket-" not in str(caught.value)
    s3.put_object(Bucket=BUCKET, Key="data/val/../../x.png", Body=b"x")
    with pytest.raises(InputError, match="is no name of a file; rename it"):
        open_source(section("csv", far))


def test_what_cannot_be_reached_is_told(far, s3, network, monkeypatch):
    with pytest.raises(
        InputError, match=r"data\.root: there is no bucket or nothing below s3://no"
    ):
        open_source(section("csv", "s3://nobody-has-this/data"))
    with pytest.raises(InputError, match=rf"nothing below s3://{BUCKET}/other"):
        open_source(section("csv", f"s3://{BUCKET}/other"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", network.url)
    network.always = "403"
    with pytest.raises(InputError, match=r"cannot be read .*; give credentials that may list"):
        open_source(section("csv", far))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"cannot be read .*; correct the network or AWS_ENDPO"):
        open_source(section("csv", far))
