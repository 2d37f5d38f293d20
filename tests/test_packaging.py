"""What is imported is declared, and what is built holds all that is imported."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from micro import ROOT

PACKAGES = ("fgds_core", "tasks", "flows")
OURS = {
    *PACKAGES,
    "assets",
    "benchmarks",
    "tests",
    *(p.stem for p in (ROOT / "tests").glob("*.py")),
}

NOT_IMPORTED = {
    "dvc-s3": "DVC's remotes on S3",
    "fastapi": "a bound on what Prefect's server uses",
    "torchvision": "timm and clean-fid use it; a bound for the one of torch",
}
TOOLS = {"mypy", "pre-commit", "pytest-xdist", "ruff", "setuptools", "uv"}
"""Programs and plug-ins that the tests or the checks run and no file imports."""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: Iterable[str]) -> set[str]:
    return {normal(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements}


@cache
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


RUNTIME = declared(project()["dependencies"])
EXTRAS = {name: declared(each) for name, each in project()["optional-dependencies"].items()}


@cache
def imported(*folders: str) -> dict[str, frozenset[str]]:
    """The packages of others that the code of some folders imports, with who may provide each."""
    names = set()
    for path in [path for folder in folders for path in (ROOT / folder).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(), path)):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    providers = packages_distributions()
    return {
        name: frozenset(map(normal, providers.get(name, [name])))
        for name in names - set(sys.stdlib_module_names) - OURS
    }


@pytest.mark.parametrize(
    ("folders", "allowed"),
    [
        (PACKAGES, RUNTIME),
        (("benchmarks", "assets"), RUNTIME | EXTRAS["benchmarks"]),
        (("tests",), RUNTIME.union(*EXTRAS.values())),
    ],
    ids=["packages", "benchmarks", "tests"],
)
def test_what_is_imported_is_declared(folders: tuple[str, ...], allowed: set[str]) -> None:
    undeclared = {name for name, by in imported(*folders).items() if not by & allowed}
    assert undeclared == set()


@pytest.mark.parametrize(
    ("wanted", "folders"),
    [
        (RUNTIME - set(NOT_IMPORTED), PACKAGES),
        (EXTRAS["benchmarks"], ("benchmarks", "assets")),
        (EXTRAS["test"] - TOOLS, ("tests",)),
    ],
    ids=["runtime", "benchmarks", "test"],
)
def test_what_is_declared_is_imported(wanted: set[str], folders: tuple[str, ...]) -> None:
    used = frozenset().union(*imported(*folders).values())
    stubs = {name for name in wanted if name.startswith("types-") or name.endswith("-stubs")}
    assert wanted - stubs - used == set()


def test_the_lock_holds_what_is_declared_with_digests_and_names_no_place() -> None:
    text = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"^(?=[a-z])", re.sub(r"^#.*\n", "", text, flags=re.M), flags=re.M)[1:]
    locked = {normal(block.partition("==")[0]) for block in blocks}
    assert RUNTIME.union(*EXTRAS.values()) <= locked
    assert all("--hash=sha256:" in block for block in blocks)
    assert not re.search(r"://|^-|file:|\s/", text, re.M)


def test_the_versions_of_python_are_the_same_everywhere() -> None:
    assert project()["requires-python"] == ">=3.11,<3.14"
    makefile = (ROOT / "Makefile").read_text()
    assert "(3, 11) <= sys.version_info < (3, 14)" in makefile
    for file in (makefile, (ROOT / "README.md").read_text()):
        assert re.search(r"Python 3\.11, 3\.12 or 3\.13", file)


IMPORT_ALL = """
import importlib, json, sys
for name in json.load(sys.stdin):
    print(importlib.import_module(name).__file__)
"""


def test_the_wheel_holds_every_module_and_imports_from_an_empty_folder(tmp_path: Path) -> None:
    source, unpacked, empty = tmp_path / "source", tmp_path / "unpacked", tmp_path / "empty"
    empty.mkdir()
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, source / package, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, source / name)
    files = {
        path.relative_to(source).as_posix()
        for package in PACKAGES
        for path in (source / package).rglob("*")
        if path.is_file()
    }
    build = "from setuptools import build_meta; build_meta.build_wheel('.')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(next(source.glob("*.whl"))) as wheel:
        assert files == {name for name in wheel.namelist() if ".dist-info/" not in name}
        wheel.extractall(unpacked)

    modules = [
        file.removesuffix(".py").replace("/", ".") for file in files if file.endswith(".py")
    ]
    names = sorted(module.removesuffix(".__init__") for module in modules)
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL],
        cwd=empty,
        env={"PYTHONPATH": str(unpacked), "HOME": str(empty), "PATH": ""},
        input=json.dumps(names),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert all(Path(file).is_relative_to(unpacked) for file in done.stdout.splitlines())
    assert len(done.stdout.splitlines()) == len(names)
