"""What a synthetic set is worth before anything is trained on it.

It is compared with real *validation* images, never with test images, and with real training
images to find copies. Three rules keep the numbers honest:

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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from fgds_core.assess.config import AssessConfig
from fgds_core.assess.features import Extractor, FeatureSources, load_extractor, tower_of
from fgds_core.assess.fidelity import Array, Estimate, fid, kid, mean_interval, nearest, prdc
from fgds_core.assess.judge import Verdicts, judged_table, load_judge, verdict, write_judged
from fgds_core.classify.network import Classifier, load_classifier, predict
from fgds_core.data.meta import read_meta
from fgds_core.data.splits import read_prepared
from fgds_core.errors import InputError
from fgds_core.feedback.criteria import Seen
from fgds_core.feedback.criteria.entropy import entropy
from fgds_core.feedback.criteria.loss import loss
from fgds_core.files import csv_text, write_json, write_text
from fgds_core.generators.config import GeneratorConfig
from fgds_core.images.dataset import ImageDataset, gather
from fgds_core.images.formats import PNG
from fgds_core.images.pixels import encode, from_uint8
from fgds_core.images.table import image_table, write_images
from fgds_core.synthesis.shards import read_synthetic

MEASURES = ("fid", "kid", "precision", "recall", "density", "coverage", "copy_rate")
COPY_PERCENTILE = 1
QUANTILES = (5, 25, 50, 75, 95)
UNLIKE = 0.1  # precision and coverage below which synthetic images look like something else
Z_CHANCE = 1.645  # normal quantile of a one-sided 95 % test

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Assessment:
    """What the stage finds.

    Attributes:
        measures: The content of `assess/measures.json`.
        per_class: Rows of `per_class.csv`.
        criterion: Rows of `criterion.csv`.
        neighbours: Pictures for the report, as `image_table`; None without any.
        judged: What the judge sees in each image, as `judged_table`; None without a judge.
    """

    measures: dict[str, Any]
    per_class: list[dict[str, Any]]
    criterion: list[dict[str, Any]]
    neighbours: pa.Table | None
    judged: pa.Table | None


def assess(
    prepared: Path,
    synthetic: Path,
    baseline: Path,
    generator: GeneratorConfig,
    config: AssessConfig,
    seed: int,
    reports: Path,
    *,
    device: str = "cpu",
    batch_size: int = 64,
    advance: Callable[[int], None] = lambda num_images: None,
) -> dict[str, Any]:
    """The stage in one call: writes `synthetic.json` and the folder `assess` into `reports`.

    `assess/measures.json` holds everything that is known of a measure, `synthetic.json` the values
    alone, which people compare between runs.

    Args:
        prepared: Prepared data; train and val are read, test is not.
        synthetic: The synthetic set.
        baseline: Folder of the baseline classifier.
        generator: The generator whose CLIP tower may serve as feature space.
        config: What is measured, and how.
        seed: Seed of the subsets and resamples.
        reports: Folder of the reports.
        device: Where the networks compute.
        batch_size: Images a pass.
        advance: Called with the number of images done since the last call; the total is the number
            of training, validation and synthetic images.

    Returns:
        The content of `measures.json`.

    Raises:
        InputError: If an input is missing or damaged, or they do not fit each other.
    """
    meta = read_meta(prepared)
    images, table = read_synthetic(synthetic)
    if images.class_names != meta.class_names:
        raise InputError(
            f"{synthetic} has the classes {list(images.class_names)}, {prepared} has "
            f"{list(meta.class_names)}; run the stage synthesize again"
        )
    classifier = load_classifier(baseline, device)
    if classifier.class_names != meta.class_names:
        raise InputError(
            f"the classifier in {baseline} knows the classes {list(classifier.class_names)}, "
            f"{prepared} has {list(meta.class_names)}; run the stage train_baseline again"
        )
    judge = None
    if config.judge is not None:
        judge = load_judge(Path(config.judge), meta.class_names, device)
    weights = config.inception_weights
    sources = FeatureSources(
        tower=tower_of(generator),
        inception_weights=None if weights is None else Path(weights),
        classifier=baseline,
    )
    found = measure_synthetic(
        images,
        table,
        real_train=read_prepared(prepared, "train"),
        real_val=read_prepared(prepared, "val"),
        classifier=classifier,
        bins=meta.bins,
        config=config,
        extract=load_extractor(config.features, sources, device=device, batch_size=batch_size),
        judge=judge,
        seed=seed,
        advance=advance,
    )
    folder = reports / "assess"
    write_text(folder / "criterion.csv", csv_text(found.criterion))
    write_text(folder / "per_class.csv", csv_text(found.per_class))
    if found.neighbours is not None:
        write_images(folder / "neighbours.parquet", found.neighbours)
    if found.judged is not None:
        write_judged(folder / "judged.parquet", found.judged)
    write_json(folder / "measures.json", found.measures)
    write_json(reports / "synthetic.metrics.json", shown_by_dvc(found.measures))
    write_json(reports / "synthetic.json", headline(found.measures))
    return found.measures


def headline(measures: Mapping[str, Any]) -> dict[str, float | None]:
    """The values of the overall measures and the number of images; None where there is none."""

    def value(name: str) -> float | None:
        entry = measures[name]
        return None if entry is None else entry["value"]

    return {
        **{name: value(name) for name in (*MEASURES, "label_agreement")},
        "num_synthetic": measures["num_synthetic"],
    }


def shown_by_dvc(measures: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a set that a person compares in `dvc metrics`; those without value not."""
    values = {name: headline(measures)[name] for name in ("fid", "label_agreement")}
    return {name: round(value, 4) for name, value in values.items() if value is not None}


