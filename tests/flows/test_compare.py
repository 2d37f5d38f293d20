"""Experiments side by side, from the command line."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from micro import ROOT
from reported import GARMENTS, make_workspace

from fgds_core.errors import InputError
from flows.compare import main, short_names
from tasks.identity.dvc import fetch


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders of runs, as stages leave them."""
    folders = []
    for name, scale, lift in (("weak", 0.02, 0.1), ("strong", 0.2, 0.6)):
        folder = tmp_path_factory.mktemp("runs") / name
        make_workspace(
            folder / "data", GARMENTS[:3], [500, 50, 5], lifts=(0.0, 0.0, lift), grid=False
        )
        (folder / "data" / "reports").rename(folder / "reports")
        (folder / "params.yaml").write_text(f"seed: 0\nsynthesize:\n  feedback_scale: {scale}\n")
        folders.append(folder)
    return folders


def test_runs_in_folders_are_compared(
    runs: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    assert main([*map(str, runs), "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    first = said.splitlines()[1].split()
    assert first == ["synthesize.feedback_scale", "0.02", "0.2"]  # what differs comes first
    assert "strong beside weak: " in said
    page = tmp_path / "index.html"
    assert said.splitlines()[-1] == f"Comparison: {page}"
    html = page.read_text()
    for line in said.splitlines():
        if line.startswith("few "):
            assert all(value.replace("-", "\N{MINUS SIGN}") in html for value in line.split()[1:])


def test_what_is_no_finished_run_is_said(
    runs: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    assert main([str(runs[0])]) == 2
    assert "needs 2 to 8 experiments, got 1" in capsys.readouterr().err
    assert main([str(runs[0]), str(tmp_path), "--out", str(tmp_path)]) == 2
    assert f"{tmp_path} holds no finished run: it has no reports/" in capsys.readouterr().err
    (tmp_path / "other" / "weak").mkdir(parents=True)
    assert short_names([*map(str, runs)]) == ["weak", "strong"]
    both = [str(runs[0]), str(tmp_path / "other" / "weak")]
    assert short_names(both) == both


def test_files_of_a_commit_come_from_git_and_from_dvcs_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.repo import Repo

    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "test")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "test@example.org")

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], check=True, capture_output=True)

    git("init", "--quiet")
    with Repo.init() as repo:
        (work / "reports" / "final").mkdir(parents=True)
        (work / "reports" / "final" / "predictions.parquet").write_text("kept by DVC")
        (work / "reports" / "final.json").write_text("kept by git")
        repo.add("reports/final")
    git("add", "-A")
    git("commit", "--quiet", "-m", "a run")
    git("tag", "first")
    (work / "reports" / "final.json").write_text("another")
    fetch("first", ("reports",), tmp_path / "there")
    found = tmp_path / "there" / "reports"
    assert (found / "final.json").read_text() == "kept by git"
    assert (found / "final" / "predictions.parquet").read_text() == "kept by DVC"
    with pytest.raises(InputError, match=r"second: neither a folder nor an experiment or commit"):
        fetch("second", ("reports",), tmp_path / "nowhere")
    with pytest.raises(InputError, match="params"):
        fetch("first", ("params.yaml",), tmp_path / "nowhere")
    fetch("first", ("params.yaml",), tmp_path / "nowhere", missing_is_fine=True)


def test_the_console_stays_within_80_columns_and_cuts_no_value_that_differs(
    runs: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    folders = []
    for number in range(5):
        folder = tmp_path / f"an experiment with a long name, number {number}"
        shutil.copytree(runs[0], folder)
        prompts = f"['a photo of a {{class}} that goes on for longer than any column {number}']"
        (folder / "params.yaml").write_text(f"seed: {number}\ngenerator:\n  prompts: {prompts}\n")
        folders.append(str(folder))
    assert main([*folders, "--out", str(tmp_path / "page")]) == 0
    said = capsys.readouterr().out
    *lines, page = said.splitlines()
    assert max(map(len, lines)) <= 80
    assert page.startswith("Comparison: ")
    whole = " ".join(said.split())
    for number in range(5):
        assert f"that goes on for longer than any column {number}" in whole  # as what differs
    # each has a name of its own over its accuracies
    headers = [line for line in lines if line.startswith("test accuracy, %")]
    assert len(headers) > 1
    told = [number for line in headers for number in re.findall(r"(\d) an exp", line)]
    assert told == ["1", "2", "3", "4", "5"]
