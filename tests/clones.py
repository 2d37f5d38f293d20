"""Clones of this repository with tiny data and a tiny generator, and commands in them."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from micro import MICRO, ROOT, set_params, write_pictures

from flows.cli.server import prefect_server


def make_clone(folder: Path, tiny_unclip: Path) -> Path:
    """Makes a clone of the code as it is now, under git, none of its stages run."""
    for name in run(["git", "ls-files", "-co", "--exclude-standard"], ROOT).splitlines():
        source, target = ROOT / name, folder / name
        if name.startswith(("assets/", "docs/", "benchmarks/", "dvc.lock", "reports/")):
            continue
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    shutil.copytree(tiny_unclip, folder / "assets" / "tiny-unclip")
    write_pictures(folder / "assets" / "pictures")
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "watched").symlink_to("../assets/pictures")
    shutil.copytree(ROOT / "assets" / "judge", folder / "assets" / "judge")
    set_params(folder, MICRO)
    run(["git", "init", "--quiet"], folder)
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    """Commits everything."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    run(["git", "add", "--all"], folder)
    run(["git", *identity, "commit", "--quiet", "--message", "state"], folder)


def run(command: Sequence[str], folder: Path, status: int = 0) -> str:
    """Runs a command that has to end with a status; returns all it says."""
    there = {**os.environ, "PWD": str(folder)}  # as after `cd`
    done = subprocess.run(command, cwd=folder, env=there, capture_output=True, text=True)
    assert done.returncode == status, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def dvc(folder: Path, *arguments: str) -> str:
    """Runs DVC."""
    return run([sys.executable, "-m", "dvc", *arguments], folder)


def module(folder: Path, *arguments: str, status: int = 0) -> str:
    """Runs a module, such as `flows.repro`."""
    return run([sys.executable, "-m", *arguments], folder, status)


@contextmanager
def one_server(home: Path) -> Iterator[str]:
    """One Prefect server for all processes, with a database of its own; yields its address."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        patch.setenv("PREFECT_HOME", str(home))
        # The tests' own process must leave results where the clone looks for them.
        patch.setenv("PREFECT_RESULTS_LOCAL_STORAGE_PATH", ".prefect/storage")
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        with prefect_server() as url:
            yield url


def outputs(folder: Path) -> dict[str, str]:
    """Digest of each file that a stage owns."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for top in ("data", "models", "reports")
        for file in sorted((folder / top).rglob("*"))
        if file.is_file()
        and file.name not in (".gitignore", "timing.json", "provenance.json")
        and ".synthetic-guidance" not in file.parts  # notes of whoever drew it
    }


def ran(said: str) -> list[str]:
    """The stages that DVC says it ran."""
    return re.findall(r"Running stage '(\w+)'", said)
