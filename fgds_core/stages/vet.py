"""A look at finished images: what a judge sees in them, and which are copies of real ones."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fgds_core.ability.spaces import network_space
from fgds_core.assess.features import Extractor
from fgds_core.assess.observe import observe
from fgds_core.copies.sets import pictures_of
from fgds_core.copies.thumbnails import Pictures
from fgds_core.data.meta import SPLITS, read_meta
from fgds_core.data.splits import read_prepared
from fgds_core.errors import InputError
from fgds_core.generators.config import GeneratorConfig
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.reading import Reading
from fgds_core.images.table import column_values
from fgds_core.judge.judge import load_judge
from fgds_core.synthesis.copied import COPIES, copied
from fgds_core.synthesis.record import PartRecord
from fgds_core.synthesis.shards import in_order, read_parts
from fgds_core.synthesis.vetting import JUDGE, Verdict, Verdicts, joined, judged


@dataclass(frozen=True)
class Gallery:
    """Where a check finds what it looks at.

    Attributes:
        prepared: Prepared data.
        synthetic: The synthetic set, which needs no index yet.
        judge: Folder of the judge, for checks that ask it.
        scratch: A folder for what is kept of the images meanwhile; what is there is removed.
        ways: By what copies are known.
        tower: The generator whose vision tower sees the images, where they are known by features.
        baseline: The classifier that sees them where it has none.
    """

    prepared: Path
    synthetic: Path
    judge: Path
    scratch: Path
    ways: Collection[str] = ()
    tower: GeneratorConfig | None = None
    baseline: Path | None = None


def vet(
    records: Sequence[PartRecord],
    checks: Sequence[str],
    gallery: Gallery,
    *,
    device: str,
    reading: Reading,
) -> Verdicts:
    """What the checks say of the images of some parts.

    Args:
        records: Of the parts, in any order.
        checks: Which ones are asked: `judge`, `copies`.
        gallery: Where everything is.
        device: Where it is computed.
        reading: How images are read. Those that the judge sees are told of, and for copies these
            and all real ones.

    Raises:
        InputError: An image or the judge is missing or damaged, or the disk has no room.
    """
    meta = read_meta(gallery.prepared)
    class_names = meta.class_names
    found: dict[int, Verdict] = {}
    for record in records:
        found[record.label] = joined(found.get(record.label), Verdict(record.num_rows, {}, {}))
    if not records:
        return found
    if JUDGE in checks:
        judge = load_judge(gallery.judge, class_names, device)
        alone = replace(reading, workers=0)  # processes cost more than a part
        for record in records:
            images, rows = read_parts(gallery.synthetic, class_names, [record])
            indices = column_values(rows, "index")
            for batch, probabilities in judge.passes(images, reading=alone):
                verdict = judged(record.label, indices[batch], probabilities, class_names)
                found[record.label] = joined(found[record.label], replace(verdict, num_images=0))
    if COPIES in checks:
        with _scratch(gallery.scratch):
            images, rows = read_parts(gallery.synthetic, class_names, in_order(records))
            there = [split for split in SPLITS if sum(meta.counts[split])]
            extract = _extractor(gallery, device)
            real = {
                split: _pictures(
                    split, read_prepared(gallery.prepared, split), gallery, extract, reading
                )
                for split in there
            }
            asked = _pictures("synthetic", images, gallery, extract, reading)
            away = copied(asked, rows, real, gallery.ways, device)
        for label, reasons in away.items():
            found[label] = joined(found[label], Verdict(0, {}, {COPIES: reasons}))
    return found


def _extractor(gallery: Gallery, device: str) -> Extractor | None:
    """The features by which copies are known; None where they are not."""
    if gallery.tower is None or gallery.baseline is None:
        return None
    spaces = network_space(gallery.tower, gallery.baseline, device)
    if not spaces:
        raise InputError(
            "synthesize.copies_by: features need a generator with a vision tower, or the baseline"
            f" in {gallery.baseline}; leave features out"
        )
    return Extractor(spaces[0].name, spaces[0].embed, device)


def _pictures(
    name: str,
    images: ImageDataset,
    gallery: Gallery,
    extract: Extractor | None,
    reading: Reading,
) -> Pictures:
    """A set as the search knows it; its images are told of once."""
    if extract is None:
        return pictures_of(images, gallery.scratch / name, reading)
    seen = observe(images, gallery.scratch / f"{name}-features", extract, reading=reading)
    quiet = Reading(reading.batch_size, reading.workers)
    return pictures_of(images, gallery.scratch / name, quiet, seen.features)


@contextmanager
def _scratch(folder: Path) -> Iterator[None]:
    """An empty folder, which is gone afterwards; also what a run left there that was killed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
