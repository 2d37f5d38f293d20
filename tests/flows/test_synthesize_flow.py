"""The stage that draws: resumes, survives a failing class, loads its networks once."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from micro import contents, random_images
from sets import gather

import tasks.draw
import tasks.workers.worker
from fgds_core.errors import UnfinishedError
from fgds_core.images.dataset import read_images
from fgds_core.images.table import image_table, write_images
from fgds_core.synthesis.shards import read_index, read_synthetic
from flows.cli.arguments import arguments_of
from flows.cli.params import read_params
from flows.plan import main as show_plan_of
from flows.synthesize import synthesize
from tasks.workspace import FIRST

Run = Callable[..., int]


def test_a_failing_class_leaves_the_others_and_the_next_run_resumes(
    workspace: Path, ready: Run, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = tasks.draw.write_part

    def failing(part, *arguments, **options):
        if part.class_name == "dog":
            raise FloatingPointError("not finite")
        return counting(part, *arguments, **options)

    monkeypatch.setattr(tasks.draw, "write_part", failing)
    params = read_params()
    with pytest.raises(UnfinishedError, match=r"classes dog;[\s\S]*Resume with `dvc repro`"):
        synthesize(**arguments_of(synthesize, params, FIRST))
    assert drawn == ["02-owl/part-00000.parquet", "02-owl/part-00001.parquet"]
    assert not (workspace / "data" / "synthetic" / "_index.json").exists()

    drawn.clear()
    monkeypatch.setattr(tasks.draw, "write_part", counting)
    assert ready("synthesize") == 0
    assert drawn == ["01-dog/part-00000.parquet"]
    assert read_index(workspace / "data" / "synthetic").wanted == (0, 4, 12)


def test_networks_are_loaded_once_for_all_parts_and_workers(
    workspace: Path, ready: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    load_models = tasks.workers.worker.load_models

    def counting(recipe, *arguments, **options):
        loads.append(recipe.generator.path)
        return load_models(recipe, *arguments, **options)

    monkeypatch.setattr(tasks.workers.worker, "load_models", counting)
    assert ready("synthesize", compute={"workers": 3}) == 0
    assert len(loads) == 1


def test_workers_change_no_byte_and_more_images_keep_the_finished_parts(
    workspace: Path, ready: Run, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = workspace / "data" / "synthetic"
    assert ready("synthesize", compute={"workers": 1}) == 0
    one = contents(out)
    for path in out.rglob("*.*"):
        path.unlink()
    assert ready("synthesize", compute={"workers": 3}) == 0
    assert contents(out) == one

    drawn.clear()
    assert ready("synthesize", synthesize={"target_per_class": 24}) == 0
    assert sorted(drawn) == [  # full parts stay, the last one of a class is longer now
        "01-dog/part-00000.parquet",
        "01-dog/part-00001.parquet",
        "02-owl/part-00001.parquet",
        "02-owl/part-00002.parquet",
    ]
    drawn.clear()
    assert ready("synthesize", synthesize={"min_per_class": 4}) == 0
    assert drawn == ["00-cat/part-00000.parquet"]  # the class that has the target, and it alone


def add_pictures(label: int, names: tuple[str, ...] | None = None, split: str = "train") -> None:
    """Adds one picture to a class of the raw images, or a class of one picture."""
    file = Path("assets", "pictures", f"{split}.parquet")
    old = read_images(file)
    added = names is not None
    labels = [int(k) + (added and k >= label) for k in old.labels] + [label]
    images = torch.cat([gather(old), random_images(1, old.size[0], seed=ord(split[1]))])
    order = sorted(range(len(labels)), key=labels.__getitem__)
    rows = image_table(images[order], sorted(labels), names or old.class_names)
    write_images(file, rows)


def again(ready: Run, drawn: list[str], **changes: dict[str, object]) -> list[str]:
    """Runs the three stages on the changed pictures; the parts that were drawn."""
    drawn.clear()
    for stage in ("prepare", "train_baseline", "synthesize"):
        assert ready(stage, **changes) == 0
    read_synthetic(Path("data", "synthetic"))  # verifies all of it
    return sorted(drawn)


def test_a_new_real_image_redraws_its_class_or_what_the_new_baseline_guides(
    workspace: Path, ready: Run, drawn: list[str]
) -> None:
    unguided = {"feedback": "none"}
    assert len(again(ready, drawn, synthesize=unguided)) == 3
    add_pictures(1)
    assert again(ready, drawn) == ["01-dog/part-00000.parquet"]
    grown = contents(workspace / "data" / "synthetic")
    for file in Path("data", "synthetic").rglob("*.*"):
        file.unlink()
    assert len(again(ready, drawn)) == 3
    assert contents(workspace / "data" / "synthetic") == grown

    guided = {"feedback": "entropy", "feedback_target": "real"}
    assert len(again(ready, drawn, synthesize=guided)) == 3
    add_pictures(2, split="test")
    assert again(ready, drawn) == []  # the same baseline
    add_pictures(1, split="validation")
    assert len(again(ready, drawn)) == 3  # what guidance reads of the baseline is another


def test_the_control_guides_where_it_is_asked_to_and_redraws_nothing_elsewhere(
    workspace: Path, ready: Run, drawn: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def draw(**synthesize: object) -> int:
        drawn.clear()
        assert ready("synthesize", synthesize=synthesize) == 0
        return len(drawn)

    assert draw() == 3
    assert ready("synthesize", synthesize={"guide": "control"}) == 2
    assert "make it with `python -m flows.train_control`" in capsys.readouterr().err
    assert ready("train_control", synthesize={"guide": "baseline"}) == 0
    assert draw() == 0
    assert draw(guide="control") == 3
    assert draw(guide="both", feedback="disagreement") == 3
    _, rows = read_synthetic(workspace / "data" / "synthetic")
    assert min(rows["criterion_final"].to_pylist()) > 0
    assert max(rows["criterion_final"].to_pylist()) <= math.log(2)
    assert ready("train_control", retrain={"training": {"loss": "balanced_softmax"}}) == 0
    assert draw() == 3
    assert draw(guide="baseline", feedback="entropy") == 3
    assert ready("train_control", retrain={"training": {"loss": "cross_entropy"}}) == 0
    assert draw() == 0


@pytest.mark.parametrize("place", [0, 3])
def test_a_new_class_keeps_the_images_of_the_others(
    workspace: Path,
    ready: Run,
    drawn: list[str],
    place: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    unguided = {"feedback": "none", "target_per_class": 12}
    assert len(again(ready, drawn, synthesize=unguided)) == 1  # 8 owls
    names = ["cat", "dog", "owl"]
    names.insert(place, "ant")
    for split in ("train", "validation", "test"):
        add_pictures(place, tuple(names), split)
    new = [f"{place:02d}-ant/part-0000{part}.parquet" for part in (0, 1)]
    assert [ready(stage) for stage in ("prepare", "train_baseline")] == [0, 0]
    capsys.readouterr()
    assert show_plan_of(["--probe", "0"]) == 0
    (owls,) = [row for row in capsys.readouterr().out.splitlines() if row.startswith("owl ")]
    assert owls.split()[3:5] == ["8", "8"]  # wanted, finished
    assert again(ready, drawn) == new
    kept = contents(workspace / "data" / "synthetic")
    for file in Path("data", "synthetic").rglob("*.*"):
        file.unlink()
    assert len(again(ready, drawn)) == 3
    assert contents(workspace / "data" / "synthetic") == kept


def test_parts_of_another_size_are_not_taken_for_those_of_the_same_name(
    workspace: Path, ready: Run
) -> None:
    # 12 owls: parts of 8 and 4; then the second part of 4 has as many images as the old one
    assert ready("synthesize", synthesize={"images_per_part": 8}) == 0
    assert ready("synthesize", synthesize={"images_per_part": 4}) == 0
    index = read_index(workspace / "data" / "synthetic")
    assert [part.first_index for part in index.parts if part.label == 2] == [0, 4, 8]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("stable-diffusion", {"conditioning": "text", "feedback_decoder": "half"}),
        ("stable-diffusion-xl", {"conditioning": "text", "scheduler": "EulerDiscreteScheduler"}),
        ("stable-diffusion, ip-adapter", {"feedback_jacobian": False, "feedback_refresh": 2}),
        ("stable-diffusion-xl, ip-adapter", {"scheduler": "DPMSolverMultistepScheduler"}),
        (
            "stable-diffusion-3",
            {"conditioning": "text", "scheduler": "FlowMatchEulerDiscreteScheduler"},
        ),
        ("stable-unclip", {"feedback_decoder": "tiny", "feedback_steps": 1}),
        ("kandinsky-2.2", {"conditioning": "dual", "embedding_mix": "slerp"}),
    ],
)
def test_generator_mode_and_solver_are_switched_by_parameters_alone(
    workspace: Path,
    ready: Run,
    tiny_generators: dict[str, dict[str, object]],
    name: str,
    changes: dict[str, object],
) -> None:
    generator = {"adapter": None, **tiny_generators[name]}
    if changes.get("feedback_decoder") == "tiny":
        other = Path(str(tiny_generators["stable-diffusion"]["path"]))
        generator["tiny_decoder"] = str(other.parent / "tiny-decoder")
    status = ready(
        "synthesize", generator=generator, synthesize=changes, assess={"features": "classifier"}
    )
    assert status == 0
    assert read_index(workspace / "data" / "synthetic").wanted == (0, 4, 12)


DASK = {
    "address": None,
    "cluster_class": "dask.distributed.LocalCluster",
    "cluster_kwargs": {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None},
    "adapt": None,
}

COUNTING = """
import os
import tasks.workers.worker

