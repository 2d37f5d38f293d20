"""An embedded set as `datasets.load_dataset` shows it."""

from pathlib import Path
from typing import Any

import pytest


def as_datasets_shows(table: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The rows of a Parquet file; its images are told as pictures."""
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    files = {"train": str(table)}
    data = datasets.load_dataset("parquet", data_files=files, cache_dir=str(cache))["train"]
    assert isinstance(data.features["image"], datasets.Image)
    return data
