"""Where the comparison of one data set lies: its parameters, its prepared images, its guides."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from fgds_core.classify.config import TrainConfig, final_recipe
from fgds_core.data.meta import META_NAME, Meta
from fgds_core.data.prepare import prepare
from fgds_core.data.splits import RealImages, read_prepared, read_real
from fgds_core.images.dataset import ImageDataset
from flows.cli.params import read_params
from tasks.identity.code import digest
from tasks.identity.drawing import is_guided

ROOT = Path(__file__).parent.parent.parent
RUNS = Path(".runs/controls")
UNUSED = "unused.parquet"
"""Beside the data's other files: real images of no split, for the arm of more real images."""

TRAINING = "fgds_core.classify.train"
"""The module whose imports are the code that trains."""

SEEDS_APART = 1000
"""Between the seeds of a committee of classifiers that are trained alike."""

Overrides = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """The comparison of one data set.

    Attributes:
        params_file: The parameters that arms differ from.
        folder: Holds all that is made.
    """

    params_file: Path
    folder: Path

    @classmethod
    def of(cls, data: str | None, folder: Path | None = None) -> "Place":
        """The place of the data of `params.yaml`, or of those of a recipe by its name."""
        file = ROOT / "params.yaml"
        if data is not None and data != Path(read_params(file)["data"].root).name:
            file = ROOT / "recipes" / f"{data.replace('-', '_')}.yaml"
            if not file.is_file():
                raise SystemExit(f"there is no recipe for the data {data}: {file.name}")
        name = Path(read_params(file)["data"].root).name
        return cls(file, (folder or RUNS) / name)

    @property
    def name(self) -> str:
        """Of the data."""
        return self.folder.name

    @cached_property
    def params(self) -> dict[str, Any]:
        """The parameters, a model a section."""
        return read_params(self.params_file)

    def changed(self, changes: Overrides) -> dict[str, Any]:
        """The parameters with some changed, checked like `params.yaml` itself.

        Args:
            changes: Values by dotted path, such as `synthesize.feedback`.
        """
        return read_params(self.params_file, overrides=dict(changes)) if changes else self.params

    @property
    def prepared(self) -> Path:
        """The real images."""
        return self._prepared("prepared", None)

    @property
    def real(self) -> RealImages:
        """The real images to learn from and to choose by."""
        return _read_real(self.prepared)

    @property
    def meta(self) -> Meta:
        """What is known of the real images."""
        return self.real.meta

    @property
    def has_unused(self) -> bool:
        """Whether there are real images of no split."""
        return (Path(self.params["data"].root) / UNUSED).is_file()

    @property
    def unused(self) -> ImageDataset:
        """Real images of no split."""
        return _read_split(self._prepared("unused", UNUSED), "train")

    @property
    def test(self) -> ImageDataset:
        """The test images."""
        return _read_split(self.prepared, "test")

    @property
    def recipe(self) -> TrainConfig:
        """How the control and the final classifier are trained."""
        return final_recipe(self.params["train_baseline"], self.params["retrain"].training)

    def guides(self, params: Mapping[str, Any], seed: int, num_seeds: int = 1) -> tuple[Path, ...]:
        """The folders of the classifiers that guide; those that are not there are trained.

        Args:
            params: Names them, `synthesize.guide`, and says how they are trained.
            seed: The first one's.
            num_seeds: So many of each, with seeds of their own, are a committee.
        """
        config = params["synthesize"]
        which = config.guide if is_guided(config) else "baseline"
        make = {"baseline": [self.guide], "control": [self.control]}
        make["both"] = make["baseline"] + make["control"]
        seeds = [seed + SEEDS_APART * number for number in range(num_seeds)]
        return tuple(each(params, its) for its in seeds for each in make[which])

    def control(self, params: Mapping[str, Any], seed: int) -> Path:
        """The folder of the control as a guide; it is trained if it is not there."""
        from fgds_core.classify.run import TrainingRun
        from fgds_core.stages.training import save_trained, train_after_trial

        config = final_recipe(params["train_baseline"], params["retrain"].training)
        made_of = ("control", digest(TRAINING), config.model_dump_json(), seed)
        folder, real = self.folder / "guides" / self.identity(*made_of), self.real
        with locked(folder):
            if not (folder / "config.json").is_file():
                classifier = train_after_trial(real.train, real.val, config, seed, TrainingRun())
                notes = {"training": config.model_dump(mode="json"), "seed": seed}
                save_trained(folder, classifier, real.meta, notes)
        return folder

    def guide(self, params: Mapping[str, Any], seed: int) -> Path:
        """The folder of the baseline; it is trained if it is not there."""
        from fgds_core.stages.train_baseline import fit_baseline

        config = params["train_baseline"]
        made_of = (digest(TRAINING), config.model_dump_json(), seed)
        folder = self.folder / "guides" / self.identity(*made_of)
        with locked(folder):
            if not (folder / "config.json").is_file():
                fit_baseline(self.real, config, seed, folder)
        return folder

    def identity(self, *made_of: object) -> str:
        """Short digest of what something is made of, and of the real images."""
        real = {split: self.meta.content_sha256[split] for split in ("train", "val")}
        text = json.dumps([*map(str, made_of), real], sort_keys=True)
        return sha256(text.encode()).hexdigest()[:20]

    def _prepared(self, name: str, train: str | None) -> Path:
        folder = self.folder / name
        with locked(folder):
            if not (folder / META_NAME).is_file():
                data, config = self.params["data"], self.params["prepare"]
                if train is not None:
                    data = data.model_copy(update={"train": train})
                    config = config.model_copy(update={"near_duplicates": "off"})
                prepare(data, config, folder)
        return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lets one process at a time make a folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDWR | os.O_CREAT)
    try:
        flock(descriptor, LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@cache
def _read_real(folder: Path) -> RealImages:
    return read_real(folder)


@cache
def _read_split(folder: Path, split: str) -> ImageDataset:
    return read_prepared(folder, split)
