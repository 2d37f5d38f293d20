"""What the other stages would have left behind for the report, made from numbers of no run."""

from itertools import cycle, islice

import torch

from fgds_core.assess.left_out import left_out_schema
from fgds_core.assess.neighbours import neighbour_schema
from fgds_core.assess.originality import pairs_schema
from fgds_core.classify.answers import ANSWERS_NAME, write_answers
from fgds_core.classify.groups import grouped, rows, train_counts
from fgds_core.classify.metrics import measure
from fgds_core.data.imbalance import long_tailed_counts, shot_bins
from fgds_core.data.meta import Meta, write_meta
from fgds_core.files import csv_text, write_json, write_text
from fgds_core.images.formats import PNG
from fgds_core.images.pixels import encode
from fgds_core.images.table import image_table, write_images
from fgds_core.report.config import ReportConfig
from fgds_core.report.inputs import Places

GARMENTS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
REASONS = ("first", "first,worst", "first", "first", "worst", "best")
DISTINCT = 2000
CONFIG = ReportConfig(max_classes=12, images_per_class=3, neighbours_per_image=3)
PARAMS = {
    "seed": 0,
    "synthesize": {"feedback": "entropy", "feedback_scale": 0.02, "judge": None},
    "generator": {"path": "assets/tiny-unclip", "prompts": ["a photo of a {class} <now>"]},
    "compute": {"workers": 7},
    "store": {"address": "s3://secret"},
}


def make_workspace(
    folder,
    class_names=GARMENTS,
    counts=None,
    *,
    judge=True,
    timing=True,
    grid=True,
    size=28,
    num_test=50,
    groups=None,
    guided=True,
    sources=True,
    evidence=False,
    shown=REASONS,
    lifts=(0.0, 0.1, 0.4),
):
    """Writes what the other stages would have written, and answers where it lies.

    `lifts` is what baseline, control and final add to the recall of few-shot classes; a lift of
    None is a classifier that guesses. With `evidence` there is what a generator check, a search
    for copies, twins without feedback, notes on steps and checks by a judge leave. `shown` is why
    each synthetic picture of a class is.
    """
    g = torch.Generator().manual_seed(0)
    prepared, reports = folder / "prepared", folder / "reports"
    counts = counts or long_tailed_counts(1000, 100, len(class_names))
    bins = dict(zip(class_names, shot_bins(counts), strict=True))
    of_split = {"train": counts, "val": [100] * len(counts), "test": [num_test] * len(counts)}
    write_meta(
        prepared,
        Meta(
            class_names=tuple(class_names),
            image_size=size,
            counts={name: tuple(split) for name, split in of_split.items()},
            bins=bins,
            groups=groups,
            duplicates=dict.fromkeys(of_split, 0),
            content_sha256=dict.fromkeys(of_split, "0" * 64),
        ),
    )
    num_classes = len(counts)
    labels = torch.arange(num_classes).repeat_interleave(num_test)  # [N]
    names = None if groups is None else [groups[i % len(groups)] for i in range(len(labels))]
    rare = torch.tensor([bins[name] == "few" for name in class_names])[labels]
    easy = 0.25 + 0.6 * torch.tensor(counts)[labels] / max(counts)
    luck = torch.rand(len(labels), generator=g)  # one image is hard for all classifiers
    for name, lift in zip(("baseline", "control", "final"), lifts, strict=True):
        if lift is None:
            predicted = torch.randint(num_classes, labels.shape, generator=g)
        else:
            right = luck + 0.1 * torch.randn(labels.shape, generator=g) < easy + lift * rare
            predicted = torch.where(right, labels, (labels + 1) % num_classes)
        confidence = torch.full(labels.shape, 0.6)
        cells = None
        if names is not None:
            of_train = train_counts(labels.tolist(), names, class_names)
            cells = grouped(labels.tolist(), names, class_names, of_train)
            per_group = rows(cells.hits((predicted == labels).numpy()), cells)
            write_text(reports / name / "per_group.csv", csv_text(per_group))
        metrics = measure(confidence, predicted, labels, class_names, bins, cells, seed=0)
        write_json(reports / f"{name}.json", metrics)
        write_answers(
            reports / name / ANSWERS_NAME,
            {
                "id": [f"{row}.png" for row in range(len(labels))],
                "actual": [class_names[k] for k in labels.tolist()],
                "predicted": [class_names[k] for k in predicted.tolist()],
                "confidence": confidence.tolist(),
            },
            names,
        )
        curve = "".join(f"{step}\t{0.2 + step / 500}\n" for step in (100, 200, 300))
        place = reports / name / "live" / "plots" / "metrics"
        write_text(place / "val_accuracy.tsv", f"step\tval_accuracy\n{curve}")
        write_text(reports / name / "tradeoff.csv", csv_text(_trade_off(lift or 0, bins)))
    _write_assessment(reports, class_names, counts, judge=judge, guided=guided, evidence=evidence)
    if evidence:
        _write_evidence(folder, class_names, size, g)
    if grid:  # True, or the numbers of the classes that have pictures
        of = range(len(class_names)) if grid is True else grid
        _write_grid(
            reports, class_names, of, size, g, reasons=shown, sources=sources, twins=evidence
        )
    if timing:
        stages = {
            name: {"total_s": total, "work_s": 0.8 * total}
            for name, total in zip(
                ("prepare", "train_baseline", "synthesize", "assess", "retrain"),
                (9.0, 80.2, 230.5, 30.1, 95.0),
                strict=True,
            )
        }
        stages["synthesize"]["per_image_s"] = 0.16
        write_json(
            reports / "timing.json", {"stages": stages, "total_s": 450.6, "peak_rss_gb": 1.9}
        )
    return Places(prepared, reports, reports, folder / "synthetic")


