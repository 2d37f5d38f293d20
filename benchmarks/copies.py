"""How many planted copies are found, how many real images are suspected, and what it costs.

    python -m benchmarks.copies                       # minutes; writes results/copies.json
    python -m benchmarks.copies --only garments       # one piece; the others stay as they were
    python -m benchmarks.copies --only scale --device cuda

- garments: training images of Fashion-LT, changed and planted; as false alarms, images that are in
  no split. Chosen was nothing by these: thresholds come from training and validation images.
- scale: 1.2 million references, 115,000 images, 768 features, at a hundredth of the pairs, with
  the seconds of each way and the peak memory; `projected_hours` is a hundred times that.
"""

import argparse
import io
import json
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageEnhance

from benchmarks.experiments import RESULTS, write_json
from fgds_core.copies.find import Calibration, calibrate, copies_of
from fgds_core.copies.search import WAYS, Queries
from fgds_core.copies.thumbnails import SIDE, Pictures, Rows, Vectors, shrink

RESULT = RESULTS / "copies.json"
ROOT = Path(__file__).parent.parent
SIZE = 32
PLANTED = 60

REFERENCES, IMAGES, FEATURES, CLASSES = 1_200_000, 115_000, 768, 1000
PART = 10
"""A tenth of the references and a tenth of the images are a hundredth of the pairs."""


def cropped(image: Image.Image, share: float, rng: np.random.Generator) -> Image.Image:
    """A square part of an image, anywhere, at its size."""
    left, top = rng.random(2) * (1 - share) * image.size[0]
    length = share * image.size[0]
    box = (left, top, left + length, top + length)
    return image.resize(image.size, Image.Resampling.BICUBIC, box=box)


def compressed(image: Image.Image, quality: int) -> Image.Image:
    """An image as a JPEG file has it."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def brightened(image: Image.Image, factor: float) -> Image.Image:
    """Brighter by a factor; what is too bright is white."""
    return ImageEnhance.Brightness(image).enhance(factor)


def mirrored(image: Image.Image) -> Image.Image:
    """Left is right."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


Edit = Callable[[Image.Image, np.random.Generator], Image.Image]
EDITS: dict[str, Edit] = {
    "exact": lambda image, rng: image,
    "mirrored": lambda image, rng: mirrored(image),
    "turned by 90 degrees": lambda image, rng: image.transpose(Image.Transpose.ROTATE_90),
    "crop of 95 %": lambda image, rng: cropped(image, 0.95, rng),
    "crop of 90 %": lambda image, rng: cropped(image, 0.9, rng),
    "crop of 80 %": lambda image, rng: cropped(image, 0.8, rng),
    "crop of 85 %, mirrored": lambda image, rng: mirrored(cropped(image, 0.85, rng)),
    "JPEG quality 50": lambda image, rng: compressed(image, 50),
    "JPEG quality 10": lambda image, rng: compressed(image, 10),
    "brightened by 30 %": lambda image, rng: brightened(image, 1.3),
    "brightened by 50 %": lambda image, rng: brightened(image, 1.5),
    "darkened by 30 %": lambda image, rng: brightened(image, 0.7),
    "crop of 85 %, mirrored, brightened by 20 %, JPEG quality 50": lambda image, rng: compressed(
        brightened(mirrored(cropped(image, 0.85, rng)), 1.2), 50
    ),
}


def garments() -> dict[str, Any]:
    """Planted copies of training images that are found, and other images that are suspected."""
    sets = {name: _images(name) for name in ("train", "validation", "unused")}
    real = {"train": _pictures(*sets["train"]), "val": _pictures(*sets["validation"])}
    known = calibrate(real)
    rng = np.random.default_rng(0)
    images, labels = sets["train"]
    chosen = rng.choice(len(images), PLANTED, replace=False)
    found = {}
    for name, edit in EDITS.items():
        asked = _pictures([edit(images[row], rng) for row in chosen], labels[chosen])
        table, _ = copies_of(asked, real, known)
        pairs = {(each["row"], each["reference"]) for each in table.to_pylist()}
        found[name] = sum((place, row) in pairs for place, row in enumerate(chosen.tolist()))
    table, _ = copies_of(_pictures(*sets["unused"]), real, known)
    splits = table["split"].to_pylist()
    return {
        "planted": PLANTED,
        "found": found,
        "real_images": len(sets["unused"][0]),
        "false_alarms": {split: splits.count(split) for split in real},
        "calibration": {split: _stated(known, split, len(sets["unused"][0])) for split in real},
        "thresholds": {split: dict(known.thresholds[split]) for split in real},
    }


