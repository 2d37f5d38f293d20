"""What a synthetic set is worth before anything is trained on it.

It is compared with real *validation* images, never with test images, and with real training
images to find copies. Two rules keep the numbers honest:

- The synthetic set holds mostly rare classes, the validation set is balanced. The overall
  measures therefore take as many real images of each class, in proportion, as there are synthetic
  ones (`match_class_mix`), so that they measure images and not class frequencies.
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

from fgds_core.classify import Classifier, load_classifier, predict
from fgds_core.config.assess import AssessConfig
from fgds_core.config.generator import GeneratorConfig
from fgds_core.errors import InputError
from fgds_core.features import Extractor, FeatureSources, load_extractor, tower_of
from fgds_core.feedback import Seen, entropy, loss
from fgds_core.fidelity import Array, Estimate, fid, kid, mean_interval, nearest, prdc
from fgds_core.files import csv_text, write_json, write_text
from fgds_core.images import ImageSet, encode_png, image_table, write_images
from fgds_core.shards import read_synthetic
from fgds_core.splits import read_meta, read_prepared

MEASURES = ("fid", "kid", "precision", "recall", "density", "coverage", "copy_rate")
COPY_PERCENTILE = 1
QUANTILES = (5, 25, 50, 75, 95)

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Assessment:
    """What the stage finds.

    Attributes:
        metrics: The content of `reports/synthetic.json`.
        per_class: Rows of `per_class.csv`.
        criterion: Rows of `criterion.csv`.
        neighbours: Pictures for the report, as `image_table`; None without any.
    """

    metrics: dict[str, Any]
    per_class: list[dict[str, Any]]
    criterion: list[dict[str, Any]]
    neighbours: pa.Table | None


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
        The content of `synthetic.json`.

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
        seed=seed,
        advance=advance,
    )
    folder = reports / "assess"
    write_text(folder / "criterion.csv", csv_text(found.criterion))
    write_text(folder / "per_class.csv", csv_text(found.per_class))
    if found.neighbours is not None:
        write_images(folder / "neighbours.parquet", found.neighbours)
    write_json(folder / "metrics.json", shown_by_dvc(found.metrics))
    write_json(folder / "measures.json", found.metrics)
    write_json(reports / "synthetic.json", found.metrics)
    return found.metrics


def shown_by_dvc(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a set that a person compares in `dvc metrics`; those without value not."""
    values = {name: (metrics[name] or {}).get("value") for name in ("fid", "label_agreement")}
    return {name: round(value, 4) for name, value in values.items() if value is not None}


