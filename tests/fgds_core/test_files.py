import errno
import json
import os

import pytest

from fgds_core.errors import InputError
from fgds_core.files import sha256_tree, write_json


def test_full_disk_is_said_in_words(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fgds_core.files.os.fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*x\.json .*No space left"):
        write_json(tmp_path / "x.json", {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EDQUOT, "make room"),
        (errno.EPERM, "change the permissions"),
        (errno.EROFS, "change the permissions"),
        (errno.EIO, "check the disk"),
        (errno.ESTALE, "check the disk or the network drive"),
    ],
)
def test_each_error_of_a_disk_has_its_remedy(tmp_path, monkeypatch, number, remedy):
    def failing(descriptor):
        raise OSError(number, os.strerror(number))

    write_json(tmp_path / "x.json", {"old": 1})
    monkeypatch.setattr("fgds_core.files.os.fsync", failing)
    with pytest.raises(InputError, match=rf"{os.strerror(number)}\); .*{remedy}.* are kept"):
        write_json(tmp_path / "x.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    assert json.loads((tmp_path / "x.json").read_text()) == {"old": 1}


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    (tmp_path / "x.json" / "mine").mkdir(parents=True)
    with pytest.raises(InputError, match=r"x\.json .*; move what is there elsewhere"):
        write_json(tmp_path / "x.json", {})
    write_json(tmp_path / "y.json", {})
    with pytest.raises(InputError, match="cannot write"):
        write_json(tmp_path / "y.json" / "z.json", {})
    assert (tmp_path / "x.json" / "mine").is_dir()


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


def test_json_is_deterministic_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [2]})
    write_json(tmp_path / "b.json", {"a": [2], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