def _trade_off(lift, bins):
    return [
        {"tau": tau, "overall": 0.7}
        | {"many": 0.9 - tau / 5 if "many" in bins.values() else None}
        | {"medium": 0.8 if "medium" in bins.values() else None}
        | {"few": 0.2 + lift + tau / 5 if "few" in bins.values() else None}
        for tau in (0.0, 0.5, 1.0, 1.5, 2.0)
    ]


def _write_evidence(folder, class_names, size, g):
    """Of every class an image that the judge has left out, and of the first a copy."""
    reports, names = folder / "reports", list(class_names)
    noise = torch.rand(len(names), 3, size, size, generator=g) * 2 - 1
    write_json(
        reports / "ability.json",
        {
            "check_images": 8,
            "generator": "assets/tiny-unclip",
            "cannot_draw": "keep",
            "fingerprint": "f" * 64,
            "classes": [
                {
                    "name": name,
                    "can_draw": None if k == 1 else k != 2,
                    "doubtful": k == 2,
                    "reasons": {"wrong label": "the judge sees it in 1 of 8"} if k == 2 else {},
                    "remarks": ["there are 3 real images"] if k == 1 else [],
                    "num_images": 8,
                    "num_real": 3 if k == 1 else 20,
                    "num_validation": 3,
                    "far": {"clip": 2, "pixels": 1},
                    "variety": {"clip": 1.31, "pixels": 1.1},
                    "seen": {name: 1 if k == 2 else 8, **({names[0]: 7} if k == 2 else {})},
                    "recall": 0.9,
                }
                for k, name in enumerate(names)
            ],
            "groups": [],
        },
    )
    away = {
        "index": [5] * len(names),
        "by": ["judge"] * len(names),
        "reason": [f"the judge sees {names[0]} (0.9{k % 10})" for k in range(len(names))],
    }
    labels = list(range(len(names)))
    schema = left_out_schema(names)
    table = image_table(noise, labels, names, away, schema=schema)
    write_images(reports / "assess" / "excluded.parquet", table)
    write_json(
        folder / "synthetic" / "_index.json",
        {
            "made_by": {
                "vetting": {
                    "judge": "j" * 64,
                    "min_agreement": 0.9,
                    "max_redraws": 2,
                    "again": [{"wanted": [1] * len(names), "feedback_scale": 0.01}],
                }
            }
        },
    )
    said = {"index": 3, "split": "test", "reference": 41, "conditioning": False}
    said |= {"way": "part", "orientation": "mirrored", "distance": 0.02, "ratio": 0.1}
    said |= {"threshold": 0.4, "pair": 0}
    pair = {key: [value] * 2 for key, value in said.items()} | {"role": ["synthetic", "real"]}
    table = image_table(noise[:2], [0, 1], names, pair, schema=pairs_schema(names))
    write_images(reports / "assess" / "copy_pairs.parquet", table)


