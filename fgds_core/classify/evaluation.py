"""What the reports, DVC and a paired comparison need of a trained classifier, as files.

`reports/<name>.json` and all of `reports/<name>/` but the curves come from here, in one form for
the baseline, the control and the final classifier.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fgds_core.classify.metrics import Evaluation, evaluate
from fgds_core.classify.network import Classifier
from fgds_core.classify.run import TrainingRun
from fgds_core.data.meta import Meta
from fgds_core.data.splits import read_prepared
from fgds_core.files import csv_text, write_json, write_text
from fgds_core.images.dataset import ImageDataset

ON_TEST = ("overall", "many", "medium", "few", "worst_group")
ON_VALIDATION = ("overall", "few", "worst_group")
"""What `dvc metrics` shows of the numbers on test and on validation images."""


def write_evaluation(
    classifier: Classifier,
    prepared: Path,
    meta: Meta,
    seed: int,
    reports: Path,
    name: str,
    run: TrainingRun = TrainingRun(),
) -> dict[str, Any]:
    """Evaluates a finished classifier and writes what the reports need.

    Args:
        classifier: The classifier whose training is over.
        prepared: The output of the stage prepare.
        meta: Its meta data: the bins and training counts.
        seed: Recorded in the metrics.
        reports: Gets `<name>.json` (the Metrics JSON on test images), `<name>.metrics.json` (the
            few numbers that `dvc metrics` shows) and, in `<name>/`, `validation.json` (the
            Metrics JSON on validation images, for tuning), `per_class.csv`, `confusion.csv`,
            `predictions.csv` and, where the images have groups, `per_group.csv`, all on test
            images.
        name: `baseline`, `control` or `final`.
        run: How its training ran; says how images are read.

    Returns:
        The Metrics JSON on the test images, which are read here once, at the end.
    """
    folder = reports / name
    workers = run.loader_workers
    images = read_prepared(prepared, "val")
    val = evaluate(classifier, images, meta.bins, seed=seed, workers=workers)
    write_json(folder / "validation.json", val.metrics)
    images = read_prepared(prepared, "test")
    test = evaluate(classifier, images, meta.bins, seed=seed, workers=workers)
    write_text(folder / "per_class.csv", csv_text(per_class_rows(test, meta)))
    write_text(folder / "confusion.csv", csv_text(confusion_rows(test, images)))
    write_text(folder / "predictions.csv", csv_text(prediction_rows(test, images)))
    if test.per_group is not None:
        write_text(folder / "per_group.csv", csv_text(test.per_group))
    write_json(reports / f"{name}.metrics.json", shown_by_dvc(test.metrics, val.metrics, name))
    write_json(reports / f"{name}.json", test.metrics)
    return dict(test.metrics)


def shown_by_dvc(
    test: Mapping[str, Any], validation: Mapping[str, Any], name: str
) -> dict[str, float]:
    """The numbers of a classifier that a person compares in `dvc metrics` and `dvc exp show`.

    Validation numbers are those of the final classifier, by which a run is tuned; their names
    begin with `val_`. What the data does not have, such as an empty bin, is left out.

    Args:
        test: Metrics JSON on test images.
        validation: Metrics JSON on validation images.
        name: `baseline`, `control` or `final`.
    """
    shown = {key: test[key] for key in ON_TEST}
    if name == "final":
        shown |= {f"val_{key}": validation[key] for key in ON_VALIDATION}
    return {key: round(value, 4) for key, value in shown.items() if value is not None}


def per_class_rows(evaluation: Evaluation, meta: Meta) -> list[dict[str, Any]]:
    """`class, bin, recall, num_images, num_train` of each class; no recall without images."""
    return [
        {
            "class": row["class"],
            "bin": meta.bins[row["class"]],
            "recall": row["recall"],
            "num_images": row["num_images"],
            "num_train": num_train,
        }
        for row, num_train in zip(evaluation.per_class, meta.counts["train"], strict=True)
    ]


def prediction_rows(evaluation: Evaluation, images: ImageDataset) -> list[dict[str, Any]]:
    """`actual, predicted, confidence` of each image in its order, and `group` where there are."""
    confidence = evaluation.confidence.tolist()  # [N]
    rows: list[dict[str, Any]] = [
        {
            "actual": images.class_names[actual],
            "predicted": images.class_names[predicted],
            "confidence": f"{sure:.6f}",
        }
        for actual, predicted, sure in zip(
            images.labels.tolist(), evaluation.predictions.tolist(), confidence, strict=True
        )
    ]
    if images.groups is not None:
        for row, group in zip(rows, images.groups, strict=True):
            row["group"] = group
    return rows


def confusion_rows(evaluation: Evaluation, images: ImageDataset) -> list[dict[str, Any]]:
    """`actual, predicted, share, num_images` of each pair that occurs, and of the diagonal.

    `share` is the fraction of the actual class's images; on the diagonal it is the recall. In
    names, `&lt;` stands for the character that opens a tag: `dvc plots` writes them into the
    script of its page as they are, and its template puts the character back there.
    """
    names = [name.replace("<", "&lt;") for name in images.class_names]
    labels = images.labels.tolist()
    pairs = Counter(zip(labels, evaluation.predictions.tolist(), strict=True))
    totals = Counter(labels)
    pairs.update(dict.fromkeys(((label, label) for label in totals), 0))  # recalls of 0 as well
    return [
        {
            "actual": names[actual],
            "predicted": names[predicted],
            "share": round(count / totals[actual], 6),
            "num_images": count,
        }
        for (actual, predicted), count in sorted(pairs.items())
    ]
