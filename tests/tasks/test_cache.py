"""A remembered answer holds only where its bytes are."""

import hashlib
from pathlib import Path

import pytest
from prefect import flow

from fgds_core.errors import InputError
from tasks import code
from tasks.cache import (
    Outputs,
    clear,
    content_digests,
    is_intact,
    run,
    stage_task,
    written,
)

made: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_made() -> None:
    made.clear()


@stage_task(name="write")
def write(text: str, compute: int) -> Outputs:
    made.append(text)
    clear("out")
    Path("out").mkdir()
    Path("out/file.txt").write_text(text)
    return written("out")


@flow
def write_text(text: str, compute: int = 1) -> Outputs:
    return run(write, text=text, compute=compute)


def test_compute_is_in_no_key(prefect_folder: Path) -> None:
    assert write_text("a", compute=1) == write_text("a", compute=2)
    assert made == ["a"]


def test_other_code_makes_again(prefect_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text("a")
    monkeypatch.setattr(code, "digest", lambda module: f"another {module}")
    write_text("a")
    assert made == ["a", "a"]


def test_configurations_a_then_b_then_a_again_end_with_a(prefect_folder: Path) -> None:
    first = write_text("a")
    write_text("b")
    assert write_text("a") == first
    assert Path("out/file.txt").read_text() == "a"
    assert made == ["a", "b", "a"]


@pytest.mark.parametrize("damage", ["changed", "missing", "surplus"])
def test_what_is_damaged_is_made_again(prefect_folder: Path, damage: str) -> None:
    outputs = write_text("a")
    file = Path("out/file.txt")
    match damage:
        case "changed":
            file.write_text("A")
        case "missing":
            file.unlink()
        case "surplus":
            Path("out/other.txt").write_text("")
    assert not is_intact(outputs)
    assert write_text("a") == outputs
    assert is_intact(outputs)
    assert made == ["a", "a"]


def test_what_dvc_has_is_restored_rather_than_made_again(prefect_folder: Path) -> None:
    outputs = write_text("a")
    md5 = hashlib.md5(b"a").hexdigest()
    kept = Path(".dvc/cache/files/md5", md5[:2], md5[2:])
    kept.parent.mkdir(parents=True)
    kept.write_text("a")
    Path(".dvc/config").touch()
    write_text("b")

    assert write_text("a") == outputs
    assert Path("out/file.txt").read_text() == "a"
    assert made == ["a", "b"]


def test_a_damaged_cache_of_dvc_is_not_trusted(prefect_folder: Path) -> None:
    write_text("a")
    md5 = hashlib.md5(b"a").hexdigest()
    kept = Path(".dvc/cache/files/md5", md5[:2], md5[2:])
    kept.parent.mkdir(parents=True)
    kept.write_text("rubbish")
    Path(".dvc/config").touch()
    Path("out/file.txt").unlink()
    write_text("a")
    assert Path("out/file.txt").read_text() == "a"
    assert made == ["a", "a"]


def test_records_hold_in_any_workspace(prefect_folder: Path) -> None:
    outputs = write_text("a")
    assert outputs.owned == ("out",)
    assert [file.path for file in outputs.files] == ["out/file.txt"]


def test_digests_follow_content_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("folder/a").write_text("1")
    first = content_digests("folder")
    Path("folder/a").rename("folder/b")
    renamed = content_digests("folder")
    Path("folder/b").write_text("2")
    assert len({first["folder"], renamed["folder"], content_digests("folder")["folder"]}) == 3


def test_digests_follow_links_to_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("away").mkdir()
    Path("folder/link").symlink_to("../away")
    first = content_digests("folder")
    Path("away/a").write_text("1")
    assert content_digests("folder") != first


def test_a_missing_input_says_what_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"data/prepared is missing.*dvc repro"):
        content_digests("data/prepared")
