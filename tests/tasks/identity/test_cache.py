"""A remembered answer holds only where its bytes are."""

import errno
import hashlib
from pathlib import Path

import pytest
from prefect import flow

from fgds_core.errors import InputError
from tasks.identity import code
from tasks.identity.cache import (
    Outputs,
    check_places,
    clear,
    content_digests,
    is_intact,
    replaced,
    run,
    stage_task,
    written,
)
from tasks.workspace import FIRST

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


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_what_is_damaged_is_made_again(prefect_folder: Path, damage: str) -> None:
    outputs = write_text("a")
    file = Path("out/file.txt")
    match damage:
        case "changed":
            file.write_text("A")
        case "missing":
            file.unlink()
    assert not is_intact(outputs)
    assert write_text("a") == outputs
    assert is_intact(outputs)
    assert made == ["a", "a"]


def test_what_lies_there_beside_is_removed_and_nothing_made_again(prefect_folder: Path) -> None:
    outputs = write_text("a")
    Path("out/other.txt").write_text("")
    assert not is_intact(outputs)
    assert write_text("a") == outputs
    assert is_intact(outputs)
    assert made == ["a"]


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


def test_what_cannot_be_restored_whole_leaves_what_is_there(
    prefect_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text("a")
    md5 = hashlib.md5(b"a").hexdigest()
    kept = Path(".dvc/cache/files/md5", md5[:2], md5[2:])
    kept.parent.mkdir(parents=True)
    kept.write_text("a")
    write_text("b")

    def full(source: Path, target: Path) -> None:
        target.write_text("")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfile", full)
        with pytest.raises(OSError, match="No space"):
            write_text("a")
    assert [file.read_text() for file in Path("out").iterdir()] == ["b"]
    assert not list(Path().glob("*.part"))
    write_text("a")
    assert made == ["a", "b"]
    assert Path("out/file.txt").read_text() == "a"


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


OWNED = ("reports/final", "reports/final.json")


@pytest.fixture
def old_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    Path("reports/final").mkdir(parents=True)
    Path("reports/final/a.csv").write_text("old")
    Path("reports/final.json").write_text("old")
    Path("reports/of another stage.json").write_text("other")
    return texts()


def rewrite(error: BaseException | None = None) -> None:
    with replaced(*OWNED) as place:
        place("reports/final").mkdir()
        place("reports/final.json").write_text("new")
        if error is not None:
            raise error


def texts() -> dict[str, str]:
    return {p.as_posix(): p.read_text() for p in Path().rglob("*") if p.is_file()}


def test_new_results_take_the_place_of_the_old_ones_together(old_results: dict[str, str]) -> None:
    with replaced(*OWNED) as place:
        place("reports/final").mkdir()
        (place("reports/final") / "b.csv").write_text("new")
        (place("reports/final.json").parent / "final.json").write_text("new")
        assert {path: texts()[path] for path in old_results} == old_results
    assert texts() == {
        "reports/final/b.csv": "new",
        "reports/final.json": "new",
        "reports/of another stage.json": "other",
    }
    assert not {".new", ".old"} & {path.name for path in Path("reports").iterdir()}


@pytest.mark.parametrize("error", [OSError(28, "disk full"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_the_old_results(
    old_results: dict[str, str], error: BaseException
) -> None:
    with pytest.raises(type(error)):
        rewrite(error)
    assert texts() == old_results


def test_a_failure_between_two_renamings_leaves_the_old_results(
    old_results: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if self.name == "final.json" and self.parent.name == ".new":
            raise PermissionError(self)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(PermissionError):
        rewrite()
    assert texts() == old_results


def test_what_a_killed_run_had_moved_aside_comes_back(old_results: dict[str, str]) -> None:
    Path("reports/.old").mkdir()
    Path("reports/final.json").rename("reports/.old/final.json")
    Path("reports/.new").mkdir()
    Path("reports/.new/final.json").write_text("half")
    with pytest.raises(KeyError):
        rewrite(KeyError())
    assert texts() == old_results


def test_results_go_through_no_link_and_leave_what_it_points_to(prefect_folder: Path) -> None:
    theirs = Path("theirs")
    theirs.mkdir()
    (theirs / "mine.txt").write_text("mine")
    Path("reports").mkdir()
    Path("reports/assess").symlink_to("../theirs")
    with (
        pytest.raises(InputError, match=r"reports/assess is a symbolic link to \.\./theirs;"),
        replaced("reports/synthetic.json", "reports/assess"),
    ):
        pass
    with pytest.raises(InputError, match="reports/assess is a symbolic link"):
        check_places(FIRST.outputs)
    assert [file.name for file in theirs.iterdir()] == ["mine.txt"]
    assert Path("reports/assess").is_symlink()


def test_outputs_that_are_no_links_are_fine(prefect_folder: Path) -> None:
    check_places(FIRST.outputs)
    Path("disk/data/prepared").mkdir(parents=True)
    Path("data").symlink_to("disk/data")  # a workspace may lie on several disks
    check_places(FIRST.outputs)