def measure_synthetic(
    synthetic: ImageDataset,
    table: pa.Table,
    *,
    real_train: ImageDataset,
    real_val: ImageDataset,
    classifier: Classifier,
    bins: Mapping[str, str],
    config: AssessConfig,
    extract: Extractor,
    seed: int,
    judge: Classifier | None = None,
    advance: Callable[[int], None] = lambda num_images: None,
) -> Assessment:
    """Measures a synthetic set, overall and per class.

    Args:
        synthetic: The synthetic images.
        table: Their table with the columns of `shards.synthetic_schema`, in the same order.
        real_train: Real training images, searched for copies.
        real_val: Real validation images, what the synthetic ones should look like.
        classifier: The baseline, whose entropy and loss say how hard images are.
        bins: Shot bin of each class name.
        config: What is measured, and how.
        extract: The feature space.
        seed: Seed of the subsets and resamples.
        judge: Says what it sees in the synthetic images; None is no judge.
        advance: Called with the number of images done since the last call.

    Raises:
        InputError: If there are no synthetic images.
    """
    if not len(synthetic):
        raise InputError(
            "there are no synthetic images to assess; raise synthesize.target_per_class above the "
            "real count of some class"
        )
    class_names = synthetic.class_names
    features = {
        "synthetic": extract(gather(synthetic), advance),  # [M, D]
        "val": extract(gather(real_val), advance),  # [N, D]
        "train": extract(gather(real_train), advance),
    }
    labels, val_labels = synthetic.labels.numpy(), real_val.labels.numpy()  # [M], [N]
    weights = class_weights(labels, val_labels)  # [N]
    logits_real, hard_real = _criteria(classifier, real_val)
    _, hard_synthetic = _criteria(classifier, synthetic)
    meaningless = no_meaning(
        features,
        logits_real.argmax(dim=-1).numpy() if extract.name == "classifier" else None,
        val_labels,
        len(class_names),
    )
    depth = max(config.grid_neighbours, 1)
    distances, neighbours = nearest(features["synthetic"], features["train"], depth)  # [M, depth]
    copies, judged = _copies(
        distances[:, 0],
        labels,
        nearest(features["val"], features["train"], 1)[0][:, 0],
        val_labels,
        weights,
        config.min_images,
    )  # [M], [M]
    verdicts = None if judge is None else _verdicts(judge, synthetic, extract.batch_size)
    agreement = None if verdicts is None else verdicts.labels == labels  # [M]

    def measure(chosen: NDArray[np.bool_], real: Array, name: str) -> dict[str, Any]:
        """Fidelity of the chosen synthetic images to real ones by weight; chance by the name."""
        rng = np.random.default_rng([seed, *name.encode()])
        x, y, num_real = features["val"], features["synthetic"][chosen], int((real > 0).sum())
        if meaningless is None:
            estimates = _fidelity(x, y, real, config, rng)
            estimates["copy_rate"] = _share(copies[chosen & judged], num_real, config, rng)
        else:
            refused = Estimate(None, None, None, num_real, len(y), reason=meaningless)
            estimates = dict.fromkeys(MEASURES, refused)
        measures: dict[str, Any] = {
            measure: _entry(estimate) | {"feature_space": extract.name}
            for measure, estimate in estimates.items()
        }
        measures["label_agreement"] = None
        if agreement is not None and chosen.any():
            measures["label_agreement"] = _entry(_share(agreement[chosen], 0, config, rng))
        return measures

    with_real = np.isin(labels, val_labels)  # [M]
    measures: dict[str, Any] = measure(with_real, weights, "")
    measures["guidance"] = _guidance(table, np.ones(len(labels), dtype=bool))
    measures["num_synthetic"] = len(synthetic)
    measures["feature_space"] = {"name": extract.name, "num_features": features["val"].shape[1]}
    measures["real_images"] = (
        "validation images, weighted to the class proportions of the synthetic set"
    )
    measures["seed"] = seed
    measures["warnings"] = _warnings(measures, meaningless)
    measures["per_class"] = {}
    for k, class_name in enumerate(class_names):
        chosen = labels == k  # [M]
        of_class = val_labels == k  # [N]
        measures["per_class"][class_name] = {
            **measure(chosen, of_class.astype(np.float64), class_name),
            "num_synthetic": int(chosen.sum()),
            "guidance": _guidance(table, chosen),
            "baseline": {
                name: {
                    "real": _mean(hard_real[name][of_class]),
                    "synthetic": _mean(hard_synthetic[name][chosen]),
                }
                for name in hard_real
            },
        }
    measures = rounded(measures)
    return Assessment(
        measures=measures,
        per_class=_per_class_rows(measures, bins, real_train),
        criterion=_criterion_rows(
            class_names, table, labels, val_labels, hard_synthetic, hard_real
        ),
        neighbours=_neighbour_table(synthetic, table, real_train, distances, neighbours, config),
        judged=None
        if verdicts is None
        else judged_table(class_names, labels, table["index"].to_numpy(), verdicts),
    )


