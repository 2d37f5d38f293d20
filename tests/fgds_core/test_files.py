import errno
import os

import pytest

from fgds_core.errors import InputError
from fgds_core.files import files_below, sha256_tree, shown, write_json


def test_full_disk_is_said_in_words(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fgds_core.files.os.fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*x\.json .*No space left"):
        write_json(tmp_path / "x.json", {})
    assert list(tmp_path.iterdir()) == []


def test_tree_digest_depends_on_names_and_contents_only(tmp_path):
    for name, order in (("a", "12"), ("b", "21")):
        for file in order:
            path = tmp_path / name / file / "f"
            path.parent.mkdir(parents=True)
            path.write_text(file)
    digest = sha256_tree(tmp_path / "a")
    assert digest == sha256_tree(tmp_path / "b")
    (tmp_path / "a/1/f").rename(tmp_path / "a/1/g")
    assert digest != sha256_tree(tmp_path / "a")
    (tmp_path / "b/1/f").write_text("2")
    assert digest != sha256_tree(tmp_path / "b")
    with pytest.raises(InputError, match="does not exist"):
        sha256_tree(tmp_path / "c")


def test_tree_digest_looks_through_links(tmp_path):
    folder, away = tmp_path / "a", tmp_path / "away"
    folder.mkdir()
    (away / "deep").mkdir(parents=True)
    (away / "deep/f").write_text("1")
    (folder / "link").symlink_to(tmp_path / "link")
    (tmp_path / "link").symlink_to(away)
    digest = sha256_tree(folder)
    (away / "deep/f").write_text("2")
    changed = sha256_tree(folder)
    (away / "deep/g").write_text("")
    assert len({digest, changed, sha256_tree(folder)}) == 3
    assert files_below(folder) == [folder / "link/deep/f", folder / "link/deep/g"]
    (away / "lost+found").mkdir(mode=0)
    assert len(files_below(folder)) == 2


def test_names_for_messages_are_one_line_of_utf8():
    assert shown("a\nb\tc \u00e9 " + os.fsdecode(b"\xe9")) == "a\\nb\\tc \u00e9 \\xe9"


def test_json_is_deterministic_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [2]})
    write_json(tmp_path / "b.json", {"a": [2], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
