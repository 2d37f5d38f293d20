"""The benchmark of the data path measures what it says, and its file has every key and gate."""

import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import projection
from benchmarks.data import (
    IMAGES,
    RESULT,
    SPEED_GATES,
    STAGES,
    Bench,
    Gate,
    judged,
    memory_gate,
    table,
    target,
)
from benchmarks.loading import export, our_batches, take_turns, timm_loader
from benchmarks.peaks import measure
from benchmarks.pictures import SIZE, class_counts, folder_bytes, make_pictures
from benchmarks.probe import pixels, probe, traces
from fgds_core.images.dataset import read_images
from fgds_core.images.formats import PNG, Encoding
from fgds_core.images.pixels import encode, from_uint8
from fgds_core.images.table import image_table, write_images

KEYS = {
    *(f"peak_gb.{stage}.{num_images}" for stage in STAGES for num_images in (4000, 32000)),
    "prepare_images_per_cpu_second",
    "prepare_speedup",
    "stored_over_source",
    "loader_over_folder",
    "train_over_timm",
    "repro_work_ratio",
    "encoding_probe_accuracy",
}

HELD_MB = 80
ALONE = f"import os, time; held = bytearray(os.urandom(1)) * ({HELD_MB} * 10**6); "


def peak_mb(code: str) -> float:
    """Peak of a Python process that runs the code, without that of one that does nothing."""
    idle = measure([sys.executable, "-c", "import os, time; time.sleep(0.6)"])
    return 1000 * (measure([sys.executable, "-c", code]).peak_gb - idle.peak_gb)


def test_the_peak_counts_the_memory_of_children() -> None:
    child = f"{ALONE} time.sleep(0.6)"
    both = f"{ALONE} import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    assert peak_mb(child) == pytest.approx(HELD_MB, rel=0.2)
    assert peak_mb(both) > 1.8 * HELD_MB


def test_memory_that_a_fork_shares_counts_once() -> None:
    forked = f"{ALONE} child = os.fork(); time.sleep(0.6); child and os.waitpid(child, 0)"
    assert peak_mb(forked) < 1.4 * HELD_MB


def test_processor_time_is_that_of_the_whole_tree() -> None:
    busy = "import time\nwhile time.process_time() < 0.6: pass\ntime.sleep(0.3)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"
    assert measure([sys.executable, "-c", code]).cpu_s >= 0.5


def test_a_command_that_fails_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="what went wrong"):
        measure(
            [sys.executable, "-c", "raise SystemExit('what went wrong')"], log=tmp_path / "log"
        )


def test_classes_are_long_tailed_and_synthetic_images_as_many_as_real_ones() -> None:
    for num_images in IMAGES:
        counts = class_counts(num_images)
        assert sum(counts) == num_images
        assert list(counts) == sorted(counts, reverse=True)
        assert counts[0] > 50 * counts[-1] > 0
        wanted = sum(max(0, target(num_images) - count) for count in counts)
        assert num_images <= wanted < num_images + len(counts)


def test_every_picture_is_a_jpeg_of_its_own_and_made_once(tmp_path: Path) -> None:
    archive = tmp_path / "photographs.zip"
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(archive, "w") as opened:
        for number in range(10):
            buffer = io.BytesIO()
            noise = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(noise).save(buffer, format="JPEG")
            opened.writestr(f"{number}.jpg", buffer.getvalue())
    root = make_pictures(tmp_path, archive, 40, processes=1)
    files = {file: file.read_bytes() for file in root.rglob("*.jpg")}
    assert len(set(files.values())) == len(files) == 40 + 2 * 20  # one of each class at least
    with Image.open(next(iter(files))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (SIZE, SIZE))
    assert folder_bytes(root) == (sum(map(len, files.values())), len(files))
    gone = next(iter(files))
    (tmp_path / "40.json").unlink()
    gone.unlink()
    make_pictures(tmp_path, archive, 40, processes=1)  # goes on where it was stopped
    assert {file: file.read_bytes() for file in root.rglob("*.jpg")} == files


