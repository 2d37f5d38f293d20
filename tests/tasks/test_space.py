"""Whether there is room for the synthetic images."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from fgds_core.errors import InputError
from fgds_core.synthesis.plan import Plan
from tasks.space import check_space
from tasks.workspace import FIRST


def test_a_full_disk_is_refused_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    FIRST.prepared.mkdir(parents=True)
    (FIRST.prepared / "train.parquet").write_bytes(bytes(10_000))  # 1 kB an image
    plan = Plan(parts=(), class_names=("cat", "dog"), real=(6, 4), wanted=(0, 1_000_000))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2.3e9))
    with pytest.raises(InputError, match=r"1000000 synthetic images.*2\.40 GB.*2\.30 GB free"):
        check_space(plan, FIRST)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2.5e9))
    check_space(plan, FIRST)
