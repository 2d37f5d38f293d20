"""The stage prepare says what it read, what it left out, and what is wrong with `data.root`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from micro import random_images
from ruamel.yaml import YAML
from s3 import BUCKET

from fgds_core.files import sha256_tree
from fgds_core.images.formats import PNG
from fgds_core.images.pixels import encode

Run = Callable[..., int]

SUMMARY = (
    "prepare: 40 training, 18 validation, 18 test images of 16 x 16 pixels; "
    "3 classes (1 medium, 2 few); smallest: owl with 4 training images\n"
)


def test_what_was_read_and_left_out_is_told_also_when_it_is_remembered(
    workspace: Path, run_stage: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workspace / "assets" / "pictures" / "many"
    folder.mkdir()
    (folder.parent / "train.parquet").rename(folder / "part-0.parquet")
    (folder / "._part-0.parquet").write_bytes(b"\0\5\x16\7")
    for _ in range(2):
        capsys.readouterr()
        assert run_stage("prepare", data={"train": "many"}) == 0
        said = capsys.readouterr().out
        assert said.endswith(SUMMARY)
        assert said.count("1 hidden or system files and folders (many/._part-0.parquet)") == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"root": "asets/pictures"}, "data.root: the folder asets/pictures does not exist"),
        ({"root": "."}, "data.root: . is the folder the pipeline runs in"),
        ({"root": "data"}, "data.root: data holds data/prepared"),
        ({"root": "params.yaml"}, "data.root: the folder params.yaml is not a folder"),
        ({"train": "trian.parquet"}, "data.train: assets/pictures/trian.parquet does not exist"),
    ],
)
def test_wrong_paths_name_their_key(
    run_stage: Run, capsys: pytest.CaptureFixture[str], data: dict[str, str], message: str
) -> None:
    capsys.readouterr()
    assert run_stage("prepare", data=data) == 2
    said = capsys.readouterr().err
    assert f"error: {message}" in said
    assert "Traceback" not in said


def test_of_a_list_no_more_is_asked_for_than_it_names(
    workspace: Path, run_stage: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    root = workspace / "raw"
    root.mkdir()
    files = encode(random_images(9), PNG)
    for number, file in enumerate(files):
        (root / f"{number}.png").write_bytes(file)
    (root / "train.txt").write_text("0.png 0\n1.png 1\n2.png 1\n0.png 0\n")
    (root / "test.txt").write_text("3.png 0\n2.png 1\n")
    yaml, path = YAML(), workspace / "params.yaml"
    params = yaml.load(path.read_text())
    params["data"] = {
        "kind": "list",
        "root": "raw",
        "train": "train.txt",
        "validation": {"fraction": 0.5, "seed": 0},
        "test": "test.txt",
    }
    with path.open("w") as file:
        yaml.dump(params, file)

    def said() -> str:
        capsys.readouterr()
        assert run_stage("prepare") == 0
        return capsys.readouterr().out

    first = said()
    assert "data.test: not an official list" in first
    assert "no validation split is published: 2 of 4 training images" in first
    assert "images in two splits: " in first
    meta = workspace / "data" / "prepared" / "meta.json"
    before = meta.stat().st_mtime_ns
    (root / "8.png").write_bytes(files[7])  # no line names it
    assert said() == first
    assert meta.stat().st_mtime_ns == before
    (root / "3.png").write_bytes(files[6])
    assert said() == first
    assert meta.stat().st_mtime_ns != before


def test_a_bucket_is_asked_at_every_run_and_read_again_only_after_a_change(
    workspace: Path,
    run_stage: Run,
    capsys: pytest.CaptureFixture[str],
    s3: Any,
    network: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", network.url)
    root = workspace / "assets" / "pictures"
    for path in root.iterdir():
        s3.put_object(Bucket=BUCKET, Key=f"far/{path.name}", Body=path.read_bytes())
    assert run_stage("prepare") == 0
    here = sha256_tree(workspace / "data" / "prepared")
    for _ in range(2):
        capsys.readouterr()
        assert run_stage("prepare", data={"root": f"s3://{BUCKET}/far"}) == 0
        assert capsys.readouterr().out.endswith(SUMMARY)
        assert sha256_tree(workspace / "data" / "prepared") == here
    listed = (workspace / "data" / "bucket" / "listing.txt").read_text()
    s3.put_object(
        Bucket=BUCKET, Key="far/train.parquet", Body=(root / "validation.parquet").read_bytes()
    )
    s3.put_object(
        Bucket=BUCKET, Key="far/validation.parquet", Body=(root / "train.parquet").read_bytes()
    )
    assert run_stage("prepare") == 0
    assert capsys.readouterr().out.startswith("prepare: 18 training, 40 validation")
    assert (workspace / "data" / "bucket" / "listing.txt").read_text() != listed
    assert run_stage("prepare", data={"root": f"s3://{BUCKET}/none"}) == 2
    assert "error: data.root: there is nothing below s3:" in capsys.readouterr().err
