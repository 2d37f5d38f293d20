"""The trainings that an estimate of worth rests on: planned, kept one by one, read again."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from fgds_core.classify.card import CONFIG
from fgds_core.classify.checkpoint import Checkpoint
from fgds_core.classify.config import RetrainConfig, TrainConfig, final_recipe
from fgds_core.classify.run import TrainingRun
from fgds_core.classify.train import read_training
from fgds_core.data.meta import META_NAME, read_meta
from fgds_core.data.splits import read_real
from fgds_core.errors import InputError, UnfinishedError
from fgds_core.files import hash_file, write_json
from fgds_core.processes import num_cores
from fgds_core.stages.worth import train_subsample
from fgds_core.synthesis.shards import read_index
from fgds_core.worth.estimate import BinWorth, estimate
from fgds_core.worth.resampling import Measured
from fgds_core.worth.subsamples import Subsample, planned
from fgds_core.worth.units import RARE, Units, units_of
from tasks.identity import code
from tasks.watch.progress import bar
from tasks.watch.timing import TIMING, read_timing
from tasks.workers.config import ComputeConfig
from tasks.workers.devices import num_loader_workers, use_device
from tasks.workers.fanout import run_each
from tasks.workers.pool import ProcessRunner
from tasks.workspace import RUNS, Workspace

KEPT = RUNS / "worth"
"""A file for each training, by its fingerprint: an estimate that was stopped goes on there."""

MORE = 1000
"""Further synthetic images whose worth is told."""

Answers = NDArray[np.bool_]


@dataclass(frozen=True)
class Setting:
    """All that decides what the trainings come to.

    Attributes:
        recipe: The final classifier's.
        retrain: How synthetic images are learnt from.
        inputs: Digests of the real images, of the synthetic set and of the code that trains.
        workspace: Where the images are; in no fingerprint.
    """

    recipe: TrainConfig
    retrain: RetrainConfig
    inputs: Mapping[str, str]
    workspace: Workspace

    def fingerprint(self, subsample: Subsample) -> str:
        """What a training is known by; synthetic images are no part of one that sees none."""
        how = self.retrain.model_dump(mode="json", exclude={"training"})
        inputs = dict(self.inputs)
        if not subsample.synthetic:
            how, inputs["synthetic"] = {}, ""
        made_of = [self.recipe.model_dump(mode="json"), how, inputs, asdict(subsample)]
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()

    def kept_at(self, subsample: Subsample) -> Path:
        """Where its answers are, once it was trained."""
        return KEPT / f"{self.fingerprint(subsample)}.json"


@dataclass(frozen=True)
class WorthPlan:
    """What is to be trained for an estimate, and what that takes.

    Attributes:
        setting: What decides the results.
        units: What real images are counted of.
        unit_of_image: The unit of each validation image, [V].
        num_synthetic: Images of the synthetic set.
        subsamples: All trainings.
        missing: Those that are not kept yet.
        seconds: Of one training; None where nothing was timed.
    """

    setting: Setting
    units: Units
    unit_of_image: NDArray[np.int64]
    num_synthetic: int
    subsamples: tuple[Subsample, ...]
    missing: tuple[Subsample, ...]
    seconds: float | None

    def minutes(self, jobs: int) -> float | None:
        """What the missing trainings take; None where nothing was timed."""
        rounds = -(-len(self.missing) // jobs)
        return None if self.seconds is None else rounds * self.seconds / 60


def read_worth_plan(
    seed: int, retrain: RetrainConfig, num_seeds: int, workspace: Workspace
) -> WorthPlan:
    """Plans the trainings of an estimate; reads labels and digests alone.

    Args:
        seed: Of the run.
        retrain: The final recipe, and how synthetic images are learnt from.
        num_seeds: Trainings for each share.
        workspace: Of a finished run.

    Raises:
        InputError: The run is not finished, or there is no curve to measure: no class is rare, or
            none has two images.
    """
    _check_finished(workspace)
    meta, index = read_meta(workspace.prepared), read_index(workspace.synthetic)
    if index.class_names != meta.class_names:
        raise InputError(
            f"{workspace.synthetic} has the classes {list(index.class_names)},"
            f" {workspace.prepared} has {list(meta.class_names)}; run the stage synthesize again"
        )
    real = read_real(workspace.prepared)
    units = units_of(real.train)
    unit_of_image = units.of(real.val)
    _check_rare(units, unit_of_image, workspace)
    setting = Setting(
        recipe=final_recipe(read_training(workspace.baseline), retrain.training),
        retrain=retrain,
        inputs={
            "train": meta.content_sha256["train"],
            "val": meta.content_sha256["val"],
            "synthetic": hash_file(workspace.synthetic_index, "sha256"),
            "code": code.digest("fgds_core.stages.worth"),
        },
        workspace=workspace,
    )
    subsamples = planned(seed, num_seeds)
    kept = {each: _read(setting, each, len(real.val)) for each in subsamples}
    return WorthPlan(
        setting=setting,
        units=units,
        unit_of_image=unit_of_image,
        num_synthetic=index.num_kept,
        subsamples=subsamples,
        missing=tuple(each for each in subsamples if kept[each] is None),
        seconds=_seconds([each for each in kept.values() if each is not None], setting.recipe),
    )


def _check_finished(workspace: Workspace) -> None:
    needed = (
        workspace.prepared / META_NAME,
        workspace.baseline / CONFIG,
        workspace.synthetic_index,
    )
    missing = [path for path in needed if not path.exists()]
    if missing:
        rounds = f" and its stages with --round {workspace.round}" if workspace.round > 1 else ""
        raise InputError(
            f"{missing[0]} is missing: worth is told of a finished run; finish it with"
            f" `dvc repro`{rounds}"
        )


def _check_rare(units: Units, unit_of_image: NDArray[np.int64], workspace: Workspace) -> None:
    what = "class" if units.keys[0][1] is None else "class in a group"
    rare = units.rare.tolist()
    if not rare:
        raise InputError(
            f"no {what} of {workspace.prepared} is rare, the smallest has"
            f" {min(units.counts):,} real training images: worth is told in images of those with"
            " 100 or fewer"
        )
    seen = set(unit_of_image.tolist())
    if not any(units.counts[place] > 1 and place in seen for place in rare):
        raise InputError(
            f"no rare {what} of {workspace.prepared} has two real training images and one for"
            " validation, so there is no curve to measure"
        )


@dataclass(frozen=True)
class _Kept:
    right: Answers  # [V]
    seconds: float


def _read(setting: Setting, subsample: Subsample, num_images: int) -> _Kept | None:
    """What is kept of a training; None if nothing is, or it is damaged."""
    try:
        value = json.loads(setting.kept_at(subsample).read_text(encoding="utf-8"))
        packed = np.frombuffer(bytes.fromhex(value["right"]), dtype=np.uint8)
        right = np.unpackbits(packed, count=num_images).astype(bool)
        whole = value["num_images"] == num_images and len(packed) == -(-num_images // 8)
        return _Kept(right, float(value["seconds"])) if whole else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _seconds(kept: list[_Kept], recipe: TrainConfig) -> float | None:
    """Of one training: of those that are kept, else of the run's own as its stages took them."""
    if kept:
        return fmean(each.seconds for each in kept)
    stages = read_timing(TIMING)["stages"]
    try:
        return float(stages["train_control"]["work_s"])
    except (LookupError, TypeError, ValueError):
        return None


