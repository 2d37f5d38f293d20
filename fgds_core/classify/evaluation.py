"""What the reports, DVC and a paired comparison need of a trained classifier, as files.

`reports/<name>.json` and all of `reports/<name>/` but the curves come from here, in one form for
the baseline, the control and the final classifier.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fgds_core.classify.answers import ANSWERS_NAME, write_answers
from fgds_core.classify.groups import TrainCounts, train_counts
from fgds_core.classify.metrics import Evaluation, evaluate
from fgds_core.classify.network import Classifier
from fgds_core.classify.reliability import reliability
from fgds_core.classify.run import TrainingRun
from fgds_core.classify.tradeoff import TradeOff
from fgds_core.data.meta import Meta
from fgds_core.data.splits import RealImages, image_ids, read_prepared
from fgds_core.files import csv_text, write_json, write_text
from fgds_core.images.dataset import ImageDataset

ON_TEST = ("overall", "many", "medium", "few", "worst_group")
ON_VALIDATION = ("overall", "few", "worst_group")
"""What `dvc metrics` shows of the numbers on test and on validation images."""


def write_evaluation(
    classifier: Classifier,
    real: RealImages,
    seed: int,
    reports: Path,
    name: str,
    run: TrainingRun = TrainingRun(),
) -> dict[str, Any]:
    """Evaluates a finished classifier and writes what the reports need.

    Args:
        classifier: The classifier whose training is over.
        real: The images it was trained with and chosen by.
        seed: Recorded in the metrics.
        reports: Gets `<name>.json` (the Metrics JSON on test images), `<name>.metrics.json` (the
            few numbers that `dvc metrics` shows) and, in `<name>/`, `validation.json` (the
            Metrics JSON on validation images, for tuning) and `tradeoff.csv` (see `TradeOff`, on
            validation images too), `per_class.csv`, `confusion.csv`, `reliability.csv`,
            `predictions.parquet` and, where the images have groups, `per_group.csv`, all on test
            images.
        name: `baseline`, `control` or `final`.
        run: How its training ran; says how images are read.

    Returns:
        The Metrics JSON on the test images, which are read here once, at the end.
    """
    folder, meta = reports / name, real.meta
    common: dict[str, Any] = {
        "seed": seed,
        "workers": run.loader_workers,
        "train_counts": _train_counts(real.train),
    }
    trade_off = TradeOff(meta.counts["train"])
    val = evaluate(classifier, real.val, meta.bins, on_logits=trade_off.add, **common)
    write_json(folder / "validation.json", val.metrics)
    write_text(folder / "tradeoff.csv", csv_text(trade_off.rows(real.val, meta.bins)))
    images = read_prepared(real.folder, "test")
    test = evaluate(classifier, images, meta.bins, **common)
    write_text(folder / "per_class.csv", csv_text(per_class_rows(test, meta)))
    write_text(folder / "confusion.csv", csv_text(confusion_rows(test, images)))
    right = (test.predictions == images.labels).numpy()  # [N]
    write_text(
        folder / "reliability.csv", csv_text(reliability(test.confidence.double().numpy(), right))
    )
    columns = answer_columns(test, images, image_ids(real.folder, "test"))
    write_answers(folder / ANSWERS_NAME, columns, images.groups)
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


def answer_columns(
    evaluation: Evaluation, images: ImageDataset, ids: Sequence[str]
) -> dict[str, Sequence[Any]]:
    """The columns of `answers.COLUMNS`, a row an image in its order."""
    names = images.class_names
    return {
        "id": ids,
        "actual": [names[label] for label in images.labels.tolist()],
        "predicted": [names[label] for label in evaluation.predictions.tolist()],
        "confidence": evaluation.confidence.tolist(),
    }


def _train_counts(train: ImageDataset) -> TrainCounts | None:
    if train.groups is None:
        return None
    return train_counts(train.labels.tolist(), train.groups, train.class_names)


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