def _stated(known: Calibration, split: str, num_images: int) -> dict[str, Any]:
    """What is said of so many other real images."""
    chance = known.by_chance(split, num_images)
    low, high = chance.interval or (None, None)
    numbers = {"num_real": known.num_real[split], "num_alarms": known.num_alarms[split]}
    return {**numbers, "expected": round(chance.expected or 0, 1), "low": low, "high": high}


def _images(name: str) -> tuple[list[Image.Image], Rows]:
    table = pq.read_table(ROOT / "assets" / "fashion-lt" / f"{name}.parquet")
    files = [Image.open(io.BytesIO(image["bytes"])) for image in table["image"].to_pylist()]
    resized = [
        each.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC) for each in files
    ]
    return resized, table["label"].to_numpy()


def _pictures(images: list[Image.Image], labels: Rows) -> Pictures:
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    return Pictures(shrink(pixels.permute(0, 3, 1, 2)), labels)


@dataclass(frozen=True)
class Random:
    """Thumbnails and features that are drawn as they are read, so that none of them is kept."""

    num_images: int
    seed: int

    def __len__(self) -> int:
        return self.num_images

    def __getitem__(self, rows: Rows) -> np.ndarray[Any, np.dtype[np.uint8]]:
        first = int(rows[0]) if len(rows) else 0
        rng = np.random.default_rng([self.seed, first])
        return rng.integers(0, 256, size=(len(rows), SIDE * SIDE), dtype=np.uint8)

    def blocks(self, size: int) -> Iterator[tuple[slice, torch.Tensor]]:
        """As `Vectors`."""
        for start in range(0, len(self), size):
            rng = torch.Generator().manual_seed(self.seed + start)
            stop = min(start + size, len(self))
            yield slice(start, stop), torch.randn(stop - start, FEATURES, generator=rng)

    def take(self, which: Rows) -> Vectors:
        """As `Vectors`."""
        return Random(len(which), self.seed)


def scale(device: str) -> dict[str, Any]:
    """Seconds of each way at a hundredth of the pairs."""
    sets = []
    for seed, whole in enumerate((IMAGES, REFERENCES)):
        drawn = Random(whole // PART, seed)
        # A class has as many images of each set as at full size, so there are fewer classes
        labels = np.arange(len(drawn), dtype=np.int64) % (CLASSES // PART)
        sets.append(Pictures(drawn, np.sort(labels), drawn))
    started = time.perf_counter()
    queries = Queries.of(sets[0], device)
    seconds = {"hashes": time.perf_counter() - started}
    own = np.full(len(queries), -1, dtype=np.int64)
    for way, nearest in WAYS.items():
        started = time.perf_counter()
        nearest(queries, sets[1], own, device)
        seconds[way] = time.perf_counter() - started
    # All pairs are compared by picture and features, those of a class by part
    factors = {"hashes": PART, "picture": PART**2, "part": PART, "features": PART**2}
    hours = {way: factors[way] * each / 3600 for way, each in seconds.items()}
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "references": len(sets[1]),
        "images": len(sets[0]),
        "features": FEATURES,
        "seconds": {way: round(each, 2) for way, each in seconds.items()},
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
        "projected_hours": {way: round(each, 3) for way, each in hours.items()},
    }


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("garments", "scale"))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    found = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    found.setdefault("scale", {}).setdefault("cuda", "not measured")
    if asked.only in (None, "scale"):
        found["scale"][asked.device] = scale(asked.device)
    if asked.only in (None, "garments"):
        found["garments"] = garments()
    write_json(asked.out, found)


if __name__ == "__main__":
    main()
