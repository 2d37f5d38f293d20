"""Kinds of judges: one module for each, loaded when it is chosen.

A module of a kind waits for no library of models, so that a folder can be checked without one.

B images, H x W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from fgds_core.generators.config import GeneratorConfig
from fgds_core.judge.config import JudgeConfig
from fgds_core.judge.record import JudgeRecord

if TYPE_CHECKING:
    from torch import Tensor

    See = Callable[[Tensor, Tensor | None], Tensor]
    """Images in [-1, 1], [B, 3, H, W], and for each the number of the classifier that was trained
    without it, [B] or None for images that none was trained with -> probabilities, [B, K]."""


@dataclass(frozen=True)
class Kind:
    """What one kind of judge does in its own way.

    Attributes:
        check: (section, generator, the data's classes or None where they are not known yet) ->
            refuses what cannot judge, before anything is computed.
        who: (section, generator, class names, groups) -> who it is, before it was asked.
        load: (folder of the record, record, device) -> what judges.
        is_trained: Whether it is trained on real training images of these data.
    """

    check: Callable[[JudgeConfig, GeneratorConfig, Sequence[str] | None], None]
    who: Callable[[JudgeConfig, GeneratorConfig, Sequence[str], Sequence[str]], JudgeRecord]
    load: Callable[[Path, JudgeRecord, str], See]
    is_trained: bool = False


KINDS = {
    "classifier": "fgds_core.judge.classifier",
    "clip": "fgds_core.judge.clip",
    "cross_fitted": "fgds_core.judge.cross_fitted",
}
"""The module of each kind by its name in the parameters; what it does is called `KIND`."""


def load_kind(name: str) -> Kind:
    """The kind of a name, one of `KINDS`."""
    kind: Kind = import_module(KINDS[name]).KIND
    return kind
