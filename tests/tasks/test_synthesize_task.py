"""What decides the synthetic images, and whether there is room for them."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from micro import ROOT

from fgds_core.errors import InputError
from flows.params import read_params
from tasks.layout import BASELINE, PREPARED
from tasks.synthesize import Plan, check_space, fingerprint, made_by

INPUTS = {PREPARED: "1", BASELINE: "2", "assets/tiny-unclip": "3"}


def of(changes: Mapping[str, Any], inputs: Mapping[str, str] = INPUTS, seed: int = 0) -> str:
    params = read_params(ROOT / "params.yaml")
    base = params["synthesize"].model_copy(update={"feedback": "entropy", "feedback_scale": 0.02})
    config = base.model_copy(update=dict(changes))
    return fingerprint(made_by(params["generator"], config, seed, inputs))


def test_more_images_leave_the_finished_ones_valid() -> None:
    assert of({"target_per_class": 300}) == of({"target_per_class": 400})
    assert of({"images_per_part": 30}) == of({"images_per_part": 40})


@pytest.mark.parametrize(
    "changes", [{"feedback_scale": 0.03}, {"num_inference_steps": 7}, {"feedback": "loss"}]
)
def test_what_the_images_show_is_in_the_fingerprint(changes: dict[str, Any]) -> None:
    assert of(changes) != of({})


def test_seed_generator_and_data_are_in_the_fingerprint() -> None:
    all_of_them = {of({}), of({}, seed=1)}
    all_of_them |= {of({}, {**INPUTS, path: "changed"}) for path in INPUTS}
    assert len(all_of_them) == 5


def test_unguided_images_outlive_a_new_baseline() -> None:
    unguided = {"feedback": "none"}
    assert of(unguided, {**INPUTS, BASELINE: "new"}) == of(unguided)


def test_a_full_disk_is_refused_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(PREPARED).mkdir(parents=True)
    Path(PREPARED, "train.parquet").write_bytes(bytes(10_000))  # 1 kB an image
    plan = Plan(parts=(), class_names=("cat", "dog"), real=(6, 4), wanted=(0, 1_000_000))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2.3e9))
    with pytest.raises(InputError, match=r"1000000 synthetic images.*2\.40 GB.*2\.30 GB free"):
        check_space(plan)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2.5e9))
    check_space(plan)
