"""What a synthetic set is worth before anything is trained on it.

It is compared with real *validation* images, never with test images, and with all real images to
find copies, which is all that test images are looked at for. Three rules keep the numbers honest:

- The synthetic set holds mostly rare classes, the validation set does not. The overall measures
  therefore weight the real images so that their classes have the proportions of the synthetic
  ones (`class_weights`): they measure images and not class frequencies, and use all there are.
- Features that say nothing measure nothing: those of a classifier that only guesses, or that are
  the same for every image, give a reason in place of numbers.
- "Hard" is meaningful only beside real images: the baseline's entropy and loss on synthetic images
  are given with their values on real validation images of the same class.

N real images, M synthetic images, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fgds_core.assess.closest import nearest
from fgds_core.assess.config import AssessConfig
from fgds_core.assess.copies import near_copies
from fgds_core.assess.estimates import mean_of, rounded
from fgds_core.assess.guidance_health import (
    guidance_health,
    guidance_notes,
    guidance_warnings,
    health_of,
    health_table,
)
from fgds_core.assess.measures import MEASURES, Sample, measured
from fgds_core.assess.neighbours import Grid, Suspicion, Twin, neighbour_tables
from fgds_core.assess.observe import CRITERIA, Observed
from fgds_core.assess.originality import Suspects
from fgds_core.assess.tables import criterion_rows, per_class_rows
from fgds_core.assess.vectors import Array, Features
from fgds_core.assess.witness import doubts, testimony
from fgds_core.judge.judged import Seen, judged_table
from fgds_core.judge.record import JudgeRecord

UNLIKE = 0.1  # precision and coverage below which synthetic images look like something else
Z_CHANCE = 1.645  # normal quantile of a one-sided 95 % test
JUDGE_SAYS = ("label", "probability", "margin")
BLOCK_ROWS = 4096  # of features looked at at a time


@dataclass(frozen=True, eq=False)
class Assessment:
    """What the stage finds.

    Attributes:
        measures: The content of `assess/measures.json`.
        per_class: Rows of `per_class.csv`.
        criterion: Rows of `criterion.csv`.
        neighbours: Pictures for the report, made as they are asked for; see `neighbour_tables`.
        judged: What the judge sees in each image, as `judged_table`; None without a judge.
        guidance: What guidance did to each image, as `health_table`.
    """

    measures: dict[str, Any]
    per_class: list[dict[str, Any]]
    criterion: list[dict[str, Any]]
    neighbours: Iterable[pa.Table]
    judged: pa.Table | None
    guidance: pa.Table


def measure_synthetic(
    synthetic: Observed,
    rows: pa.Table,
    *,
    train: Observed,
    val: Observed,
    feature_space: str,
    bins: Mapping[str, str],
    judge: JudgeRecord | None = None,
    copied: Suspects | None = None,
    filled: Sequence[str] = (),
    twin: Twin = lambda label, index, seed: None,
    config: AssessConfig,
    seed: int,
) -> Assessment:
    """Measures a synthetic set, overall and per class.

    Args:
        synthetic: The synthetic images: what baseline and, where there is one, judge say of them.
        rows: Their columns of `shards.synthetic_schema` without the images, in the same order,
            and what was noted of the steps of guidance, if it was.
        train: Real training images, searched for copies.
        val: Real validation images, what the synthetic ones should look like, and what the
            baseline says of them.
        feature_space: Name of the features; those of `classifier` are the baseline's.
        bins: Shot bin of each class name.
        judge: Who the judge is and what it recognises; None where none was asked.
        copied: The images that may be copies; None where none were looked for.
        filled: Classes that real images fill: no copies are looked for among these.
        twin: The file of an image that was drawn without feedback from the same seed.
        config: What is measured, and how.
        seed: Seed of the subsets and resamples.
    """
    class_names = synthetic.images.class_names
    labels, val_labels = synthetic.labels, val.labels  # [M], [N]
    by_class, val_by_class = (rows_by_class(y, len(class_names)) for y in (labels, val_labels))
    weights = class_weights(labels, val_labels)  # [N]
    notes = guidance_notes(rows)
    health = health_of(
        notes, synthetic.answers["loss"], labels, val.answers["loss"], val_labels
    )  # [M]
    meaningless = no_meaning(
        {"synthetic": synthetic.features, "val": val.features, "train": train.features},
        val.answers["predicted"] if feature_space == "classifier" else None,
        val_labels,
        len(class_names),
    )
    answers = {name: synthetic.answers[name] for name in CRITERIA}  # [M] each
    answers["copy"] = near_copies(
        nearest(synthetic.features, train.features, 1)[0][:, 0],
        labels,
        nearest(val.features, train.features, 1)[0][:, 0],
        val_labels,
        weights,
        config.min_images,
    )
    is_filled = np.isin(labels, [class_names.index(name) for name in filled])  # [M]
    answers["copy"][is_filled] = np.nan
    if (judge_label := synthetic.answers.get("judge_label")) is not None:
        answers["agreement"] = (judge_label == labels).astype(np.float64)

    def measure(
        chosen: NDArray[np.int64], real: NDArray[np.int64], weights: Array | None, name: str
    ) -> dict[str, Any]:
        """The measures of chosen synthetic images beside chosen real ones; chance by the name."""
        sample = Sample(
            val.features.take(real),
            synthetic.features.take(chosen),
            weights,
            {answer: values[chosen] for answer, values in answers.items()},
            config,
            np.random.default_rng([seed, *name.encode()]),
        )
        return measured(sample, feature_space, meaningless)

    counting = np.flatnonzero(weights > 0)  # real images of classes that have synthetic ones
    unequal = None if len(set(weights[counting].tolist())) <= 1 else weights[counting]
    measures = measure(np.flatnonzero(np.isin(labels, val_labels)), counting, unequal, "")
    measures["guidance"] = guidance_health(notes, health, np.arange(len(labels)))
    measures["num_synthetic"] = len(labels)
    measures["feature_space"] = {"name": feature_space, "num_features": val.features.width}
    measures["real_images"] = (
        "validation images, weighted to the class proportions of the synthetic set"
    )
    measures["seed"] = seed
    if filled:
        measures["resampled"] = {name: len(by_class[class_names.index(name)]) for name in filled}
    measures["warnings"] = [
        *_warnings(measures, meaningless),
        *guidance_warnings(health, class_names, by_class),
    ]
    if copied is not None:
        measures["copies"] = copied.counts(np.arange(len(labels)))
        measures["warnings"] += copied.warnings()
    measures["shown"] = [
        {"name": name, "label": its.label, "hint": its.hint} for name, its in MEASURES.items()
    ]
    measures["per_class"] = {
        class_name: {
            **measure(chosen, of_class, None, class_name),
            "num_synthetic": len(chosen),
            **({"resampled": True} if class_name in filled else {}),
            "guidance": guidance_health(notes, health, chosen),
            **({} if copied is None else {"copies": copied.counts(chosen)}),
            "baseline": {
                name: {
                    "real": mean_of(val.answers[name][of_class]),
                    "synthetic": mean_of(synthetic.answers[name][chosen]),
                }
                for name in CRITERIA
            },
        }
        for class_name, chosen, of_class in zip(class_names, by_class, val_by_class, strict=True)
    }
    if judge is not None and judge_label is not None:
        measures["judge"], of_classes = testimony(judge, judge_label, by_class)
        measures["warnings"] += doubts(of_classes)
        for class_name, heard in of_classes.items():
            measures["per_class"][class_name]["judge"] = heard
    measures = rounded(measures)
    return Assessment(
        measures=measures,
        per_class=per_class_rows(measures, bins, train.images),
        criterion=criterion_rows(class_names, notes, synthetic, val, by_class, val_by_class),
        neighbours=neighbour_tables(
            synthetic,
            train,
            rows,
            by_class,
            Grid(config.grid_images, config.grid_neighbours),
            _suspicion(synthetic, copied),
            twin,
        ),
        judged=None
        if judge_label is None
        else judged_table(
            class_names,
            labels,
            rows["index"].to_numpy(),
            Seen(*(synthetic.answers[f"judge_{name}"] for name in JUDGE_SAYS)),
        ),
        guidance=health_table(class_names, labels, rows["index"].to_numpy(), notes, health),
    )


def _suspicion(synthetic: Observed, copied: Suspects | None) -> Suspicion:
    """What makes synthetic images worth a look: what the judge says, and which may be copies."""
    label, score = (synthetic.answers.get(f"judge_{name}") for name in ("label", "probability"))
    if label is not None and score is not None:
        score = np.where(label == synthetic.labels, score, -score)  # surely something else: worst
    return Suspicion(label, score, None if copied is None else copied.ratio)


def headline(measures: Mapping[str, Any]) -> dict[str, float | None]:
    """The values of the overall measures and the number of images; None where there is none."""

    def value(name: str) -> float | None:
        entry = measures[name]
        return None if entry is None else entry["value"]

    return {
        **{name: value(name) for name in MEASURES},
        "num_synthetic": measures["num_synthetic"],
    }


def shown_by_dvc(measures: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a set that a person compares in `dvc metrics`; those without value not."""
    values = {name: headline(measures)[name] for name in ("fid", "label_agreement")}
    return {name: round(value, 4) for name, value in values.items() if value is not None}