def train_and_keep(subsample: Subsample, setting: Setting, compute: ComputeConfig) -> None:
    """Makes one training of an estimate and keeps its answers; a stopped one goes on.

    Args:
        subsample: What it sees.
        setting: What decides its result.
        compute: In no fingerprint.
    """
    began = time.monotonic()
    path = setting.kept_at(subsample)
    path.parent.mkdir(parents=True, exist_ok=True)
    key = setting.fingerprint(subsample)
    checkpoint = Checkpoint(path.with_suffix(".checkpoint"), key, compute.checkpoint_every_s)
    right = train_subsample(
        setting.workspace.prepared,
        setting.workspace.synthetic,
        setting.recipe,
        setting.retrain,
        subsample,
        TrainingRun(
            device=use_device(compute),
            loader_workers=num_loader_workers(compute),
            checkpoint=checkpoint,
            compile=compute.compile,
            channels_last=compute.channels_last,
        ),
    )
    kept = {
        **asdict(subsample),
        "num_images": len(right),
        "right": np.packbits(right).tobytes().hex(),
        "seconds": round(time.monotonic() - began, 2),
    }
    write_json(path, kept, indent=None)
    checkpoint.remove()


def train_missing(plan: WorthPlan, compute: ComputeConfig, jobs: int) -> None:
    """Makes the trainings that are not kept yet.

    Args:
        plan: From `read_worth_plan`.
        compute: Where they compute.
        jobs: How many at the same time, each with its share of the cores.

    Raises:
        UnfinishedError: Some failed; the others are kept.
    """
    if not plan.missing:
        return
    if jobs > 1:
        threads = max(1, (compute.threads or num_cores()) // jobs)
        compute = compute.model_copy(update={"threads": threads})
    training = task(name="train_subsample", cache_policy=NO_CACHE, persist_result=True)
    with bar("worth", len(plan.missing), "trainings", at_once=jobs) as advance:
        results = run_each(
            training(train_and_keep),
            {"subsample": plan.missing},
            partial(_runner, jobs),
            lambda subsample, outcome, remembered: advance(1),
            setting=plan.setting,
            compute=compute,
        )
    failed = [each for each in results if isinstance(each, Exception)]
    if failed:
        if isinstance(failed[0], InputError):
            raise failed[0]
        raise UnfinishedError(
            f"{len(failed)} of {len(results)} trainings failed, the first with: {failed[0]}; the"
            " same command makes them again, the others are kept"
        ) from failed[0]


def _runner(jobs: int) -> TaskRunner[Any]:
    return ThreadPoolTaskRunner(max_workers=1) if jobs == 1 else ProcessRunner(max_workers=jobs)


def worth_of(plan: WorthPlan, seed: int) -> dict[str, Any]:
    """The estimate, from the trainings that are kept.

    Args:
        plan: Of which nothing is missing.
        seed: Of the resamples.

    Returns:
        The content of `worth.json`, see docs/worth.md.
    """
    answers = []
    for each in plan.subsamples:
        kept = _read(plan.setting, each, len(plan.unit_of_image))
        assert kept is not None  # `train_missing` has kept it
        answers.append(kept.right)
    right = np.stack(answers)  # [T, V]
    bins: dict[str, Any] = {}
    found_units: list[dict[str, Any]] = []
    for name in RARE:
        places = _seen(plan, name)
        found = _of_bin(plan, right, places, seed) if places else None
        if found is None:
            continue
        counts = [plan.units.counts[place] for place in places]
        bins[name] = {
            "units": len(places),
            "real_per_unit": fmean(counts),
            **{key: asdict(getattr(found, key)) for key in _INTERVALS},
            "curve": {str(m): asdict(each) for m, each in found.curve.items()},
            "forms": found.forms,
        }
        found_units += [
            {
                "unit": plan.units.names[place],
                "bin": name,
                "real": plan.units.counts[place],
                "recall": recall,
                "doubling": asdict(gain),
            }
            for place, recall, gain in zip(places, found.recalls, found.doubling, strict=True)
        ]
    return {
        "unit": "class" if plan.units.keys[0][1] is None else "class in a group",
        "num_synthetic": plan.num_synthetic,
        "num_more": MORE,
        "num_validation": len(plan.unit_of_image),
        "num_trainings": len(plan.subsamples),
        "bins": bins,
        "units": sorted(found_units, key=lambda each: -(each["doubling"]["value"] or 0.0)),
    }


_INTERVALS = ("recall_real", "recall_synthetic", "worth", "more")


def _seen(plan: WorthPlan, name: str) -> list[int]:
    """Units of a bin that have validation images."""
    seen = set(plan.unit_of_image.tolist())
    return [i for i, each in enumerate(plan.units.bins) if each == name and i in seen]


def _of_bin(plan: WorthPlan, right: Answers, places: list[int], seed: int) -> BinWorth | None:
    inside = np.isin(plan.unit_of_image, places)
    place_of = {unit: place for place, unit in enumerate(places)}
    return estimate(
        Measured(
            subsamples=plan.subsamples,
            right=right[:, inside],
            unit_of_image=np.array([place_of[unit] for unit in plan.unit_of_image[inside]]),
            counts=tuple(plan.units.counts[place] for place in places),
        ),
        num_more=MORE / plan.num_synthetic,
        seed=seed,
    )
