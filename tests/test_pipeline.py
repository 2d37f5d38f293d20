"""The whole pipeline in a temporary clone, on pictures of a few pixels and random networks."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

from flows.server import prefect_server

ROOT = Path(__file__).parent.parent
CLASS_NAMES = ("cat", "dog", "owl")
COUNTS = {"train": (24, 12, 4), "validation": (6, 6, 6), "test": (6, 6, 6)}
SIZE = 16

# What differs from params.yaml: everything is as small as it can be.
MICRO = {
    "data": {"root": "assets/pictures", "train": "train.parquet"},
    "prepare": {"image_size": SIZE},
    "train_baseline": {
        "model": "resnet10t",
        "model_kwargs": {"stem_width": 8, "channels": [8, 8, 16, 16]},
        "pretrained": "none",
        "input_size": SIZE,
        "num_steps": 6,
        "batch_size": 8,
        "warmup_steps": 1,
        "eval_every": 3,
    },
    "synthesize": {
        "target_per_class": 16,
        "images_per_part": 8,
        "num_inference_steps": 2,
        "feedback": "entropy",
        "feedback_scale": 0.05,
        "feedback_every": 1,
        "judge": None,
    },
    "assess": {
        "min_images_fid": 12,
        "min_images": 4,
        "fid_blocks": 2,
        "kid_subsets": 2,
        "kid_subset_size": 8,
        "nearest_k": 2,
        "bootstrap_samples": 2,
        "grid_images": 2,
        "grid_neighbours": 2,
    },
    "report": {"max_classes": 3, "images_per_class": 2, "neighbours_per_image": 2},
    "compute": {"device": "cpu", "threads": 1, "workers": 1, "batch_size": 4},
}


@pytest.fixture(scope="module")
def workspace(tiny_unclip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this repository, its code as it is now, with tiny data and a tiny generator."""
    folder = tmp_path_factory.mktemp("clone")
    listed = run(["git", "ls-files", "-co", "--exclude-standard"], ROOT).splitlines()
    for name in listed:
        source, target = ROOT / name, folder / name
        if name.startswith(("assets/", "docs/", "dvc.lock")) or not source.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    shutil.copytree(tiny_unclip, folder / "assets" / "tiny-unclip")
    if (ROOT / "assets" / "judge").is_dir():
        shutil.copytree(ROOT / "assets" / "judge", folder / "assets" / "judge")
    write_pictures(folder / "assets" / "pictures")
    set_params(folder, MICRO)
    run(["git", "init", "--quiet"], folder)
    commit(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Prefect server for all processes, with a database of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        # The tests' own process must leave results where the clone looks for them.
        patch.setenv("PREFECT_RESULTS_LOCAL_STORAGE_PATH", ".prefect/storage")
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        with prefect_server():
            yield


def write_pictures(folder: Path) -> None:
    """Noisy pictures whose brightness tells the class."""
    from fgds_core.shards import image_table, write_images

    generator = torch.Generator().manual_seed(0)
    for split, counts in COUNTS.items():
        labels = [label for label, count in enumerate(counts) for _ in range(count)]
        brightness = torch.tensor([-0.6, 0.0, 0.6])[labels].view(-1, 1, 1, 1)
        noise = 0.3 * torch.randn(len(labels), 3, SIZE, SIZE, generator=generator)
        table = image_table((brightness + noise).clamp(-1, 1), labels, CLASS_NAMES)
        write_images(folder / f"{split}.parquet", table)


def set_params(folder: Path, changes: dict[str, dict[str, object]]) -> None:
    yaml = YAML()
    path = folder / "params.yaml"
    params = yaml.load(path.read_text())
    for section, values in changes.items():
        params[section].update(values)
    with path.open("w") as file:
        yaml.dump(params, file)


def commit(folder: Path) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    run(["git", "add", "--all"], folder)
    run(["git", *identity, "commit", "--quiet", "--message", "state"], folder)


def run(command: Sequence[str], folder: Path, status: int = 0) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == status, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def dvc(folder: Path, *arguments: str) -> str:
    return run([sys.executable, "-m", "dvc", *arguments], folder)


def module(folder: Path, *arguments: str, status: int = 0) -> str:
    return run([sys.executable, "-m", *arguments], folder, status)


def outputs(folder: Path) -> dict[str, str]:
    """Digest of each file that a stage owns."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for top in ("data", "models", "reports")
        for file in sorted((folder / top).rglob("*"))
        if file.is_file() and file.name not in (".gitignore", "timing.json")
    }


def changed_stages(folder: Path) -> set[str]:
    return set(json.loads(dvc(folder, "status", "--json")))
