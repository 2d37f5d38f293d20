"""The measures as tables with a row for each class, or for each class and criterion.

N real images, M synthetic images, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fgds_core.assess.estimates import mean_of, rounded
from fgds_core.assess.guidance_health import CRITERION, GuidanceNotes
from fgds_core.assess.measures import MEASURES
from fgds_core.assess.observe import CRITERIA, Observed
from fgds_core.images.dataset import ImageDataset

QUANTILES = (5, 25, 50, 75, 95)


def per_class_rows(
    found: Mapping[str, Any], bins: Mapping[str, str], train: ImageDataset
) -> list[dict[str, Any]]:
    """Rows of `per_class.csv`: the values of every measure, and of the baseline's criteria.

    Args:
        found: The content of `measures.json`.
        bins: Shot bin of each class name.
        train: The real training images.
    """
    counts = torch.bincount(train.labels, minlength=len(train.class_names)).tolist()
    return [
        {
            "class": name,
            "bin": bins[name],
            "num_real_train": count,
            "num_synthetic": measures["num_synthetic"],
            **{
                measure: None if measures[measure] is None else measures[measure]["value"]
                for measure in MEASURES
            },
            **{
                f"{criterion}_{source}": value
                for criterion, values in measures["baseline"].items()
                for source, value in values.items()
            },
        }
        for (name, measures), count in zip(found["per_class"].items(), counts, strict=True)
    ]


def criterion_rows(
    class_names: Sequence[str],
    notes: GuidanceNotes,
    synthetic: Observed,
    val: Observed,
    by_class: Sequence[NDArray[np.int64]],
    val_by_class: Sequence[NDArray[np.int64]],
) -> list[dict[str, Any]]:
    """Distribution of the criteria per class: of finished images, and while they were guided.

    Args:
        class_names: Name of each of the K classes.
        notes: What was noted of the synthetic images while they were drawn.
        synthetic: What the baseline says of them.
        val: What it says of validation images.
        by_class: Rows of the synthetic images of each class.
        val_by_class: The same of the validation images.
    """
    rows = []
    for class_name, of_class, val_of_class in zip(
        class_names, by_class, val_by_class, strict=True
    ):
        series = [
            *((name, "real", val.answers[name][val_of_class]) for name in CRITERIA),
            *((name, "synthetic", synthetic.answers[name][of_class]) for name in CRITERIA),
            *(
                ("feedback", f"synthetic {name.removeprefix('criterion_')}", values[of_class])
                for name in CRITERION
                for values in (notes.numbers[name],)
            ),
        ]
        for criterion, source, values in series:
            values = values[np.isfinite(values)].astype(np.float64)
            spread = np.percentile(values, QUANTILES).tolist() if len(values) else [None] * 5
            rows.append(
                {
                    "class": class_name,
                    "criterion": criterion,
                    "source": source,
                    "num_images": len(values),
                    "mean": mean_of(values),
                    **{f"q{q:02d}": v for q, v in zip(QUANTILES, spread, strict=True)},
                }
            )
    return [rounded(row) for row in rows]
