"""The pipeline at its smallest: pictures of a few pixels and the parameters that go with them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from ruamel.yaml import YAML

from fgds_core.generators.config import GeneratorConfig
from fgds_core.images.pixels import from_uint8
from fgds_core.images.table import image_table, write_images
from fgds_core.synthesis.config import SynthesizeConfig

ROOT = Path(__file__).parent.parent
CLASS_NAMES = ("cat", "dog", "owl")
COUNTS = {"train": (24, 12, 4), "validation": (6, 6, 6), "test": (6, 6, 6)}
SIZE = 16

# What differs from params.yaml: everything is as small as it can be.
MICRO = {
    "data": {"root": "assets/pictures", "train": "train.parquet"},
    "prepare": {"image_size": SIZE},
    "train_baseline": {
        "model": "resnet10t",
        "model_kwargs": {"stem_width": 8, "channels": [8, 8, 16, 16]},
        "pretrained": "none",
        "input_size": SIZE,
        "num_steps": 6,
        "batch_size": 8,
        "warmup_steps": 1,
        "eval_every": 3,
    },
    "judge": {"kind": "cross_fitted", "path": None, "folds": 2},
    "synthesize": {
        "target_per_class": 16,
        "images_per_part": 8,
        "rounds": 1,
        "copies": "keep",  # which tests of copies set otherwise
        "check_images": 0,  # random weights draw nothing that it would let pass
        "unguided_twins": 0,
        "num_inference_steps": 2,
        "feedback": "entropy",
        "feedback_scale": 0.05,
        "feedback_every": 1,
    },
    "assess": {
        "min_images_fid": 12,
        "min_images": 4,
        "fid_blocks": 2,
        "kid_subsets": 2,
        "kid_subset_size": 8,
        "nearest_k": 2,
        "bootstrap_samples": 2,
        "grid_images": 2,
        "grid_neighbours": 2,
    },
    "report": {"max_classes": 3, "images_per_class": 2, "neighbours_per_image": 2},
    "compute": {"device": "cpu", "threads": 1, "workers": 1, "batch_size": 4},
}


def generator_config(path: Path | str, **changes: object) -> GeneratorConfig:
    """The section `generator` for a plain Stable unCLIP folder, with changes."""
    values = {
        "kind": "stable-unclip",
        "path": str(path),
        "revision": None,
        "variant": None,
        "adapter": None,
        "prior": None,
        "tiny_decoder": None,
        "image_size": None,
        "prompts": ["a {class}"],
        "dtype": "float32",
    }
    return GeneratorConfig.model_validate(values | changes)


def synthesize_config(**changes: object) -> SynthesizeConfig:
    """The section `synthesize` for a handful of images under entropy feedback, with changes."""
    values = {
        "target_per_class": 9,
        "min_per_class": 0,
        "images_per_part": 4,
        "conditioning": "dual",
        "embedding_dropout": 0.4,
        "embedding_rescale": False,
        "noise_level": 0,
        "scheduler": "DDIMScheduler",
        "num_inference_steps": 3,
        "eta": 0.0,
        "guidance_scale": 2.0,
        "feedback": "entropy",
        "feedback_rule": "relative",
        "feedback_scale": 0.05,
        "feedback_decoder": "exact",
        "feedback_jacobian": True,
        "feedback_refresh": 1,
        "feedback_every": 2,
        "feedback_steps": None,
        "feedback_start": 0.0,
        "feedback_end": 1.0,
        "feedback_target": "none",
        "feedback_calibrated": False,
        "feedback_augment": False,
    }
    return SynthesizeConfig.model_validate(values | changes)


def write_pictures(folder: Path) -> None:
    """Noisy pictures whose brightness tells the class."""
    rng = torch.Generator().manual_seed(0)
    for split, counts in COUNTS.items():
        labels = [label for label, count in enumerate(counts) for _ in range(count)]
        brightness = torch.tensor([-0.6, 0.0, 0.6])[labels].view(-1, 1, 1, 1)
        noise = 0.3 * torch.randn(len(labels), 3, SIZE, SIZE, generator=rng)
        table = image_table((brightness + noise).clamp(-1, 1), labels, CLASS_NAMES)
        write_images(folder / f"{split}.parquet", table)


def random_images(num_images: int = 4, size: int = 8, seed: int = 0) -> torch.Tensor:
    """Noise, exactly as 8 bits can hold it, [num_images, 3, size, size]."""
    rng = torch.Generator().manual_seed(seed)
    shape = (num_images, 3, size, size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng)
    return from_uint8(pixels)


def set_params(folder: Path, changes: Mapping[str, Mapping[str, object]]) -> None:
    """Changes keys of the folder's params.yaml."""
    yaml = YAML()
    path = folder / "params.yaml"
    params = yaml.load(path.read_text())
    for section, values in changes.items():
        params[section].update(values)
    with path.open("w") as file:
        yaml.dump(params, file)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@contextmanager
def results_in(folder: Path) -> Iterator[None]:
    """Prefect keeps what it remembers in the folder."""
    from prefect.settings import PREFECT_RESULTS_LOCAL_STORAGE_PATH, temporary_settings

    with temporary_settings({PREFECT_RESULTS_LOCAL_STORAGE_PATH: folder / "results"}):
        yield
