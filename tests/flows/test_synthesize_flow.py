"""The stage that draws: resumes, survives a failing class, loads its networks once."""

from collections.abc import Callable
from pathlib import Path

import pytest

import tasks.synthesize
from fgds_core.errors import UnfinishedError
from fgds_core.shards import read_index
from flows.params import read_params
from flows.stage import sections_of
from flows.synthesize import synthesize

Run = Callable[..., int]


@pytest.fixture
def ready(run_stage: Run) -> Run:
    """A workspace whose earlier stages are done."""
    assert run_stage("prepare") == 0
    assert run_stage("train_baseline") == 0
    return run_stage


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts that were drawn rather than found, by path."""
    paths: list[str] = []
    write_part = tasks.synthesize.write_part

    def counting(part, *arguments, **options):
        paths.append(part.path)
        return write_part(part, *arguments, **options)

    monkeypatch.setattr(tasks.synthesize, "write_part", counting)
    return paths


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_failing_class_leaves_the_others_and_the_next_run_resumes(
    workspace: Path, ready: Run, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = tasks.synthesize.write_part

    def failing(part, *arguments, **options):
        if part.class_name == "dog":
            raise FloatingPointError("not finite")
        return counting(part, *arguments, **options)

    monkeypatch.setattr(tasks.synthesize, "write_part", failing)
    params = read_params()
    with pytest.raises(UnfinishedError, match=r"classes dog;[\s\S]*Resume with `dvc repro`"):
        synthesize(**{name: params[name] for name in sections_of(synthesize)})
    assert drawn == ["02-owl/part-00000.parquet", "02-owl/part-00001.parquet"]
    assert not (workspace / "data" / "synthetic" / "index.json").exists()

    drawn.clear()
    monkeypatch.setattr(tasks.synthesize, "write_part", counting)
    assert ready("synthesize") == 0
    assert drawn == ["01-dog/part-00000.parquet"]
    assert read_index(workspace / "data" / "synthetic").wanted == (0, 4, 12)


def test_networks_are_loaded_once_for_all_parts_and_workers(
    workspace: Path, ready: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    load_generator = tasks.synthesize.load_generator

    def counting(config, *arguments, **options):
        loads.append(config.path)
        return load_generator(config, *arguments, **options)

    monkeypatch.setattr(tasks.synthesize, "load_generator", counting)
    tasks.synthesize._load_studio.cache_clear()
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
        ("stable-diffusion, ip-adapter", {"feedback_jacobian": False}),
        ("stable-diffusion-xl, ip-adapter", {"scheduler": "DPMSolverMultistepScheduler"}),
        (
            "stable-diffusion-3",
            {"conditioning": "text", "scheduler": "FlowMatchEulerDiscreteScheduler"},
        ),
        ("stable-unclip", {"feedback_decoder": "tiny", "feedback_steps": 1}),
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
