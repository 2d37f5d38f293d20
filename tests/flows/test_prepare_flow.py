"""The stage prepare says what it read, what it left out, and what is wrong with `data.root`."""

from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., int]

SUMMARY = """\
prepared 40 training, 18 validation, 18 test images of 16 x 16 pixels
3 classes (1 medium, 2 few); smallest: owl with 4 training images
"""


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