def rows_by_class(labels: NDArray[np.int64], num_classes: int) -> list[NDArray[np.int64]]:
    """The rows of each class, in their order.

    Args:
        labels: Class of each row, [N].
        num_classes: Number of classes K.
    """
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=num_classes)
    return np.split(order, np.cumsum(counts)[:-1])


def class_weights(synthetic: NDArray[np.int64], real: NDArray[np.int64]) -> Array:
    """Weights of real images that give their classes the proportions of the synthetic ones.

    Args:
        synthetic: Labels of the synthetic images, [M].
        real: Labels of the real images, [N].

    Returns:
        Synthetic images to each real one of its class, [N]; 0 for a class without any.
    """
    num_classes = 1 + int(max(synthetic.max(initial=0), real.max(initial=0)))
    wanted = np.bincount(synthetic, minlength=num_classes).astype(np.float64)  # [K]
    there = np.bincount(real, minlength=num_classes)  # [K]
    weights: Array = (wanted / np.maximum(there, 1))[real]  # [N]
    return weights


def no_meaning(
    features: Mapping[str, Features],
    predicted: NDArray[np.int64] | None,
    labels: NDArray[np.int64],
    num_classes: int,
) -> str | None:
    """Says why features cannot tell images apart; None if nothing speaks against them.

    Args:
        features: Of the sets by name, those of validation images among them as `val`.
        predicted: Classes that the network of the features sees in validation images, [N]; None
            if it is no classifier of these classes.
        labels: The classes of the validation images, [N].
        num_classes: Number of classes K.
    """
    for name, values in features.items():
        if not all(bool(x.isfinite().all()) for _, x in values.blocks(BLOCK_ROWS)):
            return f"features of {name} images are not finite; choose other assess.features"
    if _all_the_same(features["val"]):
        return "the features are the same for every image; choose other assess.features"
    if predicted is None or not len(labels):
        return None
    # The mean recall of guesses is chance, whichever classes are guessed how often
    there = np.bincount(labels, minlength=num_classes)  # [K]
    hits = np.bincount(labels[predicted == labels], minlength=num_classes)  # [K]
    guessed = np.bincount(predicted, minlength=num_classes) / len(labels)  # [K]
    known = there > 0  # [K]
    recall = float((hits[known] / there[known]).mean())
    chance = float(guessed[known].mean())
    variance = (guessed * (1 - guessed))[known] / there[known]
    if recall > chance + Z_CHANCE * np.sqrt(variance.sum()) / known.sum():
        return None
    return (
        f"the baseline guesses: its mean recall on {len(labels)} validation images is"
        f" {recall:.3f}, that of guesses {chance:.3f}; features of such a classifier mean nothing,"
        " train it longer or set assess.features to clip or inception"
    )


def _all_the_same(features: Features) -> bool:
    """Whether no feature differs between images by more than rounding."""
    if len(features) < 2:
        return False
    blocks = ((x.amin(dim=0), x.amax(dim=0)) for _, x in features.blocks(BLOCK_ROWS))  # [D] each
    low, high = next(blocks)
    for lower, higher in blocks:
        low, high = low.minimum(lower), high.maximum(higher)
    largest = max(float(low.abs().max()), float(high.abs().max()))
    return float((high - low).max()) <= 1e-6 * max(1e-6, largest)


def _warnings(measures: Mapping[str, Any], meaningless: str | None) -> list[str]:
    """What a person has to know before the numbers are believed, or the images used."""
    if meaningless is not None:
        return [meaningless]
    precision, coverage = (measures[name]["value"] for name in ("precision", "coverage"))
    if precision is None or max(precision, coverage) >= UNLIKE:
        return []
    return [
        f"hardly any synthetic image looks like a real one (precision {precision:.2f}, coverage"
        f" {coverage:.2f}): look at the samples, can the generator draw these classes?"
    ]
