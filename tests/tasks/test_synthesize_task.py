"""What decides the synthetic images, and whether there is room for them."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from micro import ROOT, random_images

import tasks.synthesize
from fgds_core.data.meta import SPLITS, Meta, write_meta
from fgds_core.errors import InputError
from fgds_core.images.table import image_table, write_images
from flows.cli.params import read_params
from tasks.identity.drawing import drawing_code, fingerprint, made_by, part_fingerprint
from tasks.layout import BASELINE, PREPARED
from tasks.synthesize import Part, Plan, check_space, draw_part, load_studio, sources_of

NAMES = ("cat", "dog", "owl")
INPUTS = {PREPARED: "1", BASELINE: "2", "assets/tiny-unclip": "3"}


@pytest.fixture(autouse=True)
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_classifier: Path) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_classifier, BASELINE)
    prepare()


def prepare(labels: tuple[int, ...] = (0, 1, 2), names: tuple[str, ...] = NAMES) -> None:
    """Writes real images, one for each label."""
    table = image_table(random_images(len(labels)), labels, names)
    sha256 = {s: write_images(Path(PREPARED, f"{s}.parquet"), table).sha256 for s in SPLITS}
    counts = dict.fromkeys(SPLITS, tuple(labels.count(k) for k in range(len(names))))
    bins, none = dict.fromkeys(names, "few"), dict.fromkeys(SPLITS, 0)
    write_meta(Path(PREPARED), Meta(names, 8, counts, bins, None, none, sha256))


def origin(
    changes: Mapping[str, Any], inputs: Mapping[str, str] = INPUTS, seed: int = 0
) -> dict[str, Any]:
    params = read_params(ROOT / "params.yaml")
    base = params["synthesize"].model_copy(update={"feedback": "entropy", "feedback_scale": 0.02})
    return made_by(params["generator"], base.model_copy(update=dict(changes)), seed, inputs)


def of(changes: Mapping[str, Any], inputs: Mapping[str, str] = INPUTS, seed: int = 0) -> str:
    return fingerprint(origin(changes, inputs, seed))


def of_parts(changes: Mapping[str, Any]) -> list[str]:
    """Of the parts of each class."""
    return [part_fingerprint(origin(changes), label, NAMES) for label in range(3)]


def test_more_images_leave_the_finished_ones_valid() -> None:
    assert of({"target_per_class": 300}) == of({"target_per_class": 400})
    assert of({"images_per_part": 30}) == of({"images_per_part": 40})


@pytest.mark.parametrize(
    "changes", [{"feedback_scale": 0.03}, {"num_inference_steps": 7}, {"feedback": "loss"}]
)
def test_what_the_images_show_is_in_the_fingerprint(changes: dict[str, Any]) -> None:
    assert of(changes) != of({})


def test_seed_generator_and_baseline_are_in_the_fingerprint() -> None:
    all_of_them = {of({}), of({}, seed=1)}
    all_of_them |= {of({}, {**INPUTS, path: "changed"}) for path in INPUTS}
    assert len(all_of_them) == 3  # of the prepared data the training images count
    rewrite("model.safetensors", lambda weights: weights + b"changed")
    assert of({}) not in all_of_them


def rewrite(name: str, change: Callable[[bytes], bytes]) -> None:
    """Changes a file of the baseline."""
    file = Path(BASELINE, name)
    file.write_bytes(change(file.read_bytes()))


def config(**entries: Any) -> Callable[[bytes], bytes]:
    """Changes entries of the baseline's configuration."""
    return lambda text: json.dumps({**json.loads(text), **entries}).encode()


VALUES = {"loss": [1.0, 2.0, 3.0], "entropy": [0.5, 0.6, None]}


@pytest.mark.parametrize(
    ("file", "change", "matters"),
    [
        ("config.json", config(temperature=3.0), {"feedback_calibrated": True}),
        ("config.json", config(criterion_on_real=VALUES), {"feedback_target": "real"}),
        ("config.json", config(image_size=64), {"feedback_augment": True}),
        ("config.json", config(interpolation="bilinear"), {}),
        ("feature_statistics.safetensors", lambda data: data + b"0", {"feedback": "hardness"}),
        ("config.json", config(core_version="9", epochs=9), None),
        ("notes.txt", lambda _: b"of mine", None),
    ],
)
def test_of_the_baseline_counts_what_guidance_reads(
    file: str, change: Callable[[bytes], bytes], matters: dict[str, Any] | None
) -> None:
    off = {"feedback_calibrated": False, "feedback_target": "none", "feedback_augment": False}
    training = {"shift": 2, "horizontal_flip": True, "erase": 0.4}
    rewrite("config.json", config(training=training, image_size=32))
    Path(BASELINE, "notes.txt").write_text("")
    on = off if matters is None else off | matters
    plain, before = of(off), of(on)
    rewrite(file, change)
    assert (of(on) == before) == (matters is None)
    assert (of(off) == plain) == (matters != {})


