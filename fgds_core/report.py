"""The result as one self-contained HTML page, a small table and a CSV file.

The page needs no network and no other file. The same inputs give the same bytes; only the stage
times, where there are any, differ between runs.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fgds_core.config.report import ReportConfig
from fgds_core.errors import InputError
from fgds_core.files import write_text
from fgds_core.images import decode_picture, png_bytes
from fgds_core.splits import Meta, read_meta
from fgds_core.summary import Row, accuracies

TEMPLATE = "report.html.j2"
BINS = ("many", "medium", "few")
THUMBNAIL = 96  # pixels; larger pictures are shrunk to keep the page small
LEFT_OUT = ("compute", "store")  # sections that change no result

# (key in the Metrics JSON, label, whether more is better)
HEADLINE = (
    ("overall", "Overall accuracy", True),
    ("many", "Many-shot", True),
    ("medium", "Medium-shot", True),
    ("few", "Few-shot", True),
    ("worst_group", "Worst group", True),
    ("macro_f1", "Macro F1", True),
    ("ece", "Calibration error", False),
)
# (key in assess/measures.json, label, what to know about it)
QUALITY = (
    ("fid", "FID", "lower is closer to real"),
    ("kid", "KID", "lower is closer to real"),
    ("precision", "Precision", "share that looks real"),
    ("recall", "Recall", "share of real images within reach"),
    ("density", "Density", "1 is as dense as real"),
    ("coverage", "Coverage", "share of real neighbourhoods reached"),
    ("copy_rate", "Near copies", "0.01 is what real images have"),
    ("label_agreement", "Label agreement", "the judge sees the intended class"),
)


@dataclass(frozen=True)
class ReportInputs:
    """What the page is made of.

    Attributes:
        meta: Class names, counts and bins of the prepared data.
        baseline: Metrics JSON of the baseline, and `per_class`.
        control: The same of the control.
        final: The same after retraining.
        synthetic: The content of `assess/measures.json`.
        baseline_predictions: (actual, predicted) class names and their count, on test images.
        final_predictions: The same after retraining.
        criterion: Rows of `assess/criterion.csv`.
        neighbours: Rows of `assess/neighbours.parquet`; empty without a sample grid.
        timing: The content of `timing.json`, or None.
        params: All parameters by section.
    """

    meta: Meta
    baseline: Mapping[str, Any]
    control: Mapping[str, Any]
    final: Mapping[str, Any]
    synthetic: Mapping[str, Any]
    baseline_predictions: Counter[tuple[str, str]]
    final_predictions: Counter[tuple[str, str]]
    criterion: Sequence[Mapping[str, str]]
    neighbours: Sequence[Mapping[str, Any]]
    timing: Mapping[str, Any] | None
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """One number before and after, fractions or None; `change` is None unless both are there."""

    key: str
    label: str
    before: float | None
    after: float | None
    more_is_better: bool = True

    @property
    def change(self) -> float | None:
        """After minus before."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def verdict(self) -> str:
        """`gain`, `loss` or `same`: what the change means, to a tenth of a point."""
        if self.change is None or abs(self.change) < 0.0005:
            return "same"
        return "gain" if (self.change > 0) == self.more_is_better else "loss"


def write_report(
    prepared: Path, reports: Path, params: Mapping[str, Any], config: ReportConfig
) -> Path:
    """The stage in one call: writes `index.html` and `summary.csv` into `reports`.

    Args:
        prepared: Prepared data, for class names, counts and bins.
        reports: Folder with what the other stages reported.
        params: All parameters by section, shown as a table.
        config: How much the page shows.

    Returns:
        The path of the page.

    Raises:
        InputError: If the report of another stage is missing or damaged.
    """
    inputs = read_inputs(prepared, reports, params)
    write_text(reports / "summary.csv", summary_csv(inputs.baseline, inputs.control, inputs.final))
    write_text(reports / "index.html", page(inputs, config))
    return reports / "index.html"


def read_inputs(prepared: Path, reports: Path, params: Mapping[str, Any]) -> ReportInputs:
    """Collects what the other stages wrote; see `write_report`."""
    neighbours = reports / "assess" / "neighbours.parquet"
    timing = reports / "timing.json"
    return ReportInputs(
        meta=read_meta(prepared),
        baseline=_read_metrics(reports, "baseline", "train_baseline"),
        control=_read_metrics(reports, "control", "train_control"),
        final=_read_metrics(reports, "final", "retrain"),
        synthetic=_read_json(reports / "assess" / "measures.json", "assess"),
        baseline_predictions=_read_predictions(reports / "baseline", "train_baseline"),
        final_predictions=_read_predictions(reports / "final", "retrain"),
        criterion=_read_csv(reports / "assess" / "criterion.csv", "assess"),
        neighbours=_read_pictures(neighbours) if neighbours.is_file() else [],
        timing=_read_json(timing, "report") if timing.is_file() else None,
        params=params,
    )