def test_both_loaders_give_the_same_pixels(tmp_path: Path) -> None:
    noise = torch.randint(0, 256, (128, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    labels = [number % 2 for number in range(128)]
    write_images(
        tmp_path / "images.parquet",
        image_table(encode(from_uint8(noise.to(torch.uint8)), PNG), labels, ("a", "b")),
    )
    images = read_images(tmp_path / "images.parquet")
    ours = torch.cat(list(our_batches(images, 0)))
    folder = export(images, tmp_path / "folder")
    theirs = torch.cat([x for x, _ in timm_loader(folder, 8, 0, flip=False)])

    def ordered(x: torch.Tensor) -> torch.Tensor:
        return x[x.flatten(1).double().sum(dim=1).argsort()]

    torch.testing.assert_close(ordered(ours), ordered(theirs))


def test_a_ratio_is_taken_within_a_round() -> None:
    order: list[str] = []

    def contestant(name: str, speeds: list[float]) -> float:
        order.append(name)
        return speeds.pop(0)

    a, b = [1.0, 2.0, 4.0, 6.0], [9.0, 1.0, 2.0, 6.0]
    contest = take_turns(
        {"a": lambda: contestant("a", a), "b": lambda: contestant("b", b)}, rounds=3
    )
    assert contest.ratio("a", "b") == 2.0
    assert order == ["a", "b", "b", "a", "a", "b", "b", "a"]


def test_the_probe_sees_an_encoding_and_stays_at_chance_without_one() -> None:
    rng = np.random.default_rng(0)
    smooth = rng.normal(128, 40, (120, 8, 8, 3)).clip(0, 255).astype(np.uint8)
    pictures = [np.asarray(Image.fromarray(small).resize((64, 64))) for small in smooth]
    x = from_uint8(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2))

    def kind(encoding: Encoding, rows: slice) -> list[np.ndarray]:
        return [traces(pixels(data)) for data in encode(x[rows], encoding)]

    jpeg = kind(Encoding("jpeg", 90), slice(0, 60))
    same = probe(jpeg, kind(Encoding("jpeg", 90), slice(60, 120)))
    assert same["low"] <= 0.5 <= same["high"]
    assert probe(jpeg, kind(PNG, slice(60, 120)))["low"] > 0.9


def test_memory_may_grow_by_a_tenth_and_a_tenth_of_a_gigabyte() -> None:
    assert memory_gate(None).holds(2.5)
    assert not memory_gate(None).holds(2.51)
    assert memory_gate(1.0).holds(1.2)
    assert not memory_gate(1.0).holds(1.21)
    assert not memory_gate(2.4).holds(2.6)


def test_every_figure_has_a_gate() -> None:
    figures = {
        "peak_gb": {stage: {"32000": 1.3, "4000": 1.0} for stage in STAGES},
        **dict.fromkeys(SPEED_GATES, 1.0),
        "encoding_probe_accuracy": {"accuracy": 0.52, "low": 0.49, "high": 0.55},
    }
    found = judged(figures)
    assert set(found) == KEYS
    assert not found["peak_gb.assess.32000"]["held"]  # grew by more than it may
    assert found["peak_gb.assess.4000"]["held"]
    assert found["encoding_probe_accuracy"]["held"]
    assert not found["prepare_speedup"]["held"]


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    Bench(tmp_path, (4, 8)).kept("piece", lambda: {"value": 1})
    again = Bench(tmp_path, (4, 8))
    assert again.kept("piece", lambda: pytest.fail("measured twice")) == {"value": 1}
    again.forget("piece")
    assert again.kept("piece", lambda: {"value": 2}) == {"value": 2}


def test_a_gate_says_its_limits() -> None:
    assert str(Gate(least=0.95)) == ">= 0.95"
    assert str(Gate(least=1, most=2)) == ">= 1 and <= 2"


def test_the_results_are_whole_and_the_document_shows_them():
    results = json.loads(RESULT.read_text())
    assert results["gates"].keys() == KEYS
    assert results["gates"] == judged(results)
    document = (RESULT.parent.parent.parent / "docs/performance.md").read_text()
    assert table(results) in document
    assert projection.table(projection.lines(results)) in document
