"""The quality of the synthetic set: against real validation images, and what a judge sees."""

import tempfile
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from fgds_core.assess.assessment import Assessment, headline, measure_synthetic, shown_by_dvc
from fgds_core.assess.config import AssessConfig
from fgds_core.assess.features import FeatureSources, load_extractor, tower_of
from fgds_core.assess.left_out import COLUMNS, left_out_schema, left_out_tables
from fgds_core.assess.neighbours import neighbour_schema
from fgds_core.assess.observe import observe
from fgds_core.assess.originality import Suspects, pair_tables, pairs_schema, suspects
from fgds_core.classify.network import load_classifier
from fgds_core.data.meta import read_meta
from fgds_core.data.splits import read_prepared
from fgds_core.errors import InputError
from fgds_core.files import csv_text, write_json, write_text
from fgds_core.generators.config import GeneratorConfig
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.reading import IN_THIS_PROCESS, Reading
from fgds_core.images.table import write_image_batches
from fgds_core.judge.judge import load_judge
from fgds_core.judge.judged import JUDGED, write_rows
from fgds_core.synthesis.excluded import LeftOut, kept_rows
from fgds_core.synthesis.shards import left_out_of, read_index, read_synthetic
from fgds_core.synthesis.steps import with_steps
from fgds_core.synthesis.unguided import read_unguided


def assess(
    prepared: Path,
    synthetic: Path,
    baseline: Path,
    generator: GeneratorConfig,
    config: AssessConfig,
    seed: int,
    reports: Path,
    *,
    judge: Path | None = None,
    device: str = "cpu",
    reading: Reading = IN_THIS_PROCESS,
) -> dict[str, Any]:
    """Measures the set and writes `synthetic.json` and the folder `assess` into `reports`.

    `assess/measures.json` holds everything that is known of a measure, `synthetic.json` the values
    alone, which people compare between runs. `assess/copies.parquet` names the images that may be
    copies of real ones, the nearest first, and `assess/copy_pairs.parquet` shows them.
    `assess/judged.parquet` is there with a judge. Images that are left out of training are left
    out of all of it and stand in `assess/excluded.parquet`.

    Args:
        prepared: Prepared data. Test images are searched for copies and for nothing else.
        synthetic: The synthetic set.
        baseline: Folder of the baseline classifier.
        generator: The generator whose CLIP tower may serve as feature space.
        config: What is measured, and how.
        seed: Seed of the subsets and resamples.
        reports: Folder of the reports. The features lie there too until all is measured.
        judge: Folder of the judge; None asks none.
        device: Where the networks compute.
        reading: How images are read. They are told of in `advance`, real and synthetic ones.

    Returns:
        The content of `measures.json`.

    Raises:
        InputError: If an input is missing or damaged, or they do not fit each other.
    """
    meta = read_meta(prepared)
    classifier = load_classifier(baseline, device)
    if classifier.class_names != meta.class_names:
        raise InputError(
            f"the classifier in {baseline} knows the classes {list(classifier.class_names)}, "
            f"{prepared} has {list(meta.class_names)}; run the stage train_baseline again"
        )
    asked = None if judge is None else load_judge(judge, meta.class_names, device)
    weights = config.inception_weights
    sources = FeatureSources(
        tower=tower_of(generator),
        inception_weights=None if weights is None else Path(weights),
        classifier=classifier,
    )
    extract = load_extractor(config.features, sources, device=device)
    images, rows = read_synthetic(synthetic)
    rows = with_steps(rows, synthetic, read_index(synthetic).parts)
    twins = read_unguided(synthetic)
    if images.class_names != meta.class_names:
        raise InputError(
            f"{synthetic} has the classes {list(images.class_names)}, {prepared} has "
            f"{list(meta.class_names)}; run the stage synthesize again"
        )
    train, val = (read_prepared(prepared, split) for split in ("train", "val"))
    reports.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="features-", dir=reports) as folder:
        place = Path(folder)
        made = observe(
            images, place / "synthetic", extract, baseline=classifier, judge=asked, reading=reading
        )
        real = {
            "train": observe(train, place / "train", extract, reading=reading),
            "val": observe(val, place / "val", extract, baseline=classifier, reading=reading),
        }
        known = real
        if sum(meta.counts["test"]):
            test = read_prepared(prepared, "test")
            known = real | {"test": observe(test, place / "test", extract, reading=reading)}
        index = read_index(synthetic)
        filled = index.resampled
        labels = [meta.class_names.index(name) for name in filled]
        copied = suspects(made, rows, known, place, device, reading, labels)
        found = measure_synthetic(
            made,
            rows,
            **real,
            feature_space=extract.name,
            bins=meta.bins,
            judge=None if asked is None else asked.record,
            copied=copied,
            filled=filled,
            twin=(lambda *image: None) if twins is None else twins.of,
            config=config,
            seed=seed,
        )
        _count_left_out(found.measures, left_out_of(synthetic, index), meta.class_names)
        _write(found, meta.class_names, reports)
        _write_copies(copied, images, {name: its.images for name, its in known.items()}, reports)
    _write_left_out(synthetic, reports / "assess" / "excluded.parquet")
    return found.measures


def _count_left_out(
    measures: dict[str, Any], left_out: Sequence[LeftOut], class_names: Sequence[str]
) -> None:
    """Counts the images that are left out by who leaves them out, of the set and each class."""
    for each in left_out:
        of_class = measures["per_class"][class_names[each.label]]
        for counts in (measures.setdefault("left_out", {}), of_class.setdefault("left_out", {})):
            counts[each.by] = counts.get(each.by, 0) + 1


def _write_left_out(synthetic: Path, path: Path) -> None:
    """Writes the images that are left out of training and therefore of all measures, if any."""
    if left_out := left_out_of(synthetic, read_index(synthetic)):
        images, rows = read_synthetic(synthetic, whole=True)
        away = ~kept_rows(images.labels.numpy(), rows["index"].to_numpy(), left_out)
        columns = {name: [vars(each)[name] for each in left_out] for name in COLUMNS}
        tables = left_out_tables(images.select(np.flatnonzero(away).tolist()), columns)
        write_image_batches(path, left_out_schema(images.class_names), tables)


def _write_copies(
    found: Suspects, synthetic: ImageDataset, real: Mapping[str, ImageDataset], reports: Path
) -> None:
    folder = reports / "assess"
    write_rows(folder / "copies.parquet", found.table)
    schema = pairs_schema(synthetic.class_names)
    pairs = pair_tables(found, synthetic, real)
    write_image_batches(folder / "copy_pairs.parquet", schema, pairs)


def _write(found: Assessment, class_names: tuple[str, ...], reports: Path) -> None:
    folder = reports / "assess"
    write_text(folder / "criterion.csv", csv_text(found.criterion))
    write_text(folder / "per_class.csv", csv_text(found.per_class))
    pictures = iter(found.neighbours)
    if (first := next(pictures, None)) is not None:
        path, schema = folder / "neighbours.parquet", neighbour_schema(class_names)
        write_image_batches(path, schema, chain([first], pictures))
    if found.judged is not None:
        write_rows(folder / JUDGED, found.judged)
    write_rows(folder / "guidance.parquet", found.guidance)
    write_json(folder / "measures.json", found.measures)
    write_json(reports / "synthetic.metrics.json", shown_by_dvc(found.measures))
    write_json(reports / "synthetic.json", headline(found.measures))
