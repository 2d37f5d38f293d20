"""An adapter at rest: what `adapter.json` says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fgds_core.errors import InputError
from fgds_core.files import read_json, write_json

RECORD = "adapter.json"

AGAIN = "run the stage adapt again"


@dataclass(frozen=True)
class Look:
    """A look at the held-out images.

    Attributes:
        step: After so many optimiser steps.
        training: Mean loss of the steps since the last look; None before the first step.
        held_out: Loss of held-out images, always at the same noise; None where none are held out.
    """

    step: int
    training: float | None
    held_out: float | None


@dataclass(frozen=True)
class Fitted:
    """What came of a training.

    Attributes:
        best_step: The step whose weights are kept.
        looks: At the held-out images.
    """

    best_step: int
    looks: tuple[Look, ...]


@dataclass(frozen=True)
class AdapterRecord:
    """What an adapter is.

    Attributes:
        enabled: Whether there is one; if not, nothing else is said.
        classes: Those it learnt, by name.
        words: Names that became words of the text encoders.
        method: What of the denoiser learnt, one of `METHODS`.
        generator: Path or id of the generator.
        made_by: Digests of what decides it: the training images of each class, the generator.
        num_learnt: Training images it learnt from.
        num_held_out: Training images it did not.
        denoiser: What came of its training; losses are mean squared errors of the prediction.
        decoder: The same of the decoder; losses are mean absolute errors of images in [-1, 1].
        remarks: What a person should know, in words.
    """

    enabled: bool
    classes: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    method: str | None = None
    generator: str | None = None
    made_by: Mapping[str, Any] = field(default_factory=dict)
    num_learnt: int = 0
    num_held_out: int = 0
    denoiser: Fitted | None = None
    decoder: Fitted | None = None
    remarks: tuple[str, ...] = ()


OFF = AdapterRecord(enabled=False)
"""What there is where nothing was to be learnt."""


def write_record(folder: Path, record: AdapterRecord) -> None:
    """Writes `adapter.json`, last of all that an adapter consists of."""
    write_json(folder / RECORD, asdict(record))


def read_record(folder: Path) -> AdapterRecord:
    """Reads `adapter.json`.

    Raises:
        InputError: It is missing or damaged.
    """
    value = read_json(folder / RECORD, AGAIN)
    try:
        return AdapterRecord(
            enabled=bool(value["enabled"]),
            classes=tuple(map(str, value["classes"])),
            words=tuple(map(str, value["words"])),
            method=value["method"],
            generator=value["generator"],
            made_by=dict(value["made_by"]),
            num_learnt=int(value["num_learnt"]),
            num_held_out=int(value["num_held_out"]),
            denoiser=_fitted(value["denoiser"]),
            decoder=_fitted(value["decoder"]),
            remarks=tuple(map(str, value["remarks"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / RECORD} is damaged ({error!r}); {AGAIN}") from error


def _fitted(value: Mapping[str, Any] | None) -> Fitted | None:
    if value is None:
        return None
    return Fitted(int(value["best_step"]), tuple(Look(**look) for look in value["looks"]))