def compare(baseline: Mapping[str, Any], final: Mapping[str, Any]) -> list[Comparison]:
    """The headline numbers of two Metrics JSONs; absent bins have None."""
    return [
        Comparison(key, label, baseline.get(key), final.get(key), more_is_better)
        for key, label, more_is_better in HEADLINE
    ]


def gain_table(rows: Sequence[Row]) -> str:
    """The table for the end of a run: accuracies in percent, gains over the control in points.

    Args:
        rows: Of `summary.csv`.
    """
    widths = {"imbalanced": 12, "control": 9, "final": 8, "gain": 8, "95 % interval": 16}
    widths["images"] = 9
    lines = [f"{'test accuracy, %':<16}" + "".join(f"{k:>{w}}" for k, w in widths.items())]
    lines += [
        f"{name:<16}" + "".join(f"{cells[k]:>{w}}" for k, w in widths.items())
        for name, cells in accuracies(rows)
    ]
    return "\n".join(lines)


def summary_csv(
    baseline: Mapping[str, Any], control: Mapping[str, Any], final: Mapping[str, Any]
) -> str:
    """The headline numbers as CSV, fractions; `gain` is final minus control."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("bin", "imbalanced", "control", "final", "gain", "low", "high", "num_images")
    writer.writerow(columns)
    for before, row in zip(compare(baseline, final), compare(control, final), strict=True):
        values = (before.before, row.before, row.after, row.change)
        cells = ["" if v is None else round(v, 6) for v in values]
        writer.writerow([row.key, *cells, "", "", ""])
    return text.getvalue()


def page(inputs: ReportInputs, config: ReportConfig) -> str:
    """Renders the page."""
    meta = inputs.meta
    counts = dict(zip(meta.class_names, meta.counts["train"], strict=True))
    rare_first = sorted(meta.class_names, key=lambda name: (counts[name], name))
    shown = rare_first[: config.max_classes]
    per_class = inputs.synthetic["per_class"]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "signed": _signed, "number": _number}
    return environment.get_template(TEMPLATE).render(
        headline=[
            row
            for row in compare(inputs.baseline, inputs.final)
            if row.key != "worst_group" or row.before is not None
        ],
        num_classes_in={
            name: sum(meta.bins[class_name] == name for class_name in meta.class_names)
            for name in BINS
        },
        meta=meta,
        counts=counts,
        num_train=sum(counts.values()),
        num_test=inputs.final["num_images"],
        num_synthetic=inputs.synthetic["num_synthetic"],
        seed=inputs.final["seed"],
        shown=shown,
        classes={
            name: Comparison(
                name,
                name,
                inputs.baseline["per_class"][name]["recall"],
                inputs.final["per_class"][name]["recall"],
            )
            for name in shown
        },
        synthetic_counts={name: per_class[name]["num_synthetic"] for name in shown},
        confusion=_confusion(inputs, shown),
        samples=_samples(inputs, shown, config),
        criterion=_criterion(inputs, shown),
        guidance=inputs.synthetic["guidance"],
        quality=QUALITY,
        synthetic=inputs.synthetic,
        stages=_stages(inputs.timing),
        timing=inputs.timing,
        params=[
            (section, list(_flat(value)))
            for section, value in sorted(inputs.params.items())
            if section not in LEFT_OUT
        ],
    )


def _confusion(inputs: ReportInputs, shown: Sequence[str]) -> list[dict[str, Any]]:
    """Before, after and difference: shares of each actual class, [shown, shown] each."""

    def shares(predictions: Counter[tuple[str, str]]) -> list[list[float]]:
        totals: Counter[str] = Counter()
        for (actual, _), count in predictions.items():
            totals[actual] += count
        return [[predictions[a, p] / max(totals[a], 1) for p in shown] for a in shown]

    before, after = shares(inputs.baseline_predictions), shares(inputs.final_predictions)
    difference = [
        [y - x for x, y in zip(row_before, row_after, strict=True)]
        for row_before, row_after in zip(before, after, strict=True)
    ]
    return [
        {"title": "Before", "signed": False, "shares": before},
        {"title": "After", "signed": False, "shares": after},
        {"title": "Change", "signed": True, "shares": difference},
    ]


def _samples(
    inputs: ReportInputs, shown: Sequence[str], config: ReportConfig
) -> dict[str, list[dict[str, Any]]]:
    """For each shown class its synthetic images, each with what it came from and is near to."""
    index = {name: k for k, name in enumerate(inputs.meta.class_names)}
    samples: dict[str, list[dict[str, Any]]] = {}
    for name in shown:
        items: dict[int, dict[str, Any]] = {}
        for row in inputs.neighbours:
            if row["of"] != index[name] or row["item"] >= config.images_per_class:
                continue
            item = items.setdefault(
                row["item"], {"synthetic": None, "conditioning": None, "real": []}
            )
            if row["role"] == "real":
                if row["rank"] < config.neighbours_per_image:
                    picture = {
                        "source": _data_uri(row["image"]["bytes"]),
                        "class_name": inputs.meta.class_names[row["label"]],
                        "distance": row["distance"],
                    }
                    item["real"].append(picture)
            else:
                item[row["role"]] = _data_uri(row["image"]["bytes"])
        if items:
            samples[name] = [items[number] for number in sorted(items)]
    return samples


def _criterion(inputs: ReportInputs, shown: Sequence[str]) -> list[dict[str, Any]]:
    """The baseline's entropy per class on real and synthetic images, and the guided criterion."""
    found = {(row["class"], row["criterion"], row["source"]): row for row in inputs.criterion}
    rows = []
    for name in shown:
        entry: dict[str, Any] = {"class_name": name}
        for key, criterion, source in (
            ("real", "entropy", "real"),
            ("synthetic", "entropy", "synthetic"),
            ("first", "feedback", "synthetic first"),
            ("final", "feedback", "synthetic final"),
        ):
            row = found.get((name, criterion, source))
            numbers = {k: float(row[k]) for k in ("mean", "q25", "q75") if row[k]} if row else {}
            entry[key] = numbers or None
        rows.append(entry)
    return rows


