"""When, by what code and on what machine each stage ran: `reports/provenance.json`.

Like the times, the file belongs to no stage: it differs from run to run, and outputs must not.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PROVENANCE = Path("reports/provenance.json")

PACKAGES = ("torch", "diffusers", "transformers", "timm", "numpy", "prefect", "dvc")
"""Those whose versions are noted: what computes, and what runs it."""

CODE = ("fgds_core", "tasks", "flows", "params.yaml", "dvc.yaml")
"""What decides a result and is under git."""


def note_provenance(stage: str, device: str | None = None, path: Path = PROVENANCE) -> None:
    """Notes where the last run of a stage comes from, beside those of the others.

    Args:
        stage: Its name.
        device: `compute.device` of the run; None of a stage that computes nothing.
        path: The file.
    """
    noted = read_provenance(path)
    noted["stages"][stage] = {
        "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _git("rev-parse", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no", "--", *CODE)),
        "device": None if device is None else device_name(device),
        "versions": versions(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(noted, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def read_provenance(path: Path = PROVENANCE) -> dict[str, Any]:
    """`stages`; of none if the file cannot be read."""
    try:
        return {"stages": dict(json.loads(path.read_text(encoding="utf-8"))["stages"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"stages": {}}


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of the packages that are installed."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def device_name(device: str) -> str:
    """What `compute.device` stands for on this machine, such as `NVIDIA H100`."""
    torch: Any = sys.modules.get("torch")  # a stage that computes has it; noting must not load it
    if torch is not None and device != "cpu":
        if torch.cuda.is_available():
            num = torch.cuda.device_count() if device == "auto" else 1
            number = int(device.partition(":")[2] or 0)
            return f"{f'{num} x ' if num > 1 else ''}{torch.cuda.get_device_name(number)}"
        if device == "mps" or (device == "auto" and torch.backends.mps.is_available()):
            return "Apple GPU"
    return f"CPU, {os.cpu_count()} cores"


def _git(*arguments: str) -> str | None:
    """What git says, or None where it has nothing to say: no git, or no repository."""
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
