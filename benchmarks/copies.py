"""How many planted copies are found, how many real images are suspected, and what it costs.

    python -m benchmarks.copies                       # minutes; writes results/copies.json
    python -m benchmarks.copies --only garments       # one piece; the others stay as they were
    python -m benchmarks.copies --only scale --device cuda

- garments: training images of Fashion-LT, changed and planted; as false alarms, images that are in
  no split; by pictures and parts, for which images are left out by default, and with features of
  the embedded generator's vision tower. Chosen was nothing by these: thresholds come from training
  and validation images.
- chance: all garments drawn anew for training, validation and neither, again and again: how often
  the stated interval holds the number of false alarms.
- scale: 1.2 million references, 115,000 images, 768 features, at a hundredth of the pairs, with
  the seconds of each way and the peak memory; `projected_hours` is a hundred times that.
"""

import argparse
import io
import json
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageEnhance

from benchmarks.experiments import RESULTS, write_json
from fgds_core.assess.features import Embed, FeatureSources, Tower, load_extractor
from fgds_core.assess.vectors import Features
from fgds_core.copies.find import Calibration, calibrate, copies_of
from fgds_core.copies.search import WAYS, Queries
from fgds_core.copies.thumbnails import SIDE, Pictures, Rows, Vectors, joined, shrink
from fgds_core.images.pixels import from_uint8

RESULT = RESULTS / "copies.json"
ROOT = Path(__file__).parent.parent
GENERATOR = ROOT / "assets" / "tiny-unclip"
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
    embed = load_extractor("clip", FeatureSources(tower=Tower(str(GENERATOR)))).embed
    sets = {name: _images(name) for name in ("train", "validation", "unused")}
    real = {
        "train": _pictures(*sets["train"], embed),
        "val": _pictures(*sets["validation"], embed),
    }
    rng = np.random.default_rng(0)
    images, labels = sets["train"]
    chosen = rng.choice(len(images), PLANTED, replace=False)
    planted = {
        name: _pictures([edit(images[row], rng) for row in chosen], labels[chosen], embed)
        for name, edit in EDITS.items()
    }
    unused = _pictures(*sets["unused"], embed)
    found = _searched(("picture", "part"), real, planted, chosen, unused)
    with_features = _searched(tuple(WAYS), real, planted, chosen, unused)
    whole = {"planted": PLANTED, "real_images": len(unused)}
    return {**whole, **found, "with_features": with_features}


def _searched(
    ways: Sequence[str],
    real: Mapping[str, Pictures],
    planted: Mapping[str, Pictures],
    chosen: Rows,
    unused: Pictures,
) -> dict[str, Any]:
    """What is found of planted copies and suspected of other images in some ways."""
    known = calibrate(real, ways=ways)
    found = {}
    for name, asked in planted.items():
        table, _ = copies_of(asked, real, known, ways=ways)
        pairs = {(each["row"], each["reference"]) for each in table.to_pylist()}
        found[name] = sum((place, row) in pairs for place, row in enumerate(chosen.tolist()))
    table, _ = copies_of(unused, real, known, ways=ways)
    seen = Counter((each["split"], each["way"]) for each in table.to_pylist())
    return {
        "found": found,
        "false_alarms": {split: sum(seen[split, way] for way in ways) for split in real},
        "false_alarms_by_way": {split: {way: seen[split, way] for way in ways} for split in real},
        "calibration": {split: _stated(known, split, len(unused)) for split in real},
        "thresholds": {split: dict(known.thresholds[split]) for split in real},
    }


def chance(draws: int) -> dict[str, Any]:
    """The share of random calibrations whose interval holds the number of false alarms."""
    sets = [_pictures(*_images(name)) for name in ("train", "validation", "unused")]
    every, ends = joined(sets), np.cumsum([len(each) for each in sets])[:-1]
    rng = np.random.default_rng(0)
    held: Counter[str] = Counter()
    for _ in range(draws):
        order = rng.permutation(len(every))
        train, val, fresh = (every.take(np.sort(rows)) for rows in np.split(order, ends))
        table, known = copies_of(fresh, {"train": train, "val": val}, ways=("picture", "part"))
        seen = Counter(table["split"].to_pylist())
        for split in ("train", "val"):
            low, high = known.by_chance(split, len(fresh)).interval or (0, 0)
            held[split] += low <= seen[split] <= high
        print(dict(held), flush=True)
    return {"draws": draws, "held": {split: held[split] / draws for split in ("train", "val")}}


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


def _pictures(images: list[Image.Image], labels: Rows, embed: Embed | None = None) -> Pictures:
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    x = pixels.permute(0, 3, 1, 2)  # [N, 3, H, W]
    features = None
    if embed is not None:
        with torch.inference_mode():
            found = torch.cat([embed(from_uint8(some)) for some in x.split(64)])
        features = Features.of(found.numpy())
    return Pictures(shrink(x), labels, features)


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
    parser.add_argument("--only", choices=("garments", "chance", "scale"))
    parser.add_argument("--draws", type=int, default=40, help="random calibrations")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    found = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    found.setdefault("scale", {}).setdefault("cuda", "not measured")
    if asked.only in (None, "scale"):
        found["scale"][asked.device] = scale(asked.device)
    if asked.only in (None, "garments"):
        found["garments"] = garments()
    if asked.only in (None, "chance"):
        found["chance"] = chance(asked.draws)
    write_json(asked.out, found)


if __name__ == "__main__":
    main()
