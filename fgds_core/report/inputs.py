"""What the page is made of: files that the other stages, and optional commands, left behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fgds_core.data.imbalance import BINS
from fgds_core.data.meta import Meta, read_meta
from fgds_core.errors import InputError
from fgds_core.files import read_csv, read_json
from fgds_core.report.gains import STAGES, Answers, read_answers, report_folders

INDEX_NAME = "_index.json"
"""Where a synthetic set says what made it; written by the stage synthesize."""

_ASSESS_AGAIN = "run the stage assess again"


@dataclass(frozen=True)
class Places:
    """Where the files lie.

    Attributes:
        prepared: Prepared data, for class names, counts, bins and digests.
        reports: What the other stages reported.
        real_reports: The reports of baseline and control.
        synthetic: The synthetic set, whose index says what made it.
    """

    prepared: Path
    reports: Path
    real_reports: Path
    synthetic: Path


@dataclass(frozen=True)
class ReportInputs:
    """What the page is made of.

    Attributes:
        meta: Class names, counts and bins of the prepared data.
        metrics: Metrics JSON of `baseline`, `control` and `final`.
        answers: Their answers on the test images.
        trade_offs: Rows of `tradeoff.csv` of each.
        curves: Accuracy on validation images by optimiser step, of each.
        synthetic: The content of `assess/measures.json`.
        criterion: Rows of `assess/criterion.csv`.
        pictures: The table of pictures, or None without them.
        copy_pairs: The table of suspected copies beside what they may copy, or None without any.
        excluded: The table of images that are left out of training, or None without any.
        made_by: What made the synthetic set, by its index; empty where that is not told.
        timing: The content of `timing.json`, or None.
        provenance: The content of `provenance.json`, or None.
        ability: The content of `ability.json`, what the generator check says; None without it.
        ability_before: The same of the generator before it learnt.
        worth: The content of `worth.json`, or None where it was not measured.
        params: All parameters by section.
    """

    meta: Meta
    metrics: Mapping[str, Mapping[str, Any]]
    answers: Answers
    trade_offs: Mapping[str, Sequence[Mapping[str, str]]]
    curves: Mapping[str, Sequence[tuple[int, float]]]
    synthetic: Mapping[str, Any]
    criterion: Sequence[Mapping[str, str]]
    pictures: Path | None
    copy_pairs: Path | None
    excluded: Path | None
    made_by: Mapping[str, Any]
    timing: Mapping[str, Any] | None
    provenance: Mapping[str, Any] | None
    ability: Mapping[str, Any] | None
    ability_before: Mapping[str, Any] | None
    worth: Mapping[str, Any] | None
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def real_counts(self) -> dict[str, int]:
        """Real training images of each class name."""
        return dict(zip(self.meta.class_names, self.meta.counts["train"], strict=True))

    @property
    def synthetic_counts(self) -> dict[str, int]:
        """Synthetic images of each class name."""
        of_class = self.synthetic["per_class"]
        return {name: of_class[name]["num_synthetic"] for name in self.meta.class_names}


def read_inputs(places: Places, params: Mapping[str, Any]) -> ReportInputs:
    """Collects what the other stages wrote.

    Args:
        places: Where it lies.
        params: All parameters by section.

    Raises:
        InputError: The report of a stage is missing or damaged, or something optional is damaged.
    """
    reports = places.reports
    meta = read_meta(places.prepared)
    folders = report_folders(reports, places.real_reports)
    return ReportInputs(
        meta=meta,
        metrics={
            name: read_json(folders[name] / f"{name}.json", f"run the stage {stage} again")
            for name, stage in STAGES.items()
        },
        answers=read_answers(folders, meta.class_names),
        trade_offs={
            name: read_csv(
                folders[name] / name / "tradeoff.csv",
                f"run the stage {stage} again",
                ["tau", "overall", *BINS],
            )
            for name, stage in STAGES.items()
        },
        curves={name: read_curve(folders[name] / name, stage) for name, stage in STAGES.items()},
        synthetic=_read_measures(reports / "assess" / "measures.json"),
        criterion=read_csv(
            reports / "assess" / "criterion.csv", _ASSESS_AGAIN, ["class", "criterion"]
        ),
        pictures=_there(reports / "assess" / "neighbours.parquet"),
        copy_pairs=_there(reports / "assess" / "copy_pairs.parquet"),
        excluded=_there(reports / "assess" / "excluded.parquet"),
        made_by=(_optional(places.synthetic / INDEX_NAME) or {}).get("made_by", {}),
        timing=_optional(reports / "timing.json"),
        provenance=_optional(reports / "provenance.json"),
        ability=_optional(reports / "ability.json"),
        ability_before=_optional(reports / "ability_before.json"),
        worth=_optional(reports / "worth.json"),
        params=params,
    )


def _there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _optional(path: Path) -> dict[str, Any] | None:
    """A JSON file that need not be there."""
    return read_json(path, "remove it") if path.is_file() else None


def _read_measures(path: Path) -> dict[str, Any]:
    found = read_json(path, _ASSESS_AGAIN)
    if "shown" not in found:
        raise InputError(f"{path} is of an earlier version; {_ASSESS_AGAIN}")
    return found


def read_curve(folder: Path, stage: str) -> list[tuple[int, float]]:
    """Accuracy on validation images over the steps of a training; empty where none was kept.

    Args:
        folder: The reports of a classifier.
        stage: The stage that writes them.

    Raises:
        InputError: The file is damaged.
    """
    path = folder / "live" / "plots" / "metrics" / "val_accuracy.tsv"
    if not path.is_file():
        return []
    try:
        lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
        return [(int(step), float(value)) for step, value in lines]
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is damaged ({error}); run the stage {stage} again") from error


def read_rows(path: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a table with pictures, a row group at a time.

    Args:
        path: The table.
        columns: Which are read; None reads all.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield from file.read_row_group(group, columns=columns).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is damaged ({error}); {_ASSESS_AGAIN}") from error


def read_pictures(path: Path, classes: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The rows of some classes in the table of pictures, in order; a row group at a time.

    Raises:
        InputError: It cannot be read.
    """
    wanted = pc.field("of").isin(list(classes))
    try:
        with pq.ParquetFile(path) as file:
            if "why" not in file.schema_arrow.names:
                raise InputError(f"{path} is of an earlier version; {_ASSESS_AGAIN}")
            for group in range(file.num_row_groups):
                some = file.read_row_group(group, columns=["of"])["of"]
                if pc.any(pc.is_in(some, pa.array(classes, pa.int64()))).as_py():
                    yield from file.read_row_group(group).filter(wanted).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is damaged ({error}); {_ASSESS_AGAIN}") from error