def _stages(timing: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    if timing is None:
        return []
    stages = timing.get("stages", {})
    longest = max((times["total_s"] for times in stages.values()), default=0) or 1
    return [
        {
            "name": name,
            **times,
            "share": times["total_s"] / longest,
            "work_share": times["work_s"] / longest,
        }
        for name, times in stages.items()
    ]


def _flat(value: object, prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested parameters as (dotted key, JSON value)."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _data_uri(picture: bytes) -> str:
    """A picture inside the page: as it is when small, else a thumbnail."""
    image = decode_picture(picture)
    if max(image.size) > THUMBNAIL:
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=85)
        return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode()


def _percent(value: float | None, digits: int = 1) -> str:
    return "\N{EN DASH}" if value is None else f"{100 * value:.{digits}f}"


def _signed(value: float | None, digits: int = 1) -> str:
    """A change in points with its sign; a change that rounds to nothing has none."""
    if value is None:
        return "\N{EN DASH}"
    text = f"{100 * value:+.{digits}f}"
    if float(text) == 0:
        return text[1:]
    return text.replace("-", "\N{MINUS SIGN}")


def _number(value: float | None) -> str:
    """Three significant digits, without an exponent where it can be read without."""
    if value is None:
        return "\N{EN DASH}"
    if value == 0 or 0.001 <= abs(value) < 1000:
        digits = 3 if abs(value) < 1 else 2 if abs(value) < 100 else 0
        return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return f"{value:.2g}".replace("-", "\N{MINUS SIGN}")


def _read_json(path: Path, stage: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; run the stage {stage}") from None
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); run the stage {stage} again") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} is damaged (not a JSON object); run the stage {stage} again")
    return value


def _read_metrics(reports: Path, name: str, stage: str) -> dict[str, Any]:
    rows = _read_csv(reports / name / "per_class.csv", stage)
    per_class = {
        row["class"]: {"recall": float(row["recall"]) if row["recall"] else None} for row in rows
    }
    return _read_json(reports / f"{name}.json", stage) | {"per_class": per_class}


def _read_csv(path: Path, stage: str) -> list[dict[str, str]]:
    if not path.is_file():
        raise InputError(f"{path} does not exist; run the stage {stage}")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _read_predictions(folder: Path, stage: str) -> Counter[tuple[str, str]]:
    rows = _read_csv(folder / "predictions.csv", stage)
    try:
        return Counter((row["actual"], row["predicted"]) for row in rows)
    except KeyError as error:
        raise InputError(
            f"{folder / 'predictions.csv'} lacks the column {error}; run the stage {stage} again"
        ) from error


def _read_pictures(path: Path) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is damaged ({error}); run the stage assess again") from error
    return rows