def _write_assessment(reports, class_names, counts, *, judge, guided, evidence):
    def entry(value):
        return {
            "value": value,
            "low": value * 0.9,
            "high": value * 1.1,
            "num_real": 588,
            "num_synthetic": 1163,
            "feature_space": "clip",
        }

    def measures(few):
        found = {
            "fid": entry(0.0312),
            "kid": entry(0.00041),
            "precision": entry(0.86),
            "recall": entry(0.71),
            "density": entry(1.04),
            "coverage": entry(0.79),
            "copy_rate": entry(0.013),
            "label_agreement": entry(0.91) if judge else None,
        }
        if few:
            found["fid"] = {
                **entry(0.0),
                "value": None,
                "low": None,
                "high": None,
                "reason": "needs 500 real and 500 synthetic images, there are 100 and 180",
            }
        return found

    guidance = {
        "feedback": ["entropy"],
        "criterion_first": 0.31,
        "criterion_last": 0.62,
        "criterion_final": 0.58,
        "guided_steps": 9.7,
        "skipped_steps": 0.3,
        "nonfinite_steps": 0,
        "redrawn_images": 0,
    }
    found = {
        "num_suspected": 1,
        "conditioning": 0,
        "expected": 0.4,
        "num_real": 500,
        "num_alarms": 2,
        "thresholds": {"part": 0.4},
    }
    copies = {"copies": {"train": found | {"num_suspected": 0}, "test": found}}
    of_class = {}
    if evidence:
        guidance |= {"share_of_pushes": 0.97, "criterion_rise": 0.31}
        guidance |= {"criterion_by_step": [0.31, 0.4, 0.62], "gradient_by_step": [2.0, 1.5, 0.8]}
        guidance["images"] = {"pushed": 90, "left alone": 0, "not finite": 0, "ran away": 3}
        of_class = {"guidance": dict(guidance)}
    if not guided:
        guidance |= {"feedback": ["none"], "guided_steps": 0.0}
        guidance |= dict.fromkeys(("criterion_first", "criterion_last", "criterion_final"))
    write_json(
        reports / "assess" / "measures.json",
        {
            **measures(few=False),
            **(copies if evidence else {}),
            "guidance": guidance,
            "num_synthetic": 1163,
            "feature_space": {"name": "clip", "num_features": 64},
            "shown": [
                {"name": name, "label": f"the {name}", "hint": "what it is"}
                for name in measures(few=False)
            ],
            "per_class": {
                name: {**measures(few=True), **of_class, "num_synthetic": max(0, 200 - count)}
                for name, count in zip(class_names, counts, strict=True)
            },
        },
    )
    rows = []
    for k, name in enumerate(class_names):
        for criterion, source, mean in (
            ("entropy", "real", 0.3 + 0.07 * (k % 10)),
            ("entropy", "synthetic", 0.25 + 0.06 * (k % 10) if counts[k] < 200 else None),
            ("feedback", "synthetic first", 0.2 if guided and counts[k] < 200 else None),
            ("feedback", "synthetic final", 0.5 if guided and counts[k] < 200 else None),
        ):
            spread = {} if mean is None else {"q25": 0.5 * mean, "q75": 1.4 * mean}
            rows.append(
                {
                    "class": name,
                    "criterion": criterion,
                    "source": source,
                    "num_images": 0 if mean is None else 100,
                    "mean": mean,
                    "q25": spread.get("q25"),
                    "q75": spread.get("q75"),
                }
            )
    write_text(reports / "assess" / "criterion.csv", csv_text(rows))


def _write_grid(reports, class_names, shown, size, g, *, reasons, sources, twins):
    """Synthetic images of some classes, and what stands beside them; of many some look alike."""
    schema = neighbour_schema(class_names)
    labels, rows = [], []

    def add(k, role, **values):
        labels.append((k + 1) % len(class_names) if values.get("rank") == 2 else k)
        rows.append({"of": k, "role": role, "rank": 0} | values)

    for k in shown:
        for rank in (0, 1):
            add(k, "class", rank=rank)
        for item, why in enumerate(reasons):
            wrong = why.endswith("worst")
            row = {"item": item, "why": why, "index": item if item < 4 else 10 * item}
            row |= {"seed": 2**62 + item, "prompt": "a <b>photo</b>", "feedback": "entropy"}
            row |= {"criterion_first": 0.25, "criterion_final": 0.5, "guided_steps": 9}
            row |= {"skipped_steps": 1, "nonfinite_steps": 0}
            row |= {"judge_label": (k + wrong) % len(class_names), "judge_score": 0.5}
            if twins:
                row |= {"criterion_by_step": "0.25 0.4 0.5", "gradient_by_step": "2 1.5 0.8"}
            add(k, "synthetic", **row)
            if twins and item < 2:
                add(k, "unguided", item=item)
            if sources:
                add(k, "conditioning", item=item)
            for rank in range(4):
                add(k, "real", item=item, rank=rank, distance=0.1 * (rank + 1))
    columns = {
        name: [row.get(name) for row in rows]
        for name in schema.names
        if name not in ("image", "label")
    }
    centre = torch.linspace(-1, 1, len(class_names))[torch.tensor(columns["of"][:DISTINCT])]
    ramp = torch.linspace(-1, 1, size)
    x = 0.5 * centre[:, None, None, None] + 0.5 * ramp[None, None, :, None]
    x = (x * ramp[None, None, None, :]).expand(-1, 3, -1, -1)
    x = (x + 0.1 * torch.randn(x.shape, generator=g)).clamp(-1, 1)
    files = list(islice(cycle(encode(x, PNG)), len(labels)))
    table = image_table(files, labels, class_names, columns, schema=schema)
    write_images(reports / "assess" / "neighbours.parquet", table)