def class_weights(synthetic: NDArray[np.int64], real: NDArray[np.int64]) -> Array:
    """Weights of real images that give their classes the proportions of the synthetic ones.

    Args:
        synthetic: Labels of the synthetic images, [M].
        real: Labels of the real images, [N].

    Returns:
        Synthetic images to each real one of its class, [N]; 0 for a class without any.
    """
    num_classes = 1 + max([*synthetic.tolist(), *real.tolist()], default=0)
    wanted = np.bincount(synthetic, minlength=num_classes).astype(np.float64)  # [K]
    there = np.bincount(real, minlength=num_classes)  # [K]
    weights: Array = (wanted / np.maximum(there, 1))[real]  # [N]
    return weights


def no_meaning(
    features: Mapping[str, Array],
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
        if not np.isfinite(values).all():
            return f"features of {name} images are not finite; choose other assess.features"
    val = features["val"]
    if len(val) > 1 and np.ptp(val, axis=0).max() <= 1e-6 * max(1e-6, np.abs(val).max()):
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


def rounded(value: T, digits: int = 6) -> T:
    """Rounds every float inside dicts and lists to significant digits; other values are kept."""
    result: Any = value
    if isinstance(value, Mapping):
        result = {key: rounded(item, digits) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        result = [rounded(item, digits) for item in value]
    elif isinstance(value, float):
        result = float(f"{value:.{digits}g}")
    return result  # type: ignore[no-any-return]


def _fidelity(
    real: Array,
    synthetic: Array,
    weights: Array,
    config: AssessConfig,
    rng: np.random.Generator,
) -> dict[str, Estimate]:
    real, weights = real[weights > 0], weights[weights > 0]
    unequal = None if np.ptp(weights) == 0 else weights
    return {
        "fid": fid(
            real,
            synthetic,
            min_images=config.min_images_fid,
            blocks=config.fid_blocks,
            rng=rng,
            weights=unequal,
        ),
        "kid": kid(
            real,
            synthetic,
            min_images=config.min_images,
            subsets=config.kid_subsets,
            subset_size=config.kid_subset_size,
            rng=rng,
            weights=unequal,
        ),
        **prdc(
            real,
            synthetic,
            nearest_k=config.nearest_k,
            min_images=config.min_images,
            bootstrap_samples=config.bootstrap_samples,
            rng=rng,
            weights=unequal,
        ),
    }


def _copies(
    to_train: Array,
    labels: NDArray[np.int64],
    val_to_train: Array,
    val_labels: NDArray[np.int64],
    weights: Array,
    min_images: int,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which synthetic images lie nearer to a training image than real images of their class do.

    Nearer means below the first percentile of the distances from validation images of the class to
    their nearest training image, so one in a hundred genuine images would count as a copy. Classes
    with too few validation images for a threshold of their own share that of all weighted ones.

    Args:
        to_train: Distance of each synthetic image to the nearest training image, [M].
        labels: Their classes, [M].
        val_to_train: The same distance of each validation image, [N].
        val_labels: Their classes, [N].
        weights: Of the validation images, in the class proportions of the synthetic ones, [N].
        min_images: Validation images a class needs for a threshold, or all of them together.

    Returns:
        Whether each synthetic image is a near copy, [M],
        and whether its class has a threshold, [M].
    """
    copies = np.zeros(len(labels), dtype=bool)
    judged = np.zeros(len(labels), dtype=bool)
    weighted = weights > 0  # [N]
    shared = None
    if weighted.sum() >= min_images:
        shared = np.percentile(
            val_to_train[weighted],
            COPY_PERCENTILE,
            weights=weights[weighted],
            method="inverted_cdf",
        )
    for k in np.unique(labels):
        of_class = val_to_train[val_labels == k]
        threshold = shared
        if len(of_class) >= min_images:
            threshold = np.percentile(of_class, COPY_PERCENTILE)
        if threshold is not None:
            copies[labels == k] = to_train[labels == k] < threshold
            judged[labels == k] = True
    return copies, judged


def _share(
    hits: NDArray[Any], num_real: int, config: AssessConfig, rng: np.random.Generator
) -> Estimate:
    """Share of hits among synthetic images [M] with its interval."""
    if len(hits) < config.min_images:
        reason = f"needs {config.min_images} images with an answer, there are {len(hits)}"
        return Estimate(None, None, None, num_real, len(hits), reason)
    interval = mean_interval(hits.astype(np.float64), config.bootstrap_samples, rng)
    return Estimate(*interval, num_real, len(hits))


@torch.inference_mode()
def _verdicts(judge: Classifier, images: ImageDataset, batch_size: int) -> Verdicts:
    said = [
        verdict(judge(x.to(judge.mean.device))) for x in torch.split(gather(images), batch_size)
    ]
    labels, probabilities = (torch.cat(part).cpu().numpy() for part in zip(*said, strict=True))
    return Verdicts(labels, probabilities)


def _criteria(classifier: Classifier, images: ImageDataset) -> tuple[Tensor, dict[str, Array]]:
    """Logits of the classifier [N, K], and its entropy and loss in nats, [N] each."""
    logits, features = predict(classifier, gather(images))  # [N, K], [N, D]
    seen = Seen(logits.float(), features.float())
    return seen.logits, {
        "entropy": entropy(seen, images.labels, None).numpy(),
        "loss": loss(seen, images.labels, None).numpy(),
    }


def _guidance(table: pa.Table, chosen: NDArray[np.bool_]) -> dict[str, Any]:
    """The criterion before and after guidance, and how many steps guided, of the chosen images."""
    rows = table.filter(pa.array(chosen))

    def mean(name: str) -> float | None:
        return _mean(np.array([v for v in rows[name].to_pylist() if v is not None]))

    return {
        "feedback": sorted(set(rows["feedback"].to_pylist())),
        "criterion_first": mean("criterion_first"),
        "criterion_last": mean("criterion_last"),
        "criterion_final": mean("criterion_final"),
        "guided_steps": mean("guided_steps"),
        "skipped_steps": mean("skipped_steps"),
        "nonfinite_steps": sum(rows["nonfinite_steps"].to_pylist()),
        "redrawn_images": sum(attempt != 0 for attempt in rows["attempt"].to_pylist()),
    }


def _per_class_rows(
    found: Mapping[str, Any], bins: Mapping[str, str], real_train: ImageDataset
) -> list[dict[str, Any]]:
    counts = torch.bincount(real_train.labels, minlength=len(real_train.class_names)).tolist()
    rows = []
    for (name, measures), count in zip(found["per_class"].items(), counts, strict=True):
        agreement = measures["label_agreement"]
        rows.append(
            {
                "class": name,
                "bin": bins[name],
                "num_real_train": count,
                "num_synthetic": measures["num_synthetic"],
                **{measure: measures[measure]["value"] for measure in MEASURES},
                "label_agreement": None if agreement is None else agreement["value"],
                **{
                    f"{criterion}_{source}": value
                    for criterion, values in measures["baseline"].items()
                    for source, value in values.items()
                },
            }
        )
    return rows


def _criterion_rows(
    class_names: Sequence[str],
    table: pa.Table,
    labels: NDArray[np.int64],
    val_labels: NDArray[np.int64],
    synthetic: Mapping[str, Array],
    real: Mapping[str, Array],
) -> list[dict[str, Any]]:
    """Distribution of the criteria per class: of finished images, and while they were guided."""
    guided = {
        name: np.array(table[f"criterion_{name}"].to_pylist(), dtype=np.float64)  # NaN for None
        for name in ("first", "last", "final")
    }  # [M] each
    rows = []
    for k, class_name in enumerate(class_names):
        of_class = labels == k
        series = [
            *((name, "real", real[name][val_labels == k]) for name in real),
            *((name, "synthetic", synthetic[name][of_class]) for name in synthetic),
            *(("feedback", f"synthetic {name}", guided[name][of_class]) for name in guided),
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
                    "mean": _mean(values),
                    **{f"q{q:02d}": v for q, v in zip(QUANTILES, spread, strict=True)},
                }
            )
    return [rounded(row) for row in rows]


def _neighbour_table(
    synthetic: ImageDataset,
    table: pa.Table,
    real_train: ImageDataset,
    distances: Array,
    neighbours: NDArray[np.int64],
    config: AssessConfig,
) -> pa.Table | None:
    """The first synthetic images of each class, each with what it was made from and is near to.

    Columns beside image and label: `item` (number of the synthetic image within its class), `of`
    (its class), `role` (synthetic, conditioning or real), `rank` (0, or the neighbour's place) and
    `distance` to the synthetic image in feature space (null for the other roles).
    """
    pictures: list[bytes] = []
    labels: list[int] = []
    extra: dict[str, list[Any]] = {
        "item": [],
        "of": [],
        "role": [],
        "rank": [],
        "distance": [],
    }

    def add(picture: bytes, label: int, *values: object) -> None:
        pictures.append(picture)
        labels.append(label)
        for column, value in zip(extra.values(), values, strict=True):
            column.append(value)

    def real_picture(row: int) -> bytes:
        return encode(from_uint8(real_train[row][None]), PNG)[0]

    conditioning = table["conditioning_id"].to_pylist()
    for k in range(len(synthetic.class_names)):
        own = torch.nonzero(real_train.labels == k).flatten().tolist()
        rows = torch.nonzero(synthetic.labels == k).flatten().tolist()[: config.grid_images]
        for item, row in enumerate(rows):
            add(synthetic.file(row), k, item, k, "synthetic", 0, None)
            if conditioning[row] is not None:
                add(real_picture(own[conditioning[row]]), k, item, k, "conditioning", 0, None)
            for rank, near in enumerate(neighbours[row, : config.grid_neighbours].tolist()):
                distance = rounded(float(distances[row, rank]))
                label = int(real_train.labels[near])
                add(real_picture(near), label, item, k, "real", rank, distance)
    if not pictures:
        return None
    return image_table(pictures, labels, synthetic.class_names, extra)


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


def _entry(estimate: Estimate) -> dict[str, Any]:
    """An estimate as JSON; `reason` without a value, `effective_real` where there are weights."""
    entry = asdict(estimate)
    return {
        key: value
        for key, value in entry.items()
        if value is not None or key not in ("reason", "effective_real")
    }


def _mean(values: NDArray[Any] | Tensor) -> float | None:
    return float(values.mean()) if len(values) else None
