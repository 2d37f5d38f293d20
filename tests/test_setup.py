"""`make setup` in folders of any name, and with a CPU build of torch, on tiny packages."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path

import pytest
from micro import ROOT

Make = Callable[..., subprocess.CompletedProcess[str]]

LOCKED = {"alpha": "1.0", "torch": "2.1", "torchvision": "0.2", "triton": "3.0"}
LOCKED |= {"cuda-toolkit": "13.0", "nvidia-cublas": "13.1", "nvidia-ml-py": "13.6"}
BUILDS = {"torch": "2.1+cpu", "torchvision": "0.2+cpu"}


def wheel(folder: Path, name: str, version: str) -> Path:
    """A package of one module that knows its version."""
    module = name.replace("-", "_")
    path = folder / f"{module}-{version}-py3-none-any.whl"
    info = f"{module}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{module}.py", f"version = {version!r}\n")
        file.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")
    return path


def lock(folder: Path, wheels: Path, names: dict[str, str]) -> None:
    lines = ["# made by the test"]
    for name, version in names.items():
        digest = hashlib.sha256(wheel(wheels, name, version).read_bytes()).hexdigest()
        lines += [f"{name}=={version} ; sys_platform == 'linux' \\", f"    --hash=sha256:{digest}"]
    (folder / "requirements.lock").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wheels")


@pytest.fixture
def make(wheels: Path, tmp_path: Path) -> Callable[[str], Make]:
    """Makes a repository of that name of a Makefile and tiny packages; returns its `make`."""

    def place(name: str) -> Make:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        shutil.copyfile(ROOT / "Makefile", folder / "Makefile")
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
        lock(folder, wheels, LOCKED)
        # The job says which Python it got; of Prefect it needs a command alone.
        (folder / "flows").mkdir()
        (folder / "flows" / "repro.py").write_text("import sys, alpha\nprint(sys.prefix)\n")
        (folder / "prefect.py").write_text("")
        kept = {key: os.environ[key] for key in ("HOME", "PATH") if key in os.environ}
        env = {
            **kept,
            "UV_FIND_LINKS": str(wheels),
            "UV_OFFLINE": "1",
            "UV_NO_CONFIG": "1",
            "PWD": str(folder),
        }
        # As `python -m venv` with pip, which is never asked here, but in no time.
        command = [sys.executable, "-m", "venv", "--without-pip", ".venv"]
        subprocess.run(command, cwd=folder, check=False, capture_output=True)

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            python = shlex.quote(sys.executable).replace("$", "$$")
            uv = f"UV={python} -m uv"
            return subprocess.run(
                ["make", uv, *arguments], cwd=folder, env=env, capture_output=True, text=True
            )

        return run

    return place


def versions(folder: Path) -> dict[str, str]:
    found = (folder / ".venv" / "lib").glob("python*/site-packages/*.dist-info")
    parts = (path.name.removesuffix(".dist-info").rpartition("-") for path in found)
    return {name.replace("_", "-"): version for name, _, version in parts}


@pytest.mark.parametrize(
    "name",
    [
        "ein Pfad mit ä ö",
        "$HOME and $(HOME) and ${HOME} and `id`",
        "#1 & 'single' \"double\" \\ back",
        "100% *.py ?[a-z] ~ ; | < > ! =",
        "-leading",
        "  spaces  ",
        "日本語 \N{GRINNING FACE}",
        "/".join(["a long name" * 20] * 3),
    ],
)
def test_the_repository_may_lie_anywhere(
    name: str, make: Callable[[str], Make], tmp_path: Path
) -> None:
    run = make(name)
    done = run("repro")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == str(tmp_path / name / ".venv")
    assert versions(tmp_path / name) == LOCKED
    assert "Installing" not in run("repro").stdout


def test_a_colon_in_the_path_is_refused_with_one_message(make: Callable[[str], Make]) -> None:
    done = make("C: drive")("setup")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "path has a colon" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def offered(wheels: Path, tmp_path: Path) -> str:
    """What tells `make` where CPU builds are, beside the wheels of the lock."""
    builds = tmp_path / "builds"
    builds.mkdir()
    for name, version in BUILDS.items():
        wheel(builds, name, version)
    return f"UV_FIND_LINKS={wheels},{builds}"


def test_a_cpu_build_of_torch_beside_the_locked_rest(
    make: Callable[[str], Make], offered: str, tmp_path: Path
) -> None:
    run = make("cpu")
    refused = run("setup", "TORCH=cpu")
    assert refused.returncode != 0
    assert "no index offers torch==2.1+cpu torchvision==0.2+cpu; name one" in refused.stderr

    wanted = {"alpha": "1.0", "nvidia-ml-py": "13.6", **BUILDS}
    assert run("setup", "TORCH=cpu", offered).returncode == 0
    assert versions(tmp_path / "cpu") == wanted
    assert "Installing" not in run("setup").stdout  # the environment remembers the choice
    lock = tmp_path / "cpu" / "requirements.lock"
    lock.write_bytes(lock.read_bytes() + b"# changed\n")
    assert "Installing" in run("setup", offered).stdout
    assert versions(tmp_path / "cpu") == wanted


def test_an_environment_changes_over_to_the_cpu_build(
    make: Callable[[str], Make], offered: str, tmp_path: Path
) -> None:
    run = make("over")
    assert run("setup").returncode == 0
    assert versions(tmp_path / "over")["torch"] == "2.1"
    assert run("setup", "TORCH=cpu", offered).returncode == 0
    assert versions(tmp_path / "over")["torch"] == "2.1+cpu"


def test_a_wrong_digest_and_an_unknown_build_are_refused(
    make: Callable[[str], Make], offered: str, tmp_path: Path
) -> None:
    run = make("wrong")
    file = tmp_path / "wrong" / "requirements.lock"
    assert "TORCH is cpu" in run("setup", "TORCH=cuda").stderr
    file.write_text(re.sub(r"sha256:.{4}", "sha256:0000", file.read_text(), count=1))
    for choice in ((), ("TORCH=cpu", offered)):
        assert "Hash mismatch" in run("setup", *choice).stderr
        assert not (tmp_path / "wrong" / ".venv" / "installed.sha256").exists()


def test_only_torch_needs_what_a_cpu_build_leaves_out() -> None:
    left_out = re.compile(r"(torch|torchvision|triton)$|cuda-|nvidia-(?!ml-py)")
    for distribution in distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        for requirement in distribution.requires or ():
            needed = re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()
            if "extra ==" not in requirement and left_out.match(needed):
                assert left_out.match(name) or needed in ("torch", "torchvision"), name