if tasks.workers.worker.load_models.__name__ != "counting":  # Dask runs a preload more than once
    load_models = tasks.workers.worker.load_models

    def counting(*arguments, **options):
        with open("loads.log", "a") as file:
            print(os.getpid(), file=file)
        return load_models(*arguments, **options)

    tasks.workers.worker.load_models = counting
"""


def test_dask_workers_load_once_each_and_change_no_byte(workspace: Path, ready: Run) -> None:
    out = workspace / "data" / "synthetic"
    small = {"images_per_part": 2}
    assert ready("synthesize", synthesize=small) == 0
    here = contents(out)
    for path in out.rglob("*.*"):
        path.unlink()
    Path("counting.py").write_text(COUNTING)
    workers = {**DASK["cluster_kwargs"], "preload": "counting.py"}
    cluster = {**DASK, "cluster_kwargs": workers}
    assert ready("synthesize", compute={"runner": "dask", "dask": cluster}) == 0
    assert contents(out) == here
    loads = Path("loads.log").read_text().split()
    assert len(loads) == len(set(loads)) <= 2  # eight parts, each worker process loads once


def test_a_scheduler_that_is_not_there_is_named(
    workspace: Path, ready: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    dask = {"address": "tcp://127.0.0.1:1"}
    status = ready("synthesize", compute={"runner": "dask", "dask": {**DASK, **dask}})
    assert status == 2
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in capsys.readouterr().err
