"""Parameters that fit what was found: a start that runs, by stated rules, to be tuned later."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgds_core.classify.config import TrainConfig
from fgds_core.data.config import PrepareConfig
from fgds_core.data.look import Look
from fgds_core.data.pictures import prepare_pictures
from fgds_core.data.recognise.found import Found
from fgds_core.generators.family import KINDS, load_family
from fgds_core.pretrained.folder import Folder, check_place, is_folder, read
from tasks.space import SPARE

EMBEDDED = "assets/tiny-unclip"
"""The generator of the repository, which knows garments alone."""

POOLED = ("stable-unclip", "kandinsky-2.2")
"""Kinds that have a CLIP vision tower and take its embedding of an image."""

PRIOR = {
    "path": "kandinsky-community/kandinsky-2-2-prior",
    "revision": None,
    "num_inference_steps": 25,
    "guidance_scale": 4.0,
    "text_share": 0.5,
}
"""The prior that was trained with the decoder of Kandinsky 2.2, as its authors ask it."""

_EMBEDDED_SIDE = 32
_SIDES = (16, 32, 64, 96, 128, 160, 192, 224, 256)

_WORTH_DEPTH = 20_000
"""Training images from which on the deeper network is worth its cost."""

_PHOTOGRAPHS = frozenset({"JPEG", "MPO", "WEBP", "AVIF"})

_START_S, _DRAW_S, _TRAIN_S = 60.0, 0.055, 0.0002
"""Seconds of the embedded run on 2 CPU cores: starts of all stages, an image at 20 steps, an image
of a training step at 32 pixels."""

Changes = dict[str, Any]
"""Section -> key -> value, for keys that differ; of `data` the whole section."""


@dataclass(frozen=True)
class Drawer:
    """The generator that was chosen.

    Attributes:
        path: A folder or an id of the hub.
        kind: Its family.
        side: Pixels a side that it draws; None where that is not known.
        is_embedded: Whether it is the repository's own.
    """

    path: str
    kind: str
    side: int | None
    is_embedded: bool

    @property
    def is_large(self) -> bool:
        """Whether it needs a GPU, which is taken for granted where nothing is known."""
        return (self.side or 512) > 64


def drawer(path: str | None) -> Drawer:
    """What is known of a generator before it is loaded.

    Args:
        path: A folder of diffusers or an id of the hub; None is the embedded one.

    Raises:
        InputError: It is neither, or of a kind that this does not set up.
    """
    if path is None:
        return Drawer(EMBEDDED, "stable-unclip", _EMBEDDED_SIDE, is_embedded=True)
    is_embedded = is_folder(path) and Path(path).resolve() == Path(EMBEDDED).resolve()
    if not check_place(path, "--generator"):
        return Drawer(path, "stable-unclip", None, is_embedded=False)
    place = Folder(Path(path), "--generator")
    name = read(place, "model_index.json").get("_class_name")
    kinds = [kind for kind in KINDS if name in load_family(kind).layouts]
    if not kinds:
        known = sorted({each for kind in KINDS for each in load_family(kind).layouts})
        raise place.wrong(f"holds a {name}", f"known are {', '.join(known)}")
    return Drawer(path, kinds[0], _side(place), is_embedded)


def _side(place: Folder) -> int | None:
    """Pixels a side that a generator was trained for, as far as its configuration tells."""
    for part in ("unet", "transformer"):
        if (place / part).path.is_dir():
            size = read(place / part, "config.json").get("sample_size")
            decoder = "movq" if (place / "movq").path.is_dir() else "vae"
            blocks = read(place / decoder, "config.json").get("block_out_channels")
            if isinstance(size, int) and isinstance(blocks, list):
                return int(size * 2 ** (len(blocks) - 1))
    return None


def proposal(found: Found, seen: Look, own: bool, by: Drawer) -> Changes:
    """The keys of all sections that the data and the generator decide.

    Args:
        found: What the data are.
        seen: What they show.
        own: Whether the user made the splits, and not others who published them.
        by: The generator.
    """
    train = [count for count in seen.counts["train"] if count]
    side = image_size(seen, by)
    photographs = sum(seen.formats[name] for name in _PHOTOGRAPHS) * 2 > seen.formats.total()
    leaks = own and bool(seen.repeats.across)
    training = _training(sum(train), side, may_flip=seen.mirrored.may_flip and not reads(seen))
    return {
        "data": found.data.model_dump(mode="json"),
        "prepare": {
            "image_size": side,
            "format": "jpeg" if photographs and side > 64 else "png",
            "overlaps": "drop" if leaks else None,
        },
        "train_baseline": training,
        "generator": _generator(by) | {"prompts": [_prompt(seen)]},
        "synthesize": {
            "target_per_class": target(train),
            "target_per_group": _target_per_group(seen),
            **_drawing(by, from_images=len(train) == len(seen.counts["train"])),
        },
        "judge": {"kind": "cross_fitted", "path": None},
        "assess": {
            "features": "clip" if by.kind in POOLED else "classifier",
        },
        "compute": {
            "batch_size": 2 if by.is_large else 50,
            "micro_batch": 1 if by.is_large else None,
        },
    }


def image_size(seen: Look, by: Drawer) -> int:
    """Pixels a side: what most pictures have, and no more than the generator draws or 256."""
    usual = float(sorted(seen.sides.min(axis=1))[len(seen.sides) // 2]) if len(seen.sides) else 32
    most = min(usual, by.side or _SIDES[-1])
    if most < 32:
        return 16 if most <= 16 else 32
    return max(side for side in _SIDES if side <= most)


def target(counts: Sequence[int]) -> int:
    """Images that a class shall have: of few the largest's, else the usual class's, 200 to 1,300.

    Args:
        counts: Training images of each class.
    """
    largest, usual = max(counts), sorted(counts)[len(counts) // 2]
    if largest == min(counts):
        return 2 * largest  # nothing is rare: twice as many of each
    if largest <= 200:
        return largest
    wanted = min(1300, largest, max(200, 10 * math.ceil(usual / 10)))
    return wanted if wanted > min(counts) else largest


def _target_per_group(seen: Look) -> int | None:
    """The same of each class in each group, so that the worst of them have images too."""
    cells = [count for each in seen.train_cells or () for count in each.values() if count]
    return target(cells) if cells else None


def _prompt(seen: Look) -> str:
    """Names the group where it has a name."""
    speaks = seen.groups and not any(name.isdecimal() for name in seen.groups)
    return "a photo of a {class}, {group}" if speaks else "a photo of a {class}"


def reads(seen: Look) -> bool:
    """Whether names tell that left and right matter: letters, digits, directions."""
    words = [name.casefold().replace("-", " ").replace("_", " ") for name in seen.class_names]
    short = sum(len(word) == 1 for word in words)
    sides = {"left", "right", "text", "letter", "digit", "sign"}
    return short * 2 > len(words) or any(sides & set(word.split()) for word in words)


def _training(num_images: int, side: int, *, may_flip: bool) -> Changes:
    """A network and a budget by the number and the size of the images."""
    batch = next((size for size in (128, 64, 32, 16) if num_images >= 15 * size), 8)
    steps = min(100_000, max(600, 100 * round(30 * num_images / batch / 100)))  # 30 epochs
    common = {
        "input_size": side,
        "num_steps": steps,
        "batch_size": batch,
        "warmup_steps": 10 * round(steps / 120),
        "horizontal_flip": may_flip,
        "shift": max(1, side // 16),
        "eval_every": min(1000, 100 * round(steps / 600)),
    }
    if side <= 64:
        width = 16 if side <= 32 else 32
        channels = [width * 2**stage for stage in range(4)]
        kwargs: Changes = {"stem_width": width, "channels": channels}
        rate = {"learning_rate": 0.002, "label_smoothing": 0.1, "ema_decay": 0.99, "erase": 0.5}
        return common | rate | {"model": "resnet10t", "model_kwargs": kwargs, "pretrained": "none"}
    model = "resnet18" if num_images < _WORTH_DEPTH else "resnet50"
    rate = {"learning_rate": 0.0003, "label_smoothing": 0.0, "ema_decay": 0.0, "erase": 0.0}
    return common | rate | {"model": model, "model_kwargs": {}, "pretrained": "default"}


def _generator(by: Drawer) -> Changes:
    return {
        "kind": by.kind,
        "path": by.path,
        "revision": None,
        "variant": None,
        "adapter": None,
        "prior": PRIOR if by.kind == "kandinsky-2.2" else None,
        "tiny_decoder": None,
        "image_size": 512 if by.is_large and (by.side or 512) >= 512 else None,
        "dtype": "bfloat16" if by.is_large else "float32",
    }


def _drawing(by: Drawer, *, from_images: bool) -> Changes:
    """How it is asked; of one of hundreds of millions of weights as the recipe own_small says.

    Args:
        by: The generator.
        from_images: Whether each class has a real image to condition on.
    """
    flow = by.kind == "stable-diffusion-3"
    return {
        "conditioning": "dual" if by.kind in POOLED and from_images else "text",
        "scheduler": "FlowMatchEulerDiscreteScheduler" if flow else "DDIMScheduler",
        "num_inference_steps": 30 if by.is_large else 20,
        "guidance_scale": 5.0 if by.is_large else 1.5,
        "feedback": "entropy" if by.is_large else "loss",
        "feedback_scale": 0.03 if by.is_large else 0.01,
        "feedback_decoder": "half" if by.is_large else "exact",
        "feedback_every": 5 if by.is_large else 2,
    }


def disk_bytes(seen: Look, config: PrepareConfig, wanted: int) -> float:
    """What prepared and synthetic images take, with the copy of both in DVC's cache.

    Args:
        seen: Of the raw images; its examples are prepared to see how large one is.
        config: How.
        wanted: Synthetic images.
    """
    done = prepare_pictures(seen.examples, config)
    sizes = [len(each.file) for each in done if not isinstance(each, str)]
    each = sum(sizes) / len(sizes) if sizes else 3 * config.image_size**2
    return 2 * each * (seen.num_images + SPARE * wanted)


def minutes(training: TrainConfig, folds: int, wanted: int, num_inference_steps: int) -> float:
    """How long a run with the embedded generator takes, by what the default run took.

    Args:
        training: Three classifiers are trained so, and those of the judge.
        folds: Trainings of the judge.
        wanted: Synthetic images.
        num_inference_steps: Steps of each.
    """
    channels = training.model_kwargs.get("channels")
    width = 4.0  # of networks that are not narrowed
    if isinstance(channels, list) and isinstance(first := next(iter(channels), None), int):
        width = first / 16
    pixels = (training.input_size or 224) ** 2 / 32**2
    network = _TRAIN_S * training.num_steps * training.batch_size * pixels * width**2
    drawing = _DRAW_S * wanted * num_inference_steps / 20
    return max(2.0, (_START_S + (3 + folds) * network + drawing) / 60)
