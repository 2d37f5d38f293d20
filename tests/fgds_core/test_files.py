import csv
import errno
import io
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgds_core.errors import InputError
from fgds_core.files import (
    csv_text,
    files_below,
    guarded,
    read_csv,
    sha256_tree,
    shown,
    unguarded,
    write_json,
)


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
        (errno.EFBIG, "ulimit -f"),
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


HOSTILE = (
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://evil","x")',
    "@SUM(1+9)*cmd",
    "+1+2",
    "-1",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "  =1+1",
    "\xa0=1+1",
    "\uff1d1+1",
    "\uff0b1",
    "\uff20SUM(1)",
    "a;=1+1",
    "a\n-1+1",
    "'=1+1",
    "''-1",
    "-",
    "=",
    "\t",
    "'\t",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_cell_is_a_formula_and_every_name_comes_back(tmp_path, name):
    rows = [{"class": name, "change": -0.5, "note": f"{name};{name}"}]
    path = tmp_path / "x.csv"
    path.write_text(csv_text(rows), encoding="utf-8", newline="")
    cell = next(csv.DictReader(io.StringIO(csv_text(rows), newline="")))["class"]
    assert cell.lstrip(" \xa0")[0] not in "=+-@\t\r\n\uff1d\uff0b\uff20"
    for part in cell.replace("\n", ";").replace("\t", ";").replace("\r", ";").split(";"):
        assert part.lstrip(" \xa0")[:1] not in tuple("=+-@\uff1d\uff0b\uff20")
    (found,) = read_csv(path, "run again", ["class"])
    assert found == {"class": name, "change": "-0.5", "note": f"{name};{name}"}


@pytest.mark.parametrize("name", ["t-shirt", "a & b", "it's", "'quoted'", "C++", "", "3 = three"])
def test_ordinary_names_stay_as_they_are(name):
    assert guarded(name) == name


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="'=+-@;,\t\r\n \xa0a\uff1d", max_size=12))
def test_guarding_loses_nothing(text):
    assert unguarded(guarded(text)) == text


@pytest.mark.parametrize("content", [b"a,b\n1\n", b"a,b\n1,2,3\n", b'a,b\n"1,2', b"a,b\n\xff,1\n"])
def test_a_damaged_table_is_said_in_words(tmp_path, content):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.csv is damaged .*; run again"):
        read_csv(tmp_path / "x.csv", "run again", ["a"])


def test_a_table_without_a_column_or_file_names_it(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"damaged \(no column 'c'\)"):
        read_csv(tmp_path / "x.csv", "run again", ["a", "c"])
    with pytest.raises(InputError, match="does not exist"):
        read_csv(tmp_path / "y.csv", "run again")
