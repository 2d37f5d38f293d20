"""A judge made of the data alone: classifiers that were each trained without a fold of them.

An image of training is judged by the classifier that did not see it, any other by the mean of all.

N training images, F folds, B images in a batch, K classes.

Source: Chernozhukov et al. (2018), https://doi.org/10.1111/ectj.12097 (cross-fitting)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fgds_core.generators.config import GeneratorConfig
from fgds_core.judge.config import JudgeConfig
from fgds_core.judge.kinds import Kind
from fgds_core.judge.record import JudgeRecord

if TYPE_CHECKING:
    from torch import Tensor

    from fgds_core.judge.kinds import See


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