def test_another_criterion_measured_on_real_images_redraws_nothing() -> None:
    real = {"feedback_target": "real", "feedback_calibrated": False}
    rewrite("config.json", config(criterion_on_real=VALUES))
    before = of(real)
    rewrite("config.json", config(criterion_on_real={**VALUES, "margin": [1.0, 1.0, 1.0]}))
    assert of(real) == before
    rewrite("config.json", config(criterion_on_real={**VALUES, "entropy": [0.5, 0.6, 0.7]}))
    assert of(real) != before


def test_real_images_are_in_the_fingerprint_of_their_class_alone() -> None:
    before, set_before = of_parts({}), of({})
    assert len(set(before)) == 3
    prepare((0, 1, 2, 1))
    after = of_parts({})
    assert [a == b for a, b in zip(after, before, strict=True)] == [True, False, True]
    assert of({}) != set_before


def test_real_images_count_only_where_they_condition() -> None:
    text = {"conditioning": "text"}
    before = of_parts(text), of(text)
    prepare((0, 1, 2, 1))
    assert (of_parts(text), of(text)) == before


def test_unguided_images_outlive_a_new_baseline() -> None:
    unguided = {"feedback": "none"}
    before = of(unguided)
    rewrite("model.safetensors", lambda weights: weights + b"changed")
    assert of(unguided) == before


def test_without_feedback_nothing_that_is_said_of_it_counts() -> None:
    off = {"feedback": "none"}
    changes = {"feedback_every": 7, "feedback_rule": "score", "feedback_decoder": "half"}
    assert of(off | changes) == of(off) == of({"feedback_scale": 0.0})
    assert of(changes) != of({})


def test_a_full_disk_is_refused_before_anything_is_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(PREPARED, "train.parquet").write_bytes(bytes(10_000))  # 1 kB an image
    plan = Plan(parts=(), class_names=("cat", "dog"), real=(6, 4), wanted=(0, 1_000_000))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2.3e9))
    with pytest.raises(InputError, match=r"1000000 synthetic images.*2\.40 GB.*2\.30 GB free"):
        check_space(plan)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2.5e9))
    check_space(plan)


def test_a_worker_with_other_code_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    params = read_params(ROOT / "params.yaml")
    sources = sources_of(INPUTS, {"code": "of yesterday"})
    part = Part(1, "dog", 0, 0, 2)
    with pytest.raises(InputError, match=r"has other code than the flow.*start it again"):
        draw_part.fn(
            part, params["generator"], params["synthesize"], 0, "f", sources, params["compute"]
        )


@pytest.mark.parametrize(("device", "most"), [("cuda:0", 1), ("cpu", 3)])
def test_threads_of_a_worker_never_draw_on_one_gpu_at_once(
    monkeypatch: pytest.MonkeyPatch, device: str, most: int
) -> None:
    params = read_params(ROOT / "params.yaml")
    drawn_by = drawing_code(params["generator"], params["synthesize"])
    sources = sources_of(INPUTS, {"code": drawn_by})
    generator = SimpleNamespace(device=torch.device(device))
    studio = SimpleNamespace(generator=generator, feedback=None, real=None)
    drawing, seen, lock = [0], [], threading.Lock()

    def write_part(part, *arguments, **options):
        with lock:
            drawing[0] += 1
            seen.append(drawing[0])
        time.sleep(0.2)
        with lock:
            drawing[0] -= 1
        for suffix in (".parquet", ".json"):
            file = Path("data/synthetic", part.path).with_suffix(suffix)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        return SimpleNamespace(path=part.path)

    monkeypatch.setattr(tasks.synthesize, "load_studio", lambda *arguments: studio)
    monkeypatch.setattr(tasks.synthesize, "write_part", write_part)

    def draw(index: int) -> None:
        part = Part(1, "dog", index, 2 * index, 2)
        draw_part.fn(
            part, params["generator"], params["synthesize"], 0, "f", sources, params["compute"]
        )

    Path("data/synthetic").mkdir(parents=True)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(draw, range(3)))
    assert max(seen) == most


def test_a_worker_that_lives_on_keeps_its_gpu_and_one_studio(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    params = read_params(ROOT / "params.yaml")
    drawn_by = drawing_code(params["generator"], params["synthesize"])
    sources = sources_of(INPUTS, {"code": drawn_by})
    claims, alive = [], []

    def load(generator, config, sources, compute):
        alive.append(len(tasks.synthesize._studio))
        return tasks.synthesize._device(compute)

    def claim(compute):
        claims.append(compute)
        return "cuda:3"

    monkeypatch.setattr(tasks.synthesize, "_studio", {})
    monkeypatch.setattr(tasks.synthesize, "_gpu", [])
    monkeypatch.setattr(tasks.synthesize, "use_device", lambda compute: "cuda")
    monkeypatch.setattr(tasks.synthesize, "claim_device", claim)
    monkeypatch.setattr(tasks.synthesize, "_load_studio", load)
    for hours in (None, 100.0, 100.0):
        compute = params["compute"].model_copy(update={"max_device_hours": hours})
        studio = load_studio(params["generator"], params["synthesize"], sources, compute)
        assert studio == "cuda:3"
    assert len(claims) == 1
    assert alive == [0, 0]  # the third run loads nothing, and the second had let go of the first