def measure_synthetic(
    synthetic: ImageSet,
    table: pa.Table,
    *,
    real_train: ImageSet,
    real_val: ImageSet,
    classifier: Classifier,
    bins: Mapping[str, str],
    config: AssessConfig,
    extract: Extractor,
    seed: int,
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
        "synthetic": extract(synthetic.images, advance),  # [M, D]
        "val": extract(real_val.images, advance),  # [N, D]
        "train": extract(real_train.images, advance),
    }
    labels, val_labels = synthetic.labels.numpy(), real_val.labels.numpy()  # [M], [N]
    depth = max(config.grid_neighbours, 1)
    distances, neighbours = nearest(features["synthetic"], features["train"], depth)  # [M, depth]
    copies, judged = _copies(
        distances[:, 0],
        labels,
        nearest(features["val"], features["train"], 1)[0][:, 0],
        val_labels,
        config.min_images,
    )  # [M], [M]
    agreement = _judge_agreement(table, labels)  # [M], NaN where no judge spoke
    hard_synthetic = _criteria(classifier, synthetic)
    hard_real = _criteria(classifier, real_val)

    def measure(chosen: NDArray[np.bool_], real: NDArray[np.int64], name: str) -> dict[str, Any]:
        """Fidelity of the chosen synthetic images to the real ones; chance depends on the name."""
        rng = np.random.default_rng([seed, *name.encode()])
        x, y = features["val"][real], features["synthetic"][chosen]
        estimates = _fidelity(x, y, config, rng)
        estimates["copy_rate"] = _share(copies[chosen & judged], len(real), config, rng)
        answered = agreement[chosen & ~np.isnan(agreement)]  # [images with a judge's label]
        measures: dict[str, Any] = {
            measure: _entry(estimate) | {"feature_space": extract.name}
            for measure, estimate in estimates.items()
        }
        judge = _share(answered, 0, config, rng) if len(answered) else None
        measures["label_agreement"] = None if judge is None else _entry(judge)
        return measures

    with_real = np.isin(labels, val_labels)  # [M]
    matched = match_class_mix(
        labels[with_real], val_labels, np.random.default_rng([seed, len(class_names)])
    )
    metrics: dict[str, Any] = measure(with_real, matched, "")
    metrics["guidance"] = _guidance(table, np.ones(len(labels), dtype=bool))
    metrics["num_synthetic"] = len(synthetic)
    metrics["feature_space"] = {"name": extract.name, "num_features": features["val"].shape[1]}
    metrics["real_images"] = (
        "validation images, drawn in the class proportions of the synthetic set"
    )
    metrics["seed"] = seed
    metrics["per_class"] = {}
    for k, class_name in enumerate(class_names):
        chosen = labels == k  # [M]
        of_class = np.flatnonzero(val_labels == k)
        metrics["per_class"][class_name] = {
            **measure(chosen, of_class, class_name),
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
    metrics = rounded(metrics)
    return Assessment(
        metrics=metrics,
        per_class=_per_class_rows(metrics, bins, real_train),
        criterion=_criterion_rows(
            class_names, table, labels, val_labels, hard_synthetic, hard_real
        ),
        neighbours=_neighbour_table(synthetic, table, real_train, distances, neighbours, config),
    )


def match_class_mix(
    synthetic: NDArray[np.int64], real: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draws real images in the class proportions of the synthetic ones, as many as there can be.

    Args:
        synthetic: Labels of the synthetic images, [M]; each class occurs among the real ones.
        real: Labels of the real images, [N].
        rng: Draws the images.

    Returns:
        Indices of real images without repetition, in increasing order.
    """
    classes, counts = np.unique(synthetic, return_counts=True)
    if not len(classes):
        return np.empty(0, dtype=np.int64)
    available = np.array([(real == k).sum() for k in classes])
    # The class that runs out first, relative to its share, sets the size of the sample.
    scale = (available / counts).min()
    quotas = np.minimum(np.rint(counts * scale).astype(np.int64), available)
    drawn = [
        rng.choice(np.flatnonzero(real == k), quota, replace=False)
        for k, quota in zip(classes, quotas, strict=True)
    ]
    return np.sort(np.concatenate(drawn))


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
    real: Array, synthetic: Array, config: AssessConfig, rng: np.random.Generator
) -> dict[str, Estimate]:
    return {
        "fid": fid(
            real, synthetic, min_images=config.min_images_fid, blocks=config.fid_blocks, rng=rng
        ),
        "kid": kid(
            real,
            synthetic,
            min_images=config.min_images,
            subsets=config.kid_subsets,
            subset_size=config.kid_subset_size,
            rng=rng,
        ),
        **prdc(
            real,
            synthetic,
            nearest_k=config.nearest_k,
            min_images=config.min_images,
            bootstrap_samples=config.bootstrap_samples,
            rng=rng,
        ),
    }


def _copies(
    to_train: Array,
    labels: NDArray[np.int64],
    val_to_train: Array,
    val_labels: NDArray[np.int64],
    min_images: int,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which synthetic images lie nearer to a training image than real images of their class do.

    Nearer means below the first percentile of the distances from validation images of the class to
    their nearest training image, so one in a hundred genuine images would count as a copy.

    Args:
        to_train: Distance of each synthetic image to the nearest training image, [M].
        labels: Their classes, [M].
        val_to_train: The same distance of each validation image, [N].
        val_labels: Their classes, [N].
        min_images: Validation images a class needs for a threshold.

    Returns:
        Whether each synthetic image is a near copy, [M],
        and whether its class has a threshold, [M].
    """
    copies = np.zeros(len(labels), dtype=bool)
    judged = np.zeros(len(labels), dtype=bool)
    for k in np.unique(labels):
        of_class = val_to_train[val_labels == k]
        if len(of_class) >= min_images:
            threshold = np.percentile(of_class, COPY_PERCENTILE)
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


def _judge_agreement(table: pa.Table, labels: NDArray[np.int64]) -> Array:
    """1 where the judge sees the intended class, 0 where not, NaN where none was asked, [M]."""
    judged = np.array(table["judge_label"].to_pylist(), dtype=np.float64)  # None becomes NaN
    return np.where(np.isnan(judged), np.nan, judged == labels)


def _criteria(classifier: Classifier, images: ImageSet) -> dict[str, Array]:
    """Entropy and loss of the classifier in nats for each image, [N] each."""
    logits, features = predict(classifier, images.images)  # [N, K], [N, D]
    seen = Seen(logits.float(), features.float())
    return {
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
    metrics: Mapping[str, Any], bins: Mapping[str, str], real_train: ImageSet
) -> list[dict[str, Any]]:
    counts = torch.bincount(real_train.labels, minlength=len(real_train.class_names)).tolist()
    rows = []
    for (name, measures), count in zip(metrics["per_class"].items(), counts, strict=True):
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
    synthetic: ImageSet,
    table: pa.Table,
    real_train: ImageSet,
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
        return encode_png(real_train.images[row : row + 1])[0]

    conditioning = table["conditioning_id"].to_pylist()
    for k in range(len(synthetic.class_names)):
        own = torch.nonzero(real_train.labels == k).flatten().tolist()
        rows = torch.nonzero(synthetic.labels == k).flatten().tolist()[: config.grid_images]
        for item, row in enumerate(rows):
            add(table["image"][row]["bytes"].as_py(), k, item, k, "synthetic", 0, None)
            if conditioning[row] is not None:
                add(real_picture(own[conditioning[row]]), k, item, k, "conditioning", 0, None)
            for rank, near in enumerate(neighbours[row, : config.grid_neighbours].tolist()):
                distance = rounded(float(distances[row, rank]))
                label = int(real_train.labels[near])
                add(real_picture(near), label, item, k, "real", rank, distance)
    if not pictures:
        return None
    return image_table(pictures, labels, synthetic.class_names, extra)


def _entry(estimate: Estimate) -> dict[str, Any]:
    """An estimate as JSON; `reason` only where there is no value."""
    entry = asdict(estimate)
    if estimate.reason is None:
        del entry["reason"]
    return entry


def _mean(values: NDArray[Any] | Tensor) -> float | None:
    return float(values.mean()) if len(values) else None
