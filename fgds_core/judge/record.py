"""A judge at rest: `judge.json` says who it is and how often it is right, as far as is known.

K classes.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgds_core.errors import InputError
from fgds_core.files import read_json, write_json

RECORD = "judge.json"

AGAIN = "run the stage judge again"


@dataclass(frozen=True)
class Recognised:
    """How many real images of a class a judge was shown, and how many it took for that class."""

    num_images: int
    num_right: int

    @property
    def recall(self) -> float | None:
        """A fraction; None without an image."""
        return self.num_right / self.num_images if self.num_images else None


@dataclass(frozen=True)
class JudgeRecord:
    """Who judges, and what is known of it.

    Attributes:
        kind: A name of `kinds.KINDS`.
        path: Where its networks lie; None is beside the record.
        revision: Of a path that is an id on the hub.
        class_names: Name of each of the K classes.
        prompts: What is said of a class to a judge that reads.
        groups: What stands for {group} there, one after the other.
        num_folds: How many classifiers of its own it has; 0 is none.
        seed: That of its folds.
        validation: What it saw in real validation images of each class, [K]; empty before it was
            asked.
        training: The same of real training images, each seen by the classifier that was trained
            without it; empty where there is no such classifier.
        judged_by: sha256 of all that decides what it says.
        remarks: What it can tell and what not, in words.
    """

    kind: str
    path: str | None
    class_names: tuple[str, ...]
    revision: str | None = None
    prompts: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    num_folds: int = 0
    seed: int = 0
    validation: tuple[Recognised, ...] = ()
    training: tuple[Recognised, ...] = ()
    judged_by: str = ""
    remarks: tuple[str, ...] = ()


def composed(names: Sequence[str]) -> list[str]:
    """Names with each accented letter as one character, however a file system wrote it."""
    return [unicodedata.normalize("NFC", name) for name in names]


def write_record(folder: Path, record: JudgeRecord) -> None:
    """Writes `judge.json`, last of all that a judge consists of."""
    value = {
        "kind": record.kind,
        "path": record.path,
        "revision": record.revision,
        "class_names": list(record.class_names),
        "prompts": list(record.prompts),
        "groups": list(record.groups),
        "num_folds": record.num_folds,
        "seed": record.seed,
        "judged_by": record.judged_by,
        "remarks": list(record.remarks),
        "validation": _rows(record.class_names, record.validation),
        "training": _rows(record.class_names, record.training),
    }
    write_json(folder / RECORD, value)


def _rows(class_names: Sequence[str], recognised: Sequence[Recognised]) -> dict[str, Any]:
    """Class name -> what was seen of it; empty where nobody was asked."""
    if not recognised:
        return {}
    return {
        name: {
            "recall": each.recall,
            "num_images": each.num_images,
            "num_right": each.num_right,
        }
        for name, each in zip(class_names, recognised, strict=True)
    }


def read_record(folder: Path) -> JudgeRecord:
    """Reads `judge.json`.

    Raises:
        InputError: It is missing or damaged.
    """
    value = read_json(folder / RECORD, AGAIN)
    try:
        class_names = tuple(str(name) for name in value["class_names"])
        return JudgeRecord(
            kind=str(value["kind"]),
            path=value["path"],
            class_names=class_names,
            revision=value["revision"],
            prompts=tuple(value["prompts"]),
            groups=tuple(value["groups"]),
            num_folds=int(value["num_folds"]),
            seed=int(value["seed"]),
            validation=_recognised(class_names, value["validation"]),
            training=_recognised(class_names, value["training"]),
            judged_by=str(value["judged_by"]),
            remarks=tuple(value["remarks"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / RECORD} is damaged ({error!r}); {AGAIN}") from error


def _recognised(class_names: Sequence[str], rows: Mapping[str, Any]) -> tuple[Recognised, ...]:
    if not rows:
        return ()
    return tuple(
        Recognised(int(rows[name]["num_images"]), int(rows[name]["num_right"]))
        for name in class_names
    )
