"""A judge made of the data alone: classifiers that were each trained without a fold of them.

An image of training is judged by the classifier that did not see it, any other by the mean of all.
The fold that a classifier was trained without chooses its checkpoint and its temperature, so that
no validation image has a part in it, and what it recognises of those is measured honestly.

N training images, F folds, B images in a batch, K classes.

Source: Chernozhukov et al. (2018), https://doi.org/10.1111/ectj.12097 (cross-fitting)
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fgds_core.errors import InputError
from fgds_core.files import files_below, read_json, relative_to, sha256_file, write_json
from fgds_core.generators.config import GeneratorConfig
from fgds_core.judge.config import JudgeConfig
from fgds_core.judge.kinds import Kind
from fgds_core.judge.record import JudgeRecord

if TYPE_CHECKING:
    from torch import Tensor

    from fgds_core.judge.kinds import See


FOLD = "fold.json"
"""What is written last and makes a classifier of a fold count as finished."""


def fold_folder(folder: Path, fold: int) -> Path:
    """Where the classifier lies that was trained without a fold.

    Args:
        folder: The judge's.
        fold: Its number, from 0.
    """
    return folder / f"fold-{fold}"


def folds_of(labels: Tensor, num_folds: int, seed: int) -> Tensor:
    """The fold of each training image: of equal size, and each class spread over all of them.

    Args:
        labels: Class of each image, [N].
        num_folds: Number of folds F.
        seed: Decides which images share a fold.

    Returns:
        Numbers from 0 to F - 1, [N].
    """
    import torch

    rng = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=rng)  # [N]
    by_class = shuffled[labels[shuffled].argsort(stable=True)]  # [N], a class after the other
    folds = torch.empty_like(labels)
    folds[by_class] = torch.arange(len(labels)) % num_folds
    return folds


def write_fold(folder: Path, fingerprint: str) -> None:
    """Writes what makes the classifier of a fold count as finished.

    Args:
        folder: Its own, with all that it is made of.
        fingerprint: Of everything that decides it.
    """
    files = {relative_to(file, folder): sha256_file(file) for file in files_below(folder)}
    files.pop(FOLD, None)
    write_json(folder / FOLD, {"fingerprint": fingerprint, "files": files})


def is_finished(folder: Path, fingerprint: str) -> bool:
    """Whether the classifier of a fold is there, whole, and made of this.

    Args:
        folder: Its own.
        fingerprint: Of everything that decides it.
    """
    try:
        value = read_json(folder / FOLD, "train it again")
        whole = all(sha256_file(folder / name) == sha for name, sha in value["files"].items())
        return bool(whole and value["fingerprint"] == fingerprint)
    except (InputError, OSError, KeyError, TypeError, AttributeError):
        return False


def remove_foreign_folds(folder: Path, num_folds: int) -> None:
    """Removes classifiers that the judge does not have.

    Args:
        folder: The judge's.
        num_folds: How many it has.
    """
    kept = {fold_folder(folder, fold) for fold in range(num_folds)}
    for path in folder.glob("fold-*"):
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)


def _check(config: JudgeConfig, generator: GeneratorConfig, names: Sequence[str] | None) -> None:
    """Needs nothing but the data."""


def _who(
    config: JudgeConfig,
    generator: GeneratorConfig,
    class_names: Sequence[str],
    groups: Sequence[str],
) -> JudgeRecord:
    return JudgeRecord(config.kind, None, tuple(class_names), num_folds=config.folds)


def _load(folder: Path, record: JudgeRecord, device: str) -> See:
    import torch

    from fgds_core.classify.network import load_classifier
    from fgds_core.judge.classifier import probabilities_of

    classifiers = [
        load_classifier(fold_folder(folder, fold), device) for fold in range(record.num_folds)
    ]

    def see(x: Tensor, without: Tensor | None) -> Tensor:
        if without is None:
            return torch.stack([probabilities_of(each, x) for each in classifiers]).mean(dim=0)
        found = x.new_empty(len(x), len(record.class_names))  # [B, K]
        for fold, each in enumerate(classifiers):
            chosen = (without == fold).to(x.device)  # [B]
            if chosen.any():
                found[chosen] = probabilities_of(each, x[chosen])
        return found

    return see


KIND = Kind(_check, _who, _load, is_trained=True)
